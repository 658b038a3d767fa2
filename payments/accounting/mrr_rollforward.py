"""The roll-forward of monthly recurring revenue: what comes in again each month without anybody
asking, and how that changed, by month and currency.

It is reckoned from payments, not from promises: a monthly promise counts with its last payment in
the month, an annual one with a twelfth of its payment in the twelve months that begin with it.
Opening and movements add up to closing exactly, because each contribution moves in one way. A
payment is of the month it is booked in.
"""

from dataclasses import asdict, dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import month_snapshots
from payments.accounting.month_snapshots import (
    BOOKED_AT_SQL,
    BOOKED_SINCE_SQL,
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
    """One month of one currency: closing = opening + every movement. Losses are below zero."""

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


_CARRIED_SQL = f"""
    paid AS (
        SELECT e.contribution_id, e.currency, e.credit, e.amount, e.seq, e.occurred_at,
               c.amount AS shown, c.currency AS shown_in,
               date_trunc('month', {BOOKED_AT_SQL}) AS month
          FROM ledger_entries e
          LEFT JOIN late_entries late ON late.seq = e.seq
          LEFT JOIN charges c ON c.balance_transaction = e.balance_transaction
         WHERE {RECURRING_INCOME_SQL}
           AND {BOOKED_SINCE_SQL.format(day="CAST(:since AS timestamp) - interval '12 months'")}
           AND e.occurred_at < CAST(:until AS timestamp) AT TIME ZONE :zone
           AND {BOOKED_AT_SQL} >= CAST(:since AS timestamp) - CASE e.credit
                   WHEN 'income:annual' THEN interval '12 months' ELSE interval '1 month' END
           AND {BOOKED_AT_SQL} < CAST(:until AS timestamp)),
    carried AS (
        SELECT DISTINCT ON (contribution_id, currency, m) contribution_id, currency, shown_in,
               CAST(m AS date) AS month, credit,
               CASE credit WHEN 'income:annual' THEN amount / 12 ELSE amount END AS mrr,
               CASE credit WHEN 'income:annual' THEN shown / 12 ELSE shown END AS shown
          FROM paid, LATERAL generate_series(month,
                   month + CASE credit WHEN 'income:annual' THEN interval '11 months'
                                       ELSE interval '0' END, interval '1 month') AS m
         WHERE m >= CAST(:since AS timestamp) - interval '1 month'
           AND m < CAST(:until AS timestamp)
         ORDER BY contribution_id, currency, m, occurred_at DESC, seq DESC)
"""  # noqa: S608 - our own words
_MRR_ROLLFORWARD = text(
    f"""
    WITH {_CARRIED_SQL},
    pairs AS (
        SELECT coalesce(now.month, CAST(was.month + interval '1 month' AS date)) AS month,
               coalesce(now.currency, was.currency) AS currency,
               coalesce(now.contribution_id, was.contribution_id) AS contribution_id,
               coalesce(was.mrr, 0) AS a, coalesce(now.mrr, 0) AS b,
               was.mrr IS NULL AS absent, now.mrr IS NULL AS gone,
               was.shown AS shown_a, now.shown AS shown_b,
               was.shown_in IS NOT DISTINCT FROM now.shown_in AND was.shown > 0 AS comparable
          FROM carried now
          FULL JOIN carried was
            ON was.contribution_id = now.contribution_id AND was.currency = now.currency
           AND CAST(was.month + interval '1 month' AS date) = now.month),
    classified AS (
        SELECT t.*, CASE
                 WHEN absent AND EXISTS (
                     SELECT FROM ledger_entries e LEFT JOIN late_entries late ON late.seq = e.seq
                      WHERE e.contribution_id = t.contribution_id AND e.currency = t.currency
                        AND {RECURRING_INCOME_SQL}
                        AND e.occurred_at < CAST(t.month AS timestamp) AT TIME ZONE :zone
                        AND {BOOKED_AT_SQL} < CAST(t.month AS timestamp))
                 THEN 'reactivation'
                 WHEN absent THEN 'new'
                 WHEN gone THEN coalesce((
                     SELECT CASE WHEN h.kind = 'cancelled' THEN 'churn_voluntary'
                                 WHEN h.kind IN ('paused', 'skipped') THEN 'paused'
                                 ELSE 'churn_involuntary' END
                       FROM subscriptions s
                       JOIN subscription_changes h
                         ON h.subscription_id = s.stripe_subscription_id
                      WHERE s.contribution_id = t.contribution_id
                        AND h.kind IN ('cancelled', 'paused', 'skipped', 'lapsed')
                        AND h.done_at < (t.month + interval '1 month') AT TIME ZONE :zone
                      ORDER BY h.done_at DESC, h.id LIMIT 1), 'churn_involuntary')
                 WHEN comparable AND shown_a = shown_b THEN 'fx'
                 WHEN shown_b > shown_a THEN 'expansion' ELSE 'contraction' END AS cause
          FROM pairs t
         WHERE t.month >= :since AND t.month < :until),
    parts AS (
        SELECT month, currency, cause,
               CASE WHEN cause IN ('expansion', 'contraction') AND comparable
                    THEN div(CAST(a AS numeric) * (shown_b - shown_a), shown_a)
                    ELSE b - a END AS amount
          FROM classified
         UNION ALL
        SELECT month, currency, 'fx',
               b - a - div(CAST(a AS numeric) * (shown_b - shown_a), shown_a)
          FROM classified WHERE cause IN ('expansion', 'contraction') AND comparable),
    causes AS (
        SELECT month, currency, cause, CAST(sum(amount) AS bigint) AS amount
          FROM parts GROUP BY 1, 2, 3),
    moved AS (
        SELECT month, currency, jsonb_object_agg(cause, amount) AS moved
          FROM causes GROUP BY 1, 2),
    sums AS (
        SELECT month, currency, CAST(sum(a) AS bigint) AS opening,
               CAST(sum(b) AS bigint) AS closing, count(*) FILTER (WHERE NOT gone) AS payers
          FROM classified GROUP BY 1, 2)
    SELECT month, currency, opening, closing, payers, moved
      FROM sums JOIN moved USING (month, currency)
     ORDER BY currency, month DESC
     LIMIT 5000
    """  # noqa: S608 - our own words
)


async def compute(
    session: AsyncSession, zone: ZoneInfo, *, since: date, until: date
) -> list[MrrMonth]:
    """Each month from `since` up to `until`, from the rows."""
    params = {"zone": zone.key, "since": since, "until": until}
    return [
        MrrMonth(
            month=row.month,
            currency=row.currency,
            opening=row.opening,
            closing=row.closing,
            payers=row.payers,
            **{name: int(row.moved.get(name, 0)) for name in MRR_MOVEMENTS},
        )
        for row in await session.execute(_MRR_ROLLFORWARD, params)
    ]


async def _compute_snapshot_rows(
    session: AsyncSession, zone: ZoneInfo, since: date, until: date
) -> RowsByMonth:
    months: dict[date, list[SnapshotRow]] = {}
    for one in await compute(session, zone, since=since, until=until):
        line = asdict(one)
        months.setdefault(line.pop("month"), []).append(line)
    return months


SNAPSHOT_KIND = SnapshotKind("mrr_rollforward", _compute_snapshot_rows, from_ledger=True)


async def by_month(
    session: AsyncSession, zone: ZoneInfo, *, since: date, until: date
) -> list[MrrMonth]:
    """Each month from `since` up to `until`, newest first by currency: what is kept, and the rest
    from the rows.
    """
    months = await month_snapshots.load_or_compute(
        session, zone, SNAPSHOT_KIND, since=since, until=until
    )
    found = [MrrMonth(month=month, **line) for month, lines in months.items() for line in lines]
    return sorted(found, key=lambda one: (one.currency, -one.month.toordinal()))
