"""Protection: what is done about a payment that came from a protected country in spite of all.

Within a minute of Stripe's word: its promise is ended, its donor is never written to, whose it was
is cut from it, and a person knows. Money goes back only where the policy says so, for a refund is a
second line at the bank that may be asked. What is left is what the books need: ids, amounts, days.

Every step may be done twice, so a crash or a Stripe that is away costs time and nothing else.
"""

import stripe
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import StripeUnavailable
from payments.core.frequency import Frequency
from payments.core.safety_policy import RefundRule
from payments.donors import donors, sign_in
from payments.giving import (
    charges,
    donor_attribution,
    invoices,
    subscription_changes,
    subscriptions,
)
from payments.giving.change_log import Actor
from payments.giving.charges import Charge
from payments.giving.contributions import Contribution, PaymentIntentLink
from payments.giving.subscriptions import Subscription
from payments.infra import job_queue, stripe_client
from payments.infra.context import Context
from payments.mail import muted, outbox
from payments.risk import quarantine
from payments.risk.quarantine import Quarantine
from payments.settlement import refund_requests
from payments.settlement.refund_requests import RefundNotPossible
from payments.settlement.refunds import RefundReason
from payments.signups import reminders


class NotYetAttributed(StripeUnavailable):
    """Stripe does not say yet what this payment was for. Its job comes again in seconds."""


async def process(ctx: Context, charge_id: str) -> None:
    """Do all that is due about a payment in quarantine. Raises to be called again."""
    async with ctx.sessions() as session:
        row = await session.get(Quarantine, charge_id)
    if row is None or row.processed_at is not None:
        return
    owner = await _contribution_of(ctx, charge_id)
    if owner is None:
        await charges.sync(ctx, charge_id, lookup=True)
        owner = await _contribution_of(ctx, charge_id)
    if owner is None:
        raise NotYetAttributed("Stripe does not say yet what this payment was for.")
    await _anonymise(ctx, owner)
    await _cancel_subscriptions(ctx, charge_id, owner)
    await _refund_if_policy_requires(ctx, charge_id)
    async with ctx.sessions.begin() as session:
        done = update(Quarantine).where(Quarantine.stripe_charge_id == charge_id)
        await session.execute(done.values(processed_at=ctx.now()))


async def resume(ctx: Context) -> int:
    """Ring again for what is not done, however its job was lost. Gives how many."""
    async with ctx.sessions.begin() as session:
        left = await quarantine.list_open(session)
        for charge_id in left:
            await job_queue.enqueue_sync(session, quarantine.QUARANTINE_JOB, charge_id)
    return len(left)


async def _contribution_of(ctx: Context, charge_id: str) -> str | None:
    """The contribution that a charge pays, as far as we know."""
    query = (
        select(PaymentIntentLink.contribution_id)
        .join(
            Charge,
            Charge.stripe_payment_intent_id == PaymentIntentLink.stripe_payment_intent_id,
        )
        .where(Charge.stripe_charge_id == charge_id)
    )
    async with ctx.sessions() as session:
        return await session.scalar(query)


# --- whose it was ---------------------------------------------------------------------------------


async def _anonymise(ctx: Context, contribution_id: str) -> None:
    """Cut a contribution from its donor, and forget them if it was all they gave.

    The donor is locked before the contribution, as everywhere.
    """
    async with ctx.sessions.begin() as session:
        await donor_attribution.lock(session, contribution_id)
        row = await session.get_one(Contribution, contribution_id)
        donor_id = row.donor_id
        if donor_id is not None:
            await donors.lock(session, donor_id)
        await donor_attribution.anonymise(session, contribution_id)
        theirs = await _subscriptions_of(session, contribution_id)
        ids = [promise.stripe_subscription_id for promise in theirs]
        await muted.mute(session, ids, now=ctx.now())
        await outbox.cancel_for(session, ids)
        if donor_id is not None:
            await _delete_donor_without_contributions(ctx, session, donor_id)


async def _delete_donor_without_contributions(
    ctx: Context, session: AsyncSession, donor_id: str
) -> None:
    """Forget a donor who gave nothing else, and the reminder they may wait for."""
    others = select(func.count()).where(Contribution.donor_id == donor_id)
    if await session.scalar(others):
        return
    await reminders.cancel_for_donor(session, ctx.settings, donor_id, now=ctx.now())
    await sign_in.delete_links(session, donor_id)
    await donors.delete_donor(session, donor_id)


# --- its promise ----------------------------------------------------------------------------------


async def _cancel_subscriptions(ctx: Context, charge_id: str, contribution_id: str) -> None:
    """End whatever would charge again. A promise we never met is met first."""
    async with ctx.sessions() as session:
        row = await session.get_one(Contribution, contribution_id)
        known = await _subscriptions_of(session, contribution_id)
    if row.frequency is not Frequency.ONCE and not known:
        await _sync_unknown_subscription(
            ctx, charge_id
        )  # it is hushed and ended as it is written down
        return
    for promise in known:
        if promise.is_live:
            await subscription_changes.cancel(
                ctx, promise.stripe_subscription_id, actor=Actor.STAFF
            )


async def _subscriptions_of(session: AsyncSession, contribution_id: str) -> list[Subscription]:
    query = select(Subscription).where(Subscription.contribution_id == contribution_id)
    return list(await session.scalars(query.order_by(Subscription.stripe_subscription_id)))


async def _sync_unknown_subscription(ctx: Context, charge_id: str) -> None:
    async with ctx.sessions() as session:
        charge = await session.get_one(Charge, charge_id)
    with stripe_client.translate_errors():
        found = await ctx.stripe.v1.invoice_payments.list_async(
            {
                "payment": {
                    "type": "payment_intent",
                    "payment_intent": charge.stripe_payment_intent_id or "",
                },
                "expand": ["data.invoice"],
            }
        )
    invoice = found.data[0].invoice if found.data else None
    promise = invoices.subscription_of(invoice) if isinstance(invoice, stripe.Invoice) else None
    if promise is None:
        raise NotYetAttributed("Stripe does not say yet which promise this payment began.")
    await subscriptions.sync(ctx, promise)


# --- the money ------------------------------------------------------------------------------------


async def _refund_if_policy_requires(ctx: Context, charge_id: str) -> None:
    """Refund it, if the policy of today says so."""
    policy = ctx.settings.safety_policy
    if policy is None or policy.refunds is not RefundRule.AUTO:
        return
    async with ctx.sessions() as session:
        charge = await session.get_one(Charge, charge_id)
    if charge.status is charges.ChargeStatus.PENDING:
        raise NotYetAttributed("A bank has yet to pay this, so it cannot be given back yet.")
    try:
        await refund_requests.request(
            ctx,
            charge_id,
            reason=RefundReason.REQUESTED_BY_CUSTOMER,
            staff_id=None,
            idempotency_key=f"quarantine:{charge_id}"[:64],
        )
    except RefundNotPossible:
        return  # given back or disputed already: the alarm is open, and a person looks
