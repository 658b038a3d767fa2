"""The MRR roll-forward: monthly recurring revenue by month and currency, and what changed it.

It is computed from payments, not from subscriptions: a payment counts with a month's share of it at
the end of each month that lies in the period it pays for (the view `paid_periods`); of two at once,
the one whose period began last. A twelfth of a year of 365 days or 52 weeks is a month. Each
contribution moves in one way in a month, so that opening and movements add up to closing. Shares
are exact to a millionth of a minor unit, and the sums of a month are rounded together.

A person who ends one contribution and begins another within a month of it moves, and does not
churn: what they had counts up to the day the other began.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from decimal import ROUND_FLOOR, Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import month_snapshots
from payments.accounting.month_snapshots import RowsByMonth, SnapshotKind, SnapshotRow
from payments.core.calendar import next_month

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
    contributions: int  # that closing is made of
    supporters: int  # who gave them: people, each counted once
    lost: int  # contributions that were cancelled or lost to failed payments


@dataclass(frozen=True, slots=True)
class MovedContribution:
    """One contribution that moved in a month, in which way, and by how much a month of it."""

    contribution_id: str
    movement: str
    amount: int


MOVED_SIZE = 100
REPLACED_WITHIN = "31 days"  # between the end of one contribution and the beginning of another
# Takes :zone, :since and :until. A contribution that moved between two months is paired with itself
# in the month before; a change of the amount that was charged in another currency than it settled
# in is an expansion or contraction at the earlier rate, and the rest is fx. What waits at the end
# of one month is taken for paid there, and is not at the end of the next (`gap_cause`). Stripe's
# longest interval is three years.
_MOVEMENTS = f"""
    WITH periods AS MATERIALIZED (
        SELECT *
          FROM paid_periods
         WHERE occurred_at >= CAST(CAST(:since AS date) - interval '39 months' AS timestamp)
               AT TIME ZONE :zone
           AND (credit = 'income:periodic'
                OR occurred_at >= CAST(CAST(:since AS date) - interval '15 months' AS timestamp)
                   AT TIME ZONE :zone)
           AND starts_at < CAST(:until AS timestamp) AT TIME ZONE :zone
    ),
    replacements AS (
        SELECT ended.id AS contribution_id, other.created_at AS replaced_at,
               change.done_at AS ended_at
          FROM subscription_changes change
          JOIN subscriptions s ON s.stripe_subscription_id = change.subscription_id
          JOIN contributions ended ON ended.id = s.contribution_id
          JOIN contributions other
            ON other.donor_id = ended.donor_id
           AND other.id <> ended.id
           AND other.interval_unit IS NOT NULL
           AND other.status = 'paid'
           AND other.created_at > ended.created_at
           AND other.created_at BETWEEN change.done_at - interval '{REPLACED_WITHIN}'
                                    AND change.done_at + interval '{REPLACED_WITHIN}'
         WHERE change.kind = 'cancelled'
           AND change.done_at IS NOT NULL
    ),
    replaced_periods AS (
        SELECT seq, min(counts_until) AS counts_until
          FROM periods
          JOIN replacements USING (contribution_id)
         CROSS JOIN LATERAL (
               SELECT CASE WHEN replaced_at < starts_at THEN ended_at ELSE replaced_at END
                   AS counts_until) moment
         WHERE counts_until >= starts_at
           AND counts_until < ends_at
         GROUP BY seq
    ),
    paid_months AS (
        SELECT DISTINCT ON (contribution_id, currency, month)
               contribution_id,
               currency,
               charged_in,
               starts_at AS paid_from,
               month,
               counts_until IS NOT NULL AS is_replaced,
               round(CAST(amount AS numeric) * charges_a_year / (12 * interval_count), 6) AS mrr,
               round(CAST(charged AS numeric) * charges_a_year / (12 * interval_count), 6)
                   AS charged
          FROM periods
          LEFT JOIN replaced_periods USING (seq)
         CROSS JOIN LATERAL (
               SELECT CASE unit WHEN 'year' THEN 1 WHEN 'month' THEN 12 WHEN 'week' THEN 52
                                ELSE 365 END AS charges_a_year) rate
         CROSS JOIN LATERAL covered_months(starts_at, coalesce(counts_until, ends_at), :zone)
               AS month
         WHERE month >= CAST(:since AS date) - interval '2 months'
           AND month < :until
         ORDER BY contribution_id, currency, month, starts_at DESC, occurred_at DESC, seq DESC
    ),
    gaps AS (
        SELECT paid.*, CAST(paid.month + interval '1 month' AS date) AS gap_month
          FROM paid_months paid
          LEFT JOIN paid_months later
            ON later.contribution_id = paid.contribution_id
           AND later.month = CAST(paid.month + interval '1 month' AS date)
         WHERE later.contribution_id IS NULL
           AND paid.month < CAST(:until AS timestamp) - interval '1 month'
    ),
    monthly_revenue AS (
        SELECT contribution_id, currency, month, charged_in, paid_from, is_replaced, mrr, charged
          FROM paid_months
         UNION ALL
        SELECT contribution_id, currency, gap_month, charged_in, paid_from, false, mrr, charged
          FROM gaps
         WHERE NOT is_replaced
           AND gap_cause(contribution_id, paid_from, gap_month, :zone) = 'waiting'
    ),
    month_pairs AS (
        SELECT coalesce(later.month, CAST(earlier.month + interval '1 month' AS date)) AS month,
               coalesce(later.currency, earlier.currency) AS currency,
               coalesce(later.contribution_id, earlier.contribution_id) AS contribution_id,
               coalesce(earlier.mrr, 0) AS mrr_before,
               coalesce(later.mrr, 0) AS mrr_after,
               earlier.mrr IS NULL AS begins,
               later.mrr IS NULL AS ends,
               earlier.paid_from,
               coalesce(earlier.is_replaced, false) AS is_replaced,
               coalesce(later.charged_in, earlier.charged_in) AS charged_in,
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
    pairs_of_persons AS (
        SELECT pair.*,
               given.donor_id,
               coalesce(given.donor_id, pair.contribution_id) AS person,
               bool_or(NOT begins) OVER of_person AS gave_before,
               bool_or(begins) OVER of_person AND bool_or(ends) OVER of_person AS is_switch,
               sum(mrr_after - mrr_before) FILTER (WHERE begins OR ends) OVER of_person > 0
                   AS is_switch_up,
               min(pair.currency) FILTER (WHERE begins OR ends) OVER of_person
                   = max(pair.currency) FILTER (WHERE begins OR ends) OVER of_person
               AND min(charged_in) FILTER (WHERE begins OR ends) OVER of_person
                   = max(charged_in) FILTER (WHERE begins OR ends) OVER of_person
                   AS is_switch_within_currency
          FROM month_pairs pair
          LEFT JOIN contributions given ON given.id = pair.contribution_id
         WHERE pair.month >= :since
           AND pair.month < :until
        WINDOW of_person AS (
               PARTITION BY pair.month, coalesce(given.donor_id, pair.contribution_id))
    ),
    movements AS (
        SELECT pair.*,
               CASE
               WHEN (begins OR ends) AND is_switch THEN
                   CASE WHEN NOT is_switch_within_currency THEN 'fx'
                        WHEN is_switch_up THEN 'expansion' ELSE 'contraction' END
               WHEN begins AND (
                   EXISTS (
                       SELECT
                         FROM paid_periods earlier
                        WHERE earlier.contribution_id = pair.contribution_id
                          AND earlier.starts_at
                              < CAST(pair.month AS timestamp) AT TIME ZONE :zone)
                   OR NOT gave_before AND EXISTS (
                       SELECT
                         FROM contributions other
                         JOIN paid_periods earlier ON earlier.contribution_id = other.id
                        WHERE other.donor_id = pair.donor_id
                          AND earlier.starts_at
                              < CAST(pair.month AS timestamp) AT TIME ZONE :zone))
               THEN 'reactivation'
               WHEN begins THEN 'new'
               WHEN ends AND is_replaced THEN 'churn_voluntary'
               WHEN ends THEN replace(
                   gap_cause(contribution_id, paid_from, pair.month, :zone), 'waiting', 'paused')
               WHEN is_comparable AND charged_before = charged_after THEN 'fx'
               WHEN charged_after > charged_before THEN 'expansion'
               ELSE 'contraction' END AS movement
          FROM pairs_of_persons pair
    ),
    movement_parts AS (
        SELECT contribution_id, month, currency, movement,
               mrr_after - mrr_before - fx_part AS amount
          FROM movements
         CROSS JOIN LATERAL (
               SELECT CASE WHEN movement IN ('expansion', 'contraction') AND is_comparable
                                AND NOT begins AND NOT ends
                           THEN mrr_after - mrr_before
                                - round(mrr_before * (charged_after - charged_before)
                                        / charged_before, 6)
                           ELSE 0 END AS fx_part) part
         UNION ALL
        SELECT contribution_id, month, currency, 'fx',
               mrr_after - mrr_before
               - round(mrr_before * (charged_after - charged_before) / charged_before, 6)
          FROM movements
         WHERE movement IN ('expansion', 'contraction')
           AND is_comparable AND NOT begins AND NOT ends
    )"""  # noqa: S608 - constants only
_MRR_ROLLFORWARD = text(
    f"""
    {_MOVEMENTS},
    movement_sums AS (
        SELECT month, currency, movement, sum(amount) AS amount
          FROM movement_parts
         GROUP BY month, currency, movement
    ),
    movements_by_month AS (
        SELECT month, currency, jsonb_object_agg(movement, CAST(amount AS text)) AS amounts
          FROM movement_sums
         GROUP BY month, currency
    ),
    balances AS (
        SELECT month, currency,
               sum(mrr_before) AS opening,
               sum(mrr_after) AS closing,
               count(*) FILTER (WHERE NOT ends) AS contributions,
               count(DISTINCT person) FILTER (WHERE NOT ends) AS supporters,
               count(*) FILTER (WHERE movement IN ('churn_voluntary', 'churn_involuntary'))
                   AS lost
          FROM movements
         GROUP BY month, currency
    )
    SELECT month, currency, opening, closing, contributions, supporters, lost, amounts
      FROM balances
      JOIN movements_by_month USING (month, currency)
     ORDER BY currency, month DESC
    """  # noqa: S608 - constants only
)

# The largest first; a part below half a minor unit is of rounding, and no movement.
_MOVED_CONTRIBUTIONS = text(
    f"""
    {_MOVEMENTS}
    SELECT contribution_id, movement, amount
      FROM movement_parts
     WHERE currency = :currency
       AND abs(amount) >= 0.5
     ORDER BY abs(amount) DESC, contribution_id, movement
    OFFSET :offset LIMIT :limit
    """  # noqa: S608 - constants only
)


async def list_moved(
    session: AsyncSession,
    zone: ZoneInfo,
    month: date,
    currency: str,
    *,
    offset: int = 0,
    size: int = MOVED_SIZE,
) -> tuple[list[MovedContribution], int | None]:
    """Return a page of what moved in a month: those after so many, and after how many the next
    begins. Each amount is rounded for itself, so their sum may differ from the month's by less
    than one for each.
    """
    params = {
        "zone": zone.key,
        "since": month,
        "until": next_month(month),
        "currency": currency,
        "offset": offset,
        "limit": size + 1,
    }
    found = [
        MovedContribution(str(row.contribution_id), row.movement, round(row.amount))
        for row in await session.execute(_MOVED_CONTRIBUTIONS, params)
    ]
    return found[:size], offset + size if len(found) > size else None


async def compute(
    session: AsyncSession, zone: ZoneInfo, *, since: date, until: date
) -> list[MrrMonth]:
    """Compute each month from `since` up to `until` from the ledger, newest first by currency."""
    params = {"zone": zone.key, "since": since, "until": until}
    return [
        MrrMonth(
            month=row.month,
            currency=row.currency,
            opening=round(row.opening),
            closing=round(row.closing),
            contributions=row.contributions,
            supporters=row.supporters,
            lost=row.lost,
            **_round_together(
                {name: Decimal(row.amounts.get(name, "0")) for name in MRR_MOVEMENTS},
                total=round(row.closing) - round(row.opening),
            ),
        )
        for row in await session.execute(_MRR_ROLLFORWARD, params)
    ]


def _round_together(amounts: Mapping[str, Decimal], *, total: int) -> dict[str, int]:
    """Round amounts to whole numbers that add up to a total, which is their sum but for less than
    one: those with the largest fractions are rounded up.
    """
    rounded = {name: int(amount.to_integral_value(ROUND_FLOOR)) for name, amount in amounts.items()}
    by_fraction = sorted(
        (name for name in amounts if amounts[name]),
        key=lambda name: rounded[name] - amounts[name],
    )
    for name in by_fraction[: total - sum(rounded.values())]:
        rounded[name] += 1
    return rounded


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
