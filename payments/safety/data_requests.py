"""What we hold about one donor: told in full, and erased.

Erasing ends what still runs, cuts every row that says who gave from what was given, and leaves the
books as they are. What Stripe holds of the donor is Stripe's, and the page says so.
"""

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import StripeUnavailable
from payments.donors import donors, sign_in
from payments.giving import change_log, charges, contributions, subscription_changes, subscriptions
from payments.giving.change_log import By
from payments.giving.subscriptions import Subscription
from payments.infra.context import Runtime
from payments.mail import outbox
from payments.signups import reminders


async def held(session: AsyncSession, donor_id: str) -> dict[str, Any]:  # to be written as JSON
    """Everything we hold about a donor. The address is not in it: we have only its keyed hash."""
    live = await subscriptions.of_donor(session, donor_id)
    mails = await outbox.about(session, [promise.stripe_subscription_id for promise in live])
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
            for gift in await contributions.of_donor(session, donor_id)
        ],
        "standing": [await _standing(session, promise) for promise in live],
        "payments": [
            {
                "reference": payment.reference,
                "contribution": payment.contribution_id,
                "at": payment.paid_at,
                "frequency": payment.frequency,
                "amount": payment.money.amount,
                "currency": payment.money.currency,
            }
            for payment in await charges.of_donor(session, donor_id)
        ],
        "mails": [
            {"kind": mail.kind, "status": mail.status, "at": mail.created_at, "sent": mail.sent_at}
            for mail in mails
        ],
        "reminders": [
            {"state": row.state, "asked": row.asked_at, "due": row.due_on, "zone": row.zone}
            for row in await reminders.of_donor(session, donor_id)
        ],
    }


async def _standing(session: AsyncSession, promise: Subscription) -> dict[str, Any]:
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
        "renews_at",
        "pauses",
        "resumes_at",
        "ends_at",
        "ended_at",
    )
    changes = await change_log.of(session, promise.stripe_subscription_id)
    return {
        **{name: getattr(promise, name) for name in fields},
        "history": [{"kind": c.kind, "by": c.by, "at": c.done_at} for c in changes],
    }


async def erase(rt: Runtime, donor_id: str, *, by: By = By.DONOR) -> datetime:
    """End every promise, then forget the donor. Raises StripeUnavailable before anything is
    forgotten when a promise could not be stopped yet. Gives the moment.
    """
    async with rt.sessions() as session:
        theirs = await subscriptions.of_donor(session, donor_id)
    stopped = [
        await subscription_changes.stop(rt, promise.stripe_subscription_id, by=by)
        for promise in theirs
        if promise.is_live
    ]
    if not all(stopped):
        raise StripeUnavailable(
            "We have your decision to stop, and our payment provider has not confirmed it yet. "
            "Nothing was erased. Please try again later."
        )
    async with rt.sessions.begin() as session:
        await donors.hold_for_erasing(session, donor_id)
        await outbox.drop_about(session, [promise.stripe_subscription_id for promise in theirs])
        await contributions.forget_donor(session, donor_id)
        await reminders.forget_donor(session, rt.settings, donor_id, now=rt.now())
        await sign_in.forget(session, donor_id)
        await donors.forget(session, donor_id, now=rt.now())
    return rt.now()
