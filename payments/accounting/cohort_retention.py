"""Cohorts: of the monthly promises that first paid in a month, how many paid so many months later.

A promise counts once in each month it paid in, in the currency its last payment of that month was
settled in; so the currencies add up to all. A payment is of the month it is booked in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import month_snapshots
from payments.accounting.month_snapshots import (
    BOOKED_AT_SQL,
    BOOKED_SINCE_SQL,
    RowsByMonth,
    SnapshotKind,
    SnapshotRow,
)

_MONTHLY_INCOME_SQL = "e.credit LIKE 'income:%' AND e.credit = 'income:monthly'"
_PAYERS_BY_COHORT = text(
    f"""
    WITH paid AS (
        SELECT DISTINCT ON (e.contribution_id, month) e.contribution_id, e.currency,
               CAST(date_trunc('month', {BOOKED_AT_SQL}) AS date) AS month
          FROM ledger_entries e LEFT JOIN late_entries late ON late.seq = e.seq
         WHERE {_MONTHLY_INCOME_SQL}
           AND {BOOKED_SINCE_SQL.format(day="CAST(:since AS timestamp)")}
           AND e.occurred_at < CAST(:until AS timestamp) AT TIME ZONE :zone
           AND {BOOKED_AT_SQL} >= CAST(:since AS timestamp) AND {BOOKED_AT_SQL} < CAST(:until AS timestamp)
         ORDER BY e.contribution_id, month, e.seq DESC),
    born AS MATERIALIZED (
        SELECT p.contribution_id, (
                   SELECT CAST(date_trunc('month', min({BOOKED_AT_SQL})) AS date)
                     FROM ledger_entries e LEFT JOIN late_entries late ON late.seq = e.seq
                    WHERE e.contribution_id = p.contribution_id AND {_MONTHLY_INCOME_SQL}) AS born
          FROM (SELECT DISTINCT contribution_id FROM paid) p)
    SELECT month, born, currency, count(*) AS paid
      FROM paid JOIN born USING (contribution_id)
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
     LIMIT 100000
    """  # noqa: S608 - our own words
)


async def compute(session: AsyncSession, zone: ZoneInfo, since: date, until: date) -> RowsByMonth:
    """The promises that paid in each month from `since` up to `until`, by when they first did."""
    params = {"zone": zone.key, "since": since, "until": until}
    months: dict[date, list[SnapshotRow]] = {}
    for row in await session.execute(_PAYERS_BY_COHORT, params):
        line = {"born": row.born.isoformat(), "currency": row.currency, "paid": int(row.paid)}
        months.setdefault(row.month, []).append(line)
    return months


SNAPSHOT_KIND = SnapshotKind("cohort_retention", compute, from_ledger=True)


@dataclass(frozen=True, slots=True)
class Cohort:
    """The monthly promises that first paid in a month, and how many paid so many months later."""

    first_paid_month: date
    payers_by_age: Sequence[int]  # by age in months; the first is the size of the cohort


async def list_cohorts(
    session: AsyncSession, zone: ZoneInfo, *, since: date, until: date, currency: str | None = None
) -> list[Cohort]:
    """Those born since a month, newest first; nought for a month in which none of a cohort paid."""
    months = await month_snapshots.load_or_compute(
        session, zone, SNAPSHOT_KIND, since=since, until=until
    )
    sums: dict[date, dict[date, int]] = {}
    for month, lines in months.items():
        for line in lines:
            born = date.fromisoformat(line["born"])
            if born >= since and currency in (None, line["currency"]):
                paid = sums.setdefault(born, {})
                paid[month] = paid.get(month, 0) + line["paid"]
    return [
        Cohort(born, [paid.get(month, 0) for month in sorted(months) if month >= born])
        for born, paid in sorted(sums.items(), reverse=True)
    ]
