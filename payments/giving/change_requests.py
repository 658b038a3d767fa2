"""Change requests: a change of a subscription that is asked of Stripe, and whether it came about.

That Stripe answers 200 says only that it understood. So the subscription is fetched after each
request and compared with what was asked: a change that is not there is marked as failed, raises an
alert, and whoever asked is shown so. A refusal of what is true already is no failure.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import stripe

from payments.core.errors import StripeRejected
from payments.giving import change_log, subscription_sync
from payments.giving.change_log import SubscriptionChange
from payments.infra import alerts, job_queue, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context

Params = Mapping[str, Any]  # SubscriptionUpdateParams
Call = Callable[[str], Awaitable[object]]  # asks Stripe for one thing, with an idempotency key


class ChangeNotMade(StripeRejected):
    """Stripe answered that a change was made, and the subscription is as it was."""

    code = "change-not-made"
    title = "The change was not made"


def has_come_about(params: Params, fetched: stripe.Subscription) -> bool:
    """Whether a subscription is as the parameters of an update ask.

    Raises KeyError for a parameter without a rule, so that none is asked for unchecked.
    """
    return all(_RULES[name](value, fetched) for name, value in params.items())


def is_paused(fetched: stripe.Subscription) -> bool:
    """Whether nothing is charged because of a pause, whichever of Stripe's two."""
    return fetched.status == "paused" or fetched.pause_collection is not None


def _has_items(asked: Sequence[Mapping[str, Any]], fetched: stripe.Subscription) -> bool:
    items = {item.id: item for item in fetched["items"].data}
    return all(
        one["id"] not in items
        if one.get("deleted")
        else one["id"] in items and _has_price(one, items[one["id"]])
        for one in asked
    )


def _has_price(asked: Mapping[str, Any], item: stripe.SubscriptionItem) -> bool:
    price, recurring = asked["price_data"], asked["price_data"]["recurring"]
    has, has_recurring = item.price, item.price.recurring
    return (
        (has.unit_amount, has.currency) == (price["unit_amount"], price["currency"])
        and item.quantity == asked["quantity"]
        and has_recurring is not None
        and has_recurring.interval == recurring["interval"]
        and has_recurring.interval_count == recurring.get("interval_count", 1)
    )


def _has_pause(asked: Mapping[str, Any] | str, fetched: stripe.Subscription) -> bool:
    pause = fetched.pause_collection
    if not isinstance(asked, Mapping):
        return pause is None
    return (
        pause is not None
        and fetched.status != "paused"  # by Stripe: it would not end with the pause asked for
        and pause.behavior == asked["behavior"]
        and pause.resumes_at == asked.get("resumes_at")
    )


def _has_metadata(asked: Mapping[str, str], fetched: stripe.Subscription) -> bool:
    return all(
        getattr(fetched.metadata, name, None) == (value or None) for name, value in asked.items()
    )


_RULES: Mapping[str, Callable[[Any, stripe.Subscription], bool]] = {
    "items": _has_items,
    "metadata": _has_metadata,
    "trial_end": lambda asked, fetched: fetched.trial_end == asked,
    "pause_collection": _has_pause,
    "cancel_at": lambda asked, fetched: fetched.cancel_at == (asked or None),
    "cancel_at_period_end": lambda asked, fetched: (
        fetched.cancel_at_period_end is asked and (asked or fetched.cancel_at is None)
    ),
    "default_payment_method": lambda asked, fetched: (
        stripe_client.id_of(fetched.default_payment_method) == asked
    ),
    "proration_behavior": lambda _asked, _fetched: True,  # how it is done, not what
}


def update_call(ctx: Context, subscription_id: str, params: Params) -> Call:
    """Return the call that updates a subscription."""
    return lambda key: ctx.stripe.v1.subscriptions.update_async(
        subscription_id,
        params,  # type: ignore[arg-type]  # SubscriptionUpdateParams
        {"idempotency_key": key},
    )


def resume_call(ctx: Context, subscription_id: str) -> Call:
    """Return the call that resumes what Stripe has paused: in its old periods, and unbilled."""
    return lambda key: ctx.stripe.v1.subscriptions.resume_async(
        subscription_id,
        {"billing_cycle_anchor": {"type": "unchanged"}, "proration_behavior": "none"},
        {"idempotency_key": key},
    )


async def carry_out(
    ctx: Context,
    decision: SubscriptionChange,
    calls: Sequence[Call],
    came_about: Callable[[stripe.Subscription], bool],
) -> None:
    """Ask Stripe for a change that was decided, fetch the subscription, and store what came about.

    The decision names the idempotency key. Raises StripeRejected when Stripe or the bank refuses,
    ChangeNotMade when Stripe does not do what it confirms, or only a part, and StripeUnavailable.
    Where it is not known what came about, a job looks.
    """
    subscription_id, confirmed = decision.subscription_id, 0
    refusal: stripe.StripeError | None = None
    try:
        with stripe_client.translate_errors():
            try:
                for number, call in enumerate(calls):
                    await call(f"{decision.stripe_key}-{number}")
                    confirmed += 1
            except (stripe.InvalidRequestError, stripe.CardError) as error:
                refusal = error
        requested_at = ctx.now()
        fetched = await subscription_sync.fetch(ctx, subscription_id)
        is_made = came_about(fetched)
        if not is_made:
            await _mark_failed(ctx, decision, was_confirmed=refusal is None)
        await subscription_sync.store(ctx, fetched, requested_at=requested_at)
    except Exception:  # it may have been done, and is seen by nobody yet
        await _sync_later(ctx, subscription_id)
        raise
    if is_made:
        return
    if confirmed and len(calls) > 1:
        raise ChangeNotMade(
            "Our payment provider made only part of the change. Nothing was charged. "
            "Please check what is shown now."
        ) from refusal
    if refusal is not None:
        raise StripeRejected(
            "Our payment provider did not accept the change. Nothing was changed or charged."
        ) from refusal
    raise ChangeNotMade(
        "Our payment provider accepted the change but did not make it. Nothing was changed "
        "or charged. Please try again later; we are looking into it too."
    )


async def _sync_later(ctx: Context, subscription_id: str) -> None:
    async with ctx.sessions.begin() as session:
        await job_queue.enqueue_sync(
            session, "subscription", subscription_id, delay=subscription_sync.RESYNC_DELAY
        )


async def _mark_failed(ctx: Context, decision: SubscriptionChange, *, was_confirmed: bool) -> None:
    async with ctx.sessions.begin() as session:
        await change_log.mark_failed(session, decision.id, now=ctx.now())
        if was_confirmed:
            await alerts.raise_alert(
                session,
                AlertKind.CHANGE_NOT_MADE,
                object_id=decision.subscription_id,
                now=ctx.now(),
            )
