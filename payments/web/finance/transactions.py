"""Ledger lines: looked for by anything that is in them, fifty to a page; and the story of one gift.
There is no person in either.
"""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.accounting.reports import contribution_timeline, period, transactions
from payments.accounting.reports.contribution_timeline import ContributionSummary, TimelineEvent
from payments.accounting.reports.period import Period
from payments.accounting.reports.transactions import Filters, Transaction, TransactionTotal
from payments.core.errors import NotFound
from payments.core.identifiers import is_row_id
from payments.infra.context import Context
from payments.ledger.posting_rules import LedgerAccount
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import Cell, Table, format_deduction, format_money, table
from payments.web.forms import AnyRequest

UTC = ZoneInfo("UTC")
ID_LENGTH_SHOWN = 10  # characters of an id in a table of figures
FILTER_NAMES = (
    "period",
    "from",
    "to",
    "type",
    "frequency",
    "currency",
    "account",
    "campaign",
    "id",
)
TYPE_LABELS = {
    "charge": "Gift",
    "refund": "Refund",
    "refund_failure": "Refund came back",
    "dispute": "Dispute",
    "dispute_reversal": "Dispute won",
    "fee": "Stripe's fee",
    "adjustment": "Adjustment",
    "payout": "Payout",
    "payout_reversal": "Payout came back",
    "fx": "Conversion",
}
EVENT_LABELS = {
    "decision": "Decision",
    "charge": "Charge",
    "posting": "Posting",
    "event": "Webhook",
    "mail": "Mail",
}


class TransactionPages(Controller):
    path = "/finance"
    include_in_schema = False

    @get("/lines")
    async def list_transactions(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """The newest lines of the filters, or those before a place."""
        asked = request.query_params
        filters = transactions.parse_filters(
            asked, period.parse_period(asked, today=layout.today(ctx))
        )
        before = transactions.parse_cursor(asked["before"], UTC) if asked.get("before") else None
        async with ctx.sessions() as session:
            found, more = await transactions.list_page(
                session, ctx.settings.accounting_zoneinfo, filters, before=before
            )
            sums = await transactions.totals(session, ctx.settings.accounting_zoneinfo, filters)
        kept = {name: asked.get(name, "") for name in FILTER_NAMES}
        return await layout.render(
            ctx,
            "finance_transactions.html",
            colleague,
            title="Ledger lines",
            active_url="/finance/lines",
            asked=kept,
            choices=_filter_options(filters),
            totals=_totals_table(sums, filters.period),
            table=_transactions_table(ctx, found),
            first_url=f"/finance/lines{layout.query_string(**kept)}" if before else "",
            next_url=f"/finance/lines{layout.query_string(**kept, before=more)}" if more else "",
            csv_url=f"/finance/lines.csv{layout.query_string(**kept)}",
            xlsx_url=f"/finance/lines.xlsx{layout.query_string(**kept)}",
        )

    @get("/gifts/{contribution_id:str}")
    async def contribution_timeline(
        self,
        ctx: NamedDependency[Context],
        colleague: NamedDependency[Staff],
        contribution_id: FromPath[str],
    ) -> Response[str]:
        """What happened to one gift, in order."""
        if not is_row_id(contribution_id):
            raise NotFound("There is no contribution with this id.")
        async with ctx.sessions() as session:
            found, moments = await contribution_timeline.get(session, contribution_id)
        return await layout.render(
            ctx,
            "finance_contribution.html",
            colleague,
            title="The story of a gift",
            active_url="/finance/lines",
            facts_of=_contribution_facts(ctx, found),
            table=_timeline_table(ctx, moments),
            cut=len(moments) > contribution_timeline.MAX_EVENTS,
            lines_url=f"/finance/lines?id={found.id}",
        )


def _filter_options(filters: Filters) -> dict[str, list[dict[str, Any]]]:
    return {
        "type": layout.select_options([("", "All"), *TYPE_LABELS.items()], filters.type or ""),
        "frequency": layout.frequency_options(filters.frequency),
        "currency": layout.currency_options(filters.currency),
        "account": layout.select_options(
            [("", "All"), *((str(account), str(account)) for account in LedgerAccount)],
            filters.account or "",
        ),
    }


def _totals_table(totals: Sequence[TransactionTotal], of_period: Period) -> Table:
    rows = [
        [
            one.currency.upper(),
            layout.format_count(one.payments),
            format_money(one.gross, one.currency),
            format_deduction(one.fees, one.currency),
            format_deduction(one.refunds, one.currency),
            format_deduction(one.disputes, one.currency),
            format_money(one.net, one.currency),
        ]
        for one in totals
    ]
    columns = ["Currency", "#Payments", "#Gross", "#Fees", "#Refunds", "#Disputes", "#Net"]
    caption = "Totals of these filters" + (
        "" if of_period == period.ALL_TIME else f", {of_period.label}"
    )
    return table("totals", caption, columns, rows, empty="No line matches these filters.")


def _transactions_table(ctx: Context, found: Sequence[Transaction]) -> Table:
    rows = []
    for line in found:
        amounts: list[str | Cell] = [
            format_money(line.gross, line.currency),
            format_deduction(line.fee, line.currency),
            format_money(line.net, line.currency),
        ]
        gift: str | Cell = layout.EMPTY_CELL
        if line.contribution_id is not None:
            gift = Cell(line.contribution_id[:8], f"/finance/gifts/{line.contribution_id}",
                        code=True)  # fmt: skip
        rows.append([
            layout.format_minute(ctx, line.occurred_at),
            TYPE_LABELS[line.type],
            layout.frequency_label(line.frequency) if line.contribution_id else layout.EMPTY_CELL,
            line.campaign or layout.EMPTY_CELL,
            gift,
            Cell(_contra_account(line), code=True),
            Cell(_shorten_id(line.id), f"/finance/lines?id={line.id}", code=True),
            line.currency.upper(),
            *amounts,
        ])  # fmt: skip
    columns = ["When", "Type", "Frequency", "Campaign", "Gift", "Account", "Transaction",
               "Currency", "#Gross", "#Fee", "#Net"]  # fmt: skip
    empty = "No line matches. Choose another period, or fewer filters."
    return table("lines", "Lines, newest first", columns, rows, empty=empty)


def _shorten_id(id_: str) -> str:
    """The end of an id tells it from others, and leaves room for the figures."""
    return (
        id_ if len(id_) <= ID_LENGTH_SHOWN else f"\N{HORIZONTAL ELLIPSIS}{id_[-ID_LENGTH_SHOWN:]}"
    )


def _contra_account(line: Transaction) -> str:
    """The account at the other end of Stripe's balance."""
    return line.credit if line.debit.startswith("stripe:") else line.debit


def _contribution_facts(ctx: Context, contribution: ContributionSummary) -> list[tuple[str, str]]:
    facts = [
        ("Contribution", contribution.id),
        ("Given", (f"{format_money(contribution.amount, contribution.currency)} {contribution.currency.upper()}, "
                  f"{layout.frequency_label(contribution.frequency).lower()}")),
        ("Status", contribution.status),
        ("Started", layout.format_datetime(ctx, contribution.created_at)),
        ("Campaign", contribution.campaign or layout.EMPTY_CELL),
    ]  # fmt: skip
    if contribution.stripe_subscription_id is not None:
        facts.append(
            (
                "Promise",
                f"{contribution.stripe_subscription_id}, {contribution.subscription_status}",
            )
        )
    return facts


def _timeline_table(ctx: Context, events: Sequence[TimelineEvent]) -> Table:
    rows: list[list[str | Cell]] = [
        [
            f"{one.at.astimezone(ctx.settings.accounting_zoneinfo):%Y-%m-%d %H:%M:%S}",
            Cell(EVENT_LABELS[one.kind], tone=f"kind-{one.kind}"),
            one.description.replace("_", " ") if one.kind in ("decision", "mail") else one.description,
            Cell(one.detail, f"/finance/refund/{one.detail}" if one.kind == "charge" else "",
                 code=True),
            "" if one.amount is None or one.currency is None
            else f"{format_money(one.amount, one.currency)} {one.currency.upper()}",
        ]
        for one in events[: contribution_timeline.MAX_EVENTS]
    ]  # fmt: skip
    columns = ["When", "Kind", "What", "Id", "#Amount"]
    return table("story", "What happened, oldest first", columns, rows)
