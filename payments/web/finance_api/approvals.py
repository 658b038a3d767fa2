"""What waits for a second colleague, for programs."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency

from payments.accounting import corrections
from payments.infra.context import Context
from payments.settlement import refund_proposals
from payments.staff.api_tokens import TokenScope
from payments.web.finance_api.access import API_PREFIX, TokenOnly
from payments.web.finance_api.answers import About, about, refusals, shape_all
from payments.web.finance_api.books import CorrectionLine, correction_line


class RefundProposalLine(msgspec.Struct, frozen=True):
    """A refund that a colleague asked for, in the currency the donor was charged in."""

    id: str
    stripe_charge_id: str
    amount: int
    currency: str
    proposed_at: datetime
    proposed_by: str
    expires_at: datetime


class Approvals(msgspec.Struct, frozen=True):
    """All that waits, the oldest first."""

    about: About
    refunds: Sequence[RefundProposalLine]
    corrections: Sequence[CorrectionLine]


class ApprovalsApi(Controller):
    """What waits."""

    path = f"{API_PREFIX}/approvals"
    tags = ("Books",)
    guards = [TokenOnly(TokenScope.TRANSACTIONS)]  # noqa: RUF012 - litestar's own

    @get(
        operation_id="listApprovals",
        summary="Refunds and corrections that wait for a second colleague",
        responses=refusals(),
    )
    async def show(self, ctx: NamedDependency[Context]) -> Approvals:
        """As on the page “Approvals”."""
        async with ctx.sessions() as session:
            refunds = await refund_proposals.list_waiting(session, now=ctx.now())
            waiting = await corrections.list_waiting(session)
            said = await about(ctx, session)
        return Approvals(
            said,
            shape_all(RefundProposalLine, refunds),
            [correction_line(one) for one in waiting],
        )
