"""Which gifts a browser began, for an hour: so that no address in its history names one.

A cookie of this host holds the ids of contributions, the newest first. One whose outcome the page
has shown is marked, and left out when another is begun: the reader is back from that one's payment.
"""

from datetime import timedelta

from litestar.datastructures import Cookie

from payments.core.identifiers import is_row_id
from payments.core.settings import Settings
from payments.web import cookies
from payments.web.forms import AnyRequest

LIFETIME = timedelta(hours=1)
MAX_GIFTS = 3
SEPARATOR, SHOWN_MARK = ".", "-"


def begun(settings: Settings, request: AnyRequest) -> list[str]:
    """Return the ids of the contributions that a browser began, the newest first."""
    return [entry.removesuffix(SHOWN_MARK) for entry in _entries(settings, request)]


def cookie_for_new(settings: Settings, request: AnyRequest, contribution_id: str) -> Cookie:
    """Return the cookie of a browser that begins another contribution."""
    others = [
        entry
        for entry in _entries(settings, request)
        if not entry.endswith(SHOWN_MARK) and entry != contribution_id
    ]
    return _cookie(settings, [contribution_id, *others])


def cookie_for_link(settings: Settings, contribution_id: str) -> Cookie:
    """Return the cookie of a browser that followed a link to the page of one contribution."""
    return _cookie(settings, [contribution_id])


def cookie_for_shown(settings: Settings, request: AnyRequest, contribution_id: str) -> Cookie:
    """Return the cookie of a browser that was shown what became of a contribution."""
    return _cookie(
        settings,
        [
            entry + SHOWN_MARK if entry == contribution_id else entry
            for entry in _entries(settings, request)
        ],
    )


def _name(settings: Settings) -> str:
    return cookies.cookie_name(settings, "gift")


def _entries(settings: Settings, request: AnyRequest) -> list[str]:
    sent = request.cookies.get(_name(settings), "").split(SEPARATOR)[:MAX_GIFTS]
    return [entry for entry in sent if is_row_id(entry.removesuffix(SHOWN_MARK))]


def _cookie(settings: Settings, entries: list[str]) -> Cookie:
    value = SEPARATOR.join(entries[:MAX_GIFTS])
    # `strict` would be lost on the way back from Stripe.
    return cookies.host_cookie(settings, _name(settings), value, samesite="lax", max_age=LIFETIME)
