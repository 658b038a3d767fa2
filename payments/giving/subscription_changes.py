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

from payments.core.errors import InvalidField, NotFound, StripeRefused, StripeUnavailable
from payments.core.money import Money, check_gift, maximum
from payments.giving import change_log, checkout_session, subscriptions
from payments.giving.change_log import By, Change, ChangeKind
from payments.giving.checkout_session import Frequency
from payments.giving.subscriptions import Subscription, SubscriptionStatus
from payments.infra import job_queue, stripe_client
from payments.infra.context import Runtime

LONGEST_PAUSE = 12  # months


class PromiseHasEnded(NotFound):
    """The donor has stopped this promise, or it lapsed."""

    status = 409
    code = "promise-has-ended"
    title = "This contribution has already ended"


async def change_amount(
    rt: Runtime, subscription_id: str, gift: Money, *, by: By, intent: str | None = None
) -> None:
    """Give another amount from the next charge on. Raises the amount's own errors."""
    promise = await _going_on(rt, subscription_id)
    if gift.currency != promise.currency:
        raise InvalidField(
            f"This contribution is in {promise.currency.upper()}. Nothing was changed.",
            field="currency",
        )
    highest = maximum(gift.currency, rt.settings.maximum_gifts)
    check_gift(gift.amount, gift.currency, maximum=highest.amount)
    if gift == promise.money:
        return
    wanted = await _repriced(rt, promise, gift, promise.frequency)
    await _ask(rt, promise, ChangeKind.AMOUNT, wanted, by=by, intent=intent)


async def change_frequency(
    rt: Runtime,
    subscription_id: str,
    frequency: Frequency,
    gift: Money,
    *,
    by: By,
    intent: str | None = None,
) -> None:
    """Give monthly instead of annually, or the other way round, from the next charge on.

    Stripe bills a new interval at once, unless the subscription waits until then: so it waits until
    the charge that was due anyway. https://docs.stripe.com/billing/subscriptions/change-price
    """
    promise = await _going_on(rt, subscription_id)
    if frequency is Frequency.ONCE:
        raise InvalidField("Choose monthly or annual. Nothing was changed.", field="frequency")
    highest = maximum(gift.currency, rt.settings.maximum_gifts)
    check_gift(gift.amount, promise.currency, maximum=highest.amount)
    if frequency is promise.frequency:
        return
    if promise.renews_at is None or promise.status is SubscriptionStatus.PAST_DUE:
        raise InvalidField("A payment is still open: replace the card first. Nothing was changed.")
    wanted = await _repriced(rt, promise, gift, frequency)
    wanted["trial_end"] = int(promise.renews_at.timestamp())
    await _ask(rt, promise, ChangeKind.FREQUENCY, wanted, by=by, intent=intent)


async def _repriced(
    rt: Runtime, promise: Subscription, gift: Money, frequency: Frequency
) -> dict[str, Any]:  # SubscriptionUpdateParams
    """The one item of the subscription, at another price."""
    with stripe_client.reachable():
        fetched = await rt.stripe.v1.subscriptions.retrieve_async(promise.stripe_subscription_id)
    price = {
        "currency": gift.currency,
        "unit_amount": gift.amount,
        "product": checkout_session.product_id(frequency),
        "recurring": {"interval": frequency.interval},
    }
    return {
        "items": [{"id": fetched["items"].data[0].id, "price_data": price, "quantity": 1}],
        "proration_behavior": "none",
    }


async def skip(rt: Runtime, subscription_id: str, *, by: By, intent: str | None = None) -> None:
    """Skip the next charge, and only that."""
    promise = await _going_on(rt, subscription_id)
    nothing = InvalidField("Nothing is due that could be skipped. Nothing was changed.")
    if promise.renews_at is None:
        raise nothing
    wanted = _pause(promise.renews_at + timedelta(days=1))
    if promise.pauses and not await _was_done(rt, promise, ChangeKind.SKIPPED, wanted, intent):
        raise nothing
    await _ask(rt, promise, ChangeKind.SKIPPED, wanted, by=by, intent=intent)


async def pause(
    rt: Runtime,
    subscription_id: str,
    months: int | None,
    *,
    by: By,
    intent: str | None = None,
) -> None:
    """Pause for 1 to 12 months, or, with None, until the donor resumes."""
    if months is not None and not 1 <= months <= LONGEST_PAUSE:
        raise InvalidField("Pause for 1 to 12 months. Nothing was changed.", field="months")
    promise = await _going_on(rt, subscription_id)
    until = None if months is None else pause_ends(promise, months, now=rt.now())
    await _ask(rt, promise, ChangeKind.PAUSED, _pause(until), by=by, intent=intent)


def pause_ends(promise: Subscription, months: int, *, now: datetime) -> datetime:
    """When a pause of so many months ends: counted from the charge that is due, a day before
    another.

    Counted from today, a pause of a month could end before anything was left out.
    """
    due = promise.renews_at or now
    day = min(promise.anchored_at.day, 28)
    return subscriptions.months_after(due, months, day=day) - timedelta(days=1)


async def resume(rt: Runtime, subscription_id: str, *, by: By, intent: str | None = None) -> None:
    """Go on with the next charge that comes."""
    promise = await _live(rt, subscription_id)
    if promise.pauses:
        wanted = {"pause_collection": ""}
        await _ask(rt, promise, ChangeKind.RESUMED, wanted, by=by, intent=intent)


async def keep(rt: Runtime, subscription_id: str, *, by: By, intent: str | None = None) -> None:
    """Take back the last day that was set, and go on as before."""
    promise = await _live(rt, subscription_id)
    if promise.ends_at is None:
        return
    with stripe_client.reachable():
        fetched = await rt.stripe.v1.subscriptions.retrieve_async(subscription_id)
    # Stripe takes one of the two: the end of a period, or a day of its own
    wanted: dict[str, Any] = {"cancel_at": ""}
    if fetched.cancel_at_period_end:
        wanted = {"cancel_at_period_end": False}
    await _ask(rt, promise, ChangeKind.KEPT, wanted, by=by, intent=intent)


async def stop(rt: Runtime, subscription_id: str, *, by: By) -> bool:
    """End the promise at once. Stopping twice is stopping once. Gives whether Stripe confirmed it.

    At once and not at the end of the paid period: a gift buys nothing that would run on till then,
    so both cost the donor the same, and at once also ends the attempts for a payment that failed
    and leaves nothing that could begin again. A last day that was set elsewhere is shown and can be
    taken back (`keep`).

    The decision is kept whether or not Stripe can be reached; a job asks until it is done.
    """
    promise = await _found(rt, subscription_id)
    if not promise.is_live:
        return True
    async with rt.sessions.begin() as session:
        await change_log.decide_stop(session, subscription_id, by=by, now=rt.now())
    try:
        await carry_out_stop(rt, subscription_id)
    except (StripeUnavailable, StripeRefused):
        async with rt.sessions.begin() as session:
            await job_queue.ring(session, subscriptions.STOP, subscription_id)
        return False
    return True


async def carry_out_stop(rt: Runtime, subscription_id: str) -> None:
    """Ask Stripe for a stop that was decided, unless it is done."""
    promise = await _found(rt, subscription_id)
    async with rt.sessions() as session:
        owed = await change_log.owed_stops(session, [subscription_id])
    if not promise.is_live or not owed:
        return
    try:
        with stripe_client.reachable():
            await rt.stripe.v1.subscriptions.cancel_async(subscription_id)
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":  # it ended at Stripe a moment ago
            raise StripeRefused("Our payment provider did not stop it.") from error
    await subscriptions.sync(rt, subscription_id)


async def take_up_stops(rt: Runtime, *, limit: int = 500) -> int:
    """Ring again for stops that were decided and are not done. Gives how many."""
    query = (
        select(Subscription.stripe_subscription_id)
        .join(Change, Change.subscription_id == Subscription.stripe_subscription_id)
        .where(
            Change.kind == ChangeKind.STOPPED,
            Change.done_at.is_(None),
            Subscription.status.in_(subscriptions.LIVE),
        )
        .order_by(Change.decided_at)
        .limit(limit)
    )
    async with rt.sessions.begin() as session:
        owed = list(await session.scalars(query))
        for subscription_id in owed:
            await job_queue.ring(session, subscriptions.STOP, subscription_id)
    return len(owed)


async def _ask(
    rt: Runtime,
    promise: Subscription,
    kind: ChangeKind,
    wanted: Mapping[str, Any],
    *,
    by: By,
    intent: str | None,
) -> None:
    """Write the decision down, ask Stripe by its id, fetch what came of it."""
    subscription_id = promise.stripe_subscription_id
    async with rt.sessions.begin() as session:
        decision = await change_log.decide(
            session, subscription_id, kind, by=by, now=rt.now(), intent=_named(intent, wanted)
        )
    if decision.done_at is not None:
        return
    try:
        with stripe_client.reachable():
            await rt.stripe.v1.subscriptions.update_async(
                subscription_id,
                wanted,  # type: ignore[arg-type]  # SubscriptionUpdateParams
                {"idempotency_key": decision.id},
            )
    except stripe.InvalidRequestError as error:
        await subscriptions.sync(rt, subscription_id)
        raise StripeRefused(
            "Our payment provider did not accept the change. Nothing was changed or charged."
        ) from error
    await subscriptions.sync(rt, subscription_id)


async def _was_done(
    rt: Runtime,
    promise: Subscription,
    kind: ChangeKind,
    wanted: Mapping[str, Any],
    intent: str | None,
) -> bool:
    """Whether the same form was sent before and did what it asked for."""
    async with rt.sessions() as session:
        return await change_log.was_done(
            session, promise.stripe_subscription_id, kind, intent=_named(intent, wanted)
        )


def _named(intent: str | None, wanted: Mapping[str, Any]) -> str | None:
    """A form that was filled in anew asks for something else, under the same name."""
    return None if intent is None else f"{intent}:{json.dumps(wanted, sort_keys=True)}"


def _pause(until: datetime | None) -> dict[str, Any]:
    """Invoices of the time between are voided: nothing is owed for them."""
    wanted: dict[str, Any] = {"behavior": "void"}
    if until is not None:
        wanted["resumes_at"] = int(until.timestamp())
    return {"pause_collection": wanted}


async def _found(rt: Runtime, subscription_id: str) -> Subscription:
    async with rt.sessions() as session:
        promise = await subscriptions.find(session, subscription_id)
    if promise is None:
        raise NotFound("There is no such contribution.")
    return promise


async def _live(rt: Runtime, subscription_id: str) -> Subscription:
    """A promise that can be changed: not one that has ended, or that its donor decided to end."""
    promise = await _found(rt, subscription_id)
    if not promise.is_live:
        raise PromiseHasEnded("This contribution has already ended. Nothing more is charged.")
    async with rt.sessions() as session:
        owed = await change_log.owed_stops(session, [subscription_id])
    if owed:
        raise PromiseHasEnded("You have stopped this contribution. Nothing else was changed.")
    return promise


async def _going_on(rt: Runtime, subscription_id: str) -> Subscription:
    """A promise with a charge to come, or one that is paused."""
    promise = await _live(rt, subscription_id)
    due = promise.renews_at
    if promise.ends_at is not None and (due is None or due >= promise.ends_at):
        raise InvalidField(
            "This contribution is set to end, and nothing more is charged. To change it, keep "
            "giving first. Nothing was changed."
        )
    return promise
