"""Payment recovery (dunning): renewals that failed, and those of them that were paid after all.

A renewal counts in the month in which it first failed, in the currency the donor was charged in. It
is computed from charges alone, so that only a charge, or its link to a contribution, changes it.
"""

from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import month_snapshots
from payments.accounting.month_snapshots import RowsByMonth, SnapshotKind, SnapshotRow

# A payment that failed before its contribution had paid anything is no renewal.
_FAILED_RENEWALS = text(
    """
    WITH failed_renewals AS (
        SELECT DISTINCT ON (c.stripe_payment_intent_id)
               c.charged_at,
               c.amount,
               c.currency,
               EXISTS (SELECT FROM charges retry
                        WHERE retry.stripe_payment_intent_id = c.stripe_payment_intent_id
                          AND retry.status = 'succeeded') AS is_recovered
          FROM charges c
          JOIN payment_intent_links link USING (stripe_payment_intent_id)
         WHERE c.status = 'failed'
           AND link.frequency NOT IN ('once', 'other')
           AND c.charged_at >= CAST(:since AS timestamp) AT TIME ZONE :zone
           AND c.charged_at < CAST(:until AS timestamp) AT TIME ZONE :zone
           AND NOT EXISTS (
               SELECT FROM charges earlier
                WHERE earlier.stripe_payment_intent_id = c.stripe_payment_intent_id
                  AND earlier.status = 'failed'
                  AND earlier.charged_at < c.charged_at)
           AND EXISTS (
               SELECT
                 FROM payment_intent_links earlier_link
                 JOIN charges earlier USING (stripe_payment_intent_id)
                WHERE earlier_link.contribution_id = link.contribution_id
                  AND earlier.charged_at < c.charged_at
                  AND earlier.status IN ('succeeded', 'returned'))
         ORDER BY c.stripe_payment_intent_id, c.stripe_charge_id
    )
    SELECT CAST(date_trunc('month', charged_at AT TIME ZONE :zone) AS date) AS month,
           currency,
           count(*) AS failed,
           count(*) FILTER (WHERE is_recovered) AS recovered,
           CAST(sum(amount) AS bigint) AS amount,
           CAST(coalesce(sum(amount) FILTER (WHERE is_recovered), 0) AS bigint) AS recovered_amount
      FROM failed_renewals
     GROUP BY 1, currency
     ORDER BY 1, currency
    """
)


@dataclass(frozen=True, slots=True)
class RecoveryMonth:
    """The renewals that first failed in a month, and those that were paid after all.

    Amounts are in minor units.
    """

    month: date
    currency: str  # that the donor was charged in
    failed: int
    recovered: int
    amount: int
    recovered_amount: int


async def compute(session: AsyncSession, zone: ZoneInfo, since: date, until: date) -> RowsByMonth:
    """Count the renewals that first failed in each month from `since` up to `until`."""
    params = {"zone": zone.key, "since": since, "until": until}
    months: dict[date, list[SnapshotRow]] = {}
    for row in await session.execute(_FAILED_RENEWALS, params):
        figures = {
            "currency": row.currency,
            "failed": row.failed,
            "recovered": row.recovered,
            "amount": row.amount,
            "recovered_amount": row.recovered_amount,
        }
        months.setdefault(row.month, []).append(figures)
    return months


SNAPSHOT_KIND = SnapshotKind("payment_recovery", compute, from_ledger=False)


async def by_month(
    session: AsyncSession, zone: ZoneInfo, *, since: date, until: date, currency: str | None = None
) -> list[RecoveryMonth]:
    """Return the months from `since` up to `until`, newest first."""
    months = await month_snapshots.load_or_compute(
        session, zone, SNAPSHOT_KIND, since=since, until=until
    )
    return [
        RecoveryMonth(month, **figures)
        for month, rows in sorted(months.items(), reverse=True)
        for figures in rows
        if currency in (None, figures["currency"])
    ]
