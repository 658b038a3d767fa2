"""The one place that speaks to Stripe: version pinned, calls timed out, retried and kept to a
budget.

Stripe's own limit is 100 requests a second for an account and 25 for one endpoint. A worker stays
at `stripe_requests_per_second`, so a backlog of a hundred thousand events drains without a storm,
and readers who are giving right now always find room.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import aiohttp
import stripe
from aiolimiter import AsyncLimiter
from stripe import StripeClient

from payments.core.errors import StripeUnavailable
from payments.core.i18n import gettext_noop
from payments.core.settings import Settings

HTTP_TIMEOUT = aiohttp.ClientTimeout(total=20, connect=5)
MAX_NETWORK_RETRIES = 2
# The languages Checkout's page speaks; `tests/contract` compares with the SDK's own list.
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
    """Stripe's aiohttp client, which waits for its turn before each attempt."""

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
        if self._limiter is not None:
            await self._limiter.acquire()
        return await super().request_async(method, url, headers, post_data)


@asynccontextmanager
async def connect(
    settings: Settings, *, requests_per_second: int | None = None
) -> AsyncIterator[StripeClient]:
    """A client for the life of a process. It belongs to the event loop that opens it."""
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
    """The language of a page of Stripe's; the browser's for one it does not speak."""
    return locale if locale in CHECKOUT_LOCALES else "auto"


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn "Stripe did not answer" into StripeUnavailable; let Stripe's refusals through as they
    are.
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
    """The id of a field that Stripe gives as an id or, when expanded, as the object."""
    if value is None or isinstance(value, str):
        return value
    return str(value["id"])


def metadata_value(holder: stripe.StripeObject | None, key: str) -> str | None:
    """One value of an object's metadata."""
    metadata = getattr(holder, "metadata", None)
    if metadata is None or key not in metadata:
        return None
    return str(metadata[key])
