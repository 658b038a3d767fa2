"""Recurring revenue: MRR by month, what subscriptions commit to, and what of it is at risk.

Amounts are gross. MRR is in the currency that was settled and only of months that are over
(`mrr_rollforward`); what subscriptions commit to is in the currency donors are charged in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import mrr_rollforward, sql_text
from payments.accounting.mrr_rollforward import MrrMonth
from payments.accounting.reports.period import Period, whole_months_of
from payments.core.calendar import first_of_month, months_before
from payments.core.frequency import Interval, IntervalUnit
from payments.giving.current_card import CARD_EXPIRY_NOTICE
from payments.giving.subscriptions import ARREARS_STATUSES, LIVE_STATUSES, RENEWING_STATUSES

MAX_AT_RISK = 100  # on a page
MONTHS_SHOWN = 13
_FIRST_DAY = text("""
    SELECT CAST(least((SELECT min(occurred_at) FROM ledger_entries),
                      (SELECT min(service_starts_at) FROM payment_intent_links))
                AT TIME ZONE :zone AS date)
""")


def last_months(today: date) -> Period:
    """Return thirteen whole months, the last of them over."""
    until = first_of_month(today)
    return Period(months_before(until, MONTHS_SHOWN), until)


async def months_over(
    session: AsyncSession, zone: ZoneInfo, period: Period, *, today: date
) -> tuple[date, date]:
    """Return the months of a period that are over, as the first day and the day after the last.

    The two are the same day where none is.
    """
    first = today
    if period.since is None:
        first = await session.scalar(_FIRST_DAY, {"zone": zone.key}) or today
    since, until = whole_months_of(period, first=first, last=today)
    return since, max(since, min(until, first_of_month(today)))


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
        filled.append(by_month.get(month) or MrrMonth(month, currency, *(0,) * 13))
        month = months_before(month, 1)
    return filled


_AT_RISK = text(
    f"""
    SELECT contribution_id, interval_unit, interval_count, amount, currency, current_period_end,
           CASE WHEN status IN {sql_text.in_list(ARREARS_STATUSES)} THEN status
                WHEN stripe_payment_method_id IS NULL THEN 'needs_card'
                ELSE 'card_expires' END AS reason,
           card_expires_on
      FROM subscriptions
     WHERE ended_at IS NULL
       AND status IN {sql_text.in_list(LIVE_STATUSES)}
       AND (status IN {sql_text.in_list(ARREARS_STATUSES)}
            OR stripe_payment_method_id IS NULL
            OR card_expires_on <= CAST(:expiring_until AS date))
     ORDER BY reason DESC, current_period_end NULLS LAST, contribution_id
     LIMIT :limit
    OFFSET :offset
    """  # noqa: S608 - constants only
)


@dataclass(frozen=True, slots=True)
class AtRiskSubscription:
    """A live subscription that may not pay again; `amount` is in minor units."""

    contribution_id: str
    interval: Interval
    amount: int | None  # None where Stripe does not say what it will charge
    currency: str
    current_period_end: datetime | None
    reason: str  # past_due, unpaid, needs_card or card_expires
    card_expires_on: date | None


async def at_risk(
    session: AsyncSession, *, today: date, offset: int = 0, size: int = MAX_AT_RISK
) -> tuple[list[AtRiskSubscription], int | None]:
    """Return a page of the subscriptions at risk: those after so many, and after how many the next
    begins.
    """
    params = {
        "expiring_until": today + CARD_EXPIRY_NOTICE,
        "offset": offset,
        "limit": size + 1,
    }
    rows = await session.execute(_AT_RISK, params)
    found = [
        AtRiskSubscription(contribution_id, Interval(IntervalUnit(unit), count), *others)
        for contribution_id, unit, count, *others in rows
    ]
    return found[:size], offset + size if len(found) > size else None


_COMMITTED_MRR = text(
    f"""
    SELECT currency, interval_unit, interval_count,
           count(*) AS subscriptions,
           count(*) FILTER (WHERE amount IS NULL) AS unknown,
           count(*) FILTER (WHERE scheduled_end_at IS NOT NULL) AS ending,
           CAST(coalesce(sum(amount) FILTER (WHERE scheduled_end_at IS NOT NULL), 0) AS bigint)
               AS ending_amount,
           CAST(coalesce(sum(amount), 0) AS bigint) AS amount
      FROM subscriptions
     WHERE ended_at IS NULL
       AND status IN {sql_text.in_list(RENEWING_STATUSES)}
       AND NOT is_paused
       AND trial_ends_at IS NULL
     GROUP BY currency, interval_unit, interval_count
     ORDER BY currency, interval_unit, interval_count
     LIMIT 5000
    """  # noqa: S608 - our own words
)


@dataclass(frozen=True, slots=True)
class CommittedMrr:
    """What the live subscriptions of a currency are worth a month, in minor units."""

    currency: str
    subscriptions: int
    amount: int
    unknown: int  # subscriptions whose amount Stripe does not say: in no sum
    ending: int = 0  # those of them that are set to end, and are no churn until they do
    ending_amount: int = 0  # their part of `amount`


async def committed_mrr(session: AsyncSession) -> list[CommittedMrr]:
    """Return what live subscriptions are worth a month, by currency.

    A month is a twelfth of a year of 365 days or 52 weeks. The sum of a currency is exact, and
    rounded once, half to even.
    """
    found: dict[str, list[tuple[Row[Any], Fraction]]] = {}
    for row in await session.execute(_COMMITTED_MRR):
        interval = Interval(IntervalUnit(row.interval_unit), row.interval_count)
        found.setdefault(row.currency, []).append((row, interval.charges_per_month))
    return [
        CommittedMrr(
            currency,
            subscriptions=sum(row.subscriptions for row, _ in rows),
            amount=round(sum((row.amount * share for row, share in rows), Fraction(0))),
            unknown=sum(row.unknown for row, _ in rows),
            ending=sum(row.ending for row, _ in rows),
            ending_amount=round(
                sum((row.ending_amount * share for row, share in rows), Fraction(0))
            ),
        )
        for currency, rows in found.items()
    ]


_SEVERAL_PER_DONOR = text(
    f"""
    WITH donors_with_several AS (
        SELECT contribution.donor_id,
               bool_or(s.status IN {sql_text.in_list(ARREARS_STATUSES)} OR s.is_paused)
                   AS has_failing
          FROM subscriptions s
          JOIN contributions contribution ON contribution.id = s.contribution_id
         WHERE s.ended_at IS NULL
           AND s.status IN {sql_text.in_list(LIVE_STATUSES)}
           AND contribution.donor_id IS NOT NULL
         GROUP BY contribution.donor_id
        HAVING count(*) > 1
    )
    SELECT count(*), count(*) FILTER (WHERE has_failing) FROM donors_with_several
    """  # noqa: S608 - our own words
)


async def donors_with_several(session: AsyncSession) -> tuple[int, int]:
    """Return how many donors have more than one recurring contribution, and for how many of them
    one is paused or was not paid.
    """
    several, failing = (await session.execute(_SEVERAL_PER_DONOR)).one()
    return int(several), int(failing)
