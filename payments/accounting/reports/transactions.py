"""Transactions: one line for each balance transaction that is posted, and their sums.

A page is found by its cursor, never by counting, so the last one is as quick as the first.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import sql_text
from payments.accounting.reports import PAGE_SIZE
from payments.accounting.reports.transaction_filters import TYPE_SQL, Filters
from payments.core.calendar import from_unix
from payments.core.errors import InvalidField


@dataclass(frozen=True, slots=True)
class Transaction:
    """One balance transaction, in minor units of the settlement currency."""

    seq: int  # of its first ledger entry
    id: str
    type: str  # a TransactionType
    occurred_at: datetime
    currency: str
    gross: int
    fee: int
    net: int
    presentment_amount: int | None  # what the donor was charged
    presentment_currency: str | None
    frequency: str
    campaign: str | None
    contribution_id: str | None
    charge: str | None
    debit: str
    credit: str


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
    size: int = PAGE_SIZE,
) -> tuple[Sequence[Transaction], Cursor | None]:
    """Return the newest transactions, or those before a cursor, and the next page's cursor."""
    conditions, params = filters.conditions(zone)
    if before is not None:
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
           bt.contribution_id, bt.charge, bt.debit, bt.credit
      FROM posted_transactions bt
     WHERE {conditions}
     ORDER BY bt.occurred_at DESC, bt.id DESC
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
    """The sums of contributions, or of other income, in one currency, in minor units."""

    currency: str
    is_other_income: bool
    payments: int  # how many
    gross: int
    fees: int
    refunds: int
    disputes: int

    @property
    def net(self) -> int:
        """Gross less fees, refunds and disputes, in minor units."""
        return self.gross - self.fees - self.refunds - self.disputes


# The same sums of contributions and of other income, of entries with the columns of the daily
# totals. An entry moves accounts of one of them only.
_SUMS_SQL = """currency,
           'other' IN (split_part(debit, ':', 1), split_part(credit, ':', 1)) AS is_other_income,
           coalesce(sum(entries) FILTER (
               WHERE credit LIKE ANY ('{income:%,other:income}')), 0) AS payments,
           coalesce(sum(CASE WHEN credit LIKE ANY ('{income:%,other:income}') THEN amount
                             WHEN debit LIKE ANY ('{income:%,other:income}') THEN -amount
                             END), 0) AS gross,
           coalesce(sum(amount) FILTER (WHERE debit LIKE ANY ('{expense:%,other:fees}')), 0)
             - coalesce(sum(amount) FILTER (WHERE credit LIKE ANY ('{expense:%,other:fees}')), 0)
             AS fees,
           coalesce(sum(amount) FILTER (WHERE debit IN ('refunds', 'other:refunds')), 0)
             - coalesce(sum(amount) FILTER (WHERE credit IN ('refunds', 'other:refunds')), 0)
             AS refunds,
           coalesce(sum(amount) FILTER (WHERE debit IN ('disputes', 'other:disputes')), 0)
             - coalesce(sum(amount) FILTER (WHERE credit IN ('disputes', 'other:disputes')), 0)
             AS disputes"""


async def totals(session: AsyncSession, zone: ZoneInfo, filters: Filters) -> list[TransactionTotal]:
    """Sum every transaction of the filters, by currency: from the daily totals where they can.

    Contributions come first, and other income after them where there is any.
    """
    by_day = filters.type is filters.account is filters.campaign is filters.id is None
    query, params = _totals_by_day(filters, zone) if by_day else _totals_by_entry(filters, zone)
    return [
        TransactionTotal(
            row.currency,
            is_other_income=row.is_other_income,
            payments=int(row.payments),
            gross=int(row.gross),
            fees=int(row.fees),
            refunds=int(row.refunds),
            disputes=int(row.disputes),
        )
        for row in await session.execute(text(query), params)
    ]


def _totals_by_day(filters: Filters, zone: ZoneInfo) -> tuple[str, dict[str, object]]:
    conditions, params = sql_text.where(
        [
            ("since", "day >= :since", filters.period.since),
            ("until", "day < :until", filters.period.until),
            ("currency", "currency = :currency", filters.currency),
            ("frequency", "frequency = :frequency", filters.frequency),
        ],
        {"zone": zone.key},
    )
    query = f"""
    SELECT {_SUMS_SQL}
      FROM daily_totals_now(:zone) AS days
     WHERE {conditions}
     GROUP BY currency, is_other_income
     ORDER BY currency, is_other_income
     LIMIT 400
    """  # noqa: S608 - constants only
    return query, params


def _totals_by_entry(filters: Filters, zone: ZoneInfo) -> tuple[str, dict[str, object]]:
    conditions, params = filters.conditions(zone)
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
    )
    SELECT {_SUMS_SQL}
      FROM their_entries
     GROUP BY currency, is_other_income
     ORDER BY currency, is_other_income
     LIMIT 400
    """  # noqa: S608 - constants only; what was asked is a parameter
    return query, params
