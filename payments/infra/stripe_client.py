"""The Stripe client: API version pinned, with timeouts, retries and a rate limit.

Stripe allows an account 100 requests a second, and 25 for one endpoint
(https://docs.stripe.com/rate-limits). A worker stays at `stripe_requests_per_second`, so that a
backlog of events leaves room for readers who are giving.
"""

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import cache, partial
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import stripe
from aiolimiter import AsyncLimiter
from stripe import StripeClient

from payments.core.errors import (
    CardDeclined,
    PaymentsError,
    StripeBusy,
    StripeKeyRefused,
    StripePermissionMissing,
    StripeRejected,
    StripeUnavailable,
)
from payments.core.i18n import gettext_noop
from payments.core.settings import Settings
from payments.infra import metrics

HTTP_TIMEOUT = aiohttp.ClientTimeout(total=20, connect=5)  # seconds, for each attempt
MAX_NETWORK_RETRIES = 2
MAX_PAGE_SIZE = 100  # the most objects that Stripe lists at once
# Stripe may forget an idempotency key after a day. https://docs.stripe.com/api/idempotent_requests
IDEMPOTENCY_KEY_LIFETIME = timedelta(hours=23)
# The locales of Checkout's page; `tests/contract` compares them with the SDK's own list.
# fmt: off
CHECKOUT_LOCALES = frozenset((
    "bg", "cs", "da", "de", "el", "en", "en-GB", "es", "es-419", "et", "fi", "fil", "fr", "fr-CA",
    "hi-IN", "hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "ms", "mt", "nb", "nl", "pl", "pt",
    "pt-BR", "ro", "ru", "sk", "sl", "sv", "th", "tr", "vi", "zh", "zh-HK", "zh-TW",
))
# fmt: on
UNAVAILABLE_MESSAGE = gettext_noop("Our payment provider did not answer. Nothing was charged.")
BUSY_MESSAGE = gettext_noop("Our payment provider is busy. Nothing was charged.")
REFUSED_MESSAGE = gettext_noop(
    "Our payment provider is not accepting this right now. We know about it. Nothing was charged."
)
REJECTED_MESSAGE = gettext_noop("Our payment provider did not accept this. Nothing was charged.")
DECLINED_MESSAGE = gettext_noop("The bank declined this card. Nothing was charged.")
# As Stripe names it: "Having the 'rak_charge_read' permission would allow this request".
PERMISSION_PATTERN = re.compile(r"\brak_[a-z0-9_]{1,64}")
UNNAMED_PERMISSION = "rak_unnamed"
ID_PATTERN = re.compile(r"(?<=/)[a-z]+_\w*[A-Z0-9]\w*")  # within the path of a request
ROUTE_HEADER = "payments-route"  # added to an answer that is an error of Stripe's own
API_VERSION: Final = "2026-10-28.endive"
HTTP_UNAUTHORIZED, HTTP_FORBIDDEN, HTTP_SERVER_ERROR = 401, 403, 500
HTTP_REFUSALS = (400, 404)  # of what cannot be done as things are
# What would be made a second time. `refund_requests` and `stripe_setup` look for the first.
NEVER_REPEATED = re.compile(r"/v1/(refunds|webhook_endpoints)$")
OnRefusal = Callable[[int, bytes], Awaitable[None]]  # status and body
BeforeWrite = Callable[[StripeClient], Awaitable[None]]


@cache
def _verifying_ssl_context() -> ssl.SSLContext:
    """Return the SDK's own, read once: its bundle of authorities takes milliseconds to read."""
    return ssl.create_default_context(cafile=stripe.ca_bundle_path)


class RateLimitedClient(stripe.AIOHTTPClient):
    """Stripe's aiohttp client with a rate limit, that tells of refusals. None is no limit.

    Stripe stores what it answered for a day under the request's idempotency key, and replays it,
    though its own error is over, or what it refused is possible now. Such an answer is not taken:
    the request is sent once more under a new key. Not those of `NEVER_REPEATED`, which may have
    been carried out and would be twice; who sends them looks first. A decline is taken, so that a
    card is not tried twice.
    """

    def __init__(self, requests_per_second: int | None, on_refusal: OnRefusal | None) -> None:
        super().__init__(
            timeout=HTTP_TIMEOUT, connector=aiohttp.TCPConnector(ssl=_verifying_ssl_context())
        )
        self._on_refusal = on_refusal
        self.before_write: Callable[[], Awaitable[None]] | None = None
        self._limiter = AsyncLimiter(requests_per_second, 1) if requests_per_second else None

    async def request_async(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        post_data: object = None,  # an encoded form
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send one attempt of a request, when the rate limit allows it."""
        if self.before_write is not None and method.upper() != "GET":
            await self.before_write()
        if self._limiter is not None:
            await self._limiter.acquire()
        answer: tuple[bytes, int, Mapping[str, str]]
        began = time.monotonic()
        outcome = metrics.StripeOutcome.UNREACHABLE
        try:
            async with _in_time():
                answer = await super().request_async(method, url, headers, post_data)
            outcome = metrics.outcome_of(answer[1])
        except stripe.APIConnectionError as error:
            error.headers = {ROUTE_HEADER: route_of(method, url)}
            raise
        finally:
            metrics.STRIPE_REQUESTS.labels(outcome).observe(time.monotonic() - began)
        body, status, answer_headers = answer
        if is_replayed_error(status, answer_headers) and not NEVER_REPEATED.search(url):
            new_key = f"{headers['Idempotency-Key'][:200]}-{uuid4().hex}"
            again = {**headers, "Idempotency-Key": new_key}
            return await self.request_async(method, url, again, post_data)
        if self._on_refusal is not None and status in (HTTP_UNAUTHORIZED, HTTP_FORBIDDEN):
            await self._on_refusal(status, body)
        if status >= HTTP_SERVER_ERROR:
            return body, status, {**answer_headers, ROUTE_HEADER: route_of(method, url)}
        return answer


_answer_by: ContextVar[float | None] = ContextVar("answer_by", default=None)  # monotonic


@contextmanager
def answer_within(seconds: float) -> Iterator[None]:
    """Have all that the block asks of Stripe be answered within so many seconds together, or count
    as not answered: somebody waits for it. An inner block can only be shorter.
    """
    until, before = time.monotonic() + seconds, _answer_by.get()
    token = _answer_by.set(until if before is None else min(before, until))
    try:
        yield
    finally:
        _answer_by.reset(token)


def seconds_left() -> float | None:
    """Return how long whoever waits will wait for Stripe; None where nobody does."""
    until = _answer_by.get()
    return None if until is None else until - time.monotonic()


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds_left()):
            yield
    except TimeoutError:
        raise stripe.APIConnectionError("No answer in time.") from None  # type: ignore[no-untyped-call]  # the SDK leaves it so


@asynccontextmanager
async def connect(
    settings: Settings,
    *,
    requests_per_second: int | None = None,
    on_refusal: OnRefusal | None = None,
    before_write: BeforeWrite | None = None,
) -> AsyncIterator[StripeClient]:
    """Yield a client for the life of a process. It belongs to the event loop that opens it.

    `on_refusal` is awaited with the status and the body of each 401 and 403, and `before_write`
    before each request that changes something.
    """
    stripe.enable_telemetry = False
    http = RateLimitedClient(requests_per_second, on_refusal)
    base = settings.stripe_api_base
    client = StripeClient(
        settings.stripe_api_key.get_secret_value(),
        stripe_version=API_VERSION,
        base_addresses={"api": base, "files": base, "connect": base, "meter_events": base},
        max_network_retries=MAX_NETWORK_RETRIES,
        http_client=http,
    )
    if before_write is not None:
        http.before_write = partial(before_write, client)
    try:
        yield client
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]  # the SDK leaves it so


def route_of(method: str, url: str) -> str:
    """Return what a request asks for, without the ids: "POST /v1/invoices/{}/void"."""
    return f"{method.upper()} {ID_PATTERN.sub('{}', urlsplit(url).path)}"


def is_replayed_error(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer is an error or a refusal of before, replayed for its idempotency key.

    https://docs.stripe.com/api/idempotent_requests
    """
    is_replayed = any(name.lower() == "idempotent-replayed" for name in headers)
    return is_replayed and (status >= HTTP_SERVER_ERROR or status in HTTP_REFUSALS)


def checkout_locale(locale: str | None) -> str:
    """Return the locale of a page of Stripe's; "auto", the browser's, for one it does not have."""
    return locale if locale in CHECKOUT_LOCALES else "auto"


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn the SDK's errors into ours, except those that a caller knows what to do with.

    Unchanged are InvalidRequestError, Stripe's refusal of what was asked, and CardError.
    """
    try:
        yield
    except (stripe.InvalidRequestError, stripe.CardError):
        raise
    except stripe.StripeError as error:
        raise as_payments_error(error) from error


def as_payments_error(error: stripe.StripeError) -> PaymentsError:
    """Return our error for one of the SDK's.

    A server error, and a 409, which is an idempotency key in use, are of Stripe's own making, as is
    an answer that is not JSON: the same may be asked again. Every class that is not named here is a
    refusal.
    """
    match error:
        case stripe.PermissionError():
            return StripePermissionMissing(
                REFUSED_MESSAGE, permission=missing_permission(error.user_message)
            )
        case stripe.AuthenticationError():
            return StripeKeyRefused(REFUSED_MESSAGE)
        case stripe.RateLimitError():
            return StripeBusy(BUSY_MESSAGE)
        case stripe.APIError() | stripe.APIConnectionError():
            unavailable = StripeUnavailable(UNAVAILABLE_MESSAGE)
            unavailable.route = (error.headers or {}).get(ROUTE_HEADER)
            return unavailable
        case stripe.CardError():
            return CardDeclined(DECLINED_MESSAGE)
        case _:
            return StripeRejected(REJECTED_MESSAGE, stripe_code=error.code)


def missing_permission(stripe_message: str | None) -> str:
    """Return the permission that Stripe's refusal names. Nothing else of its text is used."""
    named = PERMISSION_PATTERN.search(stripe_message or "")
    return named[0] if named is not None else UNNAMED_PERMISSION


def id_of(value: str | stripe.StripeObject | None) -> str | None:
    """Return the id of a field that holds an id or, when expanded, the object."""
    if value is None or isinstance(value, str):
        return value
    return str(value["id"])


def metadata_value(holder: stripe.StripeObject | None, key: str) -> str | None:
    """Return one value of an object's metadata; None where there is none."""
    metadata = getattr(holder, "metadata", None)
    if metadata is None or key not in metadata:
        return None
    return str(metadata[key])
