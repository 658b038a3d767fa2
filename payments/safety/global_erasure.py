"""Global erasure: every identity is destroyed at once, for when the machine may be taken away.

One transaction after the keys are gone. It asks nobody, not even Stripe, and the books still verify
after it. A subscription that is live stays chargeable by its id alone, and is cancelled when Stripe
next sends an event about it.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from payments.core.errors import PaymentsError
from payments.core.settings import Settings
from payments.giving import adoption_review, erased_contributions
from payments.giving.subscriptions import CHARGEABLE_STATUSES
from payments.infra import alerts, db, job_queue
from payments.infra.context import Context
from payments.risk import buckets
from payments.risk.emergency_stops import ENFORCE_PAYMENT_JOB
from payments.safety import emergency_stop, retention, stripe_worklist

# A page that is open may still be paid, which is a new gift; what has an outcome is erased.
GIVEN_SQL = "SELECT id FROM contributions WHERE status NOT IN ('started', 'open') ORDER BY id"
ERASE_EVERYONE_SQL = (
    """
    UPDATE contributions
       SET donor_id = NULL,
           stripe_session_id = NULL,
           checkout_url = NULL,
           checkout_session_params = NULL,
           idempotency_key_hash = NULL,
           request_digest = NULL,
           language = 'en'
    """,
    # the payments of what is no contribution, and attempts that belong to nothing yet
    """
    WITH renamed AS (
        SELECT stripe_payment_intent_id AS old_id,
               anonymised_id() AS new_id
          FROM (SELECT stripe_payment_intent_id FROM payment_intent_links
                 UNION
                SELECT stripe_payment_intent_id FROM charges) every
         WHERE starts_with(stripe_payment_intent_id, 'pi_')
    ),
    renamed_links AS (
        UPDATE payment_intent_links i
           SET stripe_payment_intent_id = r.new_id
          FROM renamed r
         WHERE i.stripe_payment_intent_id = r.old_id
    )
    UPDATE charges h
       SET stripe_payment_intent_id = r.new_id
      FROM renamed r
     WHERE h.stripe_payment_intent_id = r.old_id
    """,
    "DELETE FROM donor_customers",
    "DELETE FROM donor_sessions",
    "DELETE FROM support_cases",
    "DELETE FROM sign_in_links",
    "DELETE FROM erasures",
    "DELETE FROM erased_at_stripe",
    "DELETE FROM donors",
    "DELETE FROM reminders",
    "DELETE FROM newsletter_signups",
    "DELETE FROM confirmation_mails",
    "DELETE FROM suppressed_addresses",
    "DELETE FROM outbox_mails",
    "DELETE FROM outgoing_events",
    "DELETE FROM shown_pages",
    "DELETE FROM quarantines WHERE processed_at IS NOT NULL",
)
# What was decided or stopped of subscriptions that have ended or are not stored here.
FOREIGN_SUBSCRIPTIONS_SQL = """
    SELECT subscription_id FROM subscription_changes
     UNION
    SELECT stripe_subscription_id FROM muted_subscriptions
     UNION
    SELECT stripe_subscription_id FROM emergency_stop_items WHERE state <> 'pending'
    EXCEPT
    SELECT stripe_subscription_id FROM subscriptions WHERE status = ANY(:chargeable)
"""
RECORD_SQL = """
    INSERT INTO global_erasures (erased_at, adopt)
    VALUES (:now, :adopt)
        ON CONFLICT DO NOTHING
"""
# Deleted rows stay on disk until the table is written anew.
TABLES_TO_VACUUM = (
    "alerts", "charges", "contributions", "daily_salts", "donor_customers", "donor_sessions",
    "donors", "emergency_stop_items", "erased_at_stripe", "erasures", "muted_subscriptions",
    "event_deliveries", "newsletter_signups", "outbox_mails", "outgoing_events",
    "payment_intent_links", "procrastinate_events", "procrastinate_jobs", "reminders",
    "shown_pages", "sign_in_links", "subscription_changes", "subscriptions", "support_cases",
    "suppressed_addresses",
)  # fmt: skip


class LiveSubscriptionsRemain(PaymentsError):
    """Erasure would leave subscriptions that their donors could not cancel any more."""

    status = 409
    code = "live-subscriptions-remain"
    title = "There are subscriptions that are still charged"


class StripeWorklistOpen(PaymentsError):
    """Erasure would destroy the numbers by which persons are found at Stripe."""

    status = 409
    code = "stripe-worklist-open"
    title = "Stripe still holds who gave"


class AdoptionUndecided(PaymentsError):
    """Erasure would cancel what may be another line of business of the account."""

    status = 409
    code = "adoption-undecided"
    title = "Nobody has said whether these are contributions"


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """How much was destroyed. `vacuumed`: the tables were written anew as well."""

    donors: int
    reminders: int
    keys: int
    live_subscriptions: int
    vacuumed: bool


async def erase_everyone(
    ctx: Context, *, worklist_settled: bool, force: bool = False
) -> ErasureReport:
    """Destroy every identity. Raises LiveSubscriptionsRemain unless `force`, and StripeWorklistOpen
    unless an operator worked off what Stripe holds, or leaves it there: `worklist_settled`. Raises
    AdoptionUndecided while a person has to say what some of them are: each would be cancelled.
    """
    undecided_count = await adoption_review.count_undecided(ctx)
    if undecided_count:
        raise AdoptionUndecided(
            "%(count)s subscriptions were imported and are still charged, and PAYMENTS_ADOPT "
            "leaves some of them out by now. The erasure would have them cancelled at Stripe. "
            "`payments stripe adoption` says how many: correct the setting and run it again, or "
            "forget those of another line of business with --drop. Whoever closes the alert on "
            "the page of alerts has them cancelled. Nothing was destroyed.",
            count=undecided_count,
        )
    async with ctx.sessions() as session:
        live_count = await emergency_stop.count_live(session)
        worklist = [] if worklist_settled else await stripe_worklist.list_items(session)
    if live_count and not force:
        raise LiveSubscriptionsRemain(
            "%(count)s subscriptions are still charged. Run `payments emergency-stop --group all "
            "--mode cancel` first, or add --force. Nothing was destroyed.",
            count=live_count,
        )
    if worklist:
        raise StripeWorklistOpen(
            "Stripe holds %(count)s objects that name somebody, and after this nobody knows which. "
            "`payments erase-identities --worklist` lists them. When they are deleted or redacted "
            "there add --worklist-done; to leave them, --leave-at-stripe. Nothing was destroyed.",
            count=len(worklist),
        )
    keys = _destroy_keys(ctx.settings)  # first: from then on nothing opens an address
    now = ctx.now()
    async with ctx.sessions.begin() as session:
        donors = await session.scalar(text("SELECT count(*) FROM donors"))
        reminders = await session.scalar(text("SELECT count(*) FROM reminders"))
        await erased_contributions.lock_everything(session)
        given = await retention.select_ids(session, GIVEN_SQL)
        await erased_contributions.erase(session, given, now=now)
        for statement in ERASE_EVERYONE_SQL:
            await session.execute(text(statement))
        await buckets.forget_everything(session)
        await session.execute(text(RECORD_SQL), {"now": now, "adopt": str(ctx.settings.adopt)})
        chargeable = [status.value for status in CHARGEABLE_STATUSES]
        foreign = await retention.select_ids(
            session, FOREIGN_SUBSCRIPTIONS_SQL, chargeable=chargeable
        )
        await erased_contributions.anonymise_subscriptions(session, foreign)
        await job_queue.forget_all(session, but=[ENFORCE_PAYMENT_JOB])
        await alerts.forget_persons(session)
    vacuumed = await _vacuum(ctx)
    return ErasureReport(int(donors or 0), int(reminders or 0), keys, live_count, vacuumed)


def _destroy_keys(settings: Settings) -> int:
    """Delete every key of the address vault. Returns how many there were."""
    if not settings.address_key_dir or not Path(settings.address_key_dir).is_dir():
        return 0
    paths = [path for path in Path(settings.address_key_dir).iterdir() if not path.is_symlink()]
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return len(paths)


async def _vacuum(ctx: Context) -> bool:
    """Have the database write the tables anew, if its user may. Returns whether it wrote them all.

    One that is in use, by a dump for one, is left out, as everybody would wait for it as well. The
    write-ahead log holds the old rows a while longer; the checkpoint makes that while short.
    """
    engine = db.create_engine(ctx.settings.database_url.get_secret_value(), pool_size=1, role=None)
    failed = 0
    try:
        async with engine.connect() as connection:
            autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await autocommit.execute(text(f"SET lock_timeout = '{db.BRIEF_LOCK_TIMEOUT}'"))
            for statement in (
                *(f"VACUUM FULL {table}" for table in TABLES_TO_VACUUM),
                "CHECKPOINT",
            ):
                try:
                    await autocommit.execute(text(statement))
                except DBAPIError:
                    failed += 1
    except DBAPIError:
        return False
    finally:
        await engine.dispose()
    return failed == 0
