"""Transactions: one line for each balance transaction that is posted, and their sums.

A correction that is in the books is a line of its own, on the day it is booked.

A page is found by its cursor, never by counting, so the last one is as quick as the first.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import sql_text
from payments.accounting.reports import PAGE_SIZE, figure_sql
from payments.accounting.reports.sorting import Order, SortableList
from payments.accounting.reports.transaction_filters import CORRECTIONS_SQL, TYPE_SQL, Filters
from payments.core.calendar import from_unix
from payments.core.errors import InvalidField

MAX_CORRECTIONS = 200  # on a page
NEWEST_FIRST = Order("when", is_descending=True)
SORTABLE = SortableList(
    "posted_transactions bt",
    "bt.id",
    {
        "when": "bt.occurred_at",
        "type": TYPE_SQL,
        "frequency": "coalesce(bt.frequency, '')",
        "campaign": "coalesce(bt.campaign, '')",
        "gift": "coalesce(bt.contribution_id, '')",
        "transaction": "bt.id",
        "currency": "bt.currency",
        "before-fee": "(bt.currency, bt.amount)",
        "fee-taken": "(bt.currency, bt.fee)",
        "change-of-balance": "(bt.currency, bt.net)",
    },
)


@dataclass(frozen=True, slots=True)
class Transaction:
    """One balance transaction, in minor units of the settlement currency."""

    seq: int  # of its first ledger entry
    id: str
    type: str  # a TransactionType
    occurred_at: datetime
    currency: str
    amount: int  # before Stripe's fee for it
    fee: int  # taken from it
    balance_change: int  # the amount less the fee
    presentment_amount: int | None  # what the donor was charged
    presentment_currency: str | None
    frequency: str
    campaign: str | None
    contribution_id: str | None
    charge: str | None
    debit: str
    credit: str
    counted_on: date | None  # of a late one: its month was closed, so reports count it on this day


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place of a transaction in the list; as text, what an address holds."""

    occurred_at: datetime
    id: str

    def __str__(self) -> str:
        return f"{int(self.occurred_at.timestamp())}.{self.id}"


_CURSOR = re.compile(r"([0-9]{1,11})\.(txn_[A-Za-z0-9_]{1,250})", re.ASCII)


def parse_cursor(value: str) -> Cursor:
    """Read a cursor from an address. Raises InvalidField."""
    match = _CURSOR.fullmatch(value)
    if match is None:
        raise InvalidField(
            "before: follow the link of a page; this place is not one of ours.", field="before"
        )
    return Cursor(from_unix(int(match[1])), match[2])


async def list_page(
    session: AsyncSession,
    zone: ZoneInfo,
    filters: Filters,
    *,
    before: Cursor | None = None,
    order: Order = NEWEST_FIRST,
    size: int = PAGE_SIZE,
) -> tuple[Sequence[Transaction], Cursor | None]:
    """Return the first transactions in an order, or those after a cursor, and the next page's."""
    conditions, params = filters.conditions(zone)
    if before is not None and order != NEWEST_FIRST:
        conditions += f"\n       AND {SORTABLE.after(order)}"
        params |= {"before": before.id}
    elif before is not None:
        conditions += """
       AND bt.occurred_at <= :before_at
       AND (bt.occurred_at, bt.id) < (:before_at, :before_id)"""
        params |= {"before_at": before.occurred_at, "before_id": before.id}
    rows = await session.execute(
        text(
            f"""
    SELECT bt.seq, bt.id, {TYPE_SQL} AS type, bt.occurred_at, bt.currency,
           bt.amount, bt.fee, bt.net, bt.charged_amount, bt.charged_currency,
           coalesce(bt.frequency, 'none'), bt.campaign,
           bt.contribution_id, bt.charge, bt.debit, bt.credit, bt.booked_on
      FROM posted_transactions bt
     WHERE {conditions}
     ORDER BY {SORTABLE.order_by(order)}
     LIMIT {size + 1}
            """  # noqa: S608 - constants only; what was asked is a parameter
        ),
        params,
    )
    transactions = [Transaction(*row) for row in rows]
    if len(transactions) <= size:
        return transactions, None
    last = transactions[size - 1]
    return transactions[:size], Cursor(last.occurred_at, last.id)


@dataclass(frozen=True, slots=True)
class TransactionTotal:
    """The sums of contributions, or of other income, in one currency, in minor units.

    What moved the balance and is none of the other figures is `other_movements`: payouts,
    conversions, reserves, what is in suspense.
    """

    currency: str
    is_other_income: bool
    payments: int  # how many
    gross: int
    fees: int
    refunds: int
    disputes: int
    balance_change: int

    @property
    def net(self) -> int:
        """Gross less fees, refunds and disputes, in minor units."""
        return self.gross - self.fees - self.refunds - self.disputes

    @property
    def other_movements(self) -> int:
        """The part of the change of balance that is no part of net, in minor units."""
        return self.balance_change - self.net


_PAYMENTS_SQL = """coalesce(sum(entries) FILTER (
               WHERE credit LIKE ANY ('{income:%,other:income}')
                 AND debit LIKE 'stripe:%'), 0) AS payments"""


async def totals(session: AsyncSession, zone: ZoneInfo, filters: Filters) -> list[TransactionTotal]:
    """Sum every line of the filters, by currency: from the daily totals where they can.

    Contributions come first, and other income after them where there is any.
    """
    by_day = not (
        filters.type or filters.account or filters.campaign or filters.id or filters.amount
    )
    query, params = _totals_by_day(filters, zone) if by_day else _totals_by_entry(filters, zone)
    return [
        TransactionTotal(
            row.currency,
            is_other_income=row.is_other_income,
            payments=int(row.payments),
            gross=row.gross,
            fees=row.fees,
            refunds=row.refunds,
            disputes=row.disputes,
            balance_change=row.balance_change,
        )
        for row in await session.execute(text(query), params)
    ]


def _totals_by_day(filters: Filters, zone: ZoneInfo) -> tuple[str, dict[str, object]]:
    frequency = f"CASE WHEN {figure_sql.is_other_sql()} THEN 'other' ELSE frequency END"
    conditions, params = sql_text.where(
        [
            ("since", "day >= :since", filters.period.since),
            ("until", "day < :until", filters.period.until),
            ("currency", "currency = :currency", filters.currency),
            ("frequency", f"{frequency} = :frequency", filters.frequency),
        ],
        {"zone": zone.key},
    )
    query = f"""
    SELECT currency, {figure_sql.is_other_sql()} AS is_other_income,
           {_PAYMENTS_SQL},{figure_sql.SUMS_SQL}
      FROM daily_totals_now(:zone) AS days
     WHERE {conditions}
     GROUP BY currency, is_other_income
     ORDER BY currency, is_other_income
     LIMIT 400
    """  # noqa: S608 - constants only
    return query, params


def _totals_by_entry(filters: Filters, zone: ZoneInfo) -> tuple[str, dict[str, object]]:
    conditions, params = filters.conditions(zone)
    of_corrections, _ = filters.correction_conditions(zone)
    query = f"""
    WITH chosen_transactions AS (
        SELECT bt.id
          FROM posted_transactions bt
         WHERE {conditions}
    ),
    their_entries AS (
        SELECT entry.currency, entry.debit, entry.credit, entry.amount, 1 AS entries
          FROM chosen_transactions
          JOIN ledger_entries entry ON entry.balance_transaction = chosen_transactions.id
         WHERE entry.correction_id IS NULL
         UNION ALL
        SELECT e.currency, e.debit, e.credit, e.amount, 1
          FROM {CORRECTIONS_SQL}
         WHERE {of_corrections}
    )
    SELECT currency, {figure_sql.is_other_sql()} AS is_other_income,
           {_PAYMENTS_SQL},{figure_sql.SUMS_SQL}
      FROM their_entries
     GROUP BY currency, is_other_income
     ORDER BY currency, is_other_income
     LIMIT 400
    """  # noqa: S608 - constants only; what was asked is a parameter
    return query, params


@dataclass(frozen=True, slots=True)
class CorrectionLine:
    """A correction in the books, in minor units: it moves no balance at Stripe. A late one is
    booked on the first open day, because the month of its transaction was closed.
    """

    transaction_id: str
    booked_at: datetime
    currency: str
    debit: str
    credit: str
    amount: int
    is_late: bool


async def list_corrections(
    session: AsyncSession, zone: ZoneInfo, filters: Filters
) -> Sequence[CorrectionLine]:
    """Return the corrections among the lines of the filters, newest first, up to a limit."""
    conditions, params = filters.correction_conditions(zone)
    rows = await session.execute(
        text(
            f"""
    SELECT bt.id, booked_at(e.occurred_at, e.booked_on, :zone) AT TIME ZONE :zone,
           e.currency, e.debit, e.credit, e.amount,
           e.booked_on IS NOT NULL OR date_trunc('month', e.occurred_at AT TIME ZONE :zone)
               > date_trunc('month', bt.occurred_at AT TIME ZONE :zone)
      FROM {CORRECTIONS_SQL}
     WHERE {conditions}
     ORDER BY e.seq DESC
     LIMIT {MAX_CORRECTIONS}
            """  # noqa: S608 - constants only; what was asked is a parameter
        ),
        params,
    )
    return [CorrectionLine(*row) for row in rows]
