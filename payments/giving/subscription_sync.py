"""A subscription's sync: fetch it from Stripe, store it, and find out whose it is.

What differs from the row before is logged and mailed by `subscription_differences`.
"""

from datetime import datetime, timedelta
from typing import Any

import stripe
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.calendar import from_unix
from payments.donors import donors
from payments.giving import (
    adoption,
    change_log,
    donor_attribution,
    erased_contributions,
    missing_subscriptions,
    subscription_columns,
    subscription_origin,
    subscription_terms,
)
from payments.giving.change_log import Actor
from payments.giving.contributions import Contribution, ContributionOrigin
from payments.giving.subscription_differences import record_differences
from payments.giving.subscription_terms import SubscriptionTerms
from payments.giving.subscriptions import (
    ARREARS_STATUSES,
    CANCEL_JOB,
    LIVE_STATUSES,
    SECOND_JOB,
    SECOND_NOTICE_WITHIN,
    Subscription,
    SubscriptionStatus,
    list_live_others,
)
from payments.infra import alerts, job_queue, stripe_client, unknown_values
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.mail import muted, outbox
from payments.risk import emergency_stops

RESYNC_DELAY = timedelta(seconds=3)
# What is not stored of a subscription that is still to be cancelled.
ERASED_COLUMNS = {
    "stripe_customer_id": erased_contributions.ANONYMISED,
    "stripe_payment_method_id": None,
    "card_expires_on": None,
}
SUBSCRIPTION_EXPAND = ["default_payment_method", "customer.invoice_settings.default_payment_method"]


async def sync(ctx: Context, subscription_id: str) -> str | None:
    """Fetch a subscription and store it. Returns the id of its contribution, None if it is none."""
    requested_at = ctx.now()
    fetched = await fetch(ctx, subscription_id)
    return await store(ctx, fetched, requested_at=requested_at)


async def store(
    ctx: Context, fetched: stripe.Subscription, *, requested_at: datetime
) -> str | None:
    """Store a subscription that was asked for at a moment. Returns the id of its contribution, None
    if it is none (`adoption`). Of another line of business Stripe is asked nothing more.
    """
    is_adopted = await adoption.includes_subscription(ctx, fetched)
    async with ctx.sessions() as session:
        known_id = await subscription_origin.find(ctx, session, fetched, is_adopted=is_adopted)
    if known_id is None and not is_adopted:
        return None
    terms = await subscription_terms.fetch_terms(ctx, fetched)
    async with ctx.sessions.begin() as session:
        contribution_id = await subscription_origin.find_or_import(
            ctx, session, fetched, terms, is_adopted=is_adopted
        )
        if contribution_id is None:
            return None
        if not is_adopted and fetched.ended_at is None:
            await _alert_left_out(ctx, session, contribution_id)
        await _upsert(ctx, session, fetched, terms, contribution_id, requested_at)
        return contribution_id


async def fetch(ctx: Context, subscription_id: str) -> stripe.Subscription:
    """Return a subscription as it is at Stripe, with its payment method expanded.

    Stripe refuses to expand the settings of a deleted customer, so those are left out.
    """
    with stripe_client.translate_errors():
        try:
            return await ctx.stripe.v1.subscriptions.retrieve_async(
                subscription_id, {"expand": SUBSCRIPTION_EXPAND}
            )
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                raise
            return await ctx.stripe.v1.subscriptions.retrieve_async(
                subscription_id, {"expand": [*SUBSCRIPTION_EXPAND[:1], "customer"]}
            )


# --- store what was fetched -----------------------------------------------------------------------


async def _upsert(
    ctx: Context,
    session: AsyncSession,
    fetched: stripe.Subscription,
    terms: SubscriptionTerms,
    contribution_id: str,
    requested_at: datetime,
) -> None:
    """Store a subscription as fetched, and what follows from the difference."""
    is_erased = await erased_contributions.is_or_becomes_erased(
        session, contribution_id, given_at=from_unix(fetched.start_date), now=ctx.now()
    )
    before = await session.scalar(
        select(Subscription)
        .where(Subscription.stripe_subscription_id == fetched.id)
        .with_for_update()
    )
    if before is None and is_erased and await _has_ended(session, fetched, contribution_id):
        return  # nothing is to be cancelled, so nothing is stored
    if before is not None and await _is_outdated(session, before, fetched, requested_at):
        return
    if fetched.ended_at is None:  # an ended one may be an erased donor's
        await emergency_stops.enqueue_enforcement(
            session, emergency_stops.ENFORCE_SUBSCRIPTION_JOB, fetched.id
        )
        is_erased = await _attach_donor(ctx, session, fetched, contribution_id)
    row = subscription_columns.values_of(fetched, terms) | {"synced_at": requested_at}
    if row["status"] in ARREARS_STATUSES and not is_erased:
        await _enqueue_failed_invoice(session, fetched, row["stripe_payment_method_id"])
    await unknown_values.update_alert(session, fetched.id, row["status"], now=ctx.now())
    row |= ERASED_COLUMNS if is_erased else {}
    if before is not None and not terms.is_settled:
        # until it is known, the last one is shown
        row |= {"amount": before.amount, "fee_cover": before.fee_cover}
    old_values = await _write(ctx, session, before, fetched, contribution_id, row)
    await _close_alerts(ctx, session, fetched)
    if not is_erased:
        await _look_for_others(ctx, session, fetched.id, old_values)
    if is_erased and fetched.ended_at is not None:
        await erased_contributions.anonymise_subscriptions(session, [fetched.id])


async def _has_ended(
    session: AsyncSession, fetched: stripe.Subscription, contribution_id: str
) -> bool:
    """Whether the subscription of an erased contribution has ended: now, or when it was stored.
    One that Stripe did not have then has not.
    """
    same = select(Subscription.stripe_subscription_id).where(
        Subscription.contribution_id == contribution_id,
        Subscription.started_at == from_unix(fetched.start_date),
        Subscription.ended_at.is_not(None),
        Subscription.missing_since.is_(None),
    )
    return fetched.ended_at is not None or await session.scalar(same.limit(1)) is not None


async def _is_outdated(
    session: AsyncSession,
    before: Subscription,
    fetched: stripe.Subscription,
    requested_at: datetime,
) -> bool:
    """Whether a row holds what was fetched later. If clocks may differ it is fetched once more."""
    if before.is_over and fetched.ended_at is None:
        return True  # ended is final: this was fetched before the end
    if before.synced_at <= requested_at:
        return False
    await job_queue.enqueue_sync(session, "subscription", fetched.id, delay=RESYNC_DELAY)
    return True


async def _write(
    ctx: Context,
    session: AsyncSession,
    before: Subscription | None,
    fetched: stripe.Subscription,
    contribution_id: str,
    row: dict[str, Any],  # column -> value
) -> dict[str, Any]:
    """Insert or update a row, and record what differs. Returns what it held before, if anything."""
    if before is None:
        await session.execute(
            insert(Subscription)
            .values(
                stripe_subscription_id=fetched.id,
                contribution_id=contribution_id,
                started_at=from_unix(fetched.start_date),
                **row,
            )
            .on_conflict_do_update(index_elements=["stripe_subscription_id"], set_=row)
        )
        return {}
    old_values = {name: getattr(before, name) for name in row}
    for name, value in row.items():
        setattr(before, name, value)
    await session.flush()
    await _record(ctx, session, before, old_values, fetched)
    await change_log.fail_unseen(session, fetched.id, requested_at=row["synced_at"])
    return old_values


async def _record(
    ctx: Context,
    session: AsyncSession,
    subscription: Subscription,
    before: dict[str, Any],
    fetched: stripe.Subscription,
) -> None:
    """Record what differs from the values `before`; one that was missing goes on as it was."""
    if before["missing_since"] is not None and subscription.ended_at is None:
        await missing_subscriptions.undo_end(ctx, session, fetched.id)
    else:
        await record_differences(ctx, session, subscription, before, fetched)


async def _enqueue_failed_invoice(
    session: AsyncSession, fetched: stripe.Subscription, payment_method_id: str | None
) -> None:
    """Enqueue a sync of the invoice that could not be paid, unless its donor was written to about
    the card in use: the state has been reached, whether or not the invoice's own event arrives.
    """
    invoice_id = stripe_client.id_of(fetched.latest_invoice)
    if invoice_id is None:
        return
    if not await outbox.exists(session, failure_keys(invoice_id, payment_method_id)):
        await job_queue.enqueue_sync(session, "invoice", invoice_id)


def failure_keys(invoice_id: str, payment_method_id: str | None) -> tuple[str, str]:
    """Return the keys of the mails about an invoice and the card it was tried with: it could not be
    paid, its bank asks first.
    """
    return f"failed:{invoice_id}:{payment_method_id}", f"action:{invoice_id}:{payment_method_id}"


async def _look_for_others(
    ctx: Context, session: AsyncSession, subscription_id: str, before: dict[str, Any]
) -> None:
    """Enqueue what follows from a subscription that has begun, if its donor has another one.

    It begins with its first payment or its trial, and once more when the trial has ended. `before`
    has the values it had, if there was a row.
    """
    subscription = await session.get_one(Subscription, subscription_id)
    if not before or before["status"] not in LIVE_STATUSES:
        begun_at = subscription.started_at
    elif before["trial_ends_at"] is not None and subscription.trial_ends_at is None:
        begun_at = before["trial_ends_at"]
    else:
        return
    contribution = await session.get_one(Contribution, subscription.contribution_id)
    has_begun = (
        subscription.status is SubscriptionStatus.ACTIVE or subscription.trial_ends_at is not None
    )
    is_news = begun_at > ctx.now() - SECOND_NOTICE_WITHIN
    if contribution.donor_id is None or not has_begun or not is_news:
        return
    if await list_live_others(session, contribution.donor_id, subscription_id):
        await job_queue.enqueue_sync(session, SECOND_JOB, subscription_id)


async def _attach_donor(
    ctx: Context, session: AsyncSession, fetched: stripe.Subscription, contribution_id: str
) -> bool:
    """Attach the donor of a live subscription to its contribution. Returns whether it is erased.

    One whose donor was erased since it started is cancelled: the erasure was for it too. So is
    one of a protected contribution, and no mail is sent about it.
    """
    email = getattr(fetched.customer, "email", None)  # a deleted customer has no such field
    is_protected = await donor_attribution.lock_and_check_protected(session, contribution_id)
    if is_protected or await erased_contributions.is_erased(session, contribution_id):
        await muted.mute(session, [fetched.id], now=ctx.now())
        actor = Actor.STAFF if is_protected else Actor.DONOR
        await _enqueue_cancellation(session, fetched.id, actor=actor, now=ctx.now())
        return True
    customer_id = stripe_client.id_of(fetched.customer)
    hashes = await donors.lenient_address_hashes(ctx.settings, email)
    known = await donors.of_customer(session, customer_id)
    if known is not None and not donors.has_address(known, hashes):
        # the address was changed at Stripe, and its event may have been lost
        await job_queue.enqueue_sync(session, "customer", customer_id or "")
        return False
    if not hashes:
        return False
    donor_id = await donors.find_or_create(
        session,
        hashes,
        stripe_customer_id=customer_id,
        contributed_at=from_unix(fetched.start_date),
        now=ctx.now(),
    )
    if donor_id is not None:
        await donor_attribution.attach_donor(session, contribution_id, donor_id)
        return False
    await erased_contributions.erase(session, [contribution_id], now=ctx.now())
    await muted.mute(session, [fetched.id], now=ctx.now())
    await _enqueue_cancellation(session, fetched.id, actor=Actor.DONOR, now=ctx.now())
    return True


async def _enqueue_cancellation(
    session: AsyncSession, subscription_id: str, *, actor: Actor, now: datetime
) -> None:
    """Record the decision to cancel, and enqueue the job that does it at Stripe."""
    await change_log.record_cancellation(session, subscription_id, actor=actor, now=now)
    await job_queue.enqueue_sync(session, CANCEL_JOB, subscription_id)


async def _close_alerts(ctx: Context, session: AsyncSession, fetched: stripe.Subscription) -> None:
    """Close the alerts whose cause is gone: what was not made is made by now, or it has ended."""
    kinds = [AlertKind.CHANGE_NOT_MADE]
    if fetched.ended_at is not None:
        kinds += [AlertKind.INVOICE_LEFT, AlertKind.DEBT_LEFT]
    elif await change_log.has_unmade(session, fetched.id):
        return
    await alerts.close_all(session, *kinds, object_ids=[fetched.id], now=ctx.now())


async def _alert_left_out(ctx: Context, session: AsyncSession, contribution_id: str) -> None:
    """Raise an alert where an imported contribution fits `PAYMENTS_ADOPT` no more. It stays: Stripe
    goes on charging, and its donor must find it. A person decides (`adoption_review`).
    """
    contribution = await session.get_one(Contribution, contribution_id)
    if contribution.origin is ContributionOrigin.IMPORTED and not contribution.erased:
        await alerts.raise_alert(
            session, AlertKind.ADOPTION_MISMATCH, object_id=adoption.SETTING, now=ctx.now()
        )
