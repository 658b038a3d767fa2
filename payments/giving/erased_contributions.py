"""Erased contributions: what stays when the donor of a contribution is erased, and what never comes
back.

The books need amounts, days and the charges. Stripe's numbers that lead to a person go: of the
session, the payment intents, the subscription, the customer and the payment method. An erased
contribution stays that: a late event, a sweep or a repair finds it, and stores none of them again.
Of a subscription that is still live the number stays until it is cancelled.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.donors import donors
from payments.giving.contributions import Contribution
from payments.giving.subscriptions import CHARGEABLE_STATUSES
from payments.infra import alerts, db, job_queue
from payments.mail import muted

ANONYMISED = "anonymised"  # in the place of what is gone

# A random id takes the place of Stripe's everywhere, so that a subscription still has one history
# and the charges of one payment still belong together.
_ERASE_CONTRIBUTIONS_SQL = text("""
    UPDATE contributions c
       SET erased = true,
           donor_id = NULL,
           stripe_session_id = NULL,
           checkout_url = NULL,
           checkout_session_params = NULL,
           idempotency_key_hash = NULL,
           request_digest = NULL,
           article = NULL,
           language = 'en'
      FROM (SELECT id, stripe_session_id
              FROM contributions
             WHERE id = ANY(:ids)
             ORDER BY id
               FOR NO KEY UPDATE) before
     WHERE c.id = before.id
 RETURNING before.stripe_session_id
""")
_RENAME_PAYMENTS_SQL = text("""
    WITH renamed AS (
        SELECT stripe_payment_intent_id AS old_id,
               anonymised_id() AS new_id
          FROM payment_intent_links
         WHERE contribution_id = ANY(:ids)
           AND starts_with(stripe_payment_intent_id, 'pi_')
    ),
    renamed_charges AS (
        UPDATE charges h
           SET stripe_payment_intent_id = r.new_id
          FROM renamed r
         WHERE h.stripe_payment_intent_id = r.old_id
    )
    UPDATE payment_intent_links i
       SET stripe_payment_intent_id = r.new_id
      FROM renamed r
     WHERE i.stripe_payment_intent_id = r.old_id
 RETURNING r.old_id
""")
_SUBSCRIPTIONS_SQL = text("""
    SELECT stripe_subscription_id, stripe_customer_id, stripe_payment_method_id,
           status = ANY(:chargeable) AS is_chargeable
      FROM subscriptions
     WHERE contribution_id = ANY(:ids)
     ORDER BY stripe_subscription_id
       FOR UPDATE
""")
_FORGET_METHODS_SQL = text("""
    UPDATE subscriptions
       SET stripe_customer_id = 'anonymised',
           stripe_payment_method_id = NULL,
           card_expires_on = NULL
     WHERE stripe_subscription_id = ANY(:ids)
""")
_RENAME_SUBSCRIPTIONS_SQL = text("""
    WITH renamed AS (
        SELECT id AS old_id,
               anonymised_id() AS new_id
          FROM unnest(CAST(:ids AS text[])) AS id
         WHERE NOT starts_with(id, 'anonymised')
    ),
    renamed_changes AS (
        UPDATE subscription_changes h
           SET subscription_id = r.new_id,
               stripe_setup_intent_id = NULL
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
""")
# Mails about their payments, and about the years of those who gave nothing else.
_DELETE_PAYMENT_MAILS_SQL = text("""
    DELETE FROM outbox_mails
     WHERE split_part(object_id, ':', 1) IN (
           SELECT h.stripe_charge_id
             FROM charges h
             JOIN payment_intent_links i USING (stripe_payment_intent_id)
            WHERE i.contribution_id = ANY(:ids))
        OR split_part(object_id, ':', 1) IN (
           SELECT c.donor_id
             FROM contributions c
            WHERE c.id = ANY(:ids)
              AND NOT EXISTS (
                  SELECT FROM contributions other
                   WHERE other.donor_id = c.donor_id
                     AND other.id <> ALL(:ids)))
""")
_MAILS_ABOUT_SQL = text("SELECT object_id FROM outbox_mails WHERE subscription_id = ANY(:ids)")


async def erase(session: AsyncSession, contribution_ids: Sequence[str], *, now: datetime) -> None:
    """Cut contributions from whoever gave them, for good, with all that they led to at Stripe.

    Nobody is written to about a subscription that is still live. Whatever job of an invoice has
    failed goes, whosever it was: sweeps find the open payments of the others again.
    """
    if not contribution_ids:
        return
    ids = {"ids": list(contribution_ids)}
    await session.flush()
    session.expire_all()  # rows are written past the objects of this transaction
    await session.execute(_DELETE_PAYMENT_MAILS_SQL, ids)
    session_ids = await session.scalars(_ERASE_CONTRIBUTIONS_SQL, ids)
    forgotten = [id_ for id_ in session_ids if id_ is not None]
    forgotten += await session.scalars(_RENAME_PAYMENTS_SQL, ids)
    chargeable = [status.value for status in CHARGEABLE_STATUSES]
    rows = (await session.execute(_SUBSCRIPTIONS_SQL, ids | {"chargeable": chargeable})).all()
    forgotten += [row.stripe_customer_id for row in rows]
    forgotten += [row.stripe_payment_method_id for row in rows if row.stripe_payment_method_id]
    live = [row.stripe_subscription_id for row in rows if row.is_chargeable]
    await muted.mute(session, live, now=now)
    await session.execute(_FORGET_METHODS_SQL, {"ids": live})
    await anonymise_subscriptions(
        session, [row.stripe_subscription_id for row in rows if not row.is_chargeable]
    )
    if rows:  # whose invoice it is nobody knows where it could not be read
        forgotten += await job_queue.forget_failed(session, "invoice")
    await forget(session, forgotten)


async def ids_of_donors(session: AsyncSession, donor_ids: Sequence[str]) -> list[str]:
    """Return the ids of all that these donors gave."""
    query = select(Contribution.id).where(Contribution.donor_id.in_(donor_ids))
    return list(await session.scalars(query.order_by(Contribution.id)))


async def anonymise_subscriptions(session: AsyncSession, subscription_ids: Sequence[str]) -> None:
    """Replace Stripe's ids of subscriptions that have ended, and delete the mails, jobs and
    alerts about them.
    """
    await session.flush()
    session.expire_all()
    ids = {"ids": list(subscription_ids)}
    mails_about = await session.scalars(_MAILS_ABOUT_SQL, ids)  # invoices, among others
    forgotten = [*subscription_ids, *(id_ for id_ in mails_about if id_ is not None)]
    await session.execute(_RENAME_SUBSCRIPTIONS_SQL, ids)
    await forget(session, forgotten)


async def forget(session: AsyncSession, object_ids: Sequence[str]) -> None:
    """Delete the jobs and the alerts about objects of Stripe's whose donor is erased."""
    await job_queue.forget(session, object_ids)
    await alerts.forget(session, object_ids)


async def is_erased(session: AsyncSession, contribution_id: str | None) -> bool:
    """Whether a contribution is there and was erased."""
    query = select(Contribution.erased).where(Contribution.id == contribution_id)
    return bool(await session.scalar(query))


async def lock(session: AsyncSession, contribution_id: str) -> None:
    """Let nobody else attach a donor or an id of Stripe's to a contribution, or erase it, until
    this transaction ends. It is taken before the lock of any row.
    """
    await db.advisory_lock(session, contribution_id)


async def lock_everything(session: AsyncSession) -> None:
    """Wait for whoever writes what an erasure deletes, and let nobody else begin."""
    await session.execute(
        text("""
            LOCK TABLE contributions, subscriptions, charges, payment_intent_links, donors
              IN EXCLUSIVE MODE
        """)
    )


async def is_or_becomes_erased(
    session: AsyncSession, contribution_id: str, *, given_at: datetime, now: datetime
) -> bool:
    """Whether a contribution was erased, which it locks. One that was given before everybody was
    erased, of which Stripe tells only now, is erased as well.
    """
    await lock(session, contribution_id)
    if await is_erased(session, contribution_id):
        return True
    if not await donors.all_erased_since(session, given_at):
        return False
    await erase(session, [contribution_id], now=now)
    return True


async def use_own_ids(session: AsyncSession, payment_intent_id: str) -> list[str]:
    """Have the charges of an erased contribution's payment be found by their own ids, which the
    books need anyway. Returns those.
    """
    return list(
        await session.scalars(
            text("""
                UPDATE charges
                   SET stripe_payment_intent_id = stripe_charge_id
                 WHERE stripe_payment_intent_id = :id
             RETURNING stripe_charge_id
            """),
            {"id": payment_intent_id},
        )
    )
