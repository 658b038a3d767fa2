"""Links in mails: signed, for one purpose and one promise, good for days and without signing in.

Whoever holds one can do that one thing and see nothing. Opening it changes nothing, for mail
programs open links to look at them; only the button of the page behind it does.
"""

from datetime import timedelta

from payments.core.errors import LinkSpent
from payments.infra import signing
from payments.infra.context import Runtime

FIX, FIX_LASTS = "fix", timedelta(days=14)  # put another card in place of this one
STOP, STOP_LASTS = "stop", timedelta(days=30)  # stop the promise


def fix_link(rt: Runtime, contribution_id: str) -> str:
    """Where the card of one promise is replaced."""
    return f"{rt.settings.mailed_url}/fix/{_sign(rt, FIX, contribution_id)}"


def stop_link(rt: Runtime, contribution_id: str) -> str:
    """Where one promise is stopped."""
    return f"{rt.settings.mailed_url}/stop/{_sign(rt, STOP, contribution_id)}"


def manage_link(rt: Runtime) -> str:
    """Where a donor asks to be let in."""
    return f"{rt.settings.mailed_url}/manage"


def sign_in_link(rt: Runtime, token: str) -> str:
    """Where a donor is let in."""
    return f"{rt.settings.mailed_url}/manage/enter/{token}"


def promise_to_fix(rt: Runtime, signed: str) -> str:
    """The contribution whose card a link replaces. Raises LinkSpent."""
    return _opened(rt, FIX, signed, lasts=FIX_LASTS)


def promise_to_stop(rt: Runtime, signed: str) -> str:
    """The contribution that a link stops. Raises LinkSpent."""
    return _opened(rt, STOP, signed, lasts=STOP_LASTS)


def _sign(rt: Runtime, purpose: str, contribution_id: str) -> str:
    return signing.sign(rt.settings.keys, purpose, contribution_id, now=rt.now())


def _opened(rt: Runtime, purpose: str, signed: str, *, lasts: timedelta) -> str:
    what = signing.opened(rt.settings.keys, purpose, signed, now=rt.now(), lasts=lasts)
    if not isinstance(what, str):
        raise LinkSpent("This link has expired or is not complete. Nothing was changed.")
    return what
