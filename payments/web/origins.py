"""Mirrors: other names of this service, for readers whose network blocks the first.

A reader stays with the name they came by: Stripe's page leads back to it, and no page names
another.
"""

from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection

from payments.core.settings import Settings


def request_origin(settings: Settings, request: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The address of ours that a request came by; the first one if its Host is none of ours."""
    host = request.headers.get("host", "").casefold()
    known = {urlsplit(one).netloc.casefold(): one for one in settings.alternate_origins}
    return known.get(host, settings.base_url)


def allowed_hosts(settings: Settings) -> list[str]:
    """The names this service answers to: another Host header is somebody's trick."""
    named = [urlsplit(one) for one in (settings.base_url, *settings.alternate_origins)]
    return sorted({name for parts in named for name in (parts.netloc, parts.hostname or "")})
