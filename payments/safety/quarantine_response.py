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
from payments.core.safety_policy import Refunds
from payments.donors import donors, sign_in
from payments.giving import charges, contributions, invoices, subscription_changes, subscriptions
from payments.giving.change_log import By
from payments.giving.charges import Charge
from payments.giving.checkout_session import Frequency
from payments.giving.contributions import Contribution, ContributionIntent
from payments.giving.subscriptions import Subscription
from payments.infra import job_queue, stripe_client
from payments.infra.context import Runtime
from payments.mail import muted, outbox
from payments.risk import quarantine
from payments.risk.quarantine import Quarantine
from payments.settlement import refunds
from payments.settlement.refunds import Reason, RefundNotPossible
from payments.signups import reminders


class NotYetExplained(StripeUnavailable):
    """Stripe does not say yet what this payment was for. Its job comes again in seconds."""


async def carry_out(rt: Runtime, charge_id: str) -> None:
    """Do all that is due about a payment in quarantine. Raises to be called again."""
    async with rt.sessions() as session:
        row = await session.get(Quarantine, charge_id)
    if row is None or row.done_at is not None:
        return
    owner = await _owner(rt, charge_id)
    if owner is None:
        await charges.sync(rt, charge_id, looks_it_up=True)
        owner = await _owner(rt, charge_id)
    if owner is None:
        raise NotYetExplained("Stripe does not say yet what this payment was for.")
    await _cut(rt, owner)
    await _end_promise(rt, charge_id, owner)
    await _give_back(rt, charge_id)
    async with rt.sessions.begin() as session:
        done = update(Quarantine).where(Quarantine.stripe_charge_id == charge_id)
        await session.execute(done.values(done_at=rt.now()))


async def take_up(rt: Runtime) -> int:
    """Ring again for what is not done, however its job was lost. Gives how many."""
    async with rt.sessions.begin() as session:
        left = await quarantine.left(session)
        for charge_id in left:
            await job_queue.ring(session, quarantine.JOB, charge_id)
    return len(left)


async def _owner(rt: Runtime, charge_id: str) -> str | None:
    """The contribution that a charge pays, as far as we know."""
    query = (
        select(ContributionIntent.contribution_id)
        .join(
            Charge,
            Charge.stripe_payment_intent_id == ContributionIntent.stripe_payment_intent_id,
        )
        .where(Charge.stripe_charge_id == charge_id)
    )
    async with rt.sessions() as session:
        return await session.scalar(query)


# --- whose it was ---------------------------------------------------------------------------------


async def _cut(rt: Runtime, contribution_id: str) -> None:
    """Cut a contribution from its donor, and forget them if it was all they gave.

    The donor is locked before the contribution, as everywhere.
    """
    async with rt.sessions.begin() as session:
        await contributions.alone(session, contribution_id)
        row = await session.get_one(Contribution, contribution_id)
        donor_id = row.donor_id
        if donor_id is not None:
            await donors.hold_for_erasing(session, donor_id)
        await contributions.protect(session, contribution_id)
        theirs = await _promises_of(session, contribution_id)
        ids = [promise.stripe_subscription_id for promise in theirs]
        await muted.hush(session, ids, now=rt.now())
        await outbox.drop_about(session, ids)
        if donor_id is not None:
            await _forget(rt, session, donor_id)


async def _forget(rt: Runtime, session: AsyncSession, donor_id: str) -> None:
    """Forget a donor who gave nothing else, and the reminder they may wait for."""
    others = select(func.count()).where(Contribution.donor_id == donor_id)
    if await session.scalar(others):
        return
    await reminders.forget_donor(session, rt.settings, donor_id, now=rt.now())
    await sign_in.forget(session, donor_id)
    await donors.forget_wholly(session, donor_id)


# --- its promise ----------------------------------------------------------------------------------


async def _end_promise(rt: Runtime, charge_id: str, contribution_id: str) -> None:
    """End whatever would charge again. A promise we never met is met first."""
    async with rt.sessions() as session:
        row = await session.get_one(Contribution, contribution_id)
        known = await _promises_of(session, contribution_id)
    if row.frequency is not Frequency.ONCE and not known:
        await _meet_promise(rt, charge_id)  # it is hushed and ended as it is written down
        return
    for promise in known:
        if promise.is_live:
            await subscription_changes.stop(rt, promise.stripe_subscription_id, by=By.STAFF)


async def _promises_of(session: AsyncSession, contribution_id: str) -> list[Subscription]:
    query = select(Subscription).where(Subscription.contribution_id == contribution_id)
    return list(await session.scalars(query.order_by(Subscription.stripe_subscription_id)))


async def _meet_promise(rt: Runtime, charge_id: str) -> None:
    async with rt.sessions() as session:
        charge = await session.get_one(Charge, charge_id)
    with stripe_client.reachable():
        found = await rt.stripe.v1.invoice_payments.list_async(
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
        raise NotYetExplained("Stripe does not say yet which promise this payment began.")
    await subscriptions.sync(rt, promise)


# --- the money ------------------------------------------------------------------------------------


async def _give_back(rt: Runtime, charge_id: str) -> None:
    """Refund it, if the policy of today says so."""
    policy = rt.settings.policy
    if policy is None or policy.refunds is not Refunds.AUTO:
        return
    async with rt.sessions() as session:
        charge = await session.get_one(Charge, charge_id)
    if charge.status is charges.ChargeStatus.PENDING:
        raise NotYetExplained("A bank has yet to pay this, so it cannot be given back yet.")
    try:
        await refunds.ask(
            rt,
            charge_id,
            reason=Reason.REQUESTED_BY_CUSTOMER,
            by=None,
            intent=f"quarantine:{charge_id}"[:64],
        )
    except RefundNotPossible:
        return  # given back or disputed already: the alarm is open, and a person looks
