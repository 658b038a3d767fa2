"""The response to a payment in quarantine, which came from a protected country in spite of Radar.

Within a minute of Stripe's event its subscription is cancelled, its donor is never written to, the
contribution is anonymised, and a person has an alert. Money is refunded only where the policy says
so, because a refund is a second line at a bank that may be asked. What is left is what the books
need: ids, amounts and dates.

Every step may be repeated, so a crash or an outage of Stripe costs time and nothing else.
"""

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.frequency import Frequency
from payments.donors import donors
from payments.giving import (
    cancellations,
    charges,
    donor_attribution,
    erased_contributions,
    invoices,
    subscription_sync,
    subscriptions,
)
from payments.giving.change_log import Actor
from payments.giving.charges import Charge, ChargeStatus, NotYetAttributed
from payments.giving.contributions import Contribution
from payments.infra import job_queue, stripe_client
from payments.infra.context import Context
from payments.mail import outbox
from payments.risk import quarantine
from payments.risk.quarantine import Quarantine
from payments.safety import erasure, policy_refunds


async def process(ctx: Context, charge_id: str) -> None:
    """Do all that is due about a payment in quarantine. Raises to be retried.

    Other income has no donor, and of what failed before it was known nothing was taken: with those
    nothing is due.
    """
    async with ctx.sessions() as session:
        row = await session.get(Quarantine, charge_id)
    if row is None or row.processed_at is not None:
        return
    contribution_id = await _contribution_of(ctx, charge_id)
    if contribution_id is not None:
        async with ctx.sessions.begin() as session:
            await quarantine.call_person(ctx, session, charge_id)
        await _anonymise(ctx, contribution_id)
        await _cancel_subscriptions(ctx, charge_id, contribution_id)
        await _refund_if_policy_requires(ctx, charge_id)
    async with ctx.sessions.begin() as session:
        statement = update(Quarantine).where(Quarantine.stripe_charge_id == charge_id)
        await session.execute(statement.values(processed_at=ctx.now()))


async def resume(ctx: Context) -> int:
    """Enqueue every open response again, however its job was lost. Returns how many there are."""
    async with ctx.sessions.begin() as session:
        charge_ids = await quarantine.list_open(session)
        for charge_id in charge_ids:
            await job_queue.enqueue_sync(session, quarantine.QUARANTINE_JOB, charge_id)
    return len(charge_ids)


async def _contribution_of(ctx: Context, charge_id: str) -> str | None:
    """Return the id of the contribution that a charge pays, None if it pays none.

    Raises NotYetAttributed while that is not known, and the payment may be of one.
    """
    try:
        return (await charges.require_link(ctx, charge_id)).contribution_id
    except NotYetAttributed:
        async with ctx.sessions() as session:
            charge = await session.get_one(Charge, charge_id)
        if charge.status in (ChargeStatus.FAILED, ChargeStatus.RETURNED):
            return None
        raise


# --- the donor ------------------------------------------------------------------------------------


async def _anonymise(ctx: Context, contribution_id: str) -> None:
    """Anonymise a contribution, and erase its donor if it was all they gave.

    The lock of the contribution is taken first, then the donor's row, then the contribution's, as
    everywhere.
    """
    async with ctx.sessions.begin() as session:
        await erased_contributions.lock(session, contribution_id)
        contribution = await session.get_one(Contribution, contribution_id)
        donor_id = contribution.donor_id
        if donor_id is not None:
            await donors.lock(session, donor_id)
        begun = await subscriptions.list_for_contribution(session, contribution_id)
        ids = [subscription.stripe_subscription_id for subscription in begun]
        await donor_attribution.protect(session, contribution_id, now=ctx.now())
        await outbox.cancel_for(session, ids)
        if donor_id is not None and not await _has_contributions(session, donor_id):
            await erasure.erase_with_reminders(
                session, ctx.settings, donor_id, now=ctx.now(), keep_hash=False
            )


async def _has_contributions(session: AsyncSession, donor_id: str) -> bool:
    query = select(func.count()).where(Contribution.donor_id == donor_id)
    return bool(await session.scalar(query))


# --- the subscription -----------------------------------------------------------------------------


async def _cancel_subscriptions(ctx: Context, charge_id: str, contribution_id: str) -> None:
    """Cancel whatever would charge again. A subscription that is not stored yet is synced first."""
    async with ctx.sessions() as session:
        contribution = await session.get_one(Contribution, contribution_id)
        begun = await subscriptions.list_for_contribution(session, contribution_id)
    if contribution.frequency is not Frequency.ONCE and not begun:
        # its sync mutes and cancels it, because the contribution is protected
        await _sync_unknown_subscription(ctx, charge_id)
        return
    for subscription in begun:
        if subscription.may_be_charged:
            await cancellations.cancel(ctx, subscription.stripe_subscription_id, actor=Actor.STAFF)


async def _sync_unknown_subscription(ctx: Context, charge_id: str) -> None:
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.charges.retrieve_async(charge_id)
    intent_id = stripe_client.id_of(fetched.payment_intent)
    invoice = None if intent_id is None else await charges.fetch_invoice(ctx, intent_id)
    subscription_id = None if invoice is None else invoices.subscription_of(invoice)
    if subscription_id is None:
        raise NotYetAttributed("Stripe does not say yet which subscription this payment began.")
    await subscription_sync.sync(ctx, subscription_id)


# --- the money ------------------------------------------------------------------------------------


async def _refund_if_policy_requires(ctx: Context, charge_id: str) -> None:
    """Refund the charge if the policy of today says so. Raises NotYetAttributed while pending."""
    if not policy_refunds.are_required(ctx):
        return
    async with ctx.sessions() as session:
        charge = await session.get_one(Charge, charge_id)
    if charge.status is ChargeStatus.PENDING:
        raise NotYetAttributed("A bank has yet to pay this, so it cannot be given back yet.")
    await policy_refunds.request(ctx, charge_id, cause="quarantine")
