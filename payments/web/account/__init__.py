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

from payments.core.errors import PaymentsError, Unauthenticated
from payments.web.account import changes, data_requests, mail_links, overview, receipts, sign_in


def routes() -> list[ControllerRouterHandler]:
    """What the application serves of this door. Everything under /manage is behind its guard."""
    behind = Router(
        path="/manage",
        route_handlers=[
            sign_in.DonorSignInPages,
            overview.OverviewPages,
            changes.ChangePages,
            receipts.ReceiptPages,
            data_requests.DataRequestPages,
        ],
        guards=[sign_in.require_same_origin],
        dependencies={
            "donor": Provide(sign_in.current_donor),
            "own_subscription": Provide(overview.own_subscription),
        },
        exception_handlers={
            Unauthenticated: sign_in.on_unauthenticated,
            PaymentsError: sign_in.on_payments_error,
        },
        include_in_schema=False,
    )
    return [behind, mail_links.CancelLinkPages, mail_links.CardLinkPages]
