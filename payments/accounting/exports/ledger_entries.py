"""Ledger entries as a journal for any program: a debit and a credit line for each entry.

In the order of the chain; the date is the booking day. PostgreSQL writes the bytes.
"""

from collections.abc import AsyncIterator
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import booking_day, sql_text
from payments.accounting.exports import csv_stream
from payments.accounting.exports.csv_cells import escape_formula_sql, major_units_sql
from payments.accounting.reports.period import Period

_AMOUNT_SQL = major_units_sql("e.amount", "e.currency")


def _where(zone: ZoneInfo, period: Period, currency: str | None) -> tuple[str, dict[str, object]]:
    return sql_text.where(
        [
            ("since", booking_day.BOOKED_FROM_SQL, period.since),
            ("until", booking_day.BOOKED_BEFORE_SQL, period.until),
            ("currency", "e.currency = :currency", currency),
        ],
        {"zone": zone.key},
    )


async def stream_csv(
    session: AsyncSession,
    zone: ZoneInfo,
    period: Period,
    *,
    currency: str | None = None,
    exported_in: str,
) -> AsyncIterator[bytes]:
    """Yield the file as RFC 4180 in UTF-8, in chunks. `exported_in` stands in every line."""
    conditions, params = _where(zone, period, currency)
    query = f"""
    SELECT to_char(booked_at(e.occurred_at, e.booked_on, :zone), 'YYYY-MM-DD') AS date,
           line.account,
           line.debit,
           line.credit,
           e.currency,
           bt.type AS memo,
           {escape_formula_sql("bt.id")} AS reference,
           e.seq AS line_id,
           :exported_in AS exported_in
      FROM booked_entries e
      JOIN balance_transactions bt ON bt.id = e.balance_transaction
     CROSS JOIN LATERAL (
          VALUES (1, e.debit, {_AMOUNT_SQL}, NULL),
                 (2, e.credit, NULL, {_AMOUNT_SQL})) AS line(place, account, debit, credit)
     WHERE {conditions}
     ORDER BY e.seq, line.place
    """  # noqa: S608 - constants only
    await csv_stream.begin_snapshot(session, zone)
    async for chunk in csv_stream.copy_csv(session, query, {**params, "exported_in": exported_in}):
        yield chunk


async def sum_by_currency(
    session: AsyncSession, zone: ZoneInfo, period: Period, *, currency: str | None = None
) -> dict[str, tuple[int, int]]:
    """Return debits and credits of the same entries by currency, each side summed by itself."""
    conditions, params = _where(zone, period, currency)
    query = f"""
    SELECT e.currency,
           sum(e.amount) FILTER (WHERE line.side = 'debit') AS debits,
           sum(e.amount) FILTER (WHERE line.side = 'credit') AS credits
      FROM booked_entries e
     CROSS JOIN LATERAL (
          VALUES ('debit', e.debit), ('credit', e.credit)) AS line(side, account)
     WHERE line.account <> ''
       AND {conditions}
     GROUP BY e.currency
     ORDER BY e.currency
     LIMIT 200
    """  # noqa: S608 - constants only
    rows = await session.execute(text(query), params)
    return {row.currency: (int(row.debits or 0), int(row.credits or 0)) for row in rows}
