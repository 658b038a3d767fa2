"""Cancellations: a subscription is ended at once, and asked for until Stripe confirms it.

At once and not at the end of the paid period: a contribution buys nothing that would run on until
then, and at once also ends the attempts for a payment that failed.
"""

import stripe
from sqlalchemy import func, select

from payments.core.errors import StripeRejected, StripeUnavailable
from payments.giving import change_log, subscription_sync, subscriptions
from payments.giving.change_log import Actor, ChangeKind, SubscriptionChange
from payments.giving.change_requests import ChangeNotMade
from payments.giving.subscriptions import Subscription
from payments.infra import job_queue, stripe_client
from payments.infra.context import Context


async def cancel(ctx: Context, subscription_id: str, *, actor: Actor) -> bool:
    """Cancel a subscription, or do nothing if it has ended. Returns whether Stripe confirmed it.

    The decision is stored whether or not Stripe can be reached; a job retries until it is done.
    Raises NotFound.
    """
    async with ctx.sessions() as session:
        subscription = await subscriptions.get(session, subscription_id)
    if not subscription.may_be_charged:
        return True
    async with ctx.sessions.begin() as session:
        await change_log.record_cancellation(session, subscription_id, actor=actor, now=ctx.now())
    try:
        await perform(ctx, subscription_id)
    except (StripeUnavailable, StripeRejected):  # ChangeNotMade is one
        async with ctx.sessions.begin() as session:
            await job_queue.enqueue_sync(session, subscriptions.CANCEL_JOB, subscription_id)
        return False
    return True


async def perform(ctx: Context, subscription_id: str) -> None:
    """Cancel at Stripe what was decided to be cancelled, unless it is done.

    One that is not stored was an erased donor's, and has ended. Raises StripeRejected,
    ChangeNotMade and StripeUnavailable.
    """
    async with ctx.sessions() as session:
        subscription = await subscriptions.get_or_none(session, subscription_id)
        pending = await change_log.pending_cancellations(session, [subscription_id])
    if subscription is None or not subscription.may_be_charged or not pending:
        return
    try:
        with stripe_client.translate_errors():
            await ctx.stripe.v1.subscriptions.cancel_async(subscription_id)
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":  # ended at Stripe a moment ago
            raise StripeRejected("Our payment provider did not cancel it.") from error
    await subscription_sync.sync(ctx, subscription_id)
    async with ctx.sessions.begin() as session:
        after = await subscriptions.get_or_none(session, subscription_id)
        if after is not None and after.may_be_charged:
            raise ChangeNotMade("Our payment provider did not cancel it.")
        # of one that had not begun nobody knew
        await change_log.mark_cancelled(session, subscription_id, now=ctx.now())


async def resume(ctx: Context, *, limit: int = 500) -> int:
    """Enqueue the cancellations that were decided and are not done. Returns how many."""
    query = (
        select(Subscription.stripe_subscription_id)
        .join(
            SubscriptionChange,
            SubscriptionChange.subscription_id == Subscription.stripe_subscription_id,
        )
        .where(
            SubscriptionChange.kind == ChangeKind.CANCELLED,
            SubscriptionChange.done_at.is_(None),
            Subscription.status.in_(subscriptions.CHARGEABLE_STATUSES),
        )
        .order_by(func.random())  # the oldest might be those that Stripe refuses
        .limit(limit)
    )
    async with ctx.sessions.begin() as session:
        pending = list(await session.scalars(query))
        for subscription_id in pending:
            await job_queue.enqueue_sync(session, subscriptions.CANCEL_JOB, subscription_id)
    return len(pending)
