"""Origins: the base URL of this service and its alternates, for readers whose network blocks one.

A reader stays on the origin they came by: Stripe's page leads back to it, and no page names
another.
"""

from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection

from payments.core.settings import Settings


def request_origin(settings: Settings, request: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Return the origin that a request came to; the base URL if its Host is none of ours."""
    host = request.headers.get("host", "").casefold()
    by_host = {urlsplit(origin).netloc.casefold(): origin for origin in settings.alternate_origins}
    return by_host.get(host, settings.base_url)


def allowed_hosts(settings: Settings) -> list[str]:
    """Return the hosts this service answers to, with and without their port."""
    urls = [urlsplit(origin) for origin in (settings.base_url, *settings.alternate_origins)]
    return sorted({host for url in urls for host in (url.netloc, url.hostname or "")})
