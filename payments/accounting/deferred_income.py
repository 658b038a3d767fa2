"""Deferred income: what was paid for several months counts in the months it is paid for.

Cash is the books: an annual contribution is income on the day it is paid. Beside it stands the
accrual view, computed from the same entries: of a payment for n months an nth belongs to each of
the n months from the one its service begins in; of one for more than 31 days, to each month as many
parts as it has days of them. What is not earned yet is deferred income. Shares are whole minor
units, rounded down, and the last month takes the remainder.

What went back makes the payment smaller, as if it had been so from the beginning: of a refund or
dispute, the part that was not earned yet leaves deferred income, and the rest takes back what was
earned. A dispute that is won comes back the same way. A month counts what is booked in it, so that
a closed one never changes: a payment that is booked after its service began brings the months
before with it.

In each month and currency: opening + received - released - refunded - disputed = closing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# Stripe's longest interval is three years; a refund or a dispute may come later than its end.
LOOKBACK_MONTHS = 60
AMOUNTS = ("opening", "received", "released", "refunded", "disputed", "closing")


@dataclass(frozen=True, slots=True)
class DeferredMonth:
    """A month of one currency and one account of income, in minor units."""

    month: date
    currency: str
    account: str
    opening: int
    received: int  # paid for this and later months
    released: int  # earned in this month
    refunded: int  # what left deferred income because it was given back
    disputed: int
    closing: int


def _earned_sql(amount: str, elapsed: str) -> str:
    """Return SQL for what of an amount is earned after so many of its parts."""
    return f"""CASE WHEN {elapsed} >= parts THEN {amount}
                             WHEN is_by_day THEN {amount} * {elapsed} / parts
                             ELSE {amount} / parts * {elapsed} END"""


def movements_sql(since: str, until: str, zone: str) -> str:
    """Return CTEs that end with `deferred_months`; the three are SQL of ours or parameters.

    `since` and `until` are first days of a month.
    """
    return f"""
    payments AS (
        SELECT e.seq, bt.charge, e.currency, e.credit AS account, e.amount,
               CAST(date_trunc('month', booked_at(e.occurred_at, e.booked_on, {zone})) AS date)
                   AS booked_month,
               CAST(e.occurred_at AT TIME ZONE {zone} AS date) AS starts_on,
               coalesce(link.interval_unit,
                        CASE e.credit WHEN 'income:annual' THEN 'year' ELSE 'month' END) AS unit,
               coalesce(link.interval_count, 1) AS interval_count
          FROM booked_entries e
          JOIN balance_transactions bt ON bt.id = e.balance_transaction
          LEFT JOIN charges c ON c.balance_transaction = e.balance_transaction
          LEFT JOIN payment_intent_links link
            ON link.stripe_payment_intent_id = c.stripe_payment_intent_id
         WHERE e.credit IN ('income:annual', 'income:periodic')
           AND e.occurred_at >= (SELECT earliest_occurrence(
                   CAST({since} - interval '{LOOKBACK_MONTHS} months' AS date), {zone}))
           AND is_booked_before(e.occurred_at, e.booked_on, {until}, {zone})
    ),
    deferred_payments AS (
        SELECT *,
               CASE unit WHEN 'year' THEN 12 * interval_count WHEN 'month' THEN interval_count
                         WHEN 'week' THEN 7 * interval_count ELSE interval_count END AS parts,
               unit IN ('week', 'day') AS is_by_day
          FROM payments
         WHERE unit = 'year'
            OR unit = 'month' AND interval_count > 1
            OR unit = 'week' AND interval_count > 4
            OR unit = 'day' AND interval_count > 31
    ),
    returns AS (
        SELECT payment.seq,
               greatest(payment.booked_month, CAST(date_trunc('month',
                   booked_at(e.occurred_at, e.booked_on, {zone})) AS date)) AS month,
               sum(CASE 'refunds' WHEN e.debit THEN e.amount WHEN e.credit THEN -e.amount
                   ELSE 0 END) AS refunds,
               sum(CASE 'disputes' WHEN e.debit THEN e.amount WHEN e.credit THEN -e.amount
                   ELSE 0 END) AS disputes
          FROM deferred_payments payment
          JOIN balance_transactions bt ON bt.charge = payment.charge
          JOIN booked_entries e
            ON e.balance_transaction = bt.id AND e.currency = payment.currency
         WHERE ('refunds' IN (e.debit, e.credit) OR 'disputes' IN (e.debit, e.credit))
           AND is_booked_before(e.occurred_at, e.booked_on, {until}, {zone})
         GROUP BY 1, 2
    ),
    last_returns AS (
        SELECT seq, max(month) AS month FROM returns GROUP BY seq
    ),
    payment_months AS (
        SELECT payment.seq, payment.currency, payment.account, payment.amount, payment.parts,
               payment.is_by_day,
               of.month,
               of.month = payment.booked_month AS is_received,
               elapsed.until_now,
               CASE WHEN of.month = payment.booked_month THEN 0 ELSE elapsed.until_before END
                   AS until_before,
               coalesce(returns.refunds, 0) AS refunds,
               coalesce(returns.disputes, 0) AS disputes,
               coalesce(sum(returns.refunds + returns.disputes) OVER (
                   PARTITION BY payment.seq ORDER BY of.month), 0) AS returned
          FROM deferred_payments payment
          LEFT JOIN last_returns ON last_returns.seq = payment.seq
         CROSS JOIN LATERAL (
               SELECT CAST(first_of_month AS date) AS month
                 FROM generate_series(
                      payment.booked_month,
                      least(CAST({until} - interval '1 month' AS date),
                            greatest(payment.booked_month,
                                     payment.starts_on + CASE WHEN payment.is_by_day
                                         THEN make_interval(days => payment.parts)
                                         ELSE make_interval(months => payment.parts) END,
                                     last_returns.month)),
                      interval '1 month') AS first_of_month) AS of
         CROSS JOIN LATERAL (
               SELECT CASE WHEN payment.is_by_day THEN of.month - payment.starts_on
                           ELSE CAST(12 * (extract(year FROM of.month)
                                           - extract(year FROM payment.starts_on))
                                     + extract(month FROM of.month)
                                     - extract(month FROM payment.starts_on) AS int) END AS before,
                      CASE WHEN payment.is_by_day
                           THEN CAST(of.month + interval '1 month' AS date) - of.month
                           ELSE 1 END AS of_month) AS parts_by
         CROSS JOIN LATERAL (
               SELECT least(payment.parts, greatest(0, parts_by.before)) AS until_before,
                      least(payment.parts, greatest(0, parts_by.before + parts_by.of_month))
                          AS until_now) AS elapsed
          LEFT JOIN returns ON returns.seq = payment.seq AND returns.month = of.month
    ),
    -- What was left of the payment before this month, after its refunds, and after its disputes.
    payments_left AS (
        SELECT *,
               CAST(amount - returned + refunds + disputes AS bigint) AS before,
               CAST(amount - returned + disputes AS bigint) AS after_refunds,
               CAST(amount - returned AS bigint) AS after_disputes
          FROM payment_months
         WHERE month >= {since}
    ),
    payments_deferred AS (
        SELECT *,
               before - {_earned_sql("before", "until_before")} AS deferred_before,
               after_refunds - {_earned_sql("after_refunds", "until_before")}
                   AS deferred_after_refunds,
               after_disputes - {_earned_sql("after_disputes", "until_before")}
                   AS deferred_after_disputes,
               after_disputes - {_earned_sql("after_disputes", "until_now")} AS deferred_now
          FROM payments_left
    ),
    deferred_months AS (
        SELECT month, currency, account,
               CAST(coalesce(sum(deferred_before) FILTER (WHERE NOT is_received), 0) AS bigint)
                   AS opening,
               CAST(coalesce(sum(amount) FILTER (WHERE is_received), 0) AS bigint) AS received,
               CAST(sum(deferred_after_disputes - deferred_now) AS bigint) AS released,
               CAST(sum(deferred_before - deferred_after_refunds) AS bigint) AS refunded,
               CAST(sum(deferred_after_refunds - deferred_after_disputes) AS bigint) AS disputed,
               CAST(sum(deferred_now) AS bigint) AS closing
          FROM payments_deferred
         GROUP BY month, currency, account
    )
    """  # noqa: S608 - our own words; what is asked for are parameters


_BY_MONTH = text(f"""
    WITH {movements_sql("CAST(:since AS date)", "CAST(:until AS date)", ":zone")}
    SELECT month, currency, account, opening, received, released, refunded, disputed, closing
      FROM deferred_months
     WHERE (CAST(:currency AS text) IS NULL OR currency = :currency)
       AND (opening, received, released, refunded, disputed, closing) <> (0, 0, 0, 0, 0, 0)
     ORDER BY month DESC, currency, account
""")  # noqa: S608 - as above
_FIRST_DAY = text("""
    SELECT CAST(min(occurred_at) AT TIME ZONE :zone AS date)
      FROM ledger_entries
     WHERE credit IN ('income:annual', 'income:periodic')
""")
# Takes nothing: the zone is that of the daily totals. What was received in all months, less what
# was released and given back, is what the payments left add up to; and months follow each other.
_ZONE_SQL = "(SELECT zone FROM daily_totals_positions)"
_SINCE_SQL = "CAST('2000-01-01' AS date)"
_UNTIL_SQL = f"""CAST(date_trunc('month', (
        SELECT max(occurred_at) FROM ledger_entries) AT TIME ZONE {_ZONE_SQL})
        + interval '1 month' AS date)"""  # noqa: S608 - our own words
ROLLFORWARD_SQL = f"""
    WITH {movements_sql(_SINCE_SQL, _UNTIL_SQL, _ZONE_SQL)},
    rolled AS (
        SELECT *,
               coalesce(lag(closing) OVER following, 0) AS closing_before,
               sum(received - released - refunded - disputed) OVER following AS left_over
          FROM deferred_months
        WINDOW following AS (PARTITION BY currency, account ORDER BY month)
    )
    SELECT to_char(month, 'YYYY-MM ') || currency || ' ' || account || ': opening ' || opening
           || ' after ' || closing_before || ', closing ' || closing || ' of ' || left_over
      FROM rolled
     WHERE opening <> closing_before
        OR closing <> left_over
        OR closing <> opening + received - released - refunded - disputed
     ORDER BY 1
"""  # noqa: S608 - our own words


async def by_month(
    session: AsyncSession,
    zone: ZoneInfo,
    *,
    since: date,
    until: date,
    currency: str | None = None,
) -> Sequence[DeferredMonth]:
    """Return the months from `since` up to `until`, first days of a month, newest first.

    Months to come show what will be released of what was received by now.
    """
    rows = await session.execute(
        _BY_MONTH, {"zone": zone.key, "since": since, "until": until, "currency": currency}
    )
    return [DeferredMonth(*row) for row in rows]


async def first_day(session: AsyncSession, zone: ZoneInfo) -> date | None:
    """Return the day of the first payment for more than a month, None where there is none."""
    day: date | None = await session.scalar(_FIRST_DAY, {"zone": zone.key})
    return day
