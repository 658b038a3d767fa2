"""Refunds and disputes: what went back, and what needs a response by when."""

from collections.abc import Sequence

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.accounting.reports import refunds_and_disputes
from payments.accounting.reports.refunds_and_disputes import DisputeRow, RefundRow
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import filters, layout, sorting
from payments.web.finance.formats import format_minute, format_money
from payments.web.finance.refund_form import REASON_LABELS, REFUND_STATUS_LABELS
from payments.web.finance.tables import (
    EMPTY_CELL,
    Cell,
    Table,
    contribution_cell,
    table,
    time_cell,
    transactions_cell,
)
from payments.web.forms import AnyRequest, count_parameter, query_string

LABEL_BY_REASON = {str(reason): label for reason, label in REASON_LABELS.items()}
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
    "unknown": "Unknown here: see Stripe",
}


class RefundAndDisputePages(Controller):
    """The page of refunds and disputes."""

    path = "/finance"
    include_in_schema = False

    @get("/refunds")
    async def list_both(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Disputes with their deadlines, then a page of refunds."""
        params, period = filters.period_or_default(ctx, request.query_params)
        zone = ctx.settings.accounting_zoneinfo
        query = request.query_params
        order = sorting.order_of(query, "refunds", refunds_and_disputes.SORTABLE_REFUNDS)
        async with ctx.sessions() as session:
            disputes, more_disputes = await refunds_and_disputes.list_disputes(
                session,
                zone,
                period,
                offset=count_parameter(request, "disputes_after"),
                order=sorting.order_of(query, "disputes", refunds_and_disputes.SORTABLE_DISPUTES),
            )
            refunds, more = await refunds_and_disputes.list_refunds(
                session,
                zone,
                period,
                before=query.get("before") or None,
                order=order or refunds_and_disputes.NEWEST_FIRST,
            )
        params[sorting.SORT] = query.get(sorting.SORT, "")
        return await layout.render(
            ctx,
            "finance_refunds.html",
            colleague,
            request=request,
            title="Refunds and disputes",
            active_url="/finance/refunds",
            until=period.until,
            picker=filters.period_picker(ctx, params),
            disputes=disputes_table(ctx, disputes, "Disputes, the most urgent first"),
            refunds=_refunds_table(ctx, refunds),
            export_url=f"/finance/refunds.csv{query_string(**params)}",
            next_url=f"/finance/refunds{query_string(**params, before=more)}" if more else "",
            next_disputes_url=(
                f"/finance/refunds{query_string(**params, disputes_after=str(more_disputes))}"
                if more_disputes
                else ""
            ),
        )


def disputes_table(
    ctx: Context,
    disputes: Sequence[DisputeRow],
    caption: str,
    *,
    empty: str = "No payment is disputed.",
) -> Table:
    """Return disputes with the days left to answer; each leads to its own page."""
    rows = [
        [
            format_minute(ctx, dispute.opened_at),
            format_money(dispute.amount, dispute.currency),
            evidence_deadline(ctx, dispute),
            Cell(DISPUTE_STATUS_LABELS[dispute.status], tone="bad" if dispute.is_open else ""),
            dispute.reason.replace("_", " ").capitalize(),
            contribution_cell(dispute.contribution_id),
            Cell(f"{dispute.id[:11]}…", f"/finance/disputes/{dispute.id}", code=True),
        ]
        for dispute in disputes
    ]
    columns = [
        *("Opened", "#As the donor saw it", "Answer by", "Status", "Reason", "Gift", "Dispute"),
    ]
    return table("disputes", caption, columns, rows, empty=empty,
                 sorted_by_query=refunds_and_disputes.SORTABLE_DISPUTES)  # fmt: skip


def evidence_deadline(ctx: Context, dispute: DisputeRow) -> str | Cell:
    """Return until when it can be answered, in the accounting zone, and how long that is."""
    if dispute.evidence_due_at is None or not dispute.is_open:
        return "Answered" if dispute.evidence_submitted else EMPTY_CELL
    days_left = (dispute.evidence_due_at - ctx.now()).days
    due_at = format_minute(ctx, dispute.evidence_due_at)
    if days_left < 0:
        return Cell(f"{due_at}, too late", tone="bad")
    days = ("less than a day", "1 day")[days_left] if days_left < 2 else f"{days_left} days"
    return Cell(f"{due_at}, {days} left", tone="bad" if days_left < 3 else "")


def _refunds_table(ctx: Context, refunds: Sequence[RefundRow]) -> Table:
    rows = [
        [
            time_cell(format_minute(ctx, refund.requested_at), refund.counted_on),
            contribution_cell(refund.contribution_id),
            EMPTY_CELL
            if refund.stripe_refund_id is None
            else transactions_cell(refund.stripe_refund_id),
            _reason_label(refund.reason),
            refund.requested_by or "At Stripe",
            _refund_status_cell(refund),
            refund.currency.upper(),
            format_money(refund.amount, refund.currency),
        ]
        for refund in refunds
    ]
    columns = [
        "Asked",
        "Gift",
        "Refund",
        "Reason",
        "By",
        "Status",
        "Currency",
        "#As the donor saw it",
    ]
    return table("refunds", "Refunds, newest first", columns, rows,
                 empty="Nothing has been refunded.",
                 sorted_by_query=refunds_and_disputes.SORTABLE_REFUNDS)  # fmt: skip


def _reason_label(reason: str | None) -> str:
    if reason is None:
        return EMPTY_CELL
    return LABEL_BY_REASON.get(reason, reason.replace("_", " ").capitalize())


def _refund_status_cell(refund: RefundRow) -> Cell:
    label = REFUND_STATUS_LABELS[refund.status]
    if refund.failure_reason:
        label += f": {refund.failure_reason.replace('_', ' ')}"
    return Cell(label, tone="bad" if refund.status in ("failed", "rejected") else "")
