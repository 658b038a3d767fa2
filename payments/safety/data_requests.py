"""What we hold about one donor: told in full, and erased.

Erasing ends what still runs, cuts every row that says who gave from what was given, and leaves the
books as they are. What Stripe holds of the donor is Stripe's, and the page says so.
"""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import StripeUnavailable
from payments.donors import donors, sign_in
from payments.giving import (
    change_log,
    charges,
    contributions,
    donor_attribution,
    subscription_changes,
    subscriptions,
)
from payments.giving.change_log import Actor
from payments.giving.subscriptions import Subscription
from payments.infra.context import Context
from payments.mail import outbox
from payments.signups import reminders


async def export_data(
    session: AsyncSession, donor_id: str
) -> dict[str, Any]:  # to be written as JSON
    """Everything we hold about a donor. The address is not in it: we have only its keyed hash."""
    live = await subscriptions.list_for_donor(session, donor_id)
    mails = await outbox.list_for(session, [promise.stripe_subscription_id for promise in live])
    return {
        "donor": donor_id,
        "address": "kept only as a keyed hash, from which it cannot be read",
        "stripe_customers": await donors.customers_of(session, donor_id),
        "contributions": [
            {
                "id": gift.id,
                "at": gift.created_at,
                "frequency": gift.frequency,
                "amount": gift.amount,
                "currency": gift.currency,
                "status": gift.status,
                "campaign": gift.campaign,
                "language": gift.language,
            }
            for gift in await contributions.list_for_donor(session, donor_id)
        ],
        "standing": [await _subscription_data(session, promise) for promise in live],
        "payments": [
            {
                "reference": payment.reference,
                "contribution": payment.contribution_id,
                "at": payment.paid_at,
                "frequency": payment.frequency,
                "amount": payment.money.amount,
                "currency": payment.money.currency,
            }
            for payment in await charges.list_payments_of_donor(session, donor_id)
        ],
        "mails": [
            {"kind": mail.kind, "status": mail.status, "at": mail.created_at, "sent": mail.sent_at}
            for mail in mails
        ],
        "reminders": [
            {"state": row.state, "asked": row.signed_up_at, "due": row.due_on, "zone": row.zone}
            for row in await reminders.list_for_donor(session, donor_id)
        ],
    }


async def _subscription_data(session: AsyncSession, subscription: Subscription) -> dict[str, Any]:
    """One promise and its history."""
    fields: tuple[str, ...] = (
        "contribution_id",
        "stripe_subscription_id",
        "stripe_customer_id",
        "stripe_payment_method_id",
        "card_expires_on",
        "status",
        "frequency",
        "amount",
        "currency",
        "started_at",
        "current_period_end",
        "is_paused",
        "resumes_at",
        "scheduled_end_at",
        "ended_at",
    )
    changes = await change_log.list_done(session, subscription.stripe_subscription_id)
    return {
        **{name: getattr(subscription, name) for name in fields},
        "history": [{"kind": c.kind, "actor": c.actor, "at": c.done_at} for c in changes],
    }


async def erase(ctx: Context, donor_id: str, *, by: Actor = Actor.DONOR) -> datetime:
    """End every promise, then forget the donor. Raises StripeUnavailable before anything is
    forgotten when a promise could not be stopped yet. Gives the moment.
    """
    async with ctx.sessions() as session:
        theirs = await subscriptions.list_for_donor(session, donor_id)
    stopped = [
        await subscription_changes.cancel(ctx, promise.stripe_subscription_id, actor=by)
        for promise in theirs
        if promise.is_live
    ]
    if not all(stopped):
        raise StripeUnavailable(
            "We have your decision to stop, and our payment provider has not confirmed it yet. "
            "Nothing was erased. Please try again later."
        )
    async with ctx.sessions.begin() as session:
        await donors.lock(session, donor_id)
        await outbox.cancel_for(session, [promise.stripe_subscription_id for promise in theirs])
        await donor_attribution.detach_donor(session, donor_id)
        await reminders.cancel_for_donor(session, ctx.settings, donor_id, now=ctx.now())
        await sign_in.delete_links(session, donor_id)
        await donors.erase(session, donor_id, now=ctx.now())
    return ctx.now()
