"""Refunds and disputes: what went back, and what waits for an answer until when."""

from collections.abc import Sequence

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.accounting.reports import refunds_and_disputes
from payments.accounting.reports.refunds_and_disputes import DisputeRow, RefundRow
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import Cell, Table, format_money, table
from payments.web.finance.refund_form import REASON_LABELS
from payments.web.forms import AnyRequest

LABEL_BY_REASON = {str(reason): words for reason, words in REASON_LABELS.items()}
REFUND_STATUS_LABELS = {
    "asked": "Stripe has not answered",
    "refused": "Stripe would not",
    "requires_action": "The donor must act",
    "pending": "On its way",
    "succeeded": "Sent",
    "failed": "Did not arrive",
    "canceled": "Taken back",
}
DISPUTE_STATUS_LABELS = {
    "warning_needs_response": "Inquiry, waits for our answer",
    "warning_under_review": "Inquiry, answered",
    "warning_closed": "Inquiry, closed",
    "needs_response": "Waits for our answer",
    "under_review": "With the bank",
    "appeal_needs_response": "Appeal, waits for our answer",
    "appeal_under_review": "Appeal, with the bank",
    "prevented": "Prevented",
    "won": "Won",
    "lost": "Lost",
}


class RefundAndDisputePages(Controller):
    path = "/finance"
    include_in_schema = False

    @get("/refunds")
    async def list_both(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Disputes with their deadlines, then refunds."""
        async with ctx.sessions() as session:
            disputed = await refunds_and_disputes.list_disputes(session)
            found, more = await refunds_and_disputes.list_refunds(
                session, before=request.query_params.get("before") or None
            )
        return await layout.render(
            ctx,
            "finance_refunds.html",
            colleague,
            title="Refunds and disputes",
            active_url="/finance/refunds",
            disputes=_disputes_table(ctx, disputed),
            refunds=_refunds_table(ctx, found),
            next_url=f"/finance/refunds{layout.query_string(before=more)}" if more else "",
        )


def _contribution_cell(contribution_id: str | None) -> str | Cell:
    if contribution_id is None:
        return layout.EMPTY_CELL
    return Cell(contribution_id[:8], f"/finance/gifts/{contribution_id}", code=True)


def _disputes_table(ctx: Context, found: Sequence[DisputeRow]) -> Table:
    rows = [
        [
            layout.format_minute(ctx, one.opened_at),
            _contribution_cell(one.contribution_id),
            Cell(one.id, f"/finance/lines?id={one.id}", code=True),
            one.reason.replace("_", " ").capitalize(),
            Cell(DISPUTE_STATUS_LABELS[one.status], tone="bad" if one.is_open else ""),
            _evidence_deadline(ctx, one),
            one.currency.upper(),
            format_money(one.amount, one.currency),
        ]
        for one in found
    ]
    columns = ["Opened", "Gift", "Dispute", "Reason", "Status", "Answer by", "Currency", "#Amount"]
    return table("disputes", "Disputes, the most urgent first", columns, rows,
                 empty="No payment is disputed.")  # fmt: skip


def _evidence_deadline(ctx: Context, one: DisputeRow) -> str | Cell:
    if one.evidence_due_at is None or not one.is_open:
        return "Answered" if one.evidence_submitted else layout.EMPTY_CELL
    left = (one.evidence_due_at - ctx.now()).days
    when = layout.format_minute(ctx, one.evidence_due_at)
    if left < 0:
        return Cell(f"{when}, too late", tone="bad")
    days = ("less than a day", "1 day")[left] if left < 2 else f"{left} days"
    return Cell(f"{when}, {days} left", tone="bad" if left < 3 else "")


def _refunds_table(ctx: Context, found: Sequence[RefundRow]) -> Table:
    rows = []
    for one in found:
        reason = one.reason or layout.EMPTY_CELL
        status = REFUND_STATUS_LABELS[one.status]
        if one.failure_reason:
            status += f": {one.failure_reason.replace('_', ' ')}"
        stripes: str | Cell = layout.EMPTY_CELL
        if one.stripe_refund_id is not None:
            stripes = Cell(one.stripe_refund_id, f"/finance/lines?id={one.stripe_refund_id}",
                           code=True)  # fmt: skip
        rows.append([
            layout.format_minute(ctx, one.requested_at),
            _contribution_cell(one.contribution_id),
            stripes,
            LABEL_BY_REASON.get(reason, reason.replace("_", " ").capitalize()),
            one.requested_by or "At Stripe",
            Cell(status, tone="bad" if one.status in ("failed", "refused") else ""),
            one.currency.upper(),
            format_money(one.amount, one.currency),
        ])  # fmt: skip
    columns = ["Asked", "Gift", "Refund", "Reason", "By", "Status", "Currency", "#Amount"]
    return table("refunds", "Refunds, newest first", columns, rows,
                 empty="Nothing has been refunded.")  # fmt: skip
