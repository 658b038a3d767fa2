"""A donor's account: what they give, and each change of it, without a password or a script.

sign_in         signing in by a link from a mail, and out again
overview        all that a donor gives, and one subscription at a time
changes         a page for each change: amount, frequency, skip, pause, resume, cancel
card_pages      replacing the card, signed in or by a mail's link
paper           one sheet as a PDF
receipt_papers  what stands on the papers of receipts
receipts        what a donor paid, to print
address_pages   another e-mail address, by the codes of both mailboxes
data_requests   what we hold of a donor, as a file, and its erasure
mail_links      the signed links of mails: cancel a subscription without signing in
view_models     what these pages and support's print
day_pages       the day on which a contribution is charged
fee_pages       whether the payment fee is added
end_pages       the end of a contribution: after so many payments, and taken back
change_pages    what each change will do, with dates and amounts
paging          pages of a donor's own lists
"""

from litestar import Router
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from payments.core.errors import PaymentsError, Unauthenticated
from payments.web import csrf
from payments.web.account import (
    address_pages,
    card_pages,
    changes,
    data_requests,
    day_pages,
    end_pages,
    fee_pages,
    mail_links,
    overview,
    receipts,
    sign_in,
)


def routes() -> list[ControllerRouterHandler]:
    """Return the handlers of a donor's account. All of `/manage` refuses forms of other sites."""
    account = Router(
        path="/manage",
        route_handlers=[
            sign_in.DonorSignInPages,
            overview.OverviewPages,
            changes.ChangePages,
            end_pages.EndPages,
            fee_pages.FeePages,
            day_pages.DayPages,
            card_pages.CardPages,
            receipts.ReceiptPages,
            data_requests.DataRequestPages,
            address_pages.AddressPages,
        ],
        guards=[csrf.require_same_origin],
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
    return [account, mail_links.CancelLinkPages, card_pages.CardLinkPages]
