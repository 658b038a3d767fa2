"""Second subscriptions: a donor who begins a recurring contribution and has another one already.

It may be meant, a mistake, or a new start after the old card failed. The donor gets one mail for
each that begins, and may end one. An old one whose payment has failed is paused first, and what it
owes is voided: Stripe would take it days later with the same card, and they would pay twice. A
pause takes nothing away: the donor can resume it on its page.

Anybody can type anybody's address at Checkout. So nothing is paused before the address was proved:
both are of one customer at Stripe, or the donor has signed in since the new one began. Until then
the mail names no amounts, and the page behind it offers to pause or end the old one.
"""

from collections.abc import Sequence
from datetime import timedelta

import stripe
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from payments.core.errors import StripeRejected
from payments.donors import sign_in
from payments.giving import change_log, change_requests, debts, subscriptions
from payments.giving.change_log import Actor, ChangeKind, SubscriptionChange
from payments.giving.contributions import Contribution
from payments.giving.subscription_differences import notify, second_key
from payments.giving.subscriptions import SECOND_NOTICE_WITHIN, Subscription, SubscriptionStatus
from payments.infra import alerts, job_queue
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.mail.outbox import MailKind

PAUSE_PARAMS = {"pause_collection": {"behavior": "void"}}
REFUSED_FOR = timedelta(days=1)  # Stripe is not asked again for what it refused


async def process(ctx: Context, subscription_id: str) -> None:
    """Hold what fails beside a subscription that has begun, and then write to its donor.

    Run again after it failed half way, it goes on with what is left. Raises StripeUnavailable;
    what Stripe refuses raises an alert, and the mail says what is so.
    """
    async with ctx.sessions() as session:
        subscription = await subscriptions.get_or_none(session, subscription_id)
        if subscription is None:
            return
        others = await list_others(session, subscription)
        to_pause = [
            other
            for other in others
            if subscription.status is SubscriptionStatus.ACTIVE
            and other.status is SubscriptionStatus.PAST_DUE
            and (not other.is_paused or await is_paused_by_us(session, other))
            and await is_proved(ctx, session, subscription, [other])
        ]
    if not others:
        return
    for other in to_pause:
        await _pause_failed(ctx, other)
    async with ctx.sessions.begin() as session:
        key = second_key(subscription_id)
        await notify(ctx, session, subscription, MailKind.SECOND_BEGUN, key=key)


async def list_others(session: AsyncSession, subscription: Subscription) -> list[Subscription]:
    """Return the donor's other live subscriptions, but for those they have decided to end."""
    contribution = await session.get_one(Contribution, subscription.contribution_id)
    if contribution.donor_id is None:
        return []
    others = await subscriptions.list_live_others(
        session, contribution.donor_id, subscription.stripe_subscription_id
    )
    ids = [other.stripe_subscription_id for other in others]
    pending = await change_log.pending_cancellations(session, ids)
    return [other for other in others if other.stripe_subscription_id not in pending]


async def is_proved(
    ctx: Context, session: AsyncSession, subscription: Subscription, others: Sequence[Subscription]
) -> bool:
    """Whether it is certain that who began a subscription is who gives the others."""
    if all(one.stripe_customer_id == subscription.stripe_customer_id for one in others):
        return True
    contribution = await session.get_one(Contribution, subscription.contribution_id)
    return contribution.donor_id is not None and await sign_in.has_signed_in_since(
        session, contribution.donor_id, subscription.started_at, now=ctx.now()
    )


async def is_paused_by_us(session: AsyncSession, subscription: Subscription) -> bool:
    """Whether a subscription is paused by us, and nobody has resumed it."""
    if not subscription.is_paused:
        return False
    pause = await change_log.current_pause(session, subscription.stripe_subscription_id)
    return pause is not None and pause.actor is Actor.SERVICE


async def _pause_failed(ctx: Context, failing: Subscription) -> None:
    """Pause a subscription whose payment failed, and void what it owes.

    One that its donor resumed since is left alone. Raises StripeUnavailable.
    """
    id_ = failing.stripe_subscription_id
    if not failing.is_paused:
        async with ctx.sessions.begin() as session:
            decision = await change_log.record_decision(
                session,
                id_,
                ChangeKind.PAUSED,
                actor=Actor.SERVICE,
                now=ctx.now(),
                idempotency_key=f"second:{failing.current_period_end}",
            )
        if decision.done_at is not None:
            return
        call = change_requests.update_call(ctx, id_, PAUSE_PARAMS)
        try:
            await change_requests.carry_out(ctx, decision, [call], _is_paused)
        except StripeRejected:
            async with ctx.sessions.begin() as session:
                await alerts.raise_alert(
                    session, AlertKind.CHANGE_NOT_MADE, object_id=id_, now=ctx.now()
                )
            return
    await debts.void_all(ctx, id_)


def _is_paused(fetched: stripe.Subscription) -> bool:
    return change_requests.has_come_about(PAUSE_PARAMS, fetched)


async def enqueue_pauses(ctx: Context, *, limit: int = 500) -> int:
    """Enqueue the pauses that were not made, of customers of one address that is certain.

    The failure of the old one may be seen only after the new one had begun, and a job may have no
    attempt left. One that was paused lately was resumed by its donor, and stays so; one that Stripe
    refused to pause is asked for again after REFUSED_FOR. Returns how many are enqueued.
    """
    since = ctx.now() - SECOND_NOTICE_WITHIN
    old, new = aliased(Subscription), aliased(Subscription)
    given, given_again = aliased(Contribution), aliased(Contribution)
    was_refused = (SubscriptionChange.failed_at > ctx.now() - REFUSED_FOR) & (
        # what got no answer counts as failed later, and may be asked for at once
        SubscriptionChange.failed_at < SubscriptionChange.decided_at + change_log.UNSEEN_AFTER
    )
    is_settled = (
        select(SubscriptionChange.id)
        .where(
            SubscriptionChange.subscription_id == old.stripe_subscription_id,
            SubscriptionChange.kind == ChangeKind.PAUSED,
            SubscriptionChange.actor == Actor.SERVICE,
            or_(SubscriptionChange.done_at > since, was_refused),
        )
        .exists()
    )
    query = (
        select(new.stripe_subscription_id)
        .join(given_again, given_again.id == new.contribution_id)
        .join(given, given.donor_id == given_again.donor_id)
        .join(old, old.contribution_id == given.id)
        .where(
            old.status == SubscriptionStatus.PAST_DUE,
            ~old.is_paused,
            old.stripe_customer_id == new.stripe_customer_id,
            new.status == SubscriptionStatus.ACTIVE,
            new.started_at > old.started_at,
            new.started_at > since,
            ~is_settled,
        )
        .group_by(new.stripe_subscription_id)
        .order_by(func.random())  # the oldest might be those that Stripe refuses
        .limit(limit)
    )
    async with ctx.sessions.begin() as session:
        unmade = list(await session.scalars(query))
        for subscription_id in unmade:
            await job_queue.enqueue_sync(session, subscriptions.SECOND_JOB, subscription_id)
    return len(unmade)
