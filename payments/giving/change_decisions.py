"""Change decisions: what a donor decides about a subscription, from the row to what came about.

Each decision is a row first (`change_log`), then one call to Stripe with the row's id as the
idempotency key, then a fetch (`change_requests`): `subscription_sync` stores, logs and mails what
it finds, as for a change in Stripe's dashboard. `idempotency_key` is the random name of one
filled-in form: sent twice, it is done once.
"""

import contextlib
import json
from collections.abc import Callable

import stripe

from payments.core.errors import InvalidField, NotFound, StripeUnavailable
from payments.giving import (
    change_log,
    change_requests,
    debts,
    subscription_sync,
    subscriptions,
)
from payments.giving.change_log import Actor, ChangeKind, SubscriptionChange
from payments.giving.subscriptions import ARREARS_STATUSES, Subscription, SubscriptionStatus
from payments.infra.context import Context
from payments.risk import emergency_stops


class SubscriptionEnded(NotFound):
    """The donor has cancelled this subscription, or it lapsed."""

    status = 409
    code = "subscription-ended"
    title = "This contribution has already ended"


async def update_at_stripe(
    ctx: Context,
    subscription: Subscription,
    kind: ChangeKind,
    params: change_requests.Params,
    *,
    actor: Actor,
    idempotency_key: str | None,
) -> None:
    """Store the decision, update the subscription, and see that it came about.

    What Stripe itself has paused goes on with it: its own pause knows no end.
    """
    subscription_id = subscription.stripe_subscription_id
    decision = await decide(
        ctx, subscription, kind, params, actor=actor, idempotency_key=idempotency_key
    )
    if decision.done_at is not None:
        await require_still(
            ctx, subscription_id, lambda now: change_requests.has_come_about(params, now)
        )
        return
    calls = [change_requests.update_call(ctx, subscription_id, params)]
    if subscription.status is SubscriptionStatus.PAUSED and "pause_collection" in params:
        calls.append(change_requests.resume_call(ctx, subscription_id))
    await change_requests.carry_out(
        ctx, decision, calls, lambda after: change_requests.has_come_about(params, after)
    )
    if "pause_collection" in params and subscription.status in ARREARS_STATUSES:
        with contextlib.suppress(StripeUnavailable):  # a job does it as well
            await debts.void_all(ctx, subscription_id)


async def require_still(
    ctx: Context, subscription_id: str, has_come_about: Callable[[stripe.Subscription], bool]
) -> None:
    """Raise InvalidField where a change that was done has been taken back since: a form that is
    sent again says nothing of that, and does not do it again unseen.
    """
    if not has_come_about(await subscription_sync.fetch(ctx, subscription_id)):
        raise changed_meanwhile()


async def decide(
    ctx: Context,
    subscription: Subscription,
    kind: ChangeKind,
    params: change_requests.Params,
    *,
    actor: Actor,
    idempotency_key: str | None,
) -> SubscriptionChange:
    """Store a decision, unless an emergency stop stands."""
    async with ctx.sessions.begin() as session:
        await emergency_stops.require_not_stopped(session, subscription.stripe_subscription_id)
        return await change_log.record_decision(
            session,
            subscription.stripe_subscription_id,
            kind,
            actor=actor,
            now=ctx.now(),
            idempotency_key=_scoped_key(idempotency_key, params),
        )


async def was_already_done(
    ctx: Context,
    subscription: Subscription,
    kind: ChangeKind,
    params: change_requests.Params,
    idempotency_key: str | None,
) -> bool:
    """Whether the same form was sent before and its change is done."""
    async with ctx.sessions() as session:
        return await change_log.was_done(
            session,
            subscription.stripe_subscription_id,
            kind,
            idempotency_key=_scoped_key(idempotency_key, params),
        )


def _scoped_key(idempotency_key: str | None, params: change_requests.Params) -> str | None:
    """Return a key that differs when the same form is filled in differently and sent again."""
    if idempotency_key is None:
        return None
    return f"{idempotency_key}:{json.dumps(params, sort_keys=True)}"


async def require_live(ctx: Context, subscription_id: str) -> Subscription:
    """Return a subscription that neither has ended nor was decided to be cancelled."""
    async with ctx.sessions() as session:
        subscription = await subscriptions.get(session, subscription_id)
    if not subscription.is_live:
        raise SubscriptionEnded("This contribution has already ended. Nothing more is charged.")
    async with ctx.sessions() as session:
        await emergency_stops.require_not_stopped(session, subscription_id)
        pending = await change_log.pending_cancellations(session, [subscription_id])
    if pending:
        raise SubscriptionEnded("You have cancelled this contribution. Nothing else was changed.")
    return subscription


async def require_renewing(ctx: Context, subscription_id: str) -> Subscription:
    """Return a subscription with a charge to come, or a paused one."""
    subscription = await require_live(ctx, subscription_id)
    due = subscription.current_period_end
    if subscription.scheduled_end_at is not None and (
        due is None or due >= subscription.scheduled_end_at
    ):
        raise InvalidField(
            "This contribution is set to end and won't be charged again. To change it, "
            "choose to keep giving first. Nothing was changed."
        )
    return subscription


async def require_renewing_at_stripe(ctx: Context, subscription_id: str) -> Subscription:
    """Return a subscription with a charge to come, as Stripe has it now: what changed there, or was
    charged, may not be known here yet. Raises StripeUnavailable.
    """
    await require_live(ctx, subscription_id)
    await subscription_sync.sync(ctx, subscription_id)
    return await require_renewing(ctx, subscription_id)


def changed_meanwhile() -> InvalidField:
    """Return the refusal of a form whose page showed another contribution than there is now."""
    return InvalidField(
        "This contribution has changed since this page was opened. Please check again. "
        "Nothing was changed."
    )


def dates_moved() -> InvalidField:
    """Return the refusal of a form whose page showed other dates than there are now."""
    return InvalidField(
        "The dates of this contribution have changed since this page was opened. "
        "Please check again. Nothing was changed."
    )
