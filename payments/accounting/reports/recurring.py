"""Recurring: what comes in again each month without anybody asking, how it changes, and what of it
is in danger.

Amounts are gross, in the currency that was settled, and only of months that are over. How a month
is reckoned is told in `rollforward`, `cohorts` and `recovery`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import mrr_rollforward
from payments.accounting.mrr_rollforward import MrrMonth
from payments.core.calendar import months_before

CARD_EXPIRING_DAYS = 45  # days


async def mrr_by_month(
    session: AsyncSession, zone: ZoneInfo, *, since: date, until: date, currency: str | None = None
) -> list[MrrMonth]:
    """The roll-forward of each month from `since` up to `until`, newest first."""
    found = await mrr_rollforward.by_month(session, zone, since=since, until=until)
    chosen = [one for one in found if currency in (None, one.currency)]
    return [one for code in _currencies(chosen) for one in _fill_gaps(chosen, code, until)]


def _currencies(found: Sequence[MrrMonth]) -> list[str]:
    return sorted({one.currency for one in found})


def _fill_gaps(found: Sequence[MrrMonth], currency: str, until: date) -> list[MrrMonth]:
    """From the first month of a currency on, months in which nothing was carried are nought."""
    known = {one.month: one for one in found if one.currency == currency}
    month, told = months_before(until, 1), []
    while month >= min(known):
        told.append(known.get(month) or MrrMonth(month, currency, *(0,) * 11))
        month = months_before(month, 1)
    return told


_AT_RISK = text(
    """
    SELECT contribution_id, frequency, amount, currency, current_period_end,
           CASE WHEN status = 'unpaid' OR status = 'past_due' THEN 'past_due'
                WHEN stripe_payment_method_id IS NULL THEN 'needs_card'
                ELSE 'card_expires' END AS reason,
           card_expires_on
      FROM subscriptions
     WHERE ended_at IS NULL AND status IN ('active', 'trialing', 'past_due', 'unpaid', 'paused')
       AND (status IN ('past_due', 'unpaid') OR stripe_payment_method_id IS NULL
            OR card_expires_on < CAST(:soon AS date))
     ORDER BY 6 DESC, current_period_end NULLS LAST, contribution_id
     LIMIT 101
    """
)


@dataclass(frozen=True, slots=True)
class AtRiskSubscription:
    """A promise that lives and may not pay again."""

    contribution_id: str
    frequency: str
    amount: int
    currency: str
    current_period_end: datetime | None
    reason: str
    card_expires_on: date | None


async def at_risk(session: AsyncSession, *, expiring_before: date) -> list[AtRiskSubscription]:
    """At most 101 of them, so that a page can say there are more than it shows."""
    return [
        AtRiskSubscription(*row)
        for row in await session.execute(_AT_RISK, {"soon": expiring_before})
    ]


_COMMITTED_MRR = text(
    """
    SELECT currency, count(*) AS promises, CAST(sum(CASE frequency WHEN 'annual' THEN amount / 12
                                                  ELSE amount END) AS bigint) AS amount
      FROM subscriptions
     WHERE ended_at IS NULL AND status IN ('active', 'trialing', 'past_due') AND NOT is_paused
     GROUP BY 1 ORDER BY 1 LIMIT 200
    """
)


async def committed_mrr(session: AsyncSession) -> list[tuple[str, int, int]]:
    """What living promises are worth each month: currency shown to donors, how many, how much."""
    return [(row.currency, int(row.promises), row.amount)
            for row in await session.execute(_COMMITTED_MRR)]  # fmt: skip
