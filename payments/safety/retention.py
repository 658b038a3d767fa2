"""What time takes away, and what one command takes away at once.

Every night whatever has outlived its date in `classified` is removed: a donor's hash, and what ties
them to Stripe and to their gifts. The books stay whole and tell of nobody. `shred` does all of that
for everybody in one transaction, for the hour when the machine may be taken away: it asks nobody,
not even Stripe, and the books still verify after it.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import PaymentsError
from payments.core.settings import Settings
from payments.giving.subscriptions import LIVE_STATUSES
from payments.infra import db
from payments.infra.context import Context
from payments.safety import emergency_stop
from payments.safety.data_inventory import ALERT_RETENTION, COUNT_RETENTION, DONOR_LINK_RETENTION

LIVE_STATUSES_SQL = "('" + "', '".join(LIVE_STATUSES) + "')"
# A contribution is over when nothing of it can be charged, and was not for so long.
CONTRIBUTION_IS_OVER_SQL = f"""
    c.created_at < :before
    AND NOT EXISTS (SELECT 1 FROM subscriptions s WHERE s.contribution_id = c.id
                       AND (s.status IN {LIVE_STATUSES_SQL} OR coalesce(s.ended_at, s.synced_at) >= :before))
    AND NOT EXISTS (SELECT 1 FROM payment_intent_links i
                      JOIN charges h USING (stripe_payment_intent_id)
                     WHERE i.contribution_id = c.id AND h.charged_at >= :before)
"""  # noqa: S608 - words of ours
# Whoever gave something that is not over stays known by all they gave.
EXPIRED_DONORS_SQL = f"""
    SELECT d.id FROM donors d
     WHERE d.created_at < :now - interval '1 day'
       AND NOT EXISTS (SELECT 1 FROM contributions c WHERE c.donor_id = d.id AND NOT ({CONTRIBUTION_IS_OVER_SQL}))
     ORDER BY d.id LIMIT 5000
"""  # noqa: S608 - words of ours
DELETE_DONORS_SQL = (
    "UPDATE contributions SET donor_id = NULL WHERE donor_id = ANY(:ids)",
    """DELETE FROM sign_in_links s USING donors d
        WHERE d.address_hash = s.address_hash AND d.id = ANY(:ids)
    """,
    "DELETE FROM donor_customers WHERE donor_id = ANY(:ids)",
    "DELETE FROM donors WHERE id = ANY(:ids)",
)
ANONYMISE_CONTRIBUTIONS_SQL = f"""
    UPDATE contributions c SET stripe_session_id = NULL, checkout_url = NULL, language = 'en'
     WHERE c.donor_id IS NULL AND {CONTRIBUTION_IS_OVER_SQL}
       AND (c.stripe_session_id IS NOT NULL OR c.checkout_url IS NOT NULL OR c.language <> 'en')
"""  # noqa: S608 - words of ours
# The number by which Stripe knows a promise leads to whoever made it. In its place stands one that
# leads nowhere, so that its history still is one history.
EXPIRED_SUBSCRIPTIONS_SQL = f"""
    SELECT s.stripe_subscription_id FROM subscriptions s
      JOIN contributions c ON c.id = s.contribution_id
     WHERE s.status NOT IN {LIVE_STATUSES_SQL} AND coalesce(s.ended_at, s.synced_at) < :before
       AND c.donor_id IS NULL AND s.stripe_customer_id <> 'forgotten'
     ORDER BY s.stripe_subscription_id LIMIT 5000
"""  # noqa: S608 - words of ours
ANONYMISE_SUBSCRIPTIONS_SQL = """
    WITH names AS (
        SELECT id, 'forgotten_' || replace(CAST(gen_random_uuid() AS text), '-', '') AS other
          FROM unnest(CAST(:ids AS text[])) AS id
    ), changed AS (
        UPDATE subscription_changes h SET subscription_id = n.other
          FROM names n WHERE h.subscription_id = n.id
    ), mails AS (
        DELETE FROM outbox_mails m USING names n WHERE m.subscription_id = n.id
    ), muted_subscriptions AS (
        DELETE FROM muted_subscriptions q USING names n WHERE q.stripe_subscription_id = n.id
    ), steps AS (
        DELETE FROM bulk_stop_items t USING names n WHERE t.stripe_subscription_id = n.id
    )
    UPDATE subscriptions s
       SET stripe_subscription_id = n.other, stripe_customer_id = 'forgotten',
           stripe_payment_method_id = NULL, card_expires_on = NULL
      FROM names n WHERE s.stripe_subscription_id = n.id
"""
PURGE_EXPIRED_SQL = (
    "DELETE FROM quarantines WHERE processed_at < :before",
    "DELETE FROM alerts WHERE closed_at < :alarms_before",
    "DELETE FROM bulk_stops WHERE ended_at < :alarms_before",
    "DELETE FROM article_counts WHERE day < CAST(:counts_before AS date)",
    "DELETE FROM campaign_impressions WHERE day < CAST(:counts_before AS date)",
)


async def purge_expired(ctx: Context) -> None:
    """Remove what has outlived its date. It may run late, twice, or half."""
    now = ctx.now()
    async with ctx.sessions.begin() as session:
        await _anonymise_expired(session, before=now - DONOR_LINK_RETENTION, now=now)
        for statement in PURGE_EXPIRED_SQL:
            wanted = {
                "before": now - DONOR_LINK_RETENTION,
                "alarms_before": now - ALERT_RETENTION,
                "counts_before": now - COUNT_RETENTION,
            }
            names = {name: moment for name, moment in wanted.items() if f":{name}" in statement}
            await session.execute(text(statement), names)


async def _anonymise_expired(session: AsyncSession, *, before: datetime, now: datetime) -> None:
    """Forget donors whose gifts are over, and cut those gifts and promises from Stripe's people."""
    donors = await _select_ids(session, EXPIRED_DONORS_SQL, before=before, now=now)
    for statement in DELETE_DONORS_SQL:
        await session.execute(text(statement), {"ids": donors})
    await session.execute(text(ANONYMISE_CONTRIBUTIONS_SQL), {"before": before})
    ended = await _select_ids(session, EXPIRED_SUBSCRIPTIONS_SQL, before=before)
    await session.execute(text(ANONYMISE_SUBSCRIPTIONS_SQL), {"ids": ended})


async def _select_ids(session: AsyncSession, query: str, **params: datetime) -> Sequence[str]:
    return [str(one) for one in await session.scalars(text(query), params)]


# --- all at once ----------------------------------------------------------------------------------

ERASE_EVERYONE_SQL = (
    """UPDATE contributions SET donor_id = NULL, stripe_session_id = NULL, checkout_url = NULL,
              checkout_session_params = NULL, idempotency_key_hash = NULL, request_digest = NULL, language = 'en'
    """,
    "UPDATE subscriptions SET stripe_payment_method_id = NULL, card_expires_on = NULL",
    "DELETE FROM donor_customers",
    "DELETE FROM donor_sessions",
    "DELETE FROM support_cases",
    "DELETE FROM sign_in_links",
    "DELETE FROM erasures",
    "DELETE FROM donors",
    "DELETE FROM reminders",
    "DELETE FROM newsletter_signups",
    "DELETE FROM confirmation_mails",
    "DELETE FROM suppressed_addresses",
    "DELETE FROM outbox_mails",
    "DELETE FROM rate_limit_buckets",
)
MUTE_LIVE_SQL = f"""
    INSERT INTO muted_subscriptions (stripe_subscription_id, muted_at)
    SELECT stripe_subscription_id, :now FROM subscriptions WHERE status IN {LIVE_STATUSES_SQL}
        ON CONFLICT DO NOTHING
"""  # noqa: S608 - words of ours
ENDED_SUBSCRIPTIONS_SQL = f"""
    SELECT stripe_subscription_id FROM subscriptions
     WHERE status NOT IN {LIVE_STATUSES_SQL} AND stripe_customer_id <> 'forgotten'
"""  # noqa: S608 - words of ours
# Where rows were, until the database writes over it.
TABLES_TO_VACUUM = (
    "contributions", "donor_customers", "donor_sessions", "donors", "erasures", "outbox_mails",
    "newsletter_signups", "reminders", "sign_in_links", "subscriptions", "suppressed_addresses",
    "support_cases",
)  # fmt: skip


class LiveSubscriptionsRemain(PaymentsError):
    """Shredding would leave promises that nobody could stop by themselves."""

    status = 409
    code = "live-subscriptions-remain"
    title = "There are promises that still live"


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What was destroyed, and whether the space it stood in was written over as well."""

    donors: int
    reminders: int
    keys: int
    live_subscriptions: int
    vacuumed: bool


async def erase_everyone(ctx: Context, *, force: bool = False) -> ErasureReport:
    """Destroy every identity. Raises PromisesLive unless `anyway`: then a promise that lives is
    ended when Stripe next tells of it, and only its own number is left to find it by.
    """
    async with ctx.sessions() as session:
        left = await emergency_stop.count_live(session)
    if left and not force:
        raise LiveSubscriptionsRemain(
            "%(count)s promises are still charged. Run `payments emergency-stop --group all "
            "--mode cancel` first, or add --force. Nothing was destroyed.",
            count=left,
        )
    keys = _destroy_keys(ctx.settings)  # first: then nothing opens an address, whatever comes
    async with ctx.sessions.begin() as session:
        people = await session.scalar(text("SELECT count(*) FROM donors"))
        asked = await session.scalar(text("SELECT count(*) FROM reminders"))
        for statement in ERASE_EVERYONE_SQL:
            await session.execute(text(statement))
        await session.execute(text(MUTE_LIVE_SQL), {"now": ctx.now()})
        await session.execute(
            text("INSERT INTO global_erasures VALUES (:now) ON CONFLICT DO NOTHING"),
            {"now": ctx.now()},
        )
        ended = await _select_ids(session, ENDED_SUBSCRIPTIONS_SQL)
        await session.execute(text(ANONYMISE_SUBSCRIPTIONS_SQL), {"ids": ended})
    wiped = await _vacuum(ctx)
    return ErasureReport(int(people or 0), int(asked or 0), keys, left, wiped)


def _destroy_keys(settings: Settings) -> int:
    """Unlink every key of the store. Gives how many there were."""
    if not settings.address_key_dir or not Path(settings.address_key_dir).is_dir():
        return 0
    found = [path for path in Path(settings.address_key_dir).iterdir() if not path.is_symlink()]
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return len(found)


async def _vacuum(ctx: Context) -> bool:
    """Have the database write the tables anew, as whoever may. Gives whether it could.

    Its write-ahead log keeps what was for a while longer; the checkpoint makes that while short.
    """
    engine = db.create_engine(ctx.settings.database_url.get_secret_value(), pool_size=1, role=None)
    try:
        async with engine.connect() as connection:
            plain = await connection.execution_options(isolation_level="AUTOCOMMIT")
            for table in TABLES_TO_VACUUM:
                await plain.execute(text(f"VACUUM FULL {table}"))
            await plain.execute(text("CHECKPOINT"))
    except DBAPIError:
        return False
    finally:
        await engine.dispose()
    return True
