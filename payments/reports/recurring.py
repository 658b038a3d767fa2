"""Recurring: what comes in again each month without anybody asking, how it changes, and what of it
is in danger.

Amounts are gross, in the currency that was settled, and only of months that are over. How a month
is reckoned is told in `rollforward`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments import rollforward
from payments.reports.period import months_before
from payments.rollforward import MOVEMENTS, Forward

__all__ = ["MOVEMENTS", "AtRisk", "Cohort", "Forward", "Recovery"]

EXPIRING = 45  # days


async def forward(
    session: AsyncSession, zone: ZoneInfo, *, since: date, until: date, currency: str | None = None
) -> list[Forward]:
    """The roll-forward of each month from `since` up to `until`, newest first."""
    found = await rollforward.read(session, zone, since=since, until=until)
    chosen = [one for one in found if currency in (None, one.currency)]
    return [one for code in _codes(chosen) for one in _unbroken(chosen, code, until)]


def _codes(found: Sequence[Forward]) -> list[str]:
    return sorted({one.currency for one in found})


def _unbroken(found: Sequence[Forward], currency: str, until: date) -> list[Forward]:
    """From the first month of a currency on, months in which nothing was carried are nought."""
    known = {one.month: one for one in found if one.currency == currency}
    month, told = months_before(until, 1), []
    while month >= min(known):
        told.append(known.get(month) or Forward(month, currency, *(0,) * 11))
        month = months_before(month, 1)
    return told


_COHORTS = text(
    """
    WITH paid AS (
        SELECT contribution_id,
               CAST(date_trunc('month', occurred_at AT TIME ZONE :zone) AS date) AS month
          FROM ledger_entries
         WHERE credit = 'income:monthly'
           AND (CAST(:currency AS text) IS NULL OR currency = :currency)
           AND occurred_at >= CAST(:since AS timestamp) AT TIME ZONE :zone
           AND occurred_at < CAST(:until AS timestamp) AT TIME ZONE :zone
         GROUP BY 1, 2),
    born AS (
        SELECT contribution_id, min(month) AS born FROM paid
         WHERE NOT EXISTS (
               SELECT FROM ledger_entries x
                WHERE x.contribution_id = paid.contribution_id AND x.credit = 'income:monthly'
                  AND x.occurred_at < CAST(:since AS timestamp) AT TIME ZONE :zone)
         GROUP BY 1)
    SELECT born, CAST((extract(year FROM month) - extract(year FROM born)) * 12
                      + extract(month FROM month) - extract(month FROM born) AS int) AS age,
           count(*) AS paid
      FROM paid JOIN born USING (contribution_id)
     GROUP BY 1, 2 ORDER BY 1 DESC, 2
     LIMIT 1000
    """
)


@dataclass(frozen=True, slots=True)
class Cohort:
    """The monthly promises that first paid in a month, and how many paid so many months later."""

    month: date
    paid: Sequence[int]  # by age in months; the first is the size of the cohort


async def cohorts(
    session: AsyncSession, zone: ZoneInfo, *, since: date, until: date, currency: str | None = None
) -> list[Cohort]:
    """Newest first. A month in which none of a cohort paid counts nought."""
    rows = await session.execute(
        _COHORTS, {"zone": zone.key, "since": since, "until": until, "currency": currency}
    )
    found: dict[date, dict[int, int]] = {}
    for row in rows:
        found.setdefault(row.born, {})[row.age] = int(row.paid)
    last = months_before(until, 1)
    return [
        Cohort(month, [paid.get(age, 0) for age in range(_months(month, last) + 1)])
        for month, paid in found.items()
    ]


def _months(first: date, last: date) -> int:
    return (last.year - first.year) * 12 + last.month - first.month


_RECOVERY = text(
    """
    WITH tried AS (
        SELECT c.stripe_payment_intent_id, c.currency,
               min(c.charged_at) FILTER (WHERE c.status = 'failed') AS failed_at,
               bool_or(c.status = 'succeeded') AS recovered, max(c.amount) AS amount,
               count(*) FILTER (WHERE c.status = 'failed') AS failures
          FROM charges c
          JOIN contribution_intents i USING (stripe_payment_intent_id)
         WHERE i.frequency <> 'once'
           AND EXISTS (SELECT FROM ledger_entries e
                        WHERE e.contribution_id = i.contribution_id AND e.credit LIKE 'income:%'
                          AND e.occurred_at < c.charged_at)
         GROUP BY 1, 2)
    SELECT CAST(date_trunc('month', failed_at AT TIME ZONE :zone) AS date) AS month, currency,
           count(*) AS failed, count(*) FILTER (WHERE recovered) AS recovered,
           CAST(sum(amount) AS bigint) AS amount,
           CAST(coalesce(sum(amount) FILTER (WHERE recovered), 0) AS bigint) AS recovered_amount
      FROM tried
     WHERE failed_at >= CAST(:since AS timestamp) AT TIME ZONE :zone
     GROUP BY 1, 2 ORDER BY 1 DESC, 2
     LIMIT 500
    """
)


@dataclass(frozen=True, slots=True)
class Recovery:
    """Renewals whose first try failed in a month, and those that were paid after all."""

    month: date
    currency: str  # that the donor was shown
    failed: int
    recovered: int
    amount: int
    recovered_amount: int


async def recovery(session: AsyncSession, zone: ZoneInfo, *, since: date) -> list[Recovery]:
    """Newest first."""
    rows = await session.execute(_RECOVERY, {"zone": zone.key, "since": since})
    return [Recovery(*row) for row in rows]


_AT_RISK = text(
    """
    SELECT contribution_id, frequency, amount, currency, renews_at,
           CASE WHEN status = 'unpaid' OR status = 'past_due' THEN 'past_due'
                WHEN stripe_payment_method_id IS NULL THEN 'needs_card'
                ELSE 'card_expires' END AS reason,
           card_expires_on
      FROM subscriptions
     WHERE ended_at IS NULL AND status IN ('active', 'trialing', 'past_due', 'unpaid', 'paused')
       AND (status IN ('past_due', 'unpaid') OR stripe_payment_method_id IS NULL
            OR card_expires_on < CAST(:soon AS date))
     ORDER BY 6 DESC, renews_at NULLS LAST, contribution_id
     LIMIT 101
    """
)


@dataclass(frozen=True, slots=True)
class AtRisk:
    """A promise that lives and may not pay again."""

    contribution_id: str
    frequency: str
    amount: int
    currency: str
    renews_at: datetime | None
    reason: str
    card_expires_on: date | None


async def at_risk(session: AsyncSession, *, soon: date) -> list[AtRisk]:
    """At most 101 of them, so that a page can say there are more than it shows."""
    return [AtRisk(*row) for row in await session.execute(_AT_RISK, {"soon": soon})]


_PROMISED = text(
    """
    SELECT currency, count(*) AS promises, CAST(sum(CASE frequency WHEN 'annual' THEN amount / 12
                                                  ELSE amount END) AS bigint) AS amount
      FROM subscriptions
     WHERE ended_at IS NULL AND status IN ('active', 'trialing', 'past_due') AND NOT pauses
     GROUP BY 1 ORDER BY 1 LIMIT 200
    """
)


async def promised(session: AsyncSession) -> list[tuple[str, int, int]]:
    """What living promises are worth each month: currency shown to donors, how many, how much."""
    return [(row.currency, int(row.promises), row.amount)
            for row in await session.execute(_PROMISED)]  # fmt: skip
