"""Variance: why net differs between two periods, by cause.

Each contribution that paid in either period falls under one cause, so the causes add up to the
difference of gross to the cent; fees, refunds and disputes are the rest.
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
from payments.accounting.reports.period import Period

MAX_CONTRIBUTIONS = 500  # behind one cause, on a page


class VarianceCause(StrEnum):
    """The causes, in the order they are shown."""

    NEW = "new"  # a recurring contribution paid for the first time
    REACTIVATION = "reactivation"  # one due every month that had not paid in the earlier period
    EXPANSION = "expansion"
    CONTRACTION = "contraction"
    CHURN = "churn"  # did not pay again; its subscription has ended
    MISSED_PAYMENT = "missed_payment"  # did not pay again: failed, paused or skipped
    TIMING = "timing"  # more or fewer payments of the same contribution in the period
    ANNUAL = "annual"  # renewals of annual ones, which fall due in different months
    PERIODIC = "periodic"  # the same at every other interval that leaves out a month
    ONCE = "once"
    FX = "fx"  # the donor paid the same; the exchange rate differed
    FEES = "fees"
    REFUNDS = "refunds"
    DISPUTES = "disputes"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class VarianceComponent:
    """By how much one cause changed net, in minor units, and of how many contributions."""

    cause: VarianceCause
    amount: int
    count: int | None = None


@dataclass(frozen=True, slots=True)
class NetVariance:
    """Net of two periods, in minor units: after - before is the sum of the components, exactly."""

    earlier: MonthlyTotal
    later: MonthlyTotal
    components: Sequence[VarianceComponent]

    @property
    def before(self) -> int:
        """Net of the earlier period."""
        return self.earlier.net

    @property
    def after(self) -> int:
        """Net of the later period."""
        return self.later.net


@dataclass(frozen=True, slots=True)
class ContributionChange:
    """What a contribution adds to one cause, in minor units, and what it paid in both periods."""

    contribution_id: str
    paid_before: int
    paid_after: int
    amount: int


# A changed amount that settled at another rate is both: what it would have been at the earlier
# month's rate is an expansion or contraction, the rest is fx.
_COMPONENTS_SQL = """
    WITH payments AS (
        SELECT e.contribution_id, e.credit, e.amount,
               c.amount AS charged,
               c.currency AS charged_in,
               is_booked_from(e.occurred_at, e.booked_on, :later, :zone) AS is_later
          FROM booked_entries e
          LEFT JOIN charges c ON c.balance_transaction = e.balance_transaction
         WHERE e.credit LIKE 'income:%'
           AND e.currency = :currency
           AND (e.occurred_at >= (SELECT earliest_occurrence(:earlier, :zone))
                AND is_booked_from(e.occurred_at, e.booked_on, :earlier, :zone)
                AND is_booked_before(e.occurred_at, e.booked_on, :earlier_ends, :zone)
                OR e.occurred_at >= (SELECT earliest_occurrence(:later, :zone))
                AND is_booked_from(e.occurred_at, e.booked_on, :later, :zone)
                AND is_booked_before(e.occurred_at, e.booked_on, :later_ends, :zone))
    ),
    contributions_of_both AS (
        SELECT contribution_id,
               max(credit) AS credit,
               coalesce(sum(amount) FILTER (WHERE NOT is_later), 0) AS paid_before,
               coalesce(sum(amount) FILTER (WHERE is_later), 0) AS paid_after,
               coalesce(sum(charged) FILTER (WHERE NOT is_later), 0) AS charged_before,
               coalesce(sum(charged) FILTER (WHERE is_later), 0) AS charged_after,
               count(*) FILTER (WHERE NOT is_later) AS payments_before,
               count(*) FILTER (WHERE is_later) AS payments_after,
               count(DISTINCT charged_in) = 1 AS is_comparable
          FROM payments
         GROUP BY contribution_id
    ),
    causes AS (
        SELECT contribution.*,
               CASE
               WHEN credit = 'income:once' THEN 'once'
               WHEN paid_after > 0 AND NOT EXISTS (
                   SELECT
                     FROM booked_entries e
                    WHERE e.contribution_id = contribution.contribution_id
                      AND e.credit LIKE 'income:%'
                      AND is_booked_before(e.occurred_at, e.booked_on, :later, :zone))
               THEN 'new'
               WHEN credit = 'income:annual' AND (paid_before = 0 OR paid_after = 0) THEN 'annual'
               WHEN credit = 'income:periodic' AND (paid_before = 0 OR paid_after = 0)
                    AND NOT EXISTS (
                   SELECT  -- due every 28 days or more often, and so in every month
                     FROM payment_intent_links link
                    WHERE link.contribution_id = contribution.contribution_id
                      AND link.interval_unit IN ('day', 'week')
                      AND link.interval_count
                          <= CASE link.interval_unit WHEN 'week' THEN 4 ELSE 28 END)
               THEN 'periodic'
               WHEN paid_before = 0 THEN 'reactivation'
               WHEN paid_after = 0 AND EXISTS (
                   SELECT
                     FROM subscriptions s
                    WHERE s.contribution_id = contribution.contribution_id
                      AND s.ended_at < CAST(:later_ends AS timestamp) AT TIME ZONE :zone)
               THEN 'churn'
               WHEN paid_after = 0 THEN 'missed_payment'
               WHEN payments_before <> payments_after THEN 'timing'
               WHEN is_comparable AND charged_before = charged_after THEN 'fx'
               WHEN charged_after > charged_before THEN 'expansion'
               ELSE 'contraction' END AS cause
          FROM contributions_of_both contribution
    ),
    components AS (
        SELECT cause, contribution_id, true AS is_counted, paid_before, paid_after,
               CASE WHEN cause IN ('expansion', 'contraction') AND is_comparable
                    THEN div(paid_before * (charged_after - charged_before), charged_before)
                    ELSE paid_after - paid_before END AS amount
          FROM causes
         UNION ALL
        SELECT 'fx', contribution_id, false, paid_before, paid_after,
               paid_after - paid_before
               - div(paid_before * (charged_after - charged_before), charged_before)
          FROM causes
         WHERE cause IN ('expansion', 'contraction') AND is_comparable
    )
"""
_BY_CAUSE = text(f"""
    {_COMPONENTS_SQL}
    SELECT cause, CAST(sum(amount) AS bigint) AS amount,
           count(*) FILTER (WHERE is_counted) AS contributions
      FROM components
     WHERE amount <> 0
     GROUP BY cause
""")  # noqa: S608 - constants only
_OF_CAUSE = text(f"""
    {_COMPONENTS_SQL}
    SELECT contribution_id, CAST(paid_before AS bigint) AS paid_before,
           CAST(paid_after AS bigint) AS paid_after, CAST(amount AS bigint) AS amount
      FROM components
     WHERE amount <> 0
       AND cause = :cause
     ORDER BY abs(amount) DESC, contribution_id
     LIMIT {MAX_CONTRIBUTIONS}
""")  # noqa: S608 - constants only


async def net_variance(
    session: AsyncSession, zone: ZoneInfo, *, currency: str, earlier: Period, later: Period
) -> NetVariance:
    """Return what made net of `later` differ from net of `earlier`; both are closed at both ends
    and `earlier` is over when `later` begins.
    """
    assert earlier.until is not None
    assert later.since is not None
    assert earlier.until <= later.since
    before, after = [
        await _period_total(session, zone, one, currency=currency) for one in (earlier, later)
    ]
    rows = await session.execute(
        _BY_CAUSE, _parameters(zone, currency=currency, earlier=earlier, later=later)
    )
    components = {
        VarianceCause(row.cause): VarianceComponent(
            VarianceCause(row.cause), row.amount, row.contributions
        )
        for row in rows
    }
    for cause, amount in (
        (VarianceCause.FEES, before.fees - after.fees),
        (VarianceCause.REFUNDS, before.refunds - after.refunds),
        (VarianceCause.DISPUTES, before.disputes - after.disputes),
    ):
        components[cause] = VarianceComponent(cause, amount)
    rest = after.net - before.net - sum(one.amount for one in components.values())
    components[VarianceCause.OTHER] = VarianceComponent(VarianceCause.OTHER, rest)
    in_order = [components[cause] for cause in VarianceCause if cause in components]
    return NetVariance(before, after, [one for one in in_order if one.amount])


async def list_contributions(
    session: AsyncSession,
    zone: ZoneInfo,
    cause: VarianceCause,
    *,
    currency: str,
    earlier: Period,
    later: Period,
) -> list[ContributionChange]:
    """Return what each contribution adds to a cause, the most first, up to MAX_CONTRIBUTIONS."""
    params = _parameters(zone, currency=currency, earlier=earlier, later=later)
    rows = await session.execute(_OF_CAUSE, {**params, "cause": str(cause)})
    return [ContributionChange(*row) for row in rows]


def _parameters(
    zone: ZoneInfo, *, currency: str, earlier: Period, later: Period
) -> dict[str, object]:
    return {
        "zone": zone.key,
        "currency": currency,
        "earlier": earlier.since,
        "earlier_ends": earlier.until,
        "later": later.since,
        "later_ends": later.until,
    }


async def _period_total(
    session: AsyncSession, zone: ZoneInfo, period: Period, *, currency: str
) -> MonthlyTotal:
    lines = await monthly.by_month(
        session, zone, since=period.since, until=period.until, currency=currency
    )
    empty = MonthlyTotal(period.since or date.min, "all", currency, 0, 0, 0, 0, 0)
    return monthly.sum_by_currency(lines).get(currency, empty)
