"""Recovery: renewals that failed, and those of them that were paid after all.

A renewal is of the month in which it failed first, in the currency the donor was shown. It is
reckoned from charges alone, so that what changes it is a charge, or to whom one belongs.
"""

from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import month_snapshots
from payments.accounting.month_snapshots import RowsByMonth, SnapshotKind, SnapshotRow

# What failed before anything was paid is no renewal.
_FAILED_RENEWALS = text(
    """
    WITH failed AS (
        SELECT DISTINCT ON (c.stripe_payment_intent_id) c.stripe_payment_intent_id, c.charged_at,
               c.amount, c.currency, EXISTS (
                   SELECT FROM charges x
                    WHERE x.stripe_payment_intent_id = c.stripe_payment_intent_id
                      AND x.status = 'succeeded') AS recovered
          FROM charges c
          JOIN payment_intent_links i USING (stripe_payment_intent_id)
         WHERE c.status = 'failed' AND i.frequency <> 'once'
           AND c.charged_at >= CAST(:since AS timestamp) AT TIME ZONE :zone
           AND c.charged_at < CAST(:until AS timestamp) AT TIME ZONE :zone
           AND NOT EXISTS (
               SELECT FROM charges x
                WHERE x.stripe_payment_intent_id = c.stripe_payment_intent_id
                  AND x.status = 'failed' AND x.charged_at < c.charged_at)
           AND EXISTS (
               SELECT FROM payment_intent_links j
                 JOIN charges x USING (stripe_payment_intent_id)
                WHERE j.contribution_id = i.contribution_id AND x.charged_at < c.charged_at
                  AND x.status IN ('succeeded', 'returned'))
         ORDER BY c.stripe_payment_intent_id, c.stripe_charge_id)
    SELECT CAST(date_trunc('month', charged_at AT TIME ZONE :zone) AS date) AS month, currency,
           count(*) AS failed, count(*) FILTER (WHERE recovered) AS recovered,
           CAST(sum(amount) AS bigint) AS amount,
           CAST(coalesce(sum(amount) FILTER (WHERE recovered), 0) AS bigint) AS recovered_amount
      FROM failed
     GROUP BY 1, 2 ORDER BY 1, 2
     LIMIT 10000
    """
)


@dataclass(frozen=True, slots=True)
class RecoveryMonth:
    """Renewals whose first try failed in a month, and those that were paid after all."""

    month: date
    currency: str  # that the donor was shown
    failed: int
    recovered: int
    amount: int
    recovered_amount: int


async def compute(session: AsyncSession, zone: ZoneInfo, since: date, until: date) -> RowsByMonth:
    """The renewals that first failed in each month from `since` up to `until`."""
    params = {"zone": zone.key, "since": since, "until": until}
    months: dict[date, list[SnapshotRow]] = {}
    for row in await session.execute(_FAILED_RENEWALS, params):
        line = {
            "currency": row.currency,
            "failed": row.failed,
            "recovered": row.recovered,
            "amount": row.amount,
            "recovered_amount": row.recovered_amount,
        }
        months.setdefault(row.month, []).append(line)
    return months


SNAPSHOT_KIND = SnapshotKind("payment_recovery", compute, from_ledger=False)


async def by_month(
    session: AsyncSession, zone: ZoneInfo, *, since: date, until: date, currency: str | None = None
) -> list[RecoveryMonth]:
    """Of the months from `since` up to `until`, newest first."""
    months = await month_snapshots.load_or_compute(
        session, zone, SNAPSHOT_KIND, since=since, until=until
    )
    return [
        RecoveryMonth(month, **line)
        for month, lines in sorted(months.items(), reverse=True)
        for line in lines
        if currency in (None, line["currency"])
    ]
