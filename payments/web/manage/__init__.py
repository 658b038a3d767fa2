"""A donor's own door: what they give, and every change of it, without a password or a script.

door        signing in by a link from a mail, and out again
words       what is true of a promise, ready to print
overview    all that a donor gives, and one promise at a time
changes     one page for each change: amount, frequency, skip, pause, resume, card, stop
receipts    what a donor paid, to print
by_mail     the signed links of mails: stop one promise, replace one card, without signing in
own_data    what we hold, as a file, and its erasure
"""

from litestar import Router
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from payments.errors import NotSignedIn, PaymentsError
from payments.web.manage import by_mail, changes, door, overview, own_data, receipts


def routes() -> list[ControllerRouterHandler]:
    """What the application serves of this door. Everything under /manage is behind its guard."""
    behind = Router(
        path="/manage",
        route_handlers=[
            door.Door,
            overview.Overview,
            changes.Changes,
            receipts.Receipts,
            own_data.OwnData,
        ],
        guards=[door.from_our_own_page],
        dependencies={
            "donor": Provide(door.signed_in),
            "own": Provide(overview.own_promise),
        },
        exception_handlers={
            NotSignedIn: door.sign_in_again,
            PaymentsError: door.refused,
        },
        include_in_schema=False,
    )
    return [behind, by_mail.StopByMail, by_mail.FixByMail]
