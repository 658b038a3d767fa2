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

from payments.core.errors import NotSignedIn, PaymentsError
from payments.web.account import changes, data_requests, mail_links, overview, receipts, sign_in


def routes() -> list[ControllerRouterHandler]:
    """What the application serves of this door. Everything under /manage is behind its guard."""
    behind = Router(
        path="/manage",
        route_handlers=[
            sign_in.Door,
            overview.Overview,
            changes.Changes,
            receipts.Receipts,
            data_requests.OwnData,
        ],
        guards=[sign_in.from_our_own_page],
        dependencies={
            "donor": Provide(sign_in.signed_in),
            "own": Provide(overview.own_promise),
        },
        exception_handlers={
            NotSignedIn: sign_in.sign_in_again,
            PaymentsError: sign_in.refused,
        },
        include_in_schema=False,
    )
    return [behind, mail_links.StopByMail, mail_links.FixByMail]
