"""The language an answer speaks, settled once at the edge and good until the answer has left.

An address decides (`?lang=ru`), then the browser's Accept-Language, then English. A reader who
chose keeps the choice without a cookie: `here` carries it from address to address, and every link,
form and redirect of ours goes through it. Staff pages speak the newsroom's English.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from urllib.parse import parse_qsl, urlencode

from babel.dates import format_timedelta
from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from payments.core import i18n, money
from payments.core.errors import PaymentsError
from payments.core.money import Money

QUERY_NAMES = ("lang", "locale")  # `locale` is the name that the API and its snippets use
STAFF_PREFIXES = ("/finance", "/staff", "/support", "/dev/")
MACHINE_PREFIXES = (
    "/webhooks/",
    "/health/",
    "/metrics",
)  # nobody reads their answers: not a word is asked
MAX_QUERY_FIELDS = 20
REPEATABLE_QUERY = re.compile(r"[\w.,-]{0,64}", re.ASCII)  # what of a query may stand in a page


@dataclass(frozen=True, slots=True)
class RequestLocale:
    """A language and, for a page that can be asked for again, what its address asked."""

    language: str = i18n.DEFAULT_LOCALE
    chosen: bool = False  # by the address, so ours repeat it
    query: tuple[tuple[str, str], ...] | None = None


_active: ContextVar[RequestLocale | None] = ContextVar("tongue", default=None)


def locale_middleware(app: ASGIApp) -> ASGIApp:
    """A middleware under which everything that is said to a request is in its language."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["path"].startswith(MACHINE_PREFIXES):
            await app(scope, receive, send)
            return
        with use_locale(scope):
            await app(scope, receive, send)

    return answer


@contextmanager
def use_locale(scope: Scope) -> Iterator[None]:
    """Speak as this request asks, unless that is settled, until the end of the block."""
    before = _active.set(_active.get() or _negotiate(scope))
    try:
        yield
    finally:
        _active.reset(before)


def _negotiate(scope: Scope) -> RequestLocale:
    if scope["type"] != ScopeType.HTTP:
        return RequestLocale()
    query = scope["query_string"].decode("latin-1")
    asked = (
        parse_qsl(query, max_num_fields=MAX_QUERY_FIELDS)
        if query.count("&") < MAX_QUERY_FIELDS
        else []
    )
    # Asked for again with GET, the answer to a form would be another page.
    repeatable = tuple(asked) if scope["method"] in ("GET", "HEAD") else None
    if scope["path"].startswith(STAFF_PREFIXES):
        return RequestLocale()
    named = dict(asked)
    for name in QUERY_NAMES:
        if (wanted := i18n.find_locale(named.get(name, ""))) is not None:
            return RequestLocale(wanted, chosen=True, query=repeatable)
    accepted = Headers.from_scope(scope).get("accept-language")
    return RequestLocale(i18n.negotiate_locale(accepted), query=repeatable)


def _current() -> RequestLocale:
    return _active.get() or RequestLocale()


def current() -> str:
    """The language of this answer, by the name of its catalogue."""
    return _current().language


def language_tag() -> str:
    """The same by the name that Stripe and browsers know."""
    return i18n.language_tag(current())


def chosen_tag() -> str:
    """What a form that is sent by GET carries on: the tag of a chosen language, or nothing."""
    return language_tag() if _current().chosen else ""


def override(wanted: str) -> None:
    """Speak the language that a form names, if it is one of ours, for the rest of this request."""
    if (found := i18n.find_locale(wanted)) is not None:
        _active.set(RequestLocale(found, chosen=_current().chosen))


def localised_url(url: str) -> str:
    """An address of ours that goes on in the language that was chosen."""
    return i18n.with_lang(url, chosen_tag() or None)


def language_links(*, status: int) -> list[dict[str, str]]:
    """The same page in each other language. An address that was refused is not repeated."""
    tongue = _current()
    if tongue.query is None:
        return []
    kept = [
        (name, value)
        for name, value in (tongue.query if status < 400 else ())
        if name not in QUERY_NAMES
        and REPEATABLE_QUERY.fullmatch(name)
        and REPEATABLE_QUERY.fullmatch(value)
    ]
    return [
        {
            "lang": i18n.language_tag(other),
            "name": i18n.native_name(other),
            "dir": i18n.text_direction(other),
            "url": "?" + urlencode([*kept, ("lang", i18n.language_tag(other))]),
        }
        for other in i18n.SUPPORTED_LOCALES
        if other != tongue.language
    ]


# --- what is said ---------------------------------------------------------------------------------


def translate(text: str, **facts: object) -> str:
    """Words of ours in the language of this answer, with what belongs into their places."""
    words = i18n.translations(current()).gettext(text)
    return words % {name: _format_fact(fact) for name, fact in facts.items()} if facts else words


def error_message(error: PaymentsError) -> str:
    """The sentence of a refusal, for a page."""
    return translate(error.message, **error.message_params)


def retry_message(delay: timedelta) -> str:
    """When to try again, in whole minutes and rather too late than too early."""
    minutes = timedelta(minutes=max(ceil(delay / timedelta(minutes=1)), 1))
    when = format_timedelta(
        minutes, granularity="minute", threshold=1.5, add_direction=True, locale=current()
    )
    return translate("Please try again %(when)s.", when=when)


def format_amount(value: Money) -> str:
    return money.format(value, current())


def _format_fact(fact: object) -> str:
    # An English page says what the API says, word for word, with the code of the currency.
    return (
        format_amount(fact)
        if isinstance(fact, Money) and current() != i18n.DEFAULT_LOCALE
        else str(fact)
    )
