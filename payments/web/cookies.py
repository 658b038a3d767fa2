"""Cookies: ours are for this host alone, unreadable to scripts, and over https only sent there."""

from datetime import timedelta
from typing import Literal

from litestar.datastructures import Cookie

from payments.core.settings import Settings


def cookie_name(settings: Settings, name: str) -> str:
    """Return the name with the `__Host-` prefix, which needs https: the local demo has none."""
    return f"__Host-{name}" if settings.uses_https else name


def host_cookie(
    settings: Settings,
    name: str,
    value: str,
    *,
    samesite: Literal["lax", "strict"],
    max_age: timedelta,
) -> Cookie:
    """Return a cookie of ours. A `max_age` of zero or less removes it."""
    return Cookie(
        key=name,
        value=value,
        path="/",
        httponly=True,
        secure=settings.uses_https,
        samesite=samesite,
        max_age=int(max_age.total_seconds()),
    )
