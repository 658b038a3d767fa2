"""What a campaign brought, for its goal and for its sponsor: sums that no reader's page reads.

A schedule counts them once a day and stores of each campaign what may be shown (`campaign_goal`).
Counted is what readers paid in the currency of the goal through the campaign, renewals included,
less what was refunded, disputed or returned since.
"""

from dataclasses import dataclass
from datetime import date, datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import calendar, campaign_goal
from payments.core.campaign_goal import Goal, Matching, Totals
from payments.core.money import Money
from payments.giving import campaigns
from payments.giving.campaigns import Campaign
from payments.infra import isolation, retries
from payments.infra.context import Context

MIN_DONORS_SHOWN = 5  # who gave, before a sum of a campaign is shown to finance
_TOTALS_SQL = text("""
    WITH payments AS (
        SELECT charge.charged_at,
               CAST(charge.charged_at AT TIME ZONE :zone AS date) AS charged_on,
               coalesce(contribution.donor_id, contribution.id) AS donor,
               greatest(charge.amount - coalesce(returned.amount, 0), 0) AS amount
          FROM contributions contribution
          JOIN payment_intent_links link ON link.contribution_id = contribution.id
          JOIN charges charge USING (stripe_payment_intent_id)
         CROSS JOIN LATERAL (
             SELECT sum(refunded + taken_back) AS amount
               FROM returned_money
              WHERE stripe_charge_id = charge.stripe_charge_id) returned
         WHERE contribution.campaign = :campaign
           AND charge.currency = :currency
           AND charge.status IN ('succeeded', 'returned')
    )
    SELECT CAST(coalesce(sum(amount), 0) AS bigint),
           CAST(coalesce(sum(amount) FILTER (
               WHERE charged_on >= coalesce(CAST(:first_day AS date), charged_on)
                 AND charged_on <= CAST(:last_day AS date)), 0) AS bigint),
           count(DISTINCT donor) FILTER (
               WHERE amount > 0
                 AND charged_at > coalesce(CAST(:since AS timestamptz), '-infinity'))
      FROM payments
""")


@dataclass(frozen=True, slots=True)
class SponsorClaim:
    """What is to be asked of a sponsor for what was given so far; nothing of it is booked."""

    campaign: str
    matching: Matching
    given: Money  # on the days of the matching, less what went back
    to_ask: Money

    @property
    def ceiling(self) -> Money:
        """The most that the sponsor pays."""
        return Money(self.matching.ceiling, self.matching.currency)


@dataclass(frozen=True, slots=True)
class GoalProgress:
    """A campaign against its goal, in minor units of the goal's currency.

    `raised` is what was given since it began, less what went back, and None while fewer than
    MIN_DONORS_SHOWN gave; `to_ask` is what its sponsor owes, None without one.
    """

    campaign: str
    goal: Goal
    ends_on: date | None
    raised: int | None
    to_ask: Money | None

    @property
    def percent(self) -> int | None:
        """The share of the goal in percent, rounded down; None where it is not shown."""
        return None if self.raised is None else self.raised * 100 // self.goal.amount


async def count_all(ctx: Context) -> None:
    """Count each campaign that has a goal or a matching, at most once a day.

    A day is of the accounting zone.
    """
    async with ctx.sessions() as session:
        ids = [
            campaign.id
            for campaign in await campaigns.list_all(session)
            if not campaign.parsed_config().is_over(_today(ctx))
        ]

    async def count(campaign_id: str) -> None:
        async with ctx.sessions.begin() as session:
            await _count(ctx, session, campaign_id)

    await isolation.for_each(ctx, ids, count, job=retries.schedule_job("count_campaigns"))


async def _count(ctx: Context, session: AsyncSession, campaign_id: str) -> None:
    campaign = await session.get_one(Campaign, campaign_id, with_for_update=True)
    config, before = campaign.parsed_config(), campaign.parsed_progress()
    stated = config.goal or config.matching
    if stated is None or (before is not None and before.counted_on >= _today(ctx)):
        return
    progress = campaign_goal.count(
        config.goal,
        config.matching,
        before=before,
        totals=await _totals(
            ctx,
            session,
            campaign_id,
            stated.currency,
            config.matching,
            since=campaign_goal.counts_since(config.goal, before),
        ),
        now=ctx.now(),
        today=_today(ctx),
    )
    campaign.progress = msgspec.to_builtins(progress)


async def list_claims(ctx: Context, session: AsyncSession) -> list[SponsorClaim]:
    """Return what is to be asked of each sponsor, the campaign changed last first."""
    claims = []
    for campaign in await campaigns.list_all(session):
        matching = campaign.parsed_config().matching
        if matching is not None:
            totals = await _totals(ctx, session, campaign.id, matching.currency, matching)
            given = Money(totals.matchable, matching.currency)
            claims.append(SponsorClaim(campaign.id, matching, given, matching.added_to(given)))
    return claims


async def list_goals(ctx: Context, session: AsyncSession) -> list[GoalProgress]:
    """Return each campaign that has a goal beside what it brought, the one changed last first."""
    goals = []
    for campaign in await campaigns.list_all(session):
        config = campaign.parsed_config()
        if config.goal is None:
            continue
        matching, currency = config.matching, config.goal.currency
        totals = await _totals(ctx, session, campaign.id, currency, matching)
        to_ask = None if matching is None else matching.added_to(Money(totals.matchable, currency))
        goals.append(
            GoalProgress(
                campaign.id,
                config.goal,
                config.ends_on,
                totals.given if totals.donors >= MIN_DONORS_SHOWN else None,
                to_ask if totals.donors >= MIN_DONORS_SHOWN else None,
            )
        )
    return goals


async def _totals(
    ctx: Context,
    session: AsyncSession,
    campaign_id: str,
    currency: str,
    matching: Matching | None,
    *,
    since: datetime | None = None,
) -> Totals:
    """Return what a campaign brought in a currency. `since` is when its step last changed."""
    row = await session.execute(
        _TOTALS_SQL,
        {
            "campaign": campaign_id,
            "currency": currency,
            "zone": ctx.settings.accounting_zone,
            "first_day": None if matching is None else matching.starts_on,
            "last_day": date.max if matching is None else matching.ends_on,
            "since": since,
        },
    )
    return Totals(*row.one())


def _today(ctx: Context) -> date:
    return calendar.local_date(ctx.now(), ctx.settings.accounting_zone)
