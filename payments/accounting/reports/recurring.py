"""Recurring revenue: MRR by month, what subscriptions commit to, and what of it is at risk.

Amounts are gross. MRR is in the currency that was settled and only of months that are over
(`mrr_rollforward`); what subscriptions commit to is in the currency donors are charged in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import mrr_rollforward, sql_text
from payments.accounting.mrr_rollforward import MrrMonth
from payments.core.calendar import months_before
from payments.giving.current_card import CARD_EXPIRY_NOTICE
from payments.giving.subscriptions import LIVE_STATUSES, RENEWING_STATUSES

MAX_AT_RISK = 100  # listed on a page


async def mrr_by_month(
    session: AsyncSession, zone: ZoneInfo, *, since: date, until: date, currency: str | None = None
) -> list[MrrMonth]:
    """Return the roll-forward of each month from `since` up to `until`, newest first by currency.

    From the first month of a currency on, a month without revenue is there with zeroes.
    """
    months = await mrr_rollforward.by_month(session, zone, since=since, until=until)
    currencies = {month.currency for month in months if currency in (None, month.currency)}
    return [month for code in sorted(currencies) for month in _fill_gaps(months, code, until)]


def _fill_gaps(months: Sequence[MrrMonth], currency: str, until: date) -> list[MrrMonth]:
    by_month = {one.month: one for one in months if one.currency == currency}
    filled, month = [], months_before(until, 1)
    while month >= min(by_month):
        filled.append(by_month.get(month) or MrrMonth(month, currency, *(0,) * 11))
        month = months_before(month, 1)
    return filled


_AT_RISK = text(
    f"""
    SELECT contribution_id, frequency, amount, currency, current_period_end,
           CASE WHEN status IN ('past_due', 'unpaid') THEN 'past_due'
                WHEN stripe_payment_method_id IS NULL THEN 'needs_card'
                ELSE 'card_expires' END AS reason,
           card_expires_on
      FROM subscriptions
     WHERE ended_at IS NULL
       AND status IN {sql_text.in_list(LIVE_STATUSES)}
       AND (status IN ('past_due', 'unpaid')
            OR stripe_payment_method_id IS NULL
            OR card_expires_on <= CAST(:expiring_until AS date))
     ORDER BY reason DESC, current_period_end NULLS LAST, contribution_id
     LIMIT {MAX_AT_RISK + 1}
    """  # noqa: S608 - constants only
)


@dataclass(frozen=True, slots=True)
class AtRiskSubscription:
    """A live subscription that may not pay again; `amount` is in minor units."""

    contribution_id: str
    frequency: str
    amount: int
    currency: str
    current_period_end: datetime | None
    reason: str  # past_due, needs_card or card_expires
    card_expires_on: date | None


async def at_risk(session: AsyncSession, *, today: date) -> list[AtRiskSubscription]:
    """Return the subscriptions at risk, one more than a page lists if there are more."""
    rows = await session.execute(_AT_RISK, {"expiring_until": today + CARD_EXPIRY_NOTICE})
    return [AtRiskSubscription(*row) for row in rows]


_COMMITTED_MRR = text(
    f"""
    SELECT currency,
           count(*) AS subscriptions,
           CAST(sum(CASE frequency WHEN 'annual' THEN amount / 12 ELSE amount END) AS bigint)
               AS amount
      FROM subscriptions
     WHERE ended_at IS NULL
       AND status IN {sql_text.in_list(RENEWING_STATUSES)}
       AND NOT is_paused
     GROUP BY currency
     ORDER BY currency
     LIMIT 200
    """  # noqa: S608 - constants only
)


async def committed_mrr(session: AsyncSession) -> list[tuple[str, int, int]]:
    """Return what live subscriptions are worth a month: currency, how many, minor units."""
    return [
        (row.currency, int(row.subscriptions), row.amount)
        for row in await session.execute(_COMMITTED_MRR)
    ]
