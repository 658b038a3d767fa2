"""Transactions, found by anything that is in them, and the timeline of one contribution.

Neither names a person.
"""

from collections.abc import Sequence
from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.accounting.reports import (
    contribution_timeline,
    period,
    transaction_filters,
    transactions,
)
from payments.accounting.reports.contribution_timeline import ContributionSummary, TimelineEvent
from payments.accounting.reports.period import Period
from payments.accounting.reports.transaction_filters import Filters
from payments.accounting.reports.transactions import CorrectionLine, Transaction, TransactionTotal
from payments.core import i18n
from payments.core.errors import NotFound
from payments.core.frequency import (
    NO_FREQUENCY,
    VARYING_AMOUNT,
    Interval,
    IntervalUnit,
    every,
)
from payments.core.identifiers import is_row_id
from payments.infra.context import Context
from payments.ledger.posting_rules import LedgerAccount
from payments.staff.accounts import Staff
from payments.web.finance import filters, layout, sorting
from payments.web.finance.formats import (
    format_count,
    format_datetime,
    format_deduction,
    format_minute,
    format_money,
    frequency_label,
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
from payments.web.forms import AnyRequest, count_parameter, query_string

FILTER_NAMES = (
    *filters.PERIOD_NAMES,
    "type",
    "frequency",
    "currency",
    "account",
    "campaign",
    "id",
    "amount",
)
TYPE_LABELS = {
    "charge": "Payment",
    "refund": "Refund",
    "refund_failure": "Refund came back",
    "dispute": "Dispute",
    "dispute_reversal": "Dispute won",
    "fee": "Stripe's fee",
    "adjustment": "Adjustment",
    "payout": "Payout",
    "payout_reversal": "Payout came back",
    "fx": "Conversion",
    "correction": "Correction",
}
EVENT_LABELS = {
    "decision": "Decision",
    "charge": "Charge",
    "posting": "Posting",
    "event": "Webhook",
    "mail": "Mail",
}


class TransactionPages(Controller):
    """The list of transactions, and a contribution's timeline."""

    path = "/finance"
    include_in_schema = False

    @get("/transactions")
    async def list_transactions(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Show the newest transactions of the filters, or those before a cursor."""
        query, zone = request.query_params, ctx.settings.accounting_zoneinfo
        period_params, chosen_period = filters.period_or_default(ctx, query)
        chosen = transaction_filters.parse_filters(query, chosen_period)
        before = transactions.parse_cursor(query["before"]) if query.get("before") else None
        order = sorting.order_of(query, "transactions", transactions.SORTABLE)
        async with ctx.sessions() as session:
            page, more = await transactions.list_page(
                session, zone, chosen, before=before, order=order or transactions.NEWEST_FIRST
            )
            totals = await transactions.totals(session, zone, chosen)
            elsewhere = await filters.settled_elsewhere(
                ctx, session, chosen.period, chosen.currency
            )
            booked = await transactions.list_corrections(session, zone, chosen)
        params = filters.pick(query, (*FILTER_NAMES, sorting.SORT))
        address = query_string(**params)
        next_address = query_string(**params, before=more)
        return await layout.render(
            ctx,
            "finance_transactions.html",
            colleague,
            request=request,
            title="Transactions",
            active_url="/finance/transactions",
            params=params,
            picker=filters.period_picker(ctx, period_params),
            choices=_filter_options(chosen),
            elsewhere=elsewhere,
            totals=_totals_table(totals, chosen.period),
            table=_transactions_table(ctx, page),
            corrections=_corrections_table(booked) if booked and before is None else None,
            first_url=f"/finance/transactions{address}" if before else "",
            next_url=f"/finance/transactions{next_address}" if more else "",
            csv_url=f"/finance/transactions.csv{address}",
            xlsx_url=f"/finance/transactions.xlsx{address}",
        )

    @get("/contributions/{contribution_id:str}")
    async def contribution_timeline(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
        contribution_id: FromPath[str],
    ) -> Response[str]:
        """Show what happened to one contribution, in order."""
        if not is_row_id(contribution_id):
            raise NotFound("There is no contribution with this id.")
        async with ctx.sessions() as session:
            contribution, events, more = await contribution_timeline.get(
                session, contribution_id, offset=count_parameter(request, "after")
            )
        return await layout.render(
            ctx,
            "finance_contribution.html",
            colleague,
            request=request,
            title="The story of a gift",
            active_url="/finance/transactions",
            contribution_facts=_contribution_facts(ctx, contribution),
            table=_timeline_table(ctx, events),
            next_url=f"/finance/contributions/{contribution.id}?after={more}" if more else "",
            transactions_url=f"/finance/transactions?id={contribution.id}",
        )


def _filter_options(chosen: Filters) -> dict[str, list[dict[str, Any]]]:
    accounts = [(str(account), str(account)) for account in LedgerAccount]
    return {
        "type": filters.select_options([("", "All"), *TYPE_LABELS.items()], chosen.type or ""),
        "frequency": filters.frequency_options(chosen.frequency),
        "currency": filters.currency_options(chosen.currency),
        "account": filters.select_options([("", "All"), *accounts], chosen.account or ""),
    }


def _totals_table(totals: Sequence[TransactionTotal], of_period: Period) -> Table:
    rows = [
        [
            total.currency.upper() + (", other income" if total.is_other_income else ""),
            format_count(total.payments),
            format_money(total.gross, total.currency),
            format_deduction(total.fees, total.currency),
            format_deduction(total.refunds, total.currency),
            format_deduction(total.disputes, total.currency),
            format_money(total.net, total.currency),
            format_money(total.other_movements, total.currency),
            format_money(total.balance_change, total.currency),
        ]
        for total in totals
    ]
    columns = ["Currency", "#Payments", "#Gross", "#Fees", "#Refunds", "#Disputes", "#Net",
               "#Other movements", "#Change of balance"]  # fmt: skip
    caption = "Totals of these filters"
    if of_period != period.ALL_TIME:
        caption += f", {of_period.words}"
    return table("totals", caption, columns, rows, empty="No transaction matches these filters.")


def _transactions_table(ctx: Context, page: Sequence[Transaction]) -> Table:
    rows: list[list[str | Cell]] = [
        [
            time_cell(format_minute(ctx, one.occurred_at), one.counted_on),
            TYPE_LABELS[one.type],
            EMPTY_CELL if one.frequency == NO_FREQUENCY else frequency_label(one.frequency),
            one.campaign or EMPTY_CELL,
            contribution_cell(one.contribution_id),
            _account_cell(one),
            transactions_cell(one.id, _shorten_id(one.id)),
            one.currency.upper(),
            format_money(one.amount, one.currency),
            format_deduction(one.fee, one.currency),
            format_money(one.balance_change, one.currency),
        ]
        for one in page
    ]
    columns = ["When", "Type", "Frequency", "Campaign", "Gift", "Account", "Transaction",
               "Currency", "#Before fee", "#Fee taken", "#Change of balance"]  # fmt: skip
    empty = "No transaction matches. Choose another period, or fewer filters."
    return table("transactions", "Transactions, newest first", columns, rows, empty=empty,
                 sorted_by_query=transactions.SORTABLE)  # fmt: skip


def _corrections_table(booked: Sequence[CorrectionLine]) -> Table:
    rows: list[list[str | Cell]] = [
        [
            Cell(f"{one.booked_at:%Y-%m-%d}, late for a closed month", tone="bad")
            if one.is_late
            else f"{one.booked_at:%Y-%m-%d}",
            Cell(
                _shorten_id(one.transaction_id),
                f"/finance/corrections/{one.transaction_id}",
                code=True,
            ),
            Cell(one.credit, code=True),
            Cell(one.debit, code=True),
            one.currency.upper(),
            format_money(one.amount, one.currency),
        ]
        for one in booked
    ]
    columns = ["Booked on", "Transaction", "From the account", "To the account", "Currency",
               "#Moved"]  # fmt: skip
    caption = "Corrections among these, newest first"
    is_whole = len(booked) < transactions.MAX_CORRECTIONS
    return table("corrections", caption, columns, rows, is_sortable=is_whole)


def _shorten_id(id_: str) -> str:
    """Return the end of an id, which differs from others' and leaves room for the figures."""
    if len(id_) <= transaction_filters.ID_LENGTH_SHOWN:
        return id_
    return f"\N{HORIZONTAL ELLIPSIS}{id_[-transaction_filters.ID_LENGTH_SHOWN :]}"


def _account_cell(transaction: Transaction) -> Cell:
    """Return the account, with a link to its corrections where it is suspense."""
    account = _contra_account(transaction)
    is_suspense = account == LedgerAccount.SUSPENSE
    url = f"/finance/corrections/{transaction.id}" if is_suspense else ""
    return Cell(account, url, code=True)


def _contra_account(transaction: Transaction) -> str:
    """Return the account at the other end of Stripe's balance."""
    is_into_stripe = transaction.debit.startswith("stripe:")
    return transaction.credit if is_into_stripe else transaction.debit


def _contribution_facts(ctx: Context, contribution: ContributionSummary) -> list[tuple[str, str]]:
    amount = VARYING_AMOUNT
    if contribution.amount is not None:
        amount = format_money(contribution.amount, contribution.currency)
    unit, count = contribution.interval_unit, contribution.interval_count
    interval = None if unit is None or count is None else Interval(IntervalUnit(unit), count)
    how_often = every(interval, i18n.DEFAULT_LOCALE)
    facts = [
        ("Contribution", contribution.id),
        ("Given", f"{amount} {contribution.currency.upper()}, {how_often}"),
        ("Status", contribution.status),
        ("Began", format_datetime(ctx, contribution.created_at)),
        ("Campaign", contribution.campaign or EMPTY_CELL),
    ]
    if contribution.subscription_status is not None:
        facts.append(("Subscription", contribution.subscription_status))
    return facts


def _timeline_table(ctx: Context, events: Sequence[TimelineEvent]) -> Table:
    rows = [_timeline_row(ctx, event) for event in events]
    columns = ["When", "Kind", "What", "Id", "#Amount"]
    return table("timeline", "What happened, oldest first", columns, rows, is_sortable=False)


def _timeline_row(ctx: Context, event: TimelineEvent) -> list[str | Cell]:
    description = event.description
    if event.kind in ("decision", "mail"):
        description = description.replace("_", " ")
    amount = ""
    if event.amount is not None and event.currency is not None:
        amount = f"{format_money(event.amount, event.currency)} {event.currency.upper()}"
    refund_url = f"/finance/refund/{event.detail}" if event.kind == "charge" else ""
    return [
        f"{event.at.astimezone(ctx.settings.accounting_zoneinfo):%Y-%m-%d %H:%M:%S}",
        Cell(EVENT_LABELS[event.kind], tone=f"kind-{event.kind}"),
        description,
        Cell(event.detail, refund_url, code=True),
        amount,
    ]
