"""The language of a response, negotiated once by a middleware.

`?lang=ru` decides, then the browser's Accept-Language, then the first language that the newsroom
offers (PAYMENTS_LOCALES). A choice needs no cookie: `localised_url` carries it along, and every
link, form and redirect of ours goes through it. Staff pages are in English.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil
from urllib.parse import parse_qsl, urlencode

from babel.dates import format_timedelta
from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from payments.core import i18n, money
from payments.core.errors import PaymentsError
from payments.core.frequency import VARYING_AMOUNT
from payments.core.money import Money
from payments.infra.context import Context
from payments.web import paths

QUERY_NAMES = ("lang", "locale")  # `locale` is the name in the API and in its snippets
ENGLISH_PREFIXES = (*paths.STAFF_PREFIXES, "/dev/")
MAX_QUERY_FIELDS = 20
REPEATABLE_QUERY = re.compile(r"[\w.,-]{0,64}", re.ASCII)  # names and values links may repeat


@dataclass(frozen=True, slots=True)
class RequestLocale:
    """The language of a request and, for a GET, the query that links to other languages repeat."""

    language: str = i18n.DEFAULT_LOCALE
    chosen: bool = False  # by the URL, so our links carry it along
    query: tuple[tuple[str, str], ...] | None = None
    offered: tuple[str, ...] = i18n.SUPPORTED_LOCALES


_active: ContextVar[RequestLocale | None] = ContextVar("request_locale", default=None)


def locale_middleware(app: ASGIApp) -> ASGIApp:
    """Middleware: negotiate the language of each request that has one."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["path"].startswith(paths.MACHINE_PREFIXES):
            await app(scope, receive, send)
            return
        with use_locale(scope):
            await app(scope, receive, send)

    return respond


@contextmanager
def use_locale(scope: Scope) -> Iterator[None]:
    """Negotiate the language of a request, unless that is done, for the block."""
    before = _active.set(_active.get() or _negotiate(scope))
    try:
        yield
    finally:
        _active.reset(before)


def _negotiate(scope: Scope) -> RequestLocale:
    if scope["type"] != ScopeType.HTTP:
        return RequestLocale()
    query = scope["query_string"].decode("latin-1")
    params = (
        parse_qsl(query, max_num_fields=MAX_QUERY_FIELDS)
        if query.count("&") < MAX_QUERY_FIELDS
        else []
    )
    # The response to a form cannot be asked for again with GET.
    repeatable = tuple(params) if scope["method"] in ("GET", "HEAD") else None
    if scope["path"].startswith(ENGLISH_PREFIXES):
        return RequestLocale()
    values, offered = dict(params), _offered_by(scope)
    for name in QUERY_NAMES:
        if (locale := i18n.find_locale(values.get(name, ""), offered=offered)) is not None:
            return RequestLocale(locale, chosen=True, query=repeatable, offered=offered)
    accepted = Headers.from_scope(scope).get("accept-language")
    locale = i18n.negotiate_locale(accepted, offered=offered)
    return RequestLocale(locale, query=repeatable, offered=offered)


def _offered_by(scope: Scope) -> tuple[str, ...]:
    """Return the languages that the newsroom offers; all that there are before it has settings."""
    ctx: Context | None = scope["litestar_app"].state.get("ctx")
    return i18n.SUPPORTED_LOCALES if ctx is None else ctx.settings.offered_locales


def _current() -> RequestLocale:
    return _active.get() or RequestLocale()


def current() -> str:
    """Return the language of the response, by the name of its catalogue."""
    return _current().language


def language_tag() -> str:
    """Return the language of the response as a BCP 47 tag, as Stripe and browsers know it."""
    return i18n.language_tag(current())


def chosen_tag() -> str:
    """Return the tag of a language chosen by the URL, or an empty text. GET forms carry it on."""
    return language_tag() if _current().chosen else ""


def override(requested: str) -> None:
    """Use the language that a form names, if it is one of ours, for the rest of the request."""
    active = _current()
    if (locale := i18n.find_locale(requested, offered=active.offered)) is not None:
        _active.set(replace(active, language=locale, query=None))


def localised_url(url: str) -> str:
    """Return a URL of ours that keeps the language that was chosen."""
    return i18n.with_lang(url, chosen_tag() or None)


def language_links(*, status: int) -> list[dict[str, str]]:
    """Return links to the same page in each other language. A refused query is not repeated."""
    active = _current()
    if active.query is None:
        return []
    repeated = [
        (name, value)
        for name, value in (active.query if status < 400 else ())
        if name not in QUERY_NAMES
        and REPEATABLE_QUERY.fullmatch(name)
        and REPEATABLE_QUERY.fullmatch(value)
    ]
    return [
        {
            "lang": i18n.language_tag(other),
            "name": i18n.native_name(other),
            "dir": i18n.text_direction(other),
            "url": "?" + urlencode([*repeated, ("lang", i18n.language_tag(other))]),
        }
        for other in active.offered
        if other != active.language
    ]


# --- texts ----------------------------------------------------------------------------------------


def translate(text: str, **params: object) -> str:
    """Return a text of ours in the language of the response, with its placeholders filled in."""
    translated = i18n.translations(current()).gettext(text)
    if not params:
        return translated
    return translated % {name: _format_param(param) for name, param in params.items()}


def error_message(error: PaymentsError) -> str:
    """Return the message of an error, for a page."""
    return translate(error.message, **error.message_params)


def retry_message(delay: timedelta) -> str:
    """Return when to try again, in whole minutes, rounded up."""
    minutes = timedelta(minutes=max(ceil(delay / timedelta(minutes=1)), 1))
    when = format_timedelta(
        minutes, granularity="minute", threshold=1.5, add_direction=True, locale=current()
    )
    return translate("Please try again %(when)s.", when=when)


def format_amount(value: Money) -> str:
    """Return an amount in the language of the response."""
    return money.format(value, current())


def format_amount_or_varying(value: Money | None) -> str:
    """Return an amount as in `format_amount`, or words for one that is not known in advance."""
    return translate(VARYING_AMOUNT) if value is None else format_amount(value)


def _format_param(param: object) -> str:
    return format_amount(param) if isinstance(param, Money) else str(param)
