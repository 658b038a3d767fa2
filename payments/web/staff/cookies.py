"""The cookies of the staff pages: the session, and a sign-in elsewhere that is under way."""

from datetime import timedelta

from litestar.datastructures import Cookie

from payments.core.settings import Settings
from payments.staff import oidc, sessions
from payments.web import cookies

EXPIRED = -timedelta(seconds=1)  # the lifetime of a cookie that is removed


def session_cookie_name(settings: Settings) -> str:
    """Return the name of the cookie that holds a session token."""
    return cookies.cookie_name(settings, "staff")


def session_cookie(
    settings: Settings, token: str, *, max_age: timedelta = sessions.SESSION_LIFETIME
) -> Cookie:
    """Return the cookie of a session. `strict`: no other site makes a browser send it."""
    name = session_cookie_name(settings)
    return cookies.host_cookie(settings, name, token, samesite="strict", max_age=max_age)


def attempt_cookie_name(settings: Settings) -> str:
    """Return the name of the cookie of a sign-in at the identity provider."""
    return cookies.cookie_name(settings, "sign-on")


def attempt_cookie(
    settings: Settings, value: str, *, max_age: timedelta = oidc.ATTEMPT_LIFETIME
) -> Cookie:
    """Return the cookie of an attempt. `lax`: it must come along from the provider's redirect."""
    name = attempt_cookie_name(settings)
    return cookies.host_cookie(settings, name, value, samesite="lax", max_age=max_age)
