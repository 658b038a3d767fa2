"""Updates of a subscription's amount, interval, anchor and end."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
import stripe
from stripe.params import SubscriptionUpdateParams

from payments.sandbox.form_encoding import JsonValue
from tests.support.shop import START, Shop

pytestmark = pytest.mark.anyio


async def updates(
    shop: Shop, subscription: stripe.Subscription, **params: JsonValue
) -> stripe.Subscription:
    return await shop.client.v1.subscriptions.update_async(
        subscription.id, cast("SubscriptionUpdateParams", params)
    )


async def price(
    shop: Shop,
    subscription: stripe.Subscription,
    amount: int,
    interval: str = "month",
    **more: object,
) -> list[dict[str, object]]:
    """The items of a request for another amount."""
    data = {
        "currency": "usd",
        "product": await shop.product(),
        "unit_amount": amount,
        "recurring": {"interval": interval},
    }
    return [{"id": subscription["items"].data[0].id, "price_data": data, **more}]


def day(moment: int | None) -> str:
    assert moment is not None
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"


def after(**length: float) -> int:
    return int((START + timedelta(**length)).timestamp())


# ------------------------------------------------------------------ the amount


async def test_a_new_amount_is_charged_from_the_next_renewal_and_not_before(shop: Shop) -> None:
    subscription = await shop.subscribes(500)

    amended = await updates(
        shop,
        subscription,
        items=await price(shop, subscription, 900),
        proration_behavior="none",
    )

    item = amended["items"].data[0]
    assert (item.price.unit_amount, item.plan.amount, item.quantity) == (900, 900, 1)
    assert item.id == subscription["items"].data[0].id
    previous = cast("dict[str, Any]", await shop.latest_previous_attributes())  # Any: as it comes
    assert previous.keys() == {"items"}
    assert previous["items"]["data"][0]["price"]["unit_amount"] == 500
    assert await shop.paid_amounts() == [500]
    await shop.advance(31)
    assert await shop.paid_amounts() == [500, 900]


async def test_without_the_items_id_a_second_one_is_added_and_both_are_charged(
    shop: Shop,
) -> None:
    subscription = await shop.subscribes(500)
    (item,) = await price(shop, subscription, 900)
    del item["id"]

    with pytest.raises(stripe.InvalidRequestError, match="No such subscription_item"):
        await updates(shop, subscription, items=[{**item, "id": "si_other"}])
    await updates(shop, subscription, items=[item], proration_behavior="none")

    await shop.advance(31)
    assert await shop.paid_amounts() == [500, 1400]


async def test_an_amount_is_not_changed_where_it_would_have_to_be_prorated(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    items = await price(shop, subscription, 900)

    with pytest.raises(stripe.InvalidRequestError, match="does not prorate"):
        await updates(shop, subscription, items=items)

    assert (await shop.subscription(subscription.id))["items"].data[0].price.unit_amount == 500


async def test_an_amount_changed_while_paused_is_charged_when_resumed(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    await shop.client.v1.subscriptions.pause_async(
        subscription.id, {"bill_for": {"unused_time_from": {"type": "none"}}}
    )

    with pytest.raises(stripe.InvalidRequestError, match="does not change the interval"):
        await updates(shop, subscription, items=await price(shop, subscription, 900, "year"))
    await updates(shop, subscription, items=await price(shop, subscription, 900))

    assert await shop.paid_amounts() == [500]
    await shop.client.v1.subscriptions.resume_async(subscription.id)
    assert await shop.paid_amounts() == [500, 900]


async def test_another_currency_is_refused(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    (item,) = await price(shop, subscription, 900)
    item["price_data"] = {**cast("dict[str, object]", item["price_data"]), "currency": "eur"}

    with pytest.raises(stripe.InvalidRequestError, match="expected currency: `usd`"):
        await updates(shop, subscription, items=[item], proration_behavior="none")


async def test_another_interval_begins_now_and_is_charged_now(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    await shop.advance(10)
    last_event = await shop.latest_event()

    amended = await updates(
        shop,
        subscription,
        items=await price(shop, subscription, 5000, "year"),
        proration_behavior="none",
    )

    item = amended["items"].data[0]
    assert (day(item.current_period_start), day(item.current_period_end)) == (
        "2026-11-13",
        "2027-11-13",
    )
    assert amended.billing_cycle_anchor == after(days=10)
    assert await shop.paid_amounts() == [500, 5000]
    invoice = await shop.latest_invoice(subscription.id)
    assert (invoice.billing_reason, invoice.status) == ("subscription_update", "paid")
    assert "customer.subscription.updated" in await shop.events_since(last_event)
    await shop.advance(60)
    assert await shop.paid_amounts() == [500, 5000]
    await shop.advance(310)
    assert await shop.paid_amounts() == [500, 5000, 5000]


async def test_another_interval_that_cannot_be_paid_leaves_it_as_it_was_or_past_due(
    shop: Shop,
) -> None:
    subscription = await shop.subscribes(500, card="4000000000000341")
    items = await price(shop, subscription, 5000, "year")
    change: dict[str, object] = {"items": items, "proration_behavior": "none"}

    with pytest.raises(stripe.CardError):
        await updates(shop, subscription, payment_behavior="error_if_incomplete", **change)
    unchanged = await shop.subscription(subscription.id)
    assert unchanged["items"].data[0].price.unit_amount == 500
    assert (unchanged.status, unchanged.latest_invoice) == ("active", subscription.latest_invoice)

    amended = await updates(shop, subscription, **change)
    assert amended.status == "past_due"
    assert amended["items"].data[0].price.unit_amount == 5000


async def test_a_change_that_must_be_paid_first_is_made_once_it_is(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    items = await price(shop, subscription, 5000, "year")

    amended = await updates(
        shop,
        subscription,
        items=items,
        proration_behavior="none",
        payment_behavior="error_if_incomplete",
    )

    assert amended.status == "active"
    assert await shop.paid_amounts() == [500, 5000]
    assert (await shop.latest_invoice(subscription.id)).status == "paid"


async def test_an_anchor_of_now_begins_a_period_and_charges_it(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    await shop.advance(10)

    amended = await updates(
        shop, subscription, billing_cycle_anchor={"type": "now"}, proration_behavior="none"
    )

    assert day(amended["items"].data[0].current_period_end) == "2026-12-13"
    assert await shop.paid_amounts() == [500, 500]
    unchanged = await updates(shop, subscription, billing_cycle_anchor={"type": "unchanged"})
    assert unchanged.billing_cycle_anchor == amended.billing_cycle_anchor
    await shop.advance(29)
    assert await shop.paid_amounts() == [500, 500]


# ------------------------------------------------------------------ skipping


async def test_a_trial_puts_the_next_charge_off_until_it_ends(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    await shop.advance(10)

    trying = await updates(shop, subscription, trial_end=after(days=75), proration_behavior="none")

    assert (trying.status, trying.trial_end) == ("trialing", after(days=75))
    assert trying.billing_cycle_anchor == after(days=75)
    assert trying["items"].data[0].current_period_end == after(days=75)
    previous = await shop.latest_previous_attributes()
    assert previous["status"] == "active"
    invoice = await shop.latest_invoice(subscription.id)
    assert (invoice.amount_due, invoice.status) == (0, "paid")
    await shop.advance(64)
    assert await shop.paid_amounts() == [500]
    assert "customer.subscription.trial_will_end" in await shop.events()
    await shop.advance(2)
    renewed = await shop.subscription(subscription.id)
    assert renewed.status == "active"
    assert await shop.paid_amounts() == [500, 500]
    assert (await shop.latest_previous_attributes())["status"] == "trialing"
    await shop.advance(31)
    assert await shop.paid_amounts() == [500, 500, 500]


async def test_a_trial_is_not_in_the_past_and_not_for_ever(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    for moment in (after(days=-1), after(days=800)):
        with pytest.raises(stripe.InvalidRequestError, match="Invalid timestamp"):
            await updates(shop, subscription, trial_end=moment, proration_behavior="none")
    with pytest.raises(stripe.InvalidRequestError, match="does not prorate"):
        await updates(shop, subscription, trial_end=after(days=75))


async def test_a_trial_that_is_over_at_once_is_charged_at_once(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    await updates(shop, subscription, trial_end=after(days=75), proration_behavior="none")

    ended = await updates(shop, subscription, trial_end="now")

    assert ended.status == "active"
    assert await shop.paid_amounts() == [500, 500]
    assert day(ended["items"].data[0].current_period_end) == "2026-12-03"


async def test_an_amount_changed_during_a_trial_is_charged_when_it_ends(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    await updates(shop, subscription, trial_end=after(days=75), proration_behavior="none")

    await updates(shop, subscription, items=await price(shop, subscription, 900))

    await shop.advance(76)
    assert await shop.paid_amounts() == [500, 900]


# ------------------------------------------------------------------ leaving


async def test_cancel_at_is_stored_and_can_be_undone(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    in_three_months = int(datetime(2027, 2, 3, 12, tzinfo=UTC).timestamp())

    leaving = await updates(shop, subscription, cancel_at=in_three_months)
    assert (leaving.cancel_at, leaving.cancel_at_period_end) == (in_three_months, False)
    assert leaving.canceled_at == after()
    staying = await updates(shop, subscription, cancel_at="")
    assert (staying.cancel_at, staying.canceled_at) == (None, None)
    assert await shop.latest_previous_attributes() == {
        "cancel_at": in_three_months,
        "canceled_at": after(),
        "cancellation_details": {"reason": "cancellation_requested"},
    }

    await updates(shop, subscription, cancel_at=in_three_months)
    await shop.advance(200)

    ended = await shop.subscription(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", in_three_months)
    assert await shop.paid_amounts() == [500, 500, 500]


async def test_a_last_day_within_a_period_is_reached_without_giving_back(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    with pytest.raises(stripe.InvalidRequestError, match="does not prorate"):
        await updates(shop, subscription, cancel_at=after(days=10))
    with pytest.raises(stripe.InvalidRequestError, match="in the future"):
        await updates(shop, subscription, cancel_at=after(days=-10))
    with pytest.raises(stripe.InvalidRequestError, match="only specify one of"):
        await updates(shop, subscription, cancel_at=after(days=10), cancel_at_period_end=True)

    await updates(shop, subscription, cancel_at=after(days=10), proration_behavior="none")
    await shop.advance(11)

    ended = await shop.subscription(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", after(days=10))


async def test_a_last_day_at_the_periods_end_moves_with_the_period(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    await updates(shop, subscription, cancel_at_period_end=True)

    later = await updates(shop, subscription, trial_end=after(days=75), proration_behavior="none")

    assert later.cancel_at == after(days=75)
    await shop.advance(80)
    assert (await shop.subscription(subscription.id)).status == "canceled"
    assert await shop.paid_amounts() == [500]


async def test_what_has_ended_can_no_longer_be_updated(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    await shop.client.v1.subscriptions.cancel_async(subscription.id)

    with pytest.raises(stripe.InvalidRequestError, match="canceled subscription"):
        await updates(shop, subscription, trial_end=after(days=75))

    commented = await updates(
        shop, subscription, cancellation_details={"feedback": "too_expensive"}
    )
    assert commented.cancellation_details is not None
    assert commented.cancellation_details.feedback == "too_expensive"
