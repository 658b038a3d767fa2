"""Why net differs between two months: by what each contribution did, and what was taken off.

Each contribution that paid in either month falls into one kind, so the kinds add up to the
difference of gross to the cent, whatever they are; fees, refunds and disputes are the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.reports import monthly
from payments.accounting.reports.monthly import MonthlyTotal
from payments.accounting.reports.period import LATE_ENTRIES_JOIN_SQL, booked_before, booked_from
from payments.core.calendar import next_month


class VarianceCause(StrEnum):
    """In the order they are told."""

    NEW = "new"  # a monthly or annual promise paid for the first time
    REACTIVATION = "reactivation"  # a monthly promise that had not paid in the month before
    EXPANSION = "expansion"
    CONTRACTION = "contraction"
    CHURN = "churn"  # did not pay again; its promise has ended
    MISSED_PAYMENT = (
        "missed_payment"  # did not pay again; its promise goes on: failed, paused or skipped
    )
    TIMING = "timing"  # more or fewer payments of the same promise fell into the month
    ANNUAL = "annual"  # renewals of annual promises, which fall due in different months
    ONCE = "once"
    FX = "fx"  # the donor gave the same; the exchange rate differed
    FEES = "fees"
    REFUNDS = "refunds"
    DISPUTES = "disputes"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class VarianceComponent:
    """One cause: by how much it changed net, and how many contributions it is about."""

    cause: VarianceCause
    amount: int
    count: int | None = None


@dataclass(frozen=True, slots=True)
class NetVariance:
    """`after - before` is the sum of the components, exactly."""

    before: int
    after: int
    components: Sequence[VarianceComponent]


# A raised gift at another rate is both: what it would have been at the earlier month's rate is
# raised, the rest is FX.
_BY_CONTRIBUTION = text(
    f"""
    WITH paid AS (
        SELECT e.contribution_id, e.credit, e.amount, c.amount AS shown, c.currency AS shown_in,
               {booked_from("e.occurred_at", ":later")} AS is_later
          FROM ledger_entries e {LATE_ENTRIES_JOIN_SQL}
          LEFT JOIN charges c ON c.balance_transaction = e.balance_transaction
         WHERE e.credit LIKE 'income:%' AND e.currency = :currency
           AND (({booked_from("e.occurred_at", ":earlier")}
                 AND {booked_before("e.occurred_at", ":earlier_ends")})
             OR ({booked_from("e.occurred_at", ":later")}
                 AND {booked_before("e.occurred_at", ":later_ends")}))),
    pairs AS (
        SELECT contribution_id, max(credit) AS credit,
               coalesce(sum(amount) FILTER (WHERE NOT is_later), 0) AS a,
               coalesce(sum(amount) FILTER (WHERE is_later), 0) AS b,
               coalesce(sum(shown) FILTER (WHERE NOT is_later), 0) AS shown_a,
               coalesce(sum(shown) FILTER (WHERE is_later), 0) AS shown_b,
               count(*) FILTER (WHERE NOT is_later) AS times_a,
               count(*) FILTER (WHERE is_later) AS times_b,
               count(DISTINCT shown_in) = 1 AS comparable
          FROM paid GROUP BY contribution_id),
    told AS (
        SELECT p.*,
               CASE WHEN credit = 'income:once' THEN 'once'
                    WHEN b > 0 AND NOT EXISTS (
                        SELECT FROM ledger_entries e {LATE_ENTRIES_JOIN_SQL}
                         WHERE e.contribution_id = p.contribution_id AND e.credit LIKE 'income:%'
                           AND {booked_before("e.occurred_at", ":later")})
                    THEN 'new'
                    WHEN credit = 'income:annual' AND (a = 0 OR b = 0) THEN 'annual'
                    WHEN a = 0 THEN 'returned'
                    WHEN b = 0 AND EXISTS (
                        SELECT FROM subscriptions s
                         WHERE s.contribution_id = p.contribution_id
                           AND s.ended_at < CAST(:later_ends AS timestamp) AT TIME ZONE :zone)
                    THEN 'stopped'
                    WHEN b = 0 THEN 'missed'
                    WHEN times_a <> times_b THEN 'timing'
                    WHEN comparable AND shown_a = shown_b THEN 'fx'
                    WHEN shown_b > shown_a THEN 'raised' ELSE 'lowered' END AS cause
          FROM pairs p),
    parts AS (
        SELECT cause, contribution_id,
               CASE WHEN cause IN ('raised', 'lowered') AND comparable
                    THEN div(a * (shown_b - shown_a), shown_a) ELSE b - a END AS amount
          FROM told
         UNION ALL
        SELECT 'fx', NULL, b - a - div(a * (shown_b - shown_a), shown_a)
          FROM told WHERE cause IN ('raised', 'lowered') AND comparable)
    SELECT cause, CAST(sum(amount) AS bigint) AS amount, count(contribution_id) AS payers
      FROM parts WHERE amount <> 0 GROUP BY cause
    """  # noqa: S608 - our own words
)


async def net_variance(
    session: AsyncSession, zone: ZoneInfo, *, currency: str, earlier: date, later: date
) -> NetVariance:
    """What made net in `later` differ from `earlier`; both are the first day of a month."""
    assert earlier < later
    sums = {
        month: await _month_total(session, zone, month, currency=currency)
        for month in (earlier, later)
    }
    a, b = sums[earlier], sums[later]
    rows = await session.execute(
        _BY_CONTRIBUTION,
        {
            "zone": zone.key,
            "currency": currency,
            "earlier": earlier,
            "earlier_ends": next_month(earlier),
            "later": later,
            "later_ends": next_month(later),
        },
    )
    found = {
        VarianceCause(row.cause): VarianceComponent(
            VarianceCause(row.cause), row.amount, row.payers
        )
        for row in rows
    }
    for cause, amount in (
        (VarianceCause.FEES, a.fees - b.fees),
        (VarianceCause.REFUNDS, a.refunds - b.refunds),
        (VarianceCause.DISPUTES, a.disputes - b.disputes),
    ):
        found[cause] = VarianceComponent(cause, amount)
    rest = b.net - a.net - sum(part.amount for part in found.values())
    found[VarianceCause.OTHER] = VarianceComponent(VarianceCause.OTHER, rest)
    told = [found[cause] for cause in VarianceCause if cause in found]
    return NetVariance(a.net, b.net, [part for part in told if part.amount])


async def _month_total(
    session: AsyncSession, zone: ZoneInfo, first: date, *, currency: str
) -> MonthlyTotal:
    lines = await monthly.by_month(
        session, zone, since=first, until=next_month(first), currency=currency
    )
    empty = MonthlyTotal(first, "all", currency, 0, 0, 0, 0, 0)
    return monthly.sum_by_currency(lines).get(currency, empty)
