"""Retention: every night, what has outlived its date in the data inventory is deleted.

A donor goes when nothing of what they gave can be charged and nothing was for the retention period;
then their subscriptions lose Stripe's ids. The books stay whole and say nothing about anybody.
"""

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.brand_settings import ArticlePolicy
from payments.giving import article_counts, erased_contributions
from payments.giving.subscriptions import LIVE_STATUSES
from payments.infra import alerts
from payments.infra.context import Context
from payments.safety import erasure
from payments.safety.data_inventory import (
    COUNT_RETENTION,
    DONOR_LINK_RETENTION,
    FOREIGN_RETENTION,
)

# Binds: `before` is the end of the retention period, `live` the live statuses of a subscription.
CONTRIBUTION_IS_OVER_SQL = """
    c.created_at < :before
    AND NOT EXISTS (
        SELECT 1
          FROM subscriptions s
         WHERE s.contribution_id = c.id
           AND (s.status = ANY(:live) OR coalesce(s.ended_at, s.synced_at) >= :before)
    )
    AND NOT EXISTS (
        SELECT 1
          FROM payment_intent_links i
          JOIN charges h USING (stripe_payment_intent_id)
         WHERE i.contribution_id = c.id
           AND h.charged_at >= :before
    )
"""
# A donor of whom one contribution is not over stays, with all they gave.
EXPIRED_DONORS_SQL = f"""
    SELECT d.id
      FROM donors d
     WHERE d.created_at < :yesterday
       AND NOT EXISTS (
           SELECT 1
             FROM contributions c
            WHERE c.donor_id = d.id
              AND NOT ({CONTRIBUTION_IS_OVER_SQL})
       )
     ORDER BY d.id
     LIMIT 5000
"""  # noqa: S608 - a fragment of ours
EXPIRED_CONTRIBUTIONS_SQL = f"""
    SELECT c.id
      FROM contributions c
     WHERE c.donor_id IS NULL
       AND NOT c.erased
       AND {CONTRIBUTION_IS_OVER_SQL}
     ORDER BY c.id
     LIMIT 5000
"""  # noqa: S608 - a fragment of ours
BATCH_SIZE = 5000  # the LIMIT of both queries
# What a stop of all ended for another program of the account: we have no row of it. While the stop
# stands, one that can be charged again is found in Stripe's lists.
FOREIGN_STOP_ITEMS_SQL = """
    DELETE FROM emergency_stop_items i
     USING emergency_stops e
     WHERE e.id = i.emergency_stop_id
       AND e.decided_at < :before
       AND i.state IN ('done', 'already_ended')
       AND NOT EXISTS (
           SELECT 1 FROM subscriptions s WHERE s.stripe_subscription_id = i.stripe_subscription_id
       )
"""
FOREIGN_CHANGES_SQL = """
    DELETE FROM subscription_changes h
     WHERE h.decided_at < :before
       AND NOT EXISTS (
           SELECT 1 FROM subscriptions s WHERE s.stripe_subscription_id = h.subscription_id
       )
       AND NOT EXISTS (
           SELECT 1 FROM emergency_stop_items i WHERE i.stripe_subscription_id = h.subscription_id
       )
"""
FOREIGN_MUTED_SQL = """
    DELETE FROM muted_subscriptions m
     WHERE m.muted_at < :before
       AND NOT EXISTS (
           SELECT 1 FROM subscriptions s WHERE s.stripe_subscription_id = m.stripe_subscription_id
       )
       AND NOT EXISTS (
           SELECT 1
             FROM emergency_stop_items i
            WHERE i.stripe_subscription_id = m.stripe_subscription_id
       )
"""
PURGES = (
    (FOREIGN_STOP_ITEMS_SQL, FOREIGN_RETENTION),
    (FOREIGN_CHANGES_SQL, FOREIGN_RETENTION),
    (FOREIGN_MUTED_SQL, FOREIGN_RETENTION),
    ("DELETE FROM quarantines WHERE processed_at < :before", DONOR_LINK_RETENTION),
    ("DELETE FROM emergency_stops WHERE lifted_at < :before", alerts.ALERT_RETENTION),
    ("DELETE FROM article_counts WHERE day < CAST(:before AS date)", COUNT_RETENTION),
    ("DELETE FROM campaign_impressions WHERE day < CAST(:before AS date)", COUNT_RETENTION),
)


async def purge_expired(ctx: Context) -> None:
    """Delete what has outlived its retention. It may run late or twice."""
    now, count = ctx.now(), BATCH_SIZE
    while count >= BATCH_SIZE:
        async with ctx.sessions.begin() as session:
            count = await _erase_expired(session, before=now - DONOR_LINK_RETENTION, now=now)
    async with ctx.sessions.begin() as session:
        for statement, retention in PURGES:
            await session.execute(text(statement), {"before": now - retention})
        if ctx.settings.articles is not ArticlePolicy.REVENUE:
            await article_counts.forget_articles(session)
        await alerts.purge(session, now)


async def _erase_expired(session: AsyncSession, *, before: datetime, now: datetime) -> int:
    """Erase donors whose contributions are over, and what was given without a donor.

    At most `BATCH_SIZE` donors and contributions. Returns how many of whichever there were more.
    """
    period = {"before": before, "live": live_statuses()}
    # a donor who was created today may be about to get their first contribution
    yesterday = now - timedelta(days=1)
    donor_ids = await select_ids(session, EXPIRED_DONORS_SQL, **period, yesterday=yesterday)
    await erasure.erase_donors(session, donor_ids, now=now)
    contribution_ids = await select_ids(session, EXPIRED_CONTRIBUTIONS_SQL, **period)
    await erased_contributions.erase(session, contribution_ids, now=now)
    return max(len(donor_ids), len(contribution_ids))


def live_statuses() -> list[str]:
    """Return the statuses of a subscription that may be charged, as SQL binds them."""
    return [status.value for status in LIVE_STATUSES]


async def select_ids(session: AsyncSession, query: str, **params: object) -> list[str]:
    """Return the ids that a query of one column selects."""
    return [str(id_) for id_ in await session.scalars(text(query), params)]
