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

ASKED_BY = ("lang", "locale")  # `locale` is the name that the API and its snippets use
STAFF = ("/finance", "/staff", "/support", "/dev/")
MACHINES = ("/webhooks/", "/health/", "/metrics")  # nobody reads their answers: not a word is asked
QUERY_MAX = 20
REPEATED = re.compile(r"[\w.,-]{0,64}", re.ASCII)  # what of a query may stand in a page


@dataclass(frozen=True, slots=True)
class Tongue:
    """A language and, for a page that can be asked for again, what its address asked."""

    language: str = i18n.SOURCE
    chosen: bool = False  # by the address, so ours repeat it
    asked: tuple[tuple[str, str], ...] | None = None


_settled: ContextVar[Tongue | None] = ContextVar("tongue", default=None)


def listening(app: ASGIApp) -> ASGIApp:
    """A middleware under which everything that is said to a request is in its language."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["path"].startswith(MACHINES):
            await app(scope, receive, send)
            return
        with heard(scope):
            await app(scope, receive, send)

    return answer


@contextmanager
def heard(scope: Scope) -> Iterator[None]:
    """Speak as this request asks, unless that is settled, until the end of the block."""
    before = _settled.set(_settled.get() or _heard(scope))
    try:
        yield
    finally:
        _settled.reset(before)


def _heard(scope: Scope) -> Tongue:
    if scope["type"] != ScopeType.HTTP:
        return Tongue()
    query = scope["query_string"].decode("latin-1")
    asked = parse_qsl(query, max_num_fields=QUERY_MAX) if query.count("&") < QUERY_MAX else []
    # Asked for again with GET, the answer to a form would be another page.
    repeatable = tuple(asked) if scope["method"] in ("GET", "HEAD") else None
    if scope["path"].startswith(STAFF):
        return Tongue()
    named = dict(asked)
    for name in ASKED_BY:
        if (wanted := i18n.known(named.get(name, ""))) is not None:
            return Tongue(wanted, chosen=True, asked=repeatable)
    accepted = Headers.from_scope(scope).get("accept-language")
    return Tongue(i18n.negotiate(accepted), asked=repeatable)


def _tongue() -> Tongue:
    return _settled.get() or Tongue()


def spoken() -> str:
    """The language of this answer, by the name of its catalogue."""
    return _tongue().language


def tag() -> str:
    """The same by the name that Stripe and browsers know."""
    return i18n.tag(spoken())


def chosen() -> str:
    """What a form that is sent by GET carries on: the tag of a chosen language, or nothing."""
    return tag() if _tongue().chosen else ""


def choose(wanted: str) -> None:
    """Speak the language that a form names, if it is one of ours, for the rest of this request."""
    if (found := i18n.known(wanted)) is not None:
        _settled.set(Tongue(found, chosen=_tongue().chosen))


def here(address: str) -> str:
    """An address of ours that goes on in the language that was chosen."""
    return i18n.in_address(address, chosen() or None)


def others(*, status: int) -> list[dict[str, str]]:
    """The same page in each other language. An address that was refused is not repeated."""
    tongue = _tongue()
    if tongue.asked is None:
        return []
    kept = [
        (name, value)
        for name, value in (tongue.asked if status < 400 else ())
        if name not in ASKED_BY and REPEATED.fullmatch(name) and REPEATED.fullmatch(value)
    ]
    return [
        {
            "lang": i18n.tag(other),
            "name": i18n.own_name(other),
            "dir": i18n.direction(other),
            "url": "?" + urlencode([*kept, ("lang", i18n.tag(other))]),
        }
        for other in i18n.LANGUAGES
        if other != tongue.language
    ]


# --- what is said ---------------------------------------------------------------------------------


def say(text: str, **facts: object) -> str:
    """Words of ours in the language of this answer, with what belongs into their places."""
    words = i18n.translations(spoken()).gettext(text)
    return words % {name: _written(fact) for name, fact in facts.items()} if facts else words


def told(refusal: PaymentsError) -> str:
    """The sentence of a refusal, for a page."""
    return say(refusal.sentence, **refusal.facts)


def again(again_in: timedelta) -> str:
    """When to try again, in whole minutes and rather too late than too early."""
    minutes = timedelta(minutes=max(ceil(again_in / timedelta(minutes=1)), 1))
    when = format_timedelta(
        minutes, granularity="minute", threshold=1.5, add_direction=True, locale=spoken()
    )
    return say("Please try again %(when)s.", when=when)


def amount(gift: Money) -> str:
    return money.format(gift, spoken())


def _written(fact: object) -> str:
    # An English page says what the API says, word for word, with the code of the currency.
    return amount(fact) if isinstance(fact, Money) and spoken() != i18n.SOURCE else str(fact)
