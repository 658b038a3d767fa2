"""Cohort retention: of the monthly contributions that first paid for a month, how many paid for the
one so many months later.

A contribution counts once in each month whose end a payment of it is for (the view `paid_periods`),
in the currency that payment was settled in; so the counts by currency add up to the count of all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import month_snapshots
from payments.accounting.month_snapshots import RowsByMonth, SnapshotKind, SnapshotRow

_PAYERS_BY_COHORT = text(
    """
    WITH paying_months AS (
        SELECT DISTINCT ON (contribution_id, month) contribution_id, currency, month
          FROM paid_periods
         CROSS JOIN LATERAL covered_months(starts_at, ends_at, :zone) AS month
         WHERE credit = 'income:monthly'
           AND occurred_at >= CAST(CAST(:since AS date) - interval '2 months' AS timestamp)
               AT TIME ZONE :zone
           AND starts_at < CAST(:until AS timestamp) AT TIME ZONE :zone
           AND month >= :since
           AND month < :until
         ORDER BY contribution_id, month, starts_at DESC, seq DESC
    ),
    cohorts AS MATERIALIZED (
        SELECT contribution_id,
               (SELECT CAST(date_trunc('month', min(starts_at) AT TIME ZONE :zone) AS date)
                  FROM paid_periods first
                 WHERE first.contribution_id = payer.contribution_id
                   AND first.credit = 'income:monthly') AS first_paid_month
          FROM (SELECT DISTINCT contribution_id FROM paying_months) payer
    )
    SELECT month, first_paid_month, currency, count(*) AS payers
      FROM paying_months
      JOIN cohorts USING (contribution_id)
     GROUP BY month, first_paid_month, currency
     ORDER BY month, first_paid_month, currency
    """
)


async def compute(session: AsyncSession, zone: ZoneInfo, since: date, until: date) -> RowsByMonth:
    """Count who paid for each month from `since` up to `until`, by the first they paid for."""
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
