"""The rows of the books as a journal for any program: a debit and a credit line for each row, in
the order of the chain. The date is the one a row is booked on. PostgreSQL writes the bytes.
"""

from collections.abc import AsyncIterator
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.exports import transactions_csv
from payments.accounting.reports.period import (
    LATE_ENTRIES_JOIN_SQL,
    Period,
    booked_before,
    booked_from,
)

_ENTRY_LINES_SQL = """
    SELECT CASE WHEN late.booked_on IS NULL THEN to_char(e.occurred_at, 'YYYY-MM-DD')
                ELSE to_char(late.booked_on, 'YYYY-MM-DD') END AS date,
           s.account, s.debit, s.credit, e.currency, b.type AS memo, {reference} AS reference,
           e.seq AS line_id, :exported_in AS exported_in
      FROM ledger_entries e
      {late}
      JOIN balance_transactions b ON b.id = e.balance_transaction,
           LATERAL (VALUES (1, e.debit, {amount}, NULL), (2, e.credit, NULL, {amount}))
             AS s(place, account, debit, credit)
     WHERE {where}
     ORDER BY e.seq, s.place
"""


def _where(
    zone: ZoneInfo, period: Period, currency: str | None
) -> tuple[str, dict[str, Any]]:  # parameters of any type
    parts = ["true"]
    params: dict[str, Any] = {}  # of any type
    for name, condition, value in (
        ("since", booked_from("e.occurred_at"), period.since),
        ("until", booked_before("e.occurred_at"), period.until),
        ("currency", "e.currency = :currency", currency),
    ):
        if value is not None:
            parts.append(condition)
            params |= {name: value} if name == "currency" else {name: value, "zone": zone.key}
    return " AND ".join(parts), params


async def stream_csv(
    session: AsyncSession,
    zone: ZoneInfo,
    period: Period,
    *,
    currency: str | None = None,
    exported_in: str,
) -> AsyncIterator[bytes]:
    """The file as RFC 4180 in UTF-8, in pieces."""
    await transactions_csv.begin_snapshot(session, zone)
    where, params = _where(zone, period, currency)
    rows = _ENTRY_LINES_SQL.format(
        where=where,
        late=LATE_ENTRIES_JOIN_SQL,
        amount=transactions_csv.major_units_sql("e.amount", "e.currency"),
        reference=transactions_csv.escape_formula_sql("b.id"),
    )
    statement = f"COPY ({rows}) TO STDOUT (FORMAT csv, HEADER)"
    async for chunk in transactions_csv.copy_out(
        session, statement, {**params, "exported_in": exported_in}
    ):
        yield chunk


async def sum_by_currency(
    session: AsyncSession, zone: ZoneInfo, period: Period, *, currency: str | None = None
) -> dict[str, tuple[int, int]]:
    """Debits and credits of the same rows by currency, each end summed by itself."""
    where, params = _where(zone, period, currency)
    rows = await session.execute(
        text(
            f"""
            SELECT e.currency,
                   sum(e.amount) FILTER (WHERE s.side = 'debit') AS debits,
                   sum(e.amount) FILTER (WHERE s.side = 'credit') AS credits
              FROM ledger_entries e {LATE_ENTRIES_JOIN_SQL},
                   LATERAL (VALUES ('debit', e.debit), ('credit', e.credit)) AS s(side, account)
             WHERE s.account <> '' AND {where}
             GROUP BY 1 ORDER BY 1 LIMIT 200
            """  # noqa: S608 - our own words
        ),
        params,
    )
    return {row.currency: (int(row.debits or 0), int(row.credits or 0)) for row in rows}
