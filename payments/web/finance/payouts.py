"""Payouts: what went to the bank, each with its proof line by line."""

from collections.abc import Sequence

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.accounting.exports import csv_tables
from payments.accounting.exports.transactions_csv import export_filename
from payments.accounting.reports import payouts
from payments.accounting.reports.payouts import PayoutItem, PayoutSummary
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import Cell, Table, format_deduction, format_money, table
from payments.web.finance.transactions import TYPE_LABELS
from payments.web.forms import AnyRequest
from payments.web.staff.downloads import attachment
from payments.web.staff.guards import EXPORT, ExportGrant

RECONCILIATION_LABELS = {
    "proved": ("Equals its lines", "good"),
    "mismatch": ("Does not equal its lines", "bad"),
    "waiting": ("Stripe has not closed its list", ""),
    "none": ("Stripe does not say what is in it", ""),
}
PAYOUT_STATUS_LABELS = {
    "pending": "Pending",
    "in_transit": "On its way",
    "paid": "Paid",
    "failed": "Failed",
    "canceled": "Cancelled",
}


class PayoutPages(Controller):
    path = "/finance"
    include_in_schema = False

    @get("/payouts")
    async def list_payouts(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """The newest, or those before one."""
        currency = layout.filter_value(request.query_params, "currency")
        async with ctx.sessions() as session:
            found, more = await payouts.list_page(
                session, currency=currency, before=request.query_params.get("before") or None
            )
        more_url = f"/finance/payouts{layout.query_string(currency=currency, before=more)}"
        return await layout.render(
            ctx,
            "finance_payouts.html",
            colleague,
            title="Payouts",
            active_url="/finance/payouts",
            currencies=layout.currency_options(currency),
            table=_payouts_table(ctx, found),
            next_url=more_url if more else "",
            export_url=f"/finance/payouts.csv{layout.query_string(currency=currency)}",
        )

    @get("/payouts/{payout_id:str}")
    async def show_payout(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        payout_id: FromPath[str],
    ) -> Response[str]:
        """One payout: every line in it by Stripe's list and by our books."""
        async with ctx.sessions() as session:
            paid, parts = await payouts.get(session, payout_id[:255])
        text, tone = RECONCILIATION_LABELS[paid.match_status]
        return await layout.render(
            ctx,
            "finance_payout.html",
            colleague,
            title=f"Payout of {format_money(paid.amount, paid.currency)}",
            active_url="/finance/payouts",
            proof={"text": text, "tone": tone},
            facts_of=_payout_facts(ctx, paid),
            table=_items_table(ctx, paid, parts),
        )

    @get("/payouts.csv", guards=[EXPORT])
    async def payouts_csv(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Response[bytes]:
        """Every payout as a file, newest first."""
        currency = layout.filter_value(request.query_params, "currency")
        async with ctx.sessions() as session:
            found = await payouts.list_all(session, currency=currency)
        words = f"period=all{f' currency={currency}' if currency else ''}"
        name = export_filename("payouts", words, ctx.settings.accounting_zoneinfo, ".csv")
        return await attachment(
            export_grant,
            csv_tables.payouts_csv(found, exported_in=f"payouts {words}"),
            name,
            media_type="text/csv",
        )


def _payouts_table(ctx: Context, found: Sequence[PayoutSummary]) -> Table:
    rows: list[list[str | Cell]] = [
        [
            f"{one.created_at.astimezone(ctx.settings.accounting_zoneinfo):%Y-%m-%d}",
            f"{one.arrives_on:%Y-%m-%d}",
            Cell(one.id, f"/finance/payouts/{one.id}", code=True),
            Cell(PAYOUT_STATUS_LABELS[one.status], tone="bad" if one.status == "failed" else ""),
            Cell(
                RECONCILIATION_LABELS[one.match_status][0],
                tone=RECONCILIATION_LABELS[one.match_status][1],
            ),
            layout.format_count(one.item_count)
            if one.transactions_listed_at
            else layout.EMPTY_CELL,
            one.currency.upper(),
            format_money(one.amount, one.currency),
        ]
        for one in found
    ]
    columns = ["Made", "Arrives", "Payout", "Status", "Proof", "#Lines", "Currency", "#Amount"]
    return table("payouts", "Payouts, newest first", columns, rows, empty="There is no payout yet.")


def _payout_facts(ctx: Context, payout: PayoutSummary) -> list[tuple[str, str]]:
    facts = [
        ("Payout", payout.id),
        (
            "Status",
            PAYOUT_STATUS_LABELS[payout.status]
            + (f": {payout.failure_code}" if payout.failure_code else ""),
        ),
        ("Made", layout.format_datetime(ctx, payout.created_at)),
        ("Arrives at the bank", layout.format_date(payout.arrives_on)),
        ("Kind", f"{'Automatic' if payout.automatic else 'Manual'}, {payout.method}"),
        ("Amount", f"{format_money(payout.amount, payout.currency)} {payout.currency.upper()}"),
    ]
    if payout.transactions_listed_at is not None:
        facts += [
            ("Lines by Stripe's list", layout.format_count(payout.item_count)),
            ("Their sum by Stripe's list", format_money(payout.listed_net, payout.currency)),
            ("Their sum by our books", format_money(payout.recorded_net, payout.currency)),
            ("Difference", format_money(payout.amount - payout.recorded_net, payout.currency)),
        ]
    return facts


def _items_table(ctx: Context, payout: PayoutSummary, items: Sequence[PayoutItem]) -> Table:
    rows = []
    for part in items[: payouts.MAX_ITEMS]:
        gift: str | Cell = layout.EMPTY_CELL
        if part.contribution_id is not None:
            gift = Cell(part.contribution_id[:8], f"/finance/gifts/{part.contribution_id}",
                        code=True)  # fmt: skip
        rows.append([
            layout.EMPTY_CELL if part.occurred_at is None else layout.format_minute(ctx, part.occurred_at),
            Cell("Not in our books", tone="bad") if part.type is None else TYPE_LABELS[part.type],
            gift,
            Cell(part.id, f"/finance/lines?id={part.id}", code=True),
            layout.EMPTY_CELL if part.gross is None else format_money(part.gross, part.currency),
            layout.EMPTY_CELL if part.fee is None else format_deduction(part.fee, part.currency),
            Cell(
                layout.EMPTY_CELL if part.recorded_net is None else format_money(part.recorded_net, part.currency),
                tone="" if part.matches else "bad",
            ),
            format_money(part.listed_net, part.currency),
        ])  # fmt: skip
    columns = ["When", "Type", "Gift", "Transaction", "#Gross", "#Fee", "#Net, our books",
               "#Net, Stripe's list"]  # fmt: skip
    cut = len(items) > payouts.MAX_ITEMS
    caption = "What is in it" + (f", the first {payouts.MAX_ITEMS}" if cut else "")
    foot = [
        [
            *("Sum of all lines", "", "", "", "", ""),
            format_money(payout.recorded_net, payout.currency),
            format_money(payout.listed_net, payout.currency),
        ],
        [*("Payout", "", "", "", "", "", ""), format_money(payout.amount, payout.currency)],
    ]
    return table("parts", caption, columns, rows, footer=foot if rows else [],
                 empty="Stripe has not said what is in this payout.")  # fmt: skip
