"""Retention: every night, what has outlived its date in the data inventory is deleted.

A donor goes when nothing of what they gave can be charged and nothing was for the retention period;
then their subscriptions lose Stripe's ids. The books stay whole and say nothing about anybody.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.giving.subscriptions import LIVE_STATUSES
from payments.infra.context import Context
from payments.safety import erasure
from payments.safety.data_inventory import ALERT_RETENTION, COUNT_RETENTION, DONOR_LINK_RETENTION

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
ANONYMISE_CONTRIBUTIONS_SQL = f"""
    UPDATE contributions c
       SET stripe_session_id = NULL,
           checkout_url = NULL,
           language = 'en'
     WHERE c.donor_id IS NULL
       AND (c.stripe_session_id IS NOT NULL OR c.checkout_url IS NOT NULL OR c.language <> 'en')
       AND {CONTRIBUTION_IS_OVER_SQL}
"""  # noqa: S608 - a fragment of ours
EXPIRED_SUBSCRIPTIONS_SQL = """
    SELECT s.stripe_subscription_id
      FROM subscriptions s
      JOIN contributions c ON c.id = s.contribution_id
     WHERE s.status <> ALL(:live)
       AND coalesce(s.ended_at, s.synced_at) < :before
       AND c.donor_id IS NULL
       AND s.stripe_customer_id <> 'anonymised'
     ORDER BY s.stripe_subscription_id
     LIMIT 5000
"""
# Stripe's id of a subscription leads to its donor. A random one takes its place everywhere, so that
# a subscription still has one history.
ANONYMISE_SUBSCRIPTIONS_SQL = """
    WITH renamed AS (
        SELECT id AS old_id,
               'anonymised_' || replace(CAST(gen_random_uuid() AS text), '-', '') AS new_id
          FROM unnest(CAST(:ids AS text[])) AS id
    ),
    renamed_changes AS (
        UPDATE subscription_changes h
           SET subscription_id = r.new_id
          FROM renamed r
         WHERE h.subscription_id = r.old_id
    ),
    deleted_mails AS (
        DELETE FROM outbox_mails m
         USING renamed r
         WHERE m.subscription_id = r.old_id
    ),
    deleted_muted AS (
        DELETE FROM muted_subscriptions q
         USING renamed r
         WHERE q.stripe_subscription_id = r.old_id
    ),
    deleted_stop_items AS (
        DELETE FROM emergency_stop_items t
         USING renamed r
         WHERE t.stripe_subscription_id = r.old_id
    )
    UPDATE subscriptions s
       SET stripe_subscription_id = r.new_id,
           stripe_customer_id = 'anonymised',
           stripe_payment_method_id = NULL,
           card_expires_on = NULL
      FROM renamed r
     WHERE s.stripe_subscription_id = r.old_id
"""
BATCH_SIZE = 5000  # the LIMIT of both queries
PURGES = (
    ("DELETE FROM quarantines WHERE processed_at < :before", DONOR_LINK_RETENTION),
    ("DELETE FROM alerts WHERE closed_at < :before", ALERT_RETENTION),
    ("DELETE FROM emergency_stops WHERE lifted_at < :before", ALERT_RETENTION),
    ("DELETE FROM article_counts WHERE day < CAST(:before AS date)", COUNT_RETENTION),
    ("DELETE FROM campaign_impressions WHERE day < CAST(:before AS date)", COUNT_RETENTION),
)


async def purge_expired(ctx: Context) -> None:
    """Delete what has outlived its retention. It may run late or twice."""
    now, count = ctx.now(), BATCH_SIZE
    while count >= BATCH_SIZE:
        async with ctx.sessions.begin() as session:
            count = await _anonymise_expired(session, before=now - DONOR_LINK_RETENTION, now=now)
    async with ctx.sessions.begin() as session:
        for statement, retention in PURGES:
            await session.execute(text(statement), {"before": now - retention})


async def _anonymise_expired(session: AsyncSession, *, before: datetime, now: datetime) -> int:
    """Erase donors whose contributions are over, and anonymise those and their subscriptions.

    At most `BATCH_SIZE` donors and subscriptions. Returns how many of whichever there were more.
    """
    period = {"before": before, "live": live_statuses()}
    # a donor who was created today may be about to get their first contribution
    yesterday = now - timedelta(days=1)
    donor_ids = await select_ids(session, EXPIRED_DONORS_SQL, **period, yesterday=yesterday)
    await erasure.erase_donors(session, donor_ids)
    await session.execute(text(ANONYMISE_CONTRIBUTIONS_SQL), period)
    subscription_ids = await select_ids(session, EXPIRED_SUBSCRIPTIONS_SQL, **period)
    await anonymise_subscriptions(session, subscription_ids)
    return max(len(donor_ids), len(subscription_ids))


async def anonymise_subscriptions(session: AsyncSession, subscription_ids: Sequence[str]) -> None:
    """Replace Stripe's ids of these subscriptions, and delete the mails about them."""
    await session.execute(text(ANONYMISE_SUBSCRIPTIONS_SQL), {"ids": subscription_ids})


def live_statuses() -> list[str]:
    """Return the statuses of a subscription that may be charged, as SQL binds them."""
    return [status.value for status in LIVE_STATUSES]


async def select_ids(session: AsyncSession, query: str, **params: object) -> list[str]:
    """Return the ids that a query of one column selects."""
    return [str(id_) for id_ in await session.scalars(text(query), params)]
