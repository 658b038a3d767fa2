"""Promises: what a donor decides about a standing gift.

Each decision is a row first, then one call to Stripe keyed by that row, then a fetch: what the
fetch finds is written, told and kept in the history by `subscriptions`, just as if it had been made
in Stripe's dashboard. Nothing is charged by a change; every change counts from the next charge on.

A verb may be given an `intent`, the random name of one filled-in form: sent twice, it is done once.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import stripe
from sqlalchemy import select

from payments.core.calendar import add_months
from payments.core.errors import InvalidField, NotFound, StripeRejected, StripeUnavailable
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.giving import change_log, checkout_session, subscriptions
from payments.giving.change_log import Actor, ChangeKind, SubscriptionChange
from payments.giving.subscriptions import Subscription, SubscriptionStatus
from payments.infra import job_queue, stripe_client
from payments.infra.context import Context

MAX_PAUSE_MONTHS = 12  # months


class SubscriptionEnded(NotFound):
    """The donor has stopped this promise, or it lapsed."""

    status = 409
    code = "subscription-ended"
    title = "This contribution has already ended"


async def change_amount(
    ctx: Context,
    subscription_id: str,
    new_amount: Money,
    *,
    actor: Actor,
    idempotency_key: str | None = None,
) -> None:
    """Give another amount from the next charge on. Raises the amount's own errors."""
    promise = await _require_renewing(ctx, subscription_id)
    if new_amount.currency != promise.currency:
        raise InvalidField(
            f"This contribution is in {promise.currency.upper()}. Nothing was changed.",
            field="currency",
        )
    ctx.settings.validate_gift(new_amount.amount, new_amount.currency)
    if new_amount == promise.money:
        return
    wanted = await _price_change_params(ctx, promise, new_amount, promise.frequency)
    await _update_at_stripe(
        ctx, promise, ChangeKind.AMOUNT, wanted, actor=actor, idempotency_key=idempotency_key
    )


async def change_frequency(
    ctx: Context,
    subscription_id: str,
    frequency: Frequency,
    new_amount: Money,
    *,
    actor: Actor,
    idempotency_key: str | None = None,
) -> None:
    """Give monthly instead of annually, or the other way round, from the next charge on.

    Stripe bills a new interval at once, unless the subscription waits until then: so it waits until
    the charge that was due anyway. https://docs.stripe.com/billing/subscriptions/change-price
    """
    promise = await _require_renewing(ctx, subscription_id)
    if frequency is Frequency.ONCE:
        raise InvalidField("Choose monthly or annual. Nothing was changed.", field="frequency")
    ctx.settings.validate_gift(new_amount.amount, promise.currency)
    if frequency is promise.frequency:
        return
    if promise.current_period_end is None or promise.status is SubscriptionStatus.PAST_DUE:
        raise InvalidField("A payment is still open: replace the card first. Nothing was changed.")
    wanted = await _price_change_params(ctx, promise, new_amount, frequency)
    wanted["trial_end"] = int(promise.current_period_end.timestamp())
    await _update_at_stripe(
        ctx, promise, ChangeKind.FREQUENCY, wanted, actor=actor, idempotency_key=idempotency_key
    )


async def _price_change_params(
    ctx: Context, subscription: Subscription, new_amount: Money, frequency: Frequency
) -> dict[str, Any]:  # SubscriptionUpdateParams
    """The one item of the subscription, at another price."""
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.subscriptions.retrieve_async(
            subscription.stripe_subscription_id
        )
    price = {
        "currency": new_amount.currency,
        "unit_amount": new_amount.amount,
        "product": checkout_session.product_id(frequency),
        "recurring": {"interval": frequency.interval},
    }
    return {
        "items": [{"id": fetched["items"].data[0].id, "price_data": price, "quantity": 1}],
        "proration_behavior": "none",
    }


async def skip(
    ctx: Context, subscription_id: str, *, actor: Actor, idempotency_key: str | None = None
) -> None:
    """Skip the next charge, and only that."""
    promise = await _require_renewing(ctx, subscription_id)
    nothing = InvalidField("Nothing is due that could be skipped. Nothing was changed.")
    if promise.current_period_end is None:
        raise nothing
    wanted = _pause_params(promise.current_period_end + timedelta(days=1))
    if promise.is_paused and not await _was_already_done(
        ctx, promise, ChangeKind.SKIPPED, wanted, idempotency_key
    ):
        raise nothing
    await _update_at_stripe(
        ctx, promise, ChangeKind.SKIPPED, wanted, actor=actor, idempotency_key=idempotency_key
    )


async def pause(
    ctx: Context,
    subscription_id: str,
    months: int | None,
    *,
    actor: Actor,
    idempotency_key: str | None = None,
) -> None:
    """Pause for 1 to 12 months, or, with None, until the donor resumes."""
    if months is not None and not 1 <= months <= MAX_PAUSE_MONTHS:
        raise InvalidField("Pause for 1 to 12 months. Nothing was changed.", field="months")
    promise = await _require_renewing(ctx, subscription_id)
    until = None if months is None else pause_end(promise, months, now=ctx.now())
    await _update_at_stripe(
        ctx,
        promise,
        ChangeKind.PAUSED,
        _pause_params(until),
        actor=actor,
        idempotency_key=idempotency_key,
    )


def pause_end(subscription: Subscription, months: int, *, now: datetime) -> datetime:
    """When a pause of so many months ends: counted from the charge that is due, a day before
    another.

    Counted from today, a pause of a month could end before anything was left out.
    """
    due = subscription.current_period_end or now
    day = min(subscription.billing_anchor_at.day, 28)
    return add_months(due, months, day_of_month=day) - timedelta(days=1)


async def resume(
    ctx: Context, subscription_id: str, *, actor: Actor, idempotency_key: str | None = None
) -> None:
    """Go on with the next charge that comes."""
    promise = await _require_live(ctx, subscription_id)
    if promise.is_paused:
        wanted = {"pause_collection": ""}
        await _update_at_stripe(
            ctx, promise, ChangeKind.RESUMED, wanted, actor=actor, idempotency_key=idempotency_key
        )


async def undo_scheduled_end(
    ctx: Context, subscription_id: str, *, actor: Actor, idempotency_key: str | None = None
) -> None:
    """Take back the last day that was set, and go on as before."""
    promise = await _require_live(ctx, subscription_id)
    if promise.scheduled_end_at is None:
        return
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.subscriptions.retrieve_async(subscription_id)
    # Stripe takes one of the two: the end of a period, or a day of its own
    wanted: dict[str, Any] = {"cancel_at": ""}
    if fetched.cancel_at_period_end:
        wanted = {"cancel_at_period_end": False}
    await _update_at_stripe(
        ctx, promise, ChangeKind.END_CANCELLED, wanted, actor=actor, idempotency_key=idempotency_key
    )


async def cancel(ctx: Context, subscription_id: str, *, actor: Actor) -> bool:
    """End the promise at once. Stopping twice is stopping once. Gives whether Stripe confirmed it.

    At once and not at the end of the paid period: a gift buys nothing that would run on till then,
    so both cost the donor the same, and at once also ends the attempts for a payment that failed
    and leaves nothing that could begin again. A last day that was set elsewhere is shown and can be
    taken back (`keep`).

    The decision is kept whether or not Stripe can be reached; a job asks until it is done.
    """
    promise = await _require_known(ctx, subscription_id)
    if not promise.is_live:
        return True
    async with ctx.sessions.begin() as session:
        await change_log.record_cancellation(session, subscription_id, actor=actor, now=ctx.now())
    try:
        await perform_cancellation(ctx, subscription_id)
    except (StripeUnavailable, StripeRejected):
        async with ctx.sessions.begin() as session:
            await job_queue.enqueue_sync(session, subscriptions.CANCEL_JOB, subscription_id)
        return False
    return True


async def perform_cancellation(ctx: Context, subscription_id: str) -> None:
    """Ask Stripe for a stop that was decided, unless it is done."""
    promise = await _require_known(ctx, subscription_id)
    async with ctx.sessions() as session:
        owed = await change_log.pending_cancellations(session, [subscription_id])
    if not promise.is_live or not owed:
        return
    try:
        with stripe_client.translate_errors():
            await ctx.stripe.v1.subscriptions.cancel_async(subscription_id)
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":  # it ended at Stripe a moment ago
            raise StripeRejected("Our payment provider did not stop it.") from error
    await subscriptions.sync(ctx, subscription_id)


async def resume_cancellations(ctx: Context, *, limit: int = 500) -> int:
    """Ring again for stops that were decided and are not done. Gives how many."""
    query = (
        select(Subscription.stripe_subscription_id)
        .join(
            SubscriptionChange,
            SubscriptionChange.subscription_id == Subscription.stripe_subscription_id,
        )
        .where(
            SubscriptionChange.kind == ChangeKind.CANCELLED,
            SubscriptionChange.done_at.is_(None),
            Subscription.status.in_(subscriptions.LIVE_STATUSES),
        )
        .order_by(SubscriptionChange.decided_at)
        .limit(limit)
    )
    async with ctx.sessions.begin() as session:
        owed = list(await session.scalars(query))
        for subscription_id in owed:
            await job_queue.enqueue_sync(session, subscriptions.CANCEL_JOB, subscription_id)
    return len(owed)


async def _update_at_stripe(
    ctx: Context,
    subscription: Subscription,
    kind: ChangeKind,
    params: Mapping[str, Any],
    *,
    actor: Actor,
    idempotency_key: str | None,
) -> None:
    """Write the decision down, ask Stripe by its id, fetch what came of it."""
    subscription_id = subscription.stripe_subscription_id
    async with ctx.sessions.begin() as session:
        decision = await change_log.record_decision(
            session,
            subscription_id,
            kind,
            actor=actor,
            now=ctx.now(),
            idempotency_key=_scoped_key(idempotency_key, params),
        )
    if decision.done_at is not None:
        return
    try:
        with stripe_client.translate_errors():
            await ctx.stripe.v1.subscriptions.update_async(
                subscription_id,
                params,  # type: ignore[arg-type]  # SubscriptionUpdateParams
                {"idempotency_key": decision.id},
            )
    except stripe.InvalidRequestError as error:
        await subscriptions.sync(ctx, subscription_id)
        raise StripeRejected(
            "Our payment provider did not accept the change. Nothing was changed or charged."
        ) from error
    await subscriptions.sync(ctx, subscription_id)


async def _was_already_done(
    ctx: Context,
    subscription: Subscription,
    kind: ChangeKind,
    params: Mapping[str, Any],
    idempotency_key: str | None,
) -> bool:
    """Whether the same form was sent before and did what it asked for."""
    async with ctx.sessions() as session:
        return await change_log.was_done(
            session,
            subscription.stripe_subscription_id,
            kind,
            idempotency_key=_scoped_key(idempotency_key, params),
        )


def _scoped_key(idempotency_key: str | None, params: Mapping[str, Any]) -> str | None:
    """A form that was filled in anew asks for something else, under the same name."""
    return (
        None
        if idempotency_key is None
        else f"{idempotency_key}:{json.dumps(params, sort_keys=True)}"
    )


def _pause_params(until: datetime | None) -> dict[str, Any]:
    """Invoices of the time between are voided: nothing is owed for them."""
    wanted: dict[str, Any] = {"behavior": "void"}
    if until is not None:
        wanted["resumes_at"] = int(until.timestamp())
    return {"pause_collection": wanted}


async def _require_known(ctx: Context, subscription_id: str) -> Subscription:
    async with ctx.sessions() as session:
        promise = await subscriptions.get_or_none(session, subscription_id)
    if promise is None:
        raise NotFound("There is no such contribution.")
    return promise


async def _require_live(ctx: Context, subscription_id: str) -> Subscription:
    """A promise that can be changed: not one that has ended, or that its donor decided to end."""
    promise = await _require_known(ctx, subscription_id)
    if not promise.is_live:
        raise SubscriptionEnded("This contribution has already ended. Nothing more is charged.")
    async with ctx.sessions() as session:
        owed = await change_log.pending_cancellations(session, [subscription_id])
    if owed:
        raise SubscriptionEnded("You have stopped this contribution. Nothing else was changed.")
    return promise


async def _require_renewing(ctx: Context, subscription_id: str) -> Subscription:
    """A promise with a charge to come, or one that is paused."""
    promise = await _require_live(ctx, subscription_id)
    due = promise.current_period_end
    if promise.scheduled_end_at is not None and (due is None or due >= promise.scheduled_end_at):
        raise InvalidField(
            "This contribution is set to end, and nothing more is charged. To change it, keep "
            "giving first. Nothing was changed."
        )
    return promise
