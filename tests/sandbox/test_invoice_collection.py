"""A renewal that cannot be charged: its retries, its events and its end."""

from datetime import timedelta

import pytest
import stripe

from tests.support.shop import START, Shop

pytestmark = pytest.mark.anyio

RENEWAL = 30 + 1 / 24  # days until the first renewal is charged


def after(days: float) -> int:
    return int((START + timedelta(days=days)).timestamp())


async def falls_behind(shop: Shop, code: str = "insufficient_funds") -> stripe.Subscription:
    """A reader whose card stops working before the first renewal."""
    subscription = await shop.subscribes(500)
    shop.sandbox.fail_card(str(subscription.default_payment_method), code)
    await shop.advance(RENEWAL)
    return await shop.subscription(subscription.id)


async def test_a_failed_renewal_says_when_it_will_be_tried_again(shop: Shop) -> None:
    subscription = await falls_behind(shop)

    invoice = await shop.latest_invoice(subscription.id)

    assert subscription.status == "past_due"
    assert (invoice.attempt_count, invoice.next_payment_attempt) == (1, after(RENEWAL + 1))
    failed = (await shop.client.v1.events.list_async({"type": "invoice.payment_failed"})).data
    assert failed[0].data.object["next_payment_attempt"] == after(RENEWAL + 1)
    customer = await shop.client.v1.customers.retrieve_async(str(subscription.customer))
    assert customer.delinquent
    assert await shop.latest_previous_attributes("invoice.updated") == {
        "attempt_count": 0,
        "attempted": False,
        "next_payment_attempt": None,
    }


async def test_a_card_that_works_again_is_charged_at_the_next_try(shop: Shop) -> None:
    subscription = await falls_behind(shop)
    await shop.advance(1.5)
    shop.sandbox.restore_card(str(subscription.default_payment_method))

    await shop.advance(2)

    assert await shop.paid_amounts() == [500, 500]
    assert (await shop.latest_invoice(subscription.id)).attempt_count == 3
    assert (await shop.subscription(subscription.id)).status == "active"
    customer = await shop.client.v1.customers.retrieve_async(str(subscription.customer))
    assert not customer.delinquent


@pytest.mark.parametrize("code", ["lost_card", "stolen_card", "transaction_not_allowed"])
async def test_a_card_refused_for_good_is_not_charged_again(shop: Shop, code: str) -> None:
    subscription = await falls_behind(shop, code)

    await shop.advance(15)

    tried = [c for c in (await shop.client.v1.charges.list_async()).data if not c.paid]
    assert [charge.failure_code for charge in tried] == ["card_declined"]
    assert (await shop.latest_invoice(subscription.id)).attempt_count == 9
    assert (await shop.subscription(subscription.id)).status == "canceled"


async def test_a_new_card_is_tried_on_the_days_set_for_the_old(shop: Shop) -> None:
    subscription = await falls_behind(shop, "lost_card")
    card = await shop.client.v1.payment_methods.attach_async(
        "pm_card_mastercard", {"customer": str(subscription.customer)}
    )
    await shop.client.v1.subscriptions.update_async(
        subscription.id, {"default_payment_method": card.id}
    )
    assert await shop.paid_amounts() == [500], "a new card alone charges nothing"

    await shop.advance(1)

    assert await shop.paid_amounts() == [500, 500]


@pytest.mark.parametrize(
    ("end_state", "events"),
    [
        ("canceled", "customer.subscription.deleted"),
        ("unpaid", "customer.subscription.updated"),
        ("past_due", "customer.subscription.updated"),
        ("paused", "customer.subscription.paused"),
    ],
)
async def test_in_the_end_it_is_what_the_owner_has_set(
    shop: Shop, end_state: str, events: str
) -> None:
    shop.sandbox.billing.status_after_retries = end_state
    shop.sandbox.billing.retry_days = (3, 5)
    subscription = await falls_behind(shop)

    await shop.advance(6)

    ended = await shop.subscription(subscription.id)
    invoice = await shop.latest_invoice(subscription.id)
    assert ended.status == end_state
    assert events in await shop.events()
    assert (invoice.status, invoice.attempt_count) == ("open", 3)
    assert invoice.next_payment_attempt is None
    if end_state == "paused":
        assert ended.status_details is not None
        assert ended.status_details.paused.subscription.type == "final_payment_failure"
    if end_state == "unpaid":
        await shop.advance(25)
        assert (await shop.latest_invoice(subscription.id)).status == "draft"
    assert await shop.paid_amounts() == [500]


async def test_an_unpaid_subscription_is_active_once_its_latest_invoice_is_paid(
    shop: Shop,
) -> None:
    shop.sandbox.billing.status_after_retries = "unpaid"
    shop.sandbox.billing.retry_days = ()
    subscription = await falls_behind(shop)
    assert subscription.status == "unpaid"
    shop.sandbox.restore_card(str(subscription.default_payment_method))

    await shop.client.v1.invoices.pay_async((await shop.latest_invoice(subscription.id)).id)

    assert (await shop.subscription(subscription.id)).status == "active"
    await shop.advance(31)
    assert await shop.paid_amounts() == [500, 500, 500]


async def test_a_card_or_reason_nobody_knows_cannot_fail(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    with pytest.raises(ValueError, match="no such decline"):
        shop.sandbox.fail_card(str(subscription.default_payment_method), "gremlins")
    with pytest.raises(ValueError, match="no such payment method"):
        shop.sandbox.fail_card("pm_nothing")


# ------------------------------------------------------------------ by hand


async def test_an_invoice_is_paid_by_hand_or_refused_with_the_banks_words(shop: Shop) -> None:
    subscription = await falls_behind(shop)
    invoice = await shop.latest_invoice(subscription.id)

    with pytest.raises(stripe.CardError) as refused:
        await shop.client.v1.invoices.pay_async(invoice.id, {"off_session": True})
    assert refused.value.error is not None
    assert refused.value.error.decline_code == "insufficient_funds"
    assert refused.value.error.payment_intent is not None
    again = await shop.client.v1.invoices.retrieve_async(invoice.id)
    assert again.attempt_count == 1, "only what is tried by itself counts"
    assert again.next_payment_attempt == invoice.next_payment_attempt

    card = await shop.client.v1.payment_methods.attach_async(
        "pm_card_visa", {"customer": str(subscription.customer)}
    )
    paid = await shop.client.v1.invoices.pay_async(invoice.id, {"payment_method": card.id})
    assert (paid.status, paid.amount_remaining) == ("paid", 0)
    assert (await shop.subscription(subscription.id)).status == "active"


async def test_an_invoice_is_not_paid_with_a_strangers_card_nor_twice(shop: Shop) -> None:
    subscription = await falls_behind(shop)
    invoice = await shop.latest_invoice(subscription.id)
    stranger = await shop.client.v1.customers.create_async({"payment_method": "pm_card_visa"})
    listed = await shop.client.v1.customers.payment_methods.list_async(stranger.id)

    with pytest.raises(stripe.InvalidRequestError, match="does not have a payment method"):
        await shop.client.v1.invoices.pay_async(invoice.id, {"payment_method": listed.data[0].id})

    await shop.client.v1.invoices.void_invoice_async(invoice.id)
    with pytest.raises(stripe.InvalidRequestError, match="is void"):
        await shop.client.v1.invoices.pay_async(invoice.id)
    with pytest.raises(stripe.InvalidRequestError, match="only void open"):
        await shop.client.v1.invoices.void_invoice_async(invoice.id)
    assert await shop.paid_amounts() == [500]


@pytest.mark.parametrize("action", ["void", "mark_uncollectible"])
async def test_what_is_written_off_is_no_longer_tried_and_the_subscription_goes_on(
    shop: Shop, action: str
) -> None:
    subscription = await falls_behind(shop)
    invoice = await shop.latest_invoice(subscription.id)

    invoices = shop.client.v1.invoices
    if action == "void":
        forgiven = await invoices.void_invoice_async(invoice.id)
    else:
        forgiven = await invoices.mark_uncollectible_async(invoice.id)

    assert forgiven.status == {"void": "void", "mark_uncollectible": "uncollectible"}[action]
    assert (await shop.subscription(subscription.id)).status == "active"
    await shop.advance(20)
    assert len((await shop.client.v1.charges.list_async()).data) == 2


async def test_a_draft_may_be_made_final_early_and_only_once(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    await shop.advance(30.01)
    invoice = await shop.latest_invoice(subscription.id)
    assert (invoice.status, invoice.hosted_invoice_url) == ("draft", None)

    final = await shop.client.v1.invoices.finalize_invoice_async(invoice.id)

    assert final.status == "open"
    assert final.hosted_invoice_url is not None
    with pytest.raises(stripe.InvalidRequestError, match="already finalized"):
        await shop.client.v1.invoices.finalize_invoice_async(invoice.id)


# ------------------------------------------------------------------ time


async def test_a_renewal_is_announced_as_many_days_before_as_the_owner_has_set(
    shop: Shop,
) -> None:
    shop.sandbox.billing.upcoming_days = 3
    await shop.subscribes(500)

    await shop.advance(26.9)
    assert "invoice.upcoming" not in await shop.events()
    await shop.advance(0.2)

    (event,) = (await shop.client.v1.events.list_async({"type": "invoice.upcoming"})).data
    preview = event.data.object
    assert preview["amount_due"] == 500
    assert preview["lines"]["data"][0]["period"]["start"] == after(30)
    with pytest.raises(stripe.InvalidRequestError, match="No such invoice"):
        await shop.client.v1.invoices.retrieve_async(preview["id"])
    assert len((await shop.client.v1.invoices.list_async()).data) == 1


async def test_who_is_leaving_gets_no_upcoming_invoice(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    await shop.client.v1.subscriptions.update_async(subscription.id, {"cancel_at_period_end": True})
    await shop.advance(31)
    assert "invoice.upcoming" not in await shop.events()


async def test_a_webhook_nobody_answers_holds_a_renewal_up_for_three_days(shop: Shop) -> None:
    shop.sandbox.billing.waits_for_webhooks = True
    await shop.client.v1.webhook_endpoints.create_async(
        {"url": "http://shop.example/hooks", "enabled_events": ["invoice.created"]}
    )
    subscription = await shop.subscribes(500)
    shop.sandbox.acknowledge(shop.sandbox.take_deliveries()[0])

    await shop.advance(32)
    assert (await shop.latest_invoice(subscription.id)).status == "draft"
    await shop.advance(2)
    assert (await shop.latest_invoice(subscription.id)).status == "paid"

    await shop.advance(27.01)
    for delivery in shop.sandbox.take_deliveries():
        shop.sandbox.acknowledge(delivery)
    await shop.advance(0.1)
    assert (await shop.latest_invoice(subscription.id)).status == "paid"


async def test_a_first_payment_never_made_leaves_no_subscription(shop: Shop) -> None:
    customer = await shop.client.v1.customers.create_async({})
    await shop.client.v1.payment_methods.attach_async(
        "pm_card_chargeCustomerFail", {"customer": customer.id}
    )
    price = await shop.client.v1.prices.create_async(
        {
            "currency": "usd",
            "unit_amount": 700,
            "recurring": {"interval": "month"},
            "product": await shop.product(),
        }
    )
    begun = await shop.client.v1.subscriptions.create_async(
        {
            "customer": customer.id,
            "items": [{"price": price.id}],
            "payment_behavior": "default_incomplete",
        }
    )
    assert begun.status == "incomplete"

    await shop.advance(1)

    assert (await shop.subscription(begun.id)).status == "incomplete_expired"
    assert (await shop.latest_invoice(begun.id)).status == "void"
    assert (await shop.client.v1.subscriptions.list_async()).data == []
