"""Second subscriptions: a donor who begins a recurring contribution and has another one already.

It may be meant, a mistake, or a new start after the old card failed. The donor gets one mail for
each that begins, and may end one. An old one whose payment has failed is paused at once, and what
it owes is voided: Stripe would take it days later with the same card, and they would pay twice. A
pause takes nothing away: the donor can resume it on its page.
"""

import stripe
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from payments.giving import (
    change_log,
    change_requests,
    debts,
    subscription_sync,
    subscriptions,
)
from payments.giving.change_log import Actor, ChangeKind, SubscriptionChange
from payments.giving.contributions import Contribution
from payments.giving.subscriptions import Subscription, SubscriptionStatus
from payments.infra import job_queue
from payments.infra.context import Context

HOLD_PARAMS = {"pause_collection": {"behavior": "void"}}


async def hold(ctx: Context, subscription_id: str) -> None:
    """Pause a subscription whose payment failed, and void what it owes, if its donor pays another.

    Run again after it failed half way, it goes on with what is left: a pause alone leaves the open
    invoice, which Stripe would try again. One that its donor resumed since is left alone. Raises
    StripeUnavailable and ChangeNotMade.
    """
    async with ctx.sessions() as session:
        subscription = await subscriptions.get_or_none(session, subscription_id)
        if subscription is None or not await _is_failing_beside_another(session, subscription):
            return
    if not subscription.is_paused:
        async with ctx.sessions.begin() as session:
            decision = await change_log.record_decision(
                session,
                subscription_id,
                ChangeKind.PAUSED,
                actor=Actor.SERVICE,
                now=ctx.now(),
                idempotency_key=f"second:{subscription.current_period_end}",
            )
        if decision.done_at is not None:
            return
        call = change_requests.update_call(ctx, subscription_id, HOLD_PARAMS)
        await change_requests.carry_out(ctx, decision, [call], _is_held)
    await debts.forgive_all(ctx, subscription_id)


def _is_held(fetched: stripe.Subscription) -> bool:
    return change_requests.has_come_about(HOLD_PARAMS, fetched)


async def _is_failing_beside_another(session: AsyncSession, subscription: Subscription) -> bool:
    if subscription.status is not SubscriptionStatus.PAST_DUE:
        return False
    contribution = await session.get_one(Contribution, subscription.contribution_id)
    if contribution.donor_id is None:
        return False
    others = await subscriptions.list_live_others(
        session, contribution.donor_id, subscription.stripe_subscription_id
    )
    return any(other.status is SubscriptionStatus.ACTIVE for other in others)


async def resume_holds(ctx: Context, *, limit: int = 500) -> int:
    """Enqueue the holds that were not made. Returns how many.

    The failure of the old one may be seen only after the new one had begun, and a job may have no
    attempt left. One that was held lately was resumed by its donor, and stays so.
    """
    since = ctx.now() - subscription_sync.SECOND_NOTICE_WITHIN
    old, new = aliased(Subscription), aliased(Subscription)
    given, given_again = aliased(Contribution), aliased(Contribution)
    was_held = (
        select(SubscriptionChange.id)
        .where(
            SubscriptionChange.subscription_id == old.stripe_subscription_id,
            SubscriptionChange.kind == ChangeKind.PAUSED,
            SubscriptionChange.actor == Actor.SERVICE,
            SubscriptionChange.done_at > since,
        )
        .exists()
    )
    query = (
        select(old.stripe_subscription_id)
        .join(given, given.id == old.contribution_id)
        .join(given_again, given_again.donor_id == given.donor_id)
        .join(new, new.contribution_id == given_again.id)
        .where(
            old.status == SubscriptionStatus.PAST_DUE,
            ~old.is_paused,
            new.status == SubscriptionStatus.ACTIVE,
            new.started_at > old.started_at,
            new.started_at > since,
            ~was_held,
        )
        .group_by(old.stripe_subscription_id)
        .order_by(func.random())  # the oldest might be those that Stripe refuses
        .limit(limit)
    )
    async with ctx.sessions.begin() as session:
        unmade = list(await session.scalars(query))
        for subscription_id in unmade:
            await job_queue.enqueue_sync(session, subscriptions.HOLD_JOB, subscription_id)
    return len(unmade)
