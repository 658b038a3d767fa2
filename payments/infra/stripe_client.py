"""The Stripe client: API version pinned, with timeouts, retries and a rate limit.

Stripe allows an account 100 requests a second, and 25 for one endpoint
(https://docs.stripe.com/rate-limits). A worker stays at `stripe_requests_per_second`, so that a
backlog of events leaves room for readers who are giving.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Final

import aiohttp
import stripe
from aiolimiter import AsyncLimiter
from stripe import StripeClient

from payments.core.errors import StripeUnavailable
from payments.core.i18n import gettext_noop
from payments.core.settings import Settings

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
API_VERSION: Final = "2026-10-28.endive"


class RateLimitedClient(stripe.AIOHTTPClient):
    """Stripe's aiohttp client with a rate limit. None is no limit."""

    def __init__(self, requests_per_second: int | None) -> None:
        super().__init__(timeout=HTTP_TIMEOUT)
        self._limiter = AsyncLimiter(requests_per_second, 1) if requests_per_second else None

    async def request_async(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        post_data: object = None,  # an encoded form
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send one attempt of a request, when the rate limit allows it."""
        if self._limiter is not None:
            await self._limiter.acquire()
        return await super().request_async(method, url, headers, post_data)


@asynccontextmanager
async def connect(
    settings: Settings, *, requests_per_second: int | None = None
) -> AsyncIterator[StripeClient]:
    """Yield a client for the life of a process. It belongs to the event loop that opens it."""
    stripe.enable_telemetry = False
    http = RateLimitedClient(requests_per_second)
    base = settings.stripe_api_base
    client = StripeClient(
        settings.stripe_api_key.get_secret_value(),
        stripe_version=API_VERSION,
        base_addresses={"api": base, "files": base, "connect": base, "meter_events": base},
        max_network_retries=MAX_NETWORK_RETRIES,
        http_client=http,
    )
    try:
        yield client
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]  # the SDK leaves it so


def checkout_locale(locale: str | None) -> str:
    """Return the locale of a page of Stripe's; "auto", the browser's, for one it does not have."""
    return locale if locale in CHECKOUT_LOCALES else "auto"


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn what means that Stripe did not answer into StripeUnavailable.

    Stripe's refusals pass unchanged. 409 is an idempotency key in use: the first attempt is not
    over.
    """
    try:
        yield
    except (stripe.APIConnectionError, stripe.RateLimitError) as error:
        raise StripeUnavailable(UNAVAILABLE_MESSAGE) from error
    except stripe.APIError as error:
        if error.http_status is None or error.http_status >= 500 or error.http_status == 409:
            raise StripeUnavailable(UNAVAILABLE_MESSAGE) from error
        raise


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
