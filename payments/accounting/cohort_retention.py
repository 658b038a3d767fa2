"""Cohort retention: of the monthly contributions that first paid in a month, how many paid so many
months later.

A contribution counts once in each month it paid in, in the currency its last payment of that month
was settled in; so the counts by currency add up to the count of all. A payment counts in the month
it is booked in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import month_snapshots
from payments.accounting.month_snapshots import RowsByMonth, SnapshotKind, SnapshotRow

# The LIKE names the partial index.
_MONTHLY_INCOME_SQL = "e.credit LIKE 'income:%' AND e.credit = 'income:monthly'"
_PAYERS_BY_COHORT = text(
    f"""
    WITH paying_months AS (
        SELECT DISTINCT ON (e.contribution_id, month)
               e.contribution_id,
               e.currency,
               CAST(date_trunc('month', booked_at(e.occurred_at, e.booked_on, :zone)) AS date)
                   AS month
          FROM booked_entries e
         WHERE {_MONTHLY_INCOME_SQL}
           AND e.occurred_at >= (SELECT earliest_occurrence(:since, :zone))
           AND e.occurred_at < CAST(:until AS timestamp) AT TIME ZONE :zone
           AND booked_at(e.occurred_at, e.booked_on, :zone) >= CAST(:since AS timestamp)
           AND booked_at(e.occurred_at, e.booked_on, :zone) < CAST(:until AS timestamp)
         ORDER BY e.contribution_id, month, e.seq DESC
    ),
    cohorts AS MATERIALIZED (
        SELECT contribution_id,
               (SELECT CAST(date_trunc('month', min(
                           booked_at(e.occurred_at, e.booked_on, :zone))) AS date)
                  FROM booked_entries e
                 WHERE e.contribution_id = payer.contribution_id
                   AND {_MONTHLY_INCOME_SQL}) AS first_paid_month
          FROM (SELECT DISTINCT contribution_id FROM paying_months) payer
    )
    SELECT month, first_paid_month, currency, count(*) AS payers
      FROM paying_months
      JOIN cohorts USING (contribution_id)
     GROUP BY month, first_paid_month, currency
     ORDER BY month, first_paid_month, currency
    """  # noqa: S608 - constants only
)


async def compute(session: AsyncSession, zone: ZoneInfo, since: date, until: date) -> RowsByMonth:
    """Count who paid in each month from `since` up to `until`, by the month they first paid in."""
    params = {"zone": zone.key, "since": since, "until": until}
    months: dict[date, list[SnapshotRow]] = {}
    for row in await session.execute(_PAYERS_BY_COHORT, params):
        figures = {
            "first_paid_month": row.first_paid_month.isoformat(),
            "currency": row.currency,
            "payers": int(row.payers),
        }
        months.setdefault(row.month, []).append(figures)
    return months


SNAPSHOT_KIND = SnapshotKind("cohort_retention", compute, from_ledger=True)


@dataclass(frozen=True, slots=True)
class Cohort:
    """The monthly contributions that first paid in a month, and how many paid later on."""

    first_paid_month: date
    payers_by_age: Sequence[int]  # by age in months; the first is the size of the cohort


async def list_cohorts(
    session: AsyncSession, zone: ZoneInfo, *, since: date, until: date, currency: str | None = None
) -> list[Cohort]:
    """Return the cohorts since a month, newest first.

    A month in which nobody of a cohort paid counts zero.
    """
    months = await month_snapshots.load_or_compute(
        session, zone, SNAPSHOT_KIND, since=since, until=until
    )
    payers_by_cohort: dict[date, dict[date, int]] = {}
    for month, rows in months.items():
        for figures in rows:
            first_month = date.fromisoformat(figures["first_paid_month"])
            if first_month >= since and currency in (None, figures["currency"]):
                payers = payers_by_cohort.setdefault(first_month, {})
                payers[month] = payers.get(month, 0) + figures["payers"]
    return [
        Cohort(
            first_month,
            [payers.get(month, 0) for month in sorted(months) if month >= first_month],
        )
        for first_month, payers in sorted(payers_by_cohort.items(), reverse=True)
    ]
