"""What waits for a second colleague: refunds and corrections, each with its page."""

from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.accounting import corrections
from payments.accounting.corrections import CorrectionView
from payments.core import money
from payments.core.money import Money
from payments.infra.context import Context
from payments.settlement import refund_proposals
from payments.settlement.refund_proposals import RefundProposal
from payments.staff.accounts import Staff
from payments.web.finance.formats import format_minute
from payments.web.staff import layout
from payments.web.staff.alerts import APPROVALS_URL


class ApprovalPage(Controller):
    """The list; a refund's or a correction's own page has the forms."""

    path = APPROVALS_URL
    include_in_schema = False

    @get()
    async def list_waiting(
        self, ctx: NamedDependency[Context], colleague: NamedDependency[Staff]
    ) -> Response[str]:
        """Show what waits, the oldest first."""
        async with ctx.sessions() as session:
            refunds = await refund_proposals.list_waiting(session, now=ctx.now())
            waiting = await corrections.list_waiting(session)
        return layout.render(
            ctx,
            "finance_approvals.html",
            colleague,
            active_url=APPROVALS_URL,
            refunds=[_refund_view(ctx, one, colleague) for one in refunds],
            corrections=[_correction_view(ctx, one, colleague) for one in waiting],
        )


def _refund_view(ctx: Context, one: RefundProposal, colleague: Staff) -> dict[str, Any]:
    return {
        "url": f"/finance/refund/{one.stripe_charge_id}",
        "amount": money.format(one.money),
        "asked": f"{one.proposed_by}, {format_minute(ctx, one.proposed_at)}",
        "until": format_minute(ctx, one.expires_at),
        "is_own": one.proposed_by_id == colleague.id,
    }


def _correction_view(ctx: Context, one: CorrectionView, colleague: Staff) -> dict[str, Any]:
    correction = one.correction
    return {
        "url": f"/finance/corrections/{correction.balance_transaction}",
        "amount": money.format(Money(correction.amount, correction.currency)),
        "from_account": correction.from_account,
        "to_account": str(correction.to_account),
        "reason": correction.reason,
        "asked": f"{correction.proposed_by}, {format_minute(ctx, correction.proposed_at)}",
        "is_own": correction.proposed_by_id == colleague.id,
    }
