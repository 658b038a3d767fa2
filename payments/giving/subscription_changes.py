"""Subscription changes: amount, frequency, whether the fee is covered; a skip, a pause, its end.

How each is decided and carried out stands in `change_decisions`. No change charges; each applies
from the next charge on. Every change raises NotFound, SubscriptionEnded, InvalidField,
StripeRejected, ChangeNotMade or StripeUnavailable.
"""

from datetime import datetime, timedelta
from typing import Any

import stripe

from payments.core.calendar import add_months
from payments.core.errors import InvalidField
from payments.core.frequency import Frequency, Interval, IntervalUnit
from payments.core.money import Money
from payments.giving import (
    change_decisions,
    change_requests,
    checkout_session,
    covered_amounts,
    subscription_sync,
    subscription_terms,
)
from payments.giving.change_log import Actor, ChangeKind
from payments.giving.change_requests import Call
from payments.giving.subscriptions import Subscription, SubscriptionStatus
from payments.infra import stripe_client
from payments.infra.context import Context

MAX_PAUSE_MONTHS = 12


async def change_amount(
    ctx: Context,
    subscription_id: str,
    new_amount: Money,
    *,
    actor: Actor,
    idempotency_key: str | None = None,
) -> None:
    """Charge another amount from the next charge on. Raises the amount's own errors too.

    Where the donor covers the fee, the amount is without it, and the new fee is added.
    """
    subscription = await change_decisions.require_renewing(ctx, subscription_id)
    if new_amount.currency != subscription.currency:
        raise InvalidField(
            f"This contribution is in {subscription.currency.upper()}. Nothing was changed.",
            field="currency",
        )
    ctx.settings.validate_gift(new_amount.amount, new_amount.currency)
    await _change_total(
        ctx, subscription, new_amount, _covers(subscription), actor, idempotency_key
    )


async def change_fee_cover(
    ctx: Context,
    subscription_id: str,
    *,
    covers: bool,
    shown_total: str,
    actor: Actor,
    idempotency_key: str | None = None,
) -> None:
    """Add the payment fee to the amount from the next charge on, or leave it out.

    `shown_total` is the new amount in minor units, as the donor was shown it.
    """
    subscription = await change_decisions.require_renewing_at_stripe(ctx, subscription_id)
    gift = covered_amounts.gift_of(subscription)
    if gift is None or (covers and gift.currency not in ctx.settings.stripe_fees):
        raise InvalidField("The payment fee can't be added to this one. Nothing was changed.")
    total, _ = covered_amounts.with_fee(ctx, gift, covers=covers)
    if str(total.amount) != shown_total:
        raise change_decisions.changed_meanwhile()
    await _change_total(ctx, subscription, gift, covers, actor, idempotency_key)


def _covers(subscription: Subscription) -> bool:
    return subscription.fee_cover is not None


async def _change_total(
    ctx: Context,
    subscription: Subscription,
    gift: Money,
    covers: bool,
    actor: Actor,
    idempotency_key: str | None,
) -> None:
    """Charge a gift, with the fee if it is to be covered, unless that is what is charged now."""
    total, cover = covered_amounts.with_fee(ctx, gift, covers=covers)
    if total == subscription.money and (cover is not None) is _covers(subscription):
        return
    params = await _price_change_params(ctx, subscription, total, cover, subscription.every)
    await change_decisions.update_at_stripe(
        ctx, subscription, ChangeKind.AMOUNT, params, actor=actor, idempotency_key=idempotency_key
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
    """Charge monthly instead of annually, or the other way round, from the next charge on.

    Stripe bills a new interval at once unless a trial ends later: so one ends when the next charge
    was due anyway. https://docs.stripe.com/billing/subscriptions/change-price
    """
    subscription = await change_decisions.require_renewing(ctx, subscription_id)
    interval = frequency.interval
    if interval is None:
        raise InvalidField("Choose monthly or annual. Nothing was changed.", field="frequency")
    ctx.settings.validate_gift(new_amount.amount, subscription.currency)
    if interval == subscription.interval:
        return
    if subscription.scheduled_end_at is not None:
        raise InvalidField(
            "It is set to end. Please take that back first; then you can change how often you "
            "give. Nothing was changed."
        )
    if (
        subscription.current_period_end is None
        or subscription.status is SubscriptionStatus.PAST_DUE
    ):
        raise InvalidField(
            "A payment is still open: please replace the card first. Nothing was changed."
        )
    total, cover = covered_amounts.with_fee(ctx, new_amount, covers=_covers(subscription))
    params = await _price_change_params(ctx, subscription, total, cover, interval)
    params["trial_end"] = int(subscription.current_period_end.timestamp())
    await change_decisions.update_at_stripe(
        ctx,
        subscription,
        ChangeKind.FREQUENCY,
        params,
        actor=actor,
        idempotency_key=idempotency_key,
    )


async def _price_change_params(
    ctx: Context,
    subscription: Subscription,
    total: Money,
    cover: Money | None,
    interval: Interval,
) -> dict[str, Any]:  # SubscriptionUpdateParams
    """Return the parameters that leave one item with this price, whatever items there are.

    Raises InvalidField where Stripe would charge another total than that price.
    Another amount stays with its product; another frequency has a product of its own.
    """
    fetched = await subscription_sync.fetch(ctx, subscription.stripe_subscription_id)
    if subscription_terms.is_changed_by_discount_or_tax(fetched):
        raise InvalidField(
            "A discount or a tax applies to this contribution, so its amount can't be "
            "changed here. Please write to us. Nothing was changed."
        )
    first, *others = fetched["items"].data
    product = stripe_client.id_of(first.price.product)
    if interval != subscription.interval:
        product = checkout_session.product_id(interval.frequency)
    price = {
        "currency": total.currency,
        "unit_amount": total.amount,
        "product": product,
        "recurring": {"interval": interval.unit.value, "interval_count": interval.count},
    }
    said, metadata = {}, fetched.metadata.to_dict()
    if cover is not None or _covers(subscription) or metadata.get(covered_amounts.KEY):
        said = {"metadata": covered_amounts.metadata(cover, total)}
    return said | {
        "items": [
            {"id": first.id, "price_data": price, "quantity": 1},
            *({"id": other.id, "deleted": True} for other in others),
        ],
        "proration_behavior": "none",
    }


async def skip(
    ctx: Context, subscription_id: str, *, actor: Actor, idempotency_key: str | None = None
) -> None:
    """Skip the next payment, and what was not paid before it: neither is tried again."""
    subscription = await change_decisions.require_renewing(ctx, subscription_id)
    nothing_due = InvalidField("There is no payment to skip. Nothing was changed.")
    if subscription.current_period_end is None:
        raise nothing_due
    is_daily = subscription.interval == Interval(IntervalUnit.DAY, 1)
    params = _pause_params(
        subscription.current_period_end + timedelta(hours=12 if is_daily else 24)
    )
    if subscription.is_paused and not await change_decisions.was_already_done(
        ctx, subscription, ChangeKind.SKIPPED, params, idempotency_key
    ):
        raise nothing_due
    await change_decisions.update_at_stripe(
        ctx, subscription, ChangeKind.SKIPPED, params, actor=actor, idempotency_key=idempotency_key
    )


async def pause(
    ctx: Context,
    subscription_id: str,
    months: int | None,
    *,
    actor: Actor,
    idempotency_key: str | None = None,
) -> None:
    """Pause for 1 to 12 months or, with None, until the donor resumes. What was not paid before is
    not tried again.
    """
    if months is not None and not 1 <= months <= MAX_PAUSE_MONTHS:
        raise InvalidField("Pause for 1 to 12 months. Nothing was changed.", field="months")
    subscription = await change_decisions.require_renewing(ctx, subscription_id)
    until = None if months is None else pause_end(subscription, months, now=ctx.now())
    await change_decisions.update_at_stripe(
        ctx,
        subscription,
        ChangeKind.PAUSED,
        _pause_params(until),
        actor=actor,
        idempotency_key=idempotency_key,
    )


def pause_end(subscription: Subscription, months: int, *, now: datetime) -> datetime:
    """Return when a pause of so many months ends: a day before a charge, counted from the one due.

    Counted from today, a pause of a month could end before any charge was skipped.
    """
    due = subscription.current_period_end or now
    counts_in_days = subscription.every.months is None
    day = due.day if counts_in_days else min(subscription.billing_anchor_at.day, 28)
    return add_months(due, months, day_of_month=day) - timedelta(days=1)


async def resume(
    ctx: Context, subscription_id: str, *, actor: Actor, idempotency_key: str | None = None
) -> None:
    """End every kind of pause: the next charge is made as scheduled, and nothing before it.

    Stripe has two: of the collection (`skip`, `pause`), and of the subscription (in its portal).
    """
    subscription = await change_decisions.require_live(ctx, subscription_id)
    requested_at = ctx.now()
    fetched = await subscription_sync.fetch(ctx, subscription_id)
    if not change_requests.is_paused(fetched):
        await subscription_sync.store(ctx, fetched, requested_at=requested_at)
        return
    calls: list[Call] = []
    if fetched.pause_collection is not None:
        calls.append(change_requests.update_call(ctx, subscription_id, {"pause_collection": ""}))
    if fetched.status == SubscriptionStatus.PAUSED:
        calls.append(change_requests.resume_call(ctx, subscription_id))
    decision = await change_decisions.decide(
        ctx, subscription, ChangeKind.RESUMED, {}, actor=actor, idempotency_key=idempotency_key
    )
    if decision.done_at is None:
        await change_requests.carry_out(ctx, decision, calls, _is_charged)
    else:
        await change_decisions.require_still(ctx, subscription_id, _is_charged)


def _is_charged(fetched: stripe.Subscription) -> bool:
    return not change_requests.is_paused(fetched)


def _pause_params(until: datetime | None) -> dict[str, Any]:
    """Return the parameters of a pause. Invoices during it are voided: nothing is owed for them."""
    pause_collection: dict[str, Any] = {"behavior": "void"}
    if until is not None:
        pause_collection["resumes_at"] = int(until.timestamp())
    return {"pause_collection": pause_collection}
