"""Refunds and disputes: what went back, and what waits for an answer until when."""

from collections.abc import Sequence

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.accounting.reports import refunds_and_disputes
from payments.accounting.reports.refunds_and_disputes import Dispute, Refund
from payments.infra.context import Runtime
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import Cell, Table, show, table
from payments.web.finance.refund_form import REASONS
from payments.web.forms import AnyRequest

GIVEN = {str(reason): words for reason, words in REASONS.items()}
STATUSES = {
    "asked": "Stripe has not answered",
    "refused": "Stripe would not",
    "requires_action": "The donor must act",
    "pending": "On its way",
    "succeeded": "Sent",
    "failed": "Did not arrive",
    "canceled": "Taken back",
}
DISPUTES = {
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


class MovementPages(Controller):
    path = "/finance"
    include_in_schema = False

    @get("/refunds")
    async def page(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Disputes with their deadlines, then refunds."""
        async with rt.sessions() as session:
            disputed = await refunds_and_disputes.disputes(session)
            found, more = await refunds_and_disputes.refunds(
                session, before=request.query_params.get("before") or None
            )
        return await layout.page(
            rt,
            "finance_refunds.html",
            colleague,
            title="Refunds and disputes",
            here="/finance/refunds",
            disputes=_disputes(rt, disputed),
            refunds=_refunds(rt, found),
            next_url=f"/finance/refunds{layout.query(before=more)}" if more else "",
        )


def _gift(contribution_id: str | None) -> str | Cell:
    if contribution_id is None:
        return layout.NOTHING
    return Cell(contribution_id[:8], f"/finance/gifts/{contribution_id}", code=True)


def _disputes(rt: Runtime, found: Sequence[Dispute]) -> Table:
    rows = [
        [
            layout.minute(rt, one.opened_at),
            _gift(one.contribution_id),
            Cell(one.id, f"/finance/lines?id={one.id}", code=True),
            one.reason.replace("_", " ").capitalize(),
            Cell(DISPUTES[one.status], tone="bad" if one.is_open else ""),
            _deadline(rt, one),
            one.currency.upper(),
            show(one.amount, one.currency),
        ]
        for one in found
    ]
    columns = ["Opened", "Gift", "Dispute", "Reason", "Status", "Answer by", "Currency", "#Amount"]
    return table("disputes", "Disputes, the most urgent first", columns, rows,
                 empty="No payment is disputed.")  # fmt: skip


def _deadline(rt: Runtime, one: Dispute) -> str | Cell:
    if one.evidence_due_at is None or not one.is_open:
        return "Answered" if one.answered else layout.NOTHING
    left = (one.evidence_due_at - rt.now()).days
    when = layout.minute(rt, one.evidence_due_at)
    if left < 0:
        return Cell(f"{when}, too late", tone="bad")
    days = ("less than a day", "1 day")[left] if left < 2 else f"{left} days"
    return Cell(f"{when}, {days} left", tone="bad" if left < 3 else "")


def _refunds(rt: Runtime, found: Sequence[Refund]) -> Table:
    rows = []
    for one in found:
        reason = one.reason or layout.NOTHING
        status = STATUSES[one.status]
        if one.failure_reason:
            status += f": {one.failure_reason.replace('_', ' ')}"
        stripes: str | Cell = layout.NOTHING
        if one.stripe_refund_id is not None:
            stripes = Cell(one.stripe_refund_id, f"/finance/lines?id={one.stripe_refund_id}",
                           code=True)  # fmt: skip
        rows.append([
            layout.minute(rt, one.asked_at),
            _gift(one.contribution_id),
            stripes,
            GIVEN.get(reason, reason.replace("_", " ").capitalize()),
            one.asked_by or "At Stripe",
            Cell(status, tone="bad" if one.status in ("failed", "refused") else ""),
            one.currency.upper(),
            show(one.amount, one.currency),
        ])  # fmt: skip
    columns = ["Asked", "Gift", "Refund", "Reason", "By", "Status", "Currency", "#Amount"]
    return table("refunds", "Refunds, newest first", columns, rows,
                 empty="Nothing has been refunded.")  # fmt: skip
