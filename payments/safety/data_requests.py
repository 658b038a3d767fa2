"""What a donor may ask of us: all that we hold of them, and its erasure.

Erasing cancels what is still charged, removes whatever says who gave, and leaves the books as they
are. What Stripe holds of the donor is Stripe's, and the page says so.
"""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import StripeUnavailable
from payments.core.frequency import duration
from payments.donors import donors
from payments.giving import (
    billing_dates,
    cancellations,
    change_log,
    contributions,
    donor_payments,
    erased_contributions,
    payment_notices,
    subscriptions,
)
from payments.giving.change_log import Actor
from payments.giving.subscriptions import Subscription
from payments.infra.context import Context
from payments.mail import outbox
from payments.safety import erasure
from payments.signups import reminders


async def export_data(
    session: AsyncSession, donor_id: str, *, now: datetime
) -> dict[str, Any]:  # a JSON object
    """Return everything we hold of a donor. The address is not in it: we have only its hash."""
    own_subscriptions = await subscriptions.list_for_donor(session, donor_id)
    ids = [subscription.stripe_subscription_id for subscription in own_subscriptions]
    payment_mails = await payment_notices.keys_of_donor(session, donor_id, now=now)
    return {
        "donor": donor_id,
        "address": "stored only as a keyed hash, from which it cannot be read",
        "stripe_customers": await donors.customers_of(session, donor_id),
        "contributions": [
            {
                "id": contribution.id,
                "at": contribution.created_at,
                "frequency": contribution.frequency,
                "interval": duration(contribution.interval),
                "amount": contribution.amount,
                "currency": contribution.currency,
                "status": contribution.status,
                "campaign": contribution.campaign,
                "article": contribution.article,
                "language": contribution.language,
            }
            for contribution in await contributions.list_for_donor(session, donor_id)
        ],
        "subscriptions": [
            await _subscription_data(session, subscription) for subscription in own_subscriptions
        ],
        "payments": [
            {
                "reference": payment.reference,
                "contribution": payment.contribution_id,
                "at": payment.paid_at,
                "frequency": payment.frequency,
                "interval": duration(payment.interval),
                "amount": payment.amounts.paid.amount,
                "refunded": payment.amounts.refunded.amount,
                "taken_back_by_bank": payment.amounts.taken_back.amount,
                "given": payment.amounts.given.amount,
                "currency": payment.amounts.paid.currency,
            }
            for payment in await donor_payments.list_for_donor(session, donor_id)
        ],
        "mails": [
            {"kind": mail.kind, "status": mail.status, "at": mail.created_at, "sent": mail.sent_at}
            for mail in await outbox.list_for(session, ids, payment_mails)
        ],
        "reminders": [
            {
                "state": reminder.state,
                "signed_up": reminder.signed_up_at,
                "due": reminder.due_on,
                "zone": reminder.zone,
            }
            for reminder in await reminders.list_for_donor(session, donor_id)
        ],
    }


async def _subscription_data(session: AsyncSession, subscription: Subscription) -> dict[str, Any]:
    """Return a subscription and its history."""
    changes = await change_log.list_done(session, subscription.stripe_subscription_id)
    return {
        "contribution_id": subscription.contribution_id,
        "stripe_subscription_id": subscription.stripe_subscription_id,
        "stripe_customer_id": subscription.stripe_customer_id,
        "stripe_payment_method_id": subscription.stripe_payment_method_id,
        "card_expires_on": subscription.card_expires_on,
        "status": subscription.status,
        "frequency": subscription.frequency,
        "interval": duration(subscription.interval),
        "amount": subscription.amount,
        "fee_cover": subscription.fee_cover,
        "currency": subscription.currency,
        "started_at": subscription.started_at,
        "current_period_end": subscription.current_period_end,
        "is_paused": subscription.is_paused,
        "resumes_at": subscription.resumes_at,
        "scheduled_end_at": subscription.scheduled_end_at,
        "payments_before_end": billing_dates.charges_before_end(subscription),
        "ended_at": subscription.ended_at,
        "history": [
            {"kind": change.kind, "actor": change.actor, "at": change.done_at} for change in changes
        ],
    }


async def erase(ctx: Context, donor_id: str, *, by: Actor = Actor.DONOR) -> datetime:
    """Cancel a donor's live subscriptions, then erase the donor. Returns when that was done.

    Raises StripeUnavailable, before anything is erased, when Stripe has not confirmed every
    cancellation yet; the cancellations are decided all the same.
    """
    async with ctx.sessions() as session:
        own_subscriptions = await subscriptions.list_for_donor(session, donor_id)
    are_confirmed = [
        await cancellations.cancel(ctx, subscription.stripe_subscription_id, actor=by)
        for subscription in own_subscriptions
        if subscription.may_be_charged
    ]
    if not all(are_confirmed):
        raise StripeUnavailable(
            "We have received your cancellation, but our payment provider has not "
            "confirmed it yet. Nothing was erased. Please try again later."
        )
    ids = [subscription.stripe_subscription_id for subscription in own_subscriptions]
    async with ctx.sessions.begin() as session:
        for contribution_id in await erased_contributions.ids_of_donors(session, [donor_id]):
            await erased_contributions.lock(session, contribution_id)
        await donors.lock(session, donor_id)
        await outbox.cancel_for(session, ids)
        await erasure.erase_with_reminders(
            session, ctx.settings, donor_id, now=ctx.now(), keep_hash=True
        )
    return ctx.now()
