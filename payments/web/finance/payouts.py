"""Payouts: what went to the bank, each reconciled with our rows item by item."""

from collections.abc import Sequence

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.accounting.exports import csv_tables
from payments.accounting.exports.files import export_filename
from payments.accounting.reports import payouts
from payments.accounting.reports.payouts import PayoutItem, PayoutSummary
from payments.accounting.reports.transaction_filters import Filters
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import filters, layout, sorting
from payments.web.finance.formats import (
    format_count,
    format_date,
    format_datetime,
    format_deduction,
    format_minute,
    format_money,
)
from payments.web.finance.tables import (
    EMPTY_CELL,
    Cell,
    Table,
    contribution_cell,
    table,
    time_cell,
    transactions_cell,
)
from payments.web.finance.transactions import TYPE_LABELS
from payments.web.forms import AnyRequest, count_parameter, query_string
from payments.web.staff.downloads import attachment
from payments.web.staff.guards import EXPORT, ExportGrant

MATCH_LABELS = {  # a match status -> its label and its tone
    "matched": ("Equals its transactions", "good"),
    "mismatch": ("Does not equal its transactions", "bad"),
    "awaiting_list": ("Stripe has not closed its list", ""),
    "not_applicable": ("Stripe does not say what is in it", ""),
}
PAYOUT_STATUS_LABELS = {
    "pending": "Pending",
    "in_transit": "On its way",
    "paid": "Paid",
    "failed": "Failed",
    "canceled": "Cancelled",
    "unknown": "Unknown here: see Stripe",
}


class PayoutPages(Controller):
    """The list of payouts, the page of one, and their file."""

    path = "/finance"
    include_in_schema = False

    @get("/payouts")
    async def list_payouts(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Show the newest payouts, or those before one."""
        params, period = filters.period_or_default(ctx, request.query_params)
        currency = filters.filter_value(request.query_params, "currency")
        order = sorting.order_of(request.query_params, "payouts", payouts.SORTABLE)
        sort = request.query_params.get(sorting.SORT)
        async with ctx.sessions() as session:
            page, more = await payouts.list_page(
                session,
                ctx.settings.accounting_zoneinfo,
                period,
                currency=currency,
                before=request.query_params.get("before") or None,
                order=order or payouts.NEWEST_FIRST,
            )
        address = query_string(**params, currency=currency, sort=sort, before=more)
        return await layout.render(
            ctx,
            "finance_payouts.html",
            colleague,
            request=request,
            title="Payouts",
            active_url="/finance/payouts",
            until=period.until,
            picker=filters.period_picker(ctx, params),
            currencies=filters.currency_options(currency),
            table=_payouts_table(ctx, page),
            next_url=f"/finance/payouts{address}" if more else "",
            export_url=f"/finance/payouts.csv{query_string(**params, currency=currency)}",
        )

    @get("/payouts/{payout_id:str}")
    async def show_payout(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        payout_id: FromPath[str],
    ) -> Response[str]:
        """One payout: every item in it by Stripe's list and by our rows."""
        async with ctx.sessions() as session:
            payout, items, more = await payouts.get(
                session, payout_id, offset=count_parameter(request, "after")
            )
        label, tone = MATCH_LABELS[payout.match_status]
        return await layout.render(
            ctx,
            "finance_payout.html",
            colleague,
            request=request,
            title=f"Payout of {format_money(payout.amount, payout.currency)}",
            active_url="/finance/payouts",
            match={"label": label, "tone": tone},
            payout_facts=_payout_facts(ctx, payout),
            table=_items_table(ctx, payout, items, is_whole=len(items) == payout.item_count),
            next_url=f"/finance/payouts/{payout.id}?after={more}" if more else "",
        )

    @get("/payouts.csv", guards=[EXPORT])
    async def payouts_csv(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Response[bytes]:
        """Return the payouts that were made in a period as a file, newest first."""
        _, period = filters.period_or_default(ctx, request.query_params)
        currency = filters.filter_value(request.query_params, "currency")
        zone = ctx.settings.accounting_zoneinfo
        async with ctx.sessions() as session:
            all_payouts = await payouts.list_all(session, zone, period, currency=currency)
        description = Filters(period, currency=currency).describe()
        name = export_filename("payouts", description, zone, ".csv")
        content = csv_tables.payouts_csv(all_payouts, exported_in=f"payouts {description}")
        return await attachment(export_grant, content, name, media_type="text/csv")


def _payouts_table(ctx: Context, page: Sequence[PayoutSummary]) -> Table:
    rows: list[list[str | Cell]] = []
    for payout in page:
        match_label, match_tone = MATCH_LABELS[payout.match_status]
        rows.append(
            [
                f"{payout.created_at.astimezone(ctx.settings.accounting_zoneinfo):%Y-%m-%d}",
                f"{payout.arrives_on:%Y-%m-%d}",
                Cell(payout.id, f"/finance/payouts/{payout.id}", code=True),
                Cell(
                    PAYOUT_STATUS_LABELS[payout.status],
                    tone="bad" if payout.status == "failed" else "",
                ),
                Cell(match_label, tone=match_tone),
                format_count(payout.item_count) if payout.transactions_listed_at else EMPTY_CELL,
                payout.currency.upper(),
                format_money(payout.amount, payout.currency),
            ]
        )
    columns = ["Made", "Arrives", "Payout", "Status", "Proof", "#Transactions", "Currency",
               "#Paid out"]  # fmt: skip
    return table("payouts", "Payouts, newest first", columns, rows,
                 empty="There is no payout yet.", sorted_by_query=payouts.SORTABLE)  # fmt: skip


def _payout_facts(ctx: Context, payout: PayoutSummary) -> list[tuple[str, str]]:
    status = PAYOUT_STATUS_LABELS[payout.status]
    if payout.failure_code:
        status += f": {payout.failure_code}"
    facts = [
        ("Payout", payout.id),
        ("Status", status),
        ("Made", format_datetime(ctx, payout.created_at)),
        ("Arrives at the bank", format_date(payout.arrives_on)),
        ("Kind", f"{'Automatic' if payout.automatic else 'Manual'}, {payout.method}"),
        ("Paid out", f"{format_money(payout.amount, payout.currency)} {payout.currency.upper()}"),
    ]
    if payout.transactions_listed_at is not None:
        difference = payout.amount - payout.recorded_net
        facts += [
            ("Transactions in Stripe's list", format_count(payout.item_count)),
            ("Their sum by Stripe's list", format_money(payout.listed_net, payout.currency)),
            ("Their sum by our books", format_money(payout.recorded_net, payout.currency)),
            ("Difference", format_money(difference, payout.currency)),
        ]
    return facts


def _items_table(
    ctx: Context, payout: PayoutSummary, items: Sequence[PayoutItem], *, is_whole: bool
) -> Table:
    rows = [_item_row(ctx, item) for item in items]
    columns = ["When", "Type", "Gift", "Transaction", "#Before fee", "#Fee taken",
               "#Change of balance, our books",
               "#Change of balance, Stripe's list"]  # fmt: skip
    footer = [
        [
            *("Sum of all transactions", "", "", "", "", ""),
            format_money(payout.recorded_net, payout.currency),
            format_money(payout.listed_net, payout.currency),
        ],
        [*("Payout", "", "", "", "", "", ""), format_money(payout.amount, payout.currency)],
    ]
    return table(
        "items",
        "What is in it",
        columns,
        rows,
        footer=footer if rows else [],
        empty="Stripe has not said what is in this payout.",
        is_sortable=is_whole,
    )


def _item_row(ctx: Context, item: PayoutItem) -> list[str | Cell]:
    net = EMPTY_CELL
    if item.recorded_net is not None:
        net = format_money(item.recorded_net, item.currency)
    return [
        EMPTY_CELL
        if item.occurred_at is None
        else time_cell(format_minute(ctx, item.occurred_at), item.counted_on),
        Cell("Not in our books", tone="bad") if item.type is None else TYPE_LABELS[item.type],
        contribution_cell(item.contribution_id),
        transactions_cell(item.id),
        EMPTY_CELL if item.gross is None else format_money(item.gross, item.currency),
        EMPTY_CELL if item.fee is None else format_deduction(item.fee, item.currency),
        Cell(net, tone="" if item.matches else "bad"),
        format_money(item.listed_net, item.currency),
    ]
