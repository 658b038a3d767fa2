"""Pausing a subscription, and pausing only its collection."""

from datetime import timedelta

import pytest
import stripe

from tests.support.shop import START, Shop

pytestmark = pytest.mark.anyio

UNCREDITED: stripe.params.SubscriptionPauseParams = {
    "bill_for": {"unused_time_from": {"type": "none"}}
}


def after(**length: float) -> int:
    return int((START + timedelta(**length)).timestamp())


async def pauses(shop: Shop, subscription: stripe.Subscription) -> stripe.Subscription:
    return await shop.client.v1.subscriptions.pause_async(subscription.id, UNCREDITED)


async def test_a_paused_subscription_is_not_charged_until_it_is_resumed(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    last_event = await shop.latest_event()

    paused = await pauses(shop, subscription)

    assert paused.status == "paused"
    assert paused.status_details is not None
    assert paused.status_details.paused.subscription.type == "pause_requested"
    assert paused.status_details.paused.transitioned_at == after()
    await shop.sandbox.advance_to_captures()
    assert await shop.events_since(last_event) == ["customer.subscription.paused", "charge.updated"]
    await shop.advance(100)
    assert await shop.paid_amounts() == [500]

    resumed = await shop.client.v1.subscriptions.resume_async(subscription.id)

    assert (resumed.status, resumed.status_details) == ("active", None)
    assert resumed.billing_cycle_anchor >= after(days=100)
    assert await shop.paid_amounts() == [500, 500]
    assert "customer.subscription.resumed" in await shop.events()
    await shop.advance(32)
    assert await shop.paid_amounts() == [500, 500, 500]


async def test_a_pause_that_would_give_back_part_of_the_period_is_refused(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    with pytest.raises(stripe.InvalidRequestError, match="credits the time left"):
        await shop.client.v1.subscriptions.pause_async(subscription.id)
    assert (await shop.subscription(subscription.id)).status == "active"


async def test_nothing_is_paused_or_resumed_twice(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    with pytest.raises(stripe.InvalidRequestError, match="Only a paused"):
        await shop.client.v1.subscriptions.resume_async(subscription.id)
    await pauses(shop, subscription)
    with pytest.raises(stripe.InvalidRequestError, match="that is paused"):
        await pauses(shop, subscription)
    with pytest.raises(stripe.InvalidRequestError, match="that is paused"):
        await shop.client.v1.subscriptions.update_async(
            subscription.id, {"trial_end": after(days=9), "proration_behavior": "none"}
        )


async def test_resuming_in_step_keeps_the_old_days_and_charges_nothing_now(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    await pauses(shop, subscription)
    await shop.advance(45)

    with pytest.raises(stripe.InvalidRequestError, match="does not prorate"):
        await shop.client.v1.subscriptions.resume_async(
            subscription.id, {"billing_cycle_anchor": {"type": "unchanged"}}
        )
    resumed = await shop.client.v1.subscriptions.resume_async(
        subscription.id,
        {"billing_cycle_anchor": {"type": "unchanged"}, "proration_behavior": "none"},
    )

    assert resumed.status == "active"
    assert resumed["items"].data[0].current_period_end == after(days=61)
    assert await shop.paid_amounts() == [500]
    await shop.advance(17)
    assert await shop.paid_amounts() == [500, 500]


async def test_resuming_with_a_card_that_fails_is_past_due_or_stays_paused(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    await pauses(shop, subscription)
    shop.sandbox.fail_card(str(subscription.default_payment_method), "insufficient_funds")

    waiting = await shop.client.v1.subscriptions.resume_async(
        subscription.id, {"payment_behavior": "resume_on_payment_success"}
    )
    assert waiting.status == "paused"
    await shop.advance(1)
    assert (await shop.latest_invoice(subscription.id)).status == "void"
    assert (await shop.subscription(subscription.id)).status == "paused"

    tried = await shop.client.v1.subscriptions.resume_async(subscription.id)
    assert tried.status == "past_due"


async def test_a_resumption_paid_later_resumes_then(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    card = str(subscription.default_payment_method)
    await pauses(shop, subscription)
    shop.sandbox.fail_card(card)
    await shop.client.v1.subscriptions.resume_async(
        subscription.id, {"payment_behavior": "resume_on_payment_success"}
    )

    shop.sandbox.restore_card(card)
    await shop.client.v1.invoices.pay_async((await shop.latest_invoice(subscription.id)).id)

    assert (await shop.subscription(subscription.id)).status == "active"


# ------------------------------------------------------------------ collection


@pytest.mark.parametrize(
    ("behavior", "becomes"),
    [("void", "void"), ("keep_as_draft", "draft"), ("mark_uncollectible", "uncollectible")],
)
async def test_while_collection_is_paused_periods_go_on_and_nothing_is_charged(
    shop: Shop, behavior: str, becomes: str
) -> None:
    subscription = await shop.subscribes(500)
    resumes_at = after(days=40)

    updated = await shop.client.v1.subscriptions.update_async(
        subscription.id, {"pause_collection": {"behavior": behavior, "resumes_at": resumes_at}}
    )

    assert updated.status == "active"
    assert await shop.latest_previous_attributes() == {"pause_collection": None}
    await shop.advance(39)
    assert await shop.paid_amounts() == [500]
    assert (await shop.latest_invoice(subscription.id)).status == becomes
    assert "invoice.upcoming" not in await shop.events()
    await shop.advance(25)
    assert await shop.paid_amounts() == [500, 500]
    assert (await shop.subscription(subscription.id)).pause_collection is None


async def test_a_pause_of_what_has_ended_never_ends(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    service = shop.client.v1.subscriptions
    await service.update_async(
        subscription.id,
        {"pause_collection": {"behavior": "void", "resumes_at": after(days=40)}},
    )
    await service.cancel_async(subscription.id)
    last_event = await shop.latest_event()

    await shop.advance(50)

    ended = await shop.subscription(subscription.id)
    assert ended.pause_collection is not None
    assert ended.pause_collection.resumes_at == after(days=40)
    assert "customer.subscription.updated" not in await shop.events_since(last_event)


async def test_collection_is_taken_up_again_by_hand(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    service = shop.client.v1.subscriptions
    with pytest.raises(stripe.InvalidRequestError, match="in the future"):
        await service.update_async(
            subscription.id, {"pause_collection": {"behavior": "void", "resumes_at": after()}}
        )
    await service.update_async(subscription.id, {"pause_collection": {"behavior": "void"}})
    await shop.advance(70)

    going_on = await service.update_async(subscription.id, {"pause_collection": ""})

    assert going_on.pause_collection is None
    await shop.advance(31)
    assert await shop.paid_amounts() == [500, 500]


async def test_what_was_owed_before_a_pause_is_still_collected(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    card = str(subscription.default_payment_method)
    shop.sandbox.fail_card(card, "insufficient_funds")
    await shop.advance(30.1)
    await shop.client.v1.subscriptions.update_async(
        subscription.id, {"pause_collection": {"behavior": "void"}}
    )
    shop.sandbox.restore_card(card)

    await shop.advance(2)

    assert await shop.paid_amounts() == [500, 500]
