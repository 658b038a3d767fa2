"""The MRR roll-forward: monthly recurring revenue by month and currency, and what changed it.

It is computed from payments, not from subscriptions: a payment for n months counts with an nth of
it in the n months that begin with its own, and of two payments in a month the last counts. One for
days or weeks counts with what a twelfth of a year (365 days, 52 weeks) brings, in every month from
its own to that of the day before the next is due. Each payment's share is rounded down. Opening
and movements add up to closing exactly, because each contribution moves in one way in a month. A
payment is of the month it is booked in.
"""

from dataclasses import asdict, dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import month_snapshots
from payments.accounting.month_snapshots import (
    RECURRING_INCOME_SQL,
    RowsByMonth,
    SnapshotKind,
    SnapshotRow,
)

MRR_MOVEMENTS = (
    "new",
    "reactivation",
    "expansion",
    "contraction",
    "paused",
    "churn_voluntary",
    "churn_involuntary",
    "fx",
)


@dataclass(frozen=True, slots=True)
class MrrMonth:
    """One month of one currency, in minor units: closing = opening + every movement.

    A movement that loses revenue is below zero.
    """

    month: date
    currency: str
    opening: int
    new: int
    reactivation: int
    expansion: int
    contraction: int
    paused: int
    churn_voluntary: int
    churn_involuntary: int
    fx: int
    closing: int
    payers: int  # contributions that closing is made of


# Takes :zone, :since and :until. A contribution that moved between two months is paired with itself
# in the month before; a change of the amount that was charged in another currency than it settled
# in is an expansion or contraction at the earlier rate, and the rest is fx.
# Stripe's longest interval is three years, or as many days, which may touch 37 months.
_MRR_ROLLFORWARD = text(
    f"""
    WITH booked_payments AS (
        SELECT e.contribution_id, e.currency, e.amount, e.seq, e.occurred_at,
               c.amount AS charged,
               c.currency AS charged_in,
               -- a payment without a link is monthly or annual, as its account says
               coalesce(link.interval_unit,
                        CASE e.credit WHEN 'income:annual' THEN 'year' ELSE 'month' END) AS unit,
               coalesce(link.interval_count, 1) AS interval_count,
               booked_at(e.occurred_at, e.booked_on, :zone) AS booked_at
          FROM booked_entries e
          LEFT JOIN charges c ON c.balance_transaction = e.balance_transaction
          LEFT JOIN payment_intent_links link
            ON link.stripe_payment_intent_id = c.stripe_payment_intent_id
         WHERE {RECURRING_INCOME_SQL}
           AND e.occurred_at >= (SELECT earliest_occurrence(
               CAST(CAST(:since AS date) - interval '37 months' AS date), :zone))
           AND (e.credit = 'income:periodic'
                OR e.occurred_at >= (SELECT earliest_occurrence(
                    CAST(CAST(:since AS date) - interval '12 months' AS date), :zone)))
           AND e.occurred_at < CAST(:until AS timestamp) AT TIME ZONE :zone
    ),
    payments AS (
        SELECT *,
               CASE unit WHEN 'year' THEN 1 WHEN 'month' THEN 12 WHEN 'week' THEN 52 ELSE 365 END
                   AS charges_a_year,
               date_trunc('month', booked_at) AS month,
               date_trunc('month', CASE unit
                   WHEN 'year' THEN date_trunc('month', booked_at)
                        + make_interval(months => 12 * interval_count - 1)
                   WHEN 'month' THEN date_trunc('month', booked_at)
                        + make_interval(months => interval_count - 1)
                   WHEN 'week' THEN booked_at + make_interval(days => 7 * interval_count - 1)
                   ELSE booked_at + make_interval(days => interval_count - 1) END) AS last_month
          FROM booked_payments
         WHERE booked_at < CAST(:until AS timestamp)
    ),
    monthly_revenue AS (
        SELECT DISTINCT ON (contribution_id, currency, covered_month)
               contribution_id,
               currency,
               charged_in,
               CAST(covered_month AS date) AS month,
               amount * charges_a_year / (12 * interval_count) AS mrr,
               charged * charges_a_year / (12 * interval_count) AS charged
          FROM payments
         CROSS JOIN LATERAL generate_series(month, last_month, interval '1 month')
               AS covered_month
         WHERE last_month >= CAST(:since AS timestamp) - interval '1 month'
           AND covered_month >= CAST(:since AS timestamp) - interval '1 month'
           AND covered_month < CAST(:until AS timestamp)
         ORDER BY contribution_id, currency, covered_month, occurred_at DESC, seq DESC
    ),
    month_pairs AS (
        SELECT coalesce(later.month, CAST(earlier.month + interval '1 month' AS date)) AS month,
               coalesce(later.currency, earlier.currency) AS currency,
               coalesce(later.contribution_id, earlier.contribution_id) AS contribution_id,
               coalesce(earlier.mrr, 0) AS mrr_before,
               coalesce(later.mrr, 0) AS mrr_after,
               earlier.mrr IS NULL AS begins,
               later.mrr IS NULL AS ends,
               earlier.charged AS charged_before,
               later.charged AS charged_after,
               earlier.charged_in IS NOT DISTINCT FROM later.charged_in AND earlier.charged > 0
                   AS is_comparable
          FROM monthly_revenue later
          FULL JOIN monthly_revenue earlier
            ON earlier.contribution_id = later.contribution_id
           AND earlier.currency = later.currency
           AND CAST(earlier.month + interval '1 month' AS date) = later.month
    ),
    movements AS (
        SELECT pair.*,
               CASE
               WHEN begins AND EXISTS (
                   SELECT
                     FROM booked_entries e
                    WHERE e.contribution_id = pair.contribution_id
                      AND e.currency = pair.currency
                      AND {RECURRING_INCOME_SQL}
                      AND e.occurred_at < CAST(pair.month AS timestamp) AT TIME ZONE :zone
                      AND booked_at(e.occurred_at, e.booked_on, :zone)
                          < CAST(pair.month AS timestamp))
               THEN 'reactivation'
               WHEN begins THEN 'new'
               WHEN ends THEN coalesce((
                   SELECT CASE WHEN change.kind = 'cancelled' THEN 'churn_voluntary'
                               WHEN change.kind IN ('paused', 'skipped', 'day') THEN 'paused'
                               ELSE 'churn_involuntary' END
                     FROM subscriptions s
                     JOIN subscription_changes change
                       ON change.subscription_id = s.stripe_subscription_id
                    WHERE s.contribution_id = pair.contribution_id
                      AND change.kind IN ('cancelled', 'paused', 'skipped', 'day', 'lapsed')
                      AND change.done_at < (pair.month + interval '1 month') AT TIME ZONE :zone
                    ORDER BY change.done_at DESC, change.id
                    LIMIT 1), 'churn_involuntary')
               WHEN is_comparable AND charged_before = charged_after THEN 'fx'
               WHEN charged_after > charged_before THEN 'expansion'
               ELSE 'contraction' END AS movement
          FROM month_pairs pair
         WHERE pair.month >= :since
           AND pair.month < :until
    ),
    movement_parts AS (
        SELECT month, currency, movement,
               CASE WHEN movement IN ('expansion', 'contraction') AND is_comparable
                    THEN div(CAST(mrr_before AS numeric) * (charged_after - charged_before),
                             charged_before)
                    ELSE mrr_after - mrr_before END AS amount
          FROM movements
         UNION ALL
        SELECT month, currency, 'fx',
               mrr_after - mrr_before
               - div(CAST(mrr_before AS numeric) * (charged_after - charged_before),
                     charged_before)
          FROM movements
         WHERE movement IN ('expansion', 'contraction') AND is_comparable
    ),
    movement_sums AS (
        SELECT month, currency, movement, CAST(sum(amount) AS bigint) AS amount
          FROM movement_parts
         GROUP BY month, currency, movement
    ),
    movements_by_month AS (
        SELECT month, currency, jsonb_object_agg(movement, amount) AS amounts
          FROM movement_sums
         GROUP BY month, currency
    ),
    balances AS (
        SELECT month, currency,
               CAST(sum(mrr_before) AS bigint) AS opening,
               CAST(sum(mrr_after) AS bigint) AS closing,
               count(*) FILTER (WHERE NOT ends) AS payers
          FROM movements
         GROUP BY month, currency
    )
    SELECT month, currency, opening, closing, payers, amounts
      FROM balances
      JOIN movements_by_month USING (month, currency)
     ORDER BY currency, month DESC
    """  # noqa: S608 - constants only
)


async def compute(
    session: AsyncSession, zone: ZoneInfo, *, since: date, until: date
) -> list[MrrMonth]:
    """Compute each month from `since` up to `until` from the ledger, newest first by currency."""
    params = {"zone": zone.key, "since": since, "until": until}
    return [
        MrrMonth(
            month=row.month,
            currency=row.currency,
            opening=row.opening,
            closing=row.closing,
            payers=row.payers,
            **{name: int(row.amounts.get(name, 0)) for name in MRR_MOVEMENTS},
        )
        for row in await session.execute(_MRR_ROLLFORWARD, params)
    ]


async def _compute_snapshot_rows(
    session: AsyncSession, zone: ZoneInfo, since: date, until: date
) -> RowsByMonth:
    months: dict[date, list[SnapshotRow]] = {}
    for mrr_month in await compute(session, zone, since=since, until=until):
        figures = asdict(mrr_month)
        months.setdefault(figures.pop("month"), []).append(figures)
    return months


SNAPSHOT_KIND = SnapshotKind("mrr_rollforward", _compute_snapshot_rows, from_ledger=True)


async def by_month(
    session: AsyncSession, zone: ZoneInfo, *, since: date, until: date
) -> list[MrrMonth]:
    """Return each month from `since` up to `until`, newest first by currency.

    Read from the snapshots where there are any, computed otherwise.
    """
    months = await month_snapshots.load_or_compute(
        session, zone, SNAPSHOT_KIND, since=since, until=until
    )
    mrr_months = [
        MrrMonth(month=month, **figures) for month, rows in months.items() for figures in rows
    ]
    return sorted(mrr_months, key=lambda one: (one.currency, -one.month.toordinal()))
