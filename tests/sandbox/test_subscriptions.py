"""Subscriptions from the first payment to the last."""

from datetime import UTC, datetime, timedelta

import pytest
import stripe

from tests.support.shop import Shop

pytestmark = pytest.mark.anyio


def day(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"


async def period(shop: Shop, subscription_id: str) -> tuple[str, str]:
    subscription = await shop.client.v1.subscriptions.retrieve_async(subscription_id)
    item = subscription["items"].data[0]
    return day(item.current_period_start), day(item.current_period_end)


async def test_the_payment_comes_first_and_the_subscription_after(shop: Shop) -> None:
    session = await shop.checkout(500, interval="month")
    last_event = await shop.latest_event()

    await shop.pays(session)
    await shop.sandbox.advance_to_captures()

    assert await shop.events_since(last_event) == [
        "customer.created",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "payment_method.attached",
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.updated",
        "checkout.session.completed",
        "charge.updated",
    ]


async def test_a_decline_leaves_no_subscription_behind(shop: Shop) -> None:
    session = await shop.checkout(500, interval="month")

    assert (await shop.pays(session, "4000000000000002")).status == 402

    assert (await shop.client.v1.subscriptions.list_async({"status": "all"})).data == []
    assert (await shop.client.v1.invoices.list_async()).data == []
    assert (await shop.pays(session)).status == 303
    assert len((await shop.client.v1.customers.list_async()).data) == 1


async def test_the_subscriptions_metadata_is_on_its_invoices_and_not_on_its_payments(
    shop: Shop,
) -> None:
    session = await shop.checkout(
        500, interval="month", subscription_data={"metadata": {"contribution_id": "c1"}}
    )
    await shop.pays(session)

    (invoice,) = (await shop.client.v1.invoices.list_async()).data
    assert invoice.parent is not None
    assert invoice.parent.subscription_details is not None
    assert invoice.parent.subscription_details.metadata is not None
    assert invoice.parent.subscription_details.metadata.to_dict() == {"contribution_id": "c1"}
    (intent,) = (await shop.client.v1.payment_intents.list_async()).data
    assert intent.metadata.to_dict() == {}
    payments = await shop.client.v1.invoice_payments.list_async(
        {"payment": {"type": "payment_intent", "payment_intent": intent.id}}
    )
    assert [payment.invoice for payment in payments.data] == [invoice.id]
    assert payments.data[0].status == "paid"


async def test_a_renewal_is_drafted_then_charged_an_hour_later(shop: Shop) -> None:
    subscription = await shop.subscribes()
    await shop.sandbox.advance_to_captures()
    last_event = await shop.latest_event()

    await shop.sandbox.advance(to=datetime(2026, 12, 3, 12, 30, tzinfo=UTC))
    renewals = await shop.events_since(last_event)
    last_event = await shop.latest_event()
    assert renewals == ["invoice.upcoming", "invoice.created", "customer.subscription.updated"]

    await shop.sandbox.advance(timedelta(hours=1))
    assert await shop.events_since(last_event) == [
        "invoice.finalized",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
        "charge.updated",
    ]
    latest = await shop.client.v1.subscriptions.retrieve_async(
        subscription.id, {"expand": ["latest_invoice.payments"]}
    )
    invoice = latest.latest_invoice
    assert isinstance(invoice, stripe.Invoice)
    assert (invoice.billing_reason, invoice.status) == ("subscription_cycle", "paid")
    assert invoice.payments is not None
    assert len(invoice.payments.data) == 1


async def test_a_subscription_begun_on_the_31st_renews_on_the_last_day_and_returns(
    shop: Shop,
) -> None:
    shop.wall.now = datetime(2027, 1, 31, 9, tzinfo=UTC)
    subscription = await shop.subscribes()

    seen = [await period(shop, subscription.id)]
    for days in (29, 31, 30, 31):
        await shop.advance(days)
        seen.append(await period(shop, subscription.id))

    assert [end for _, end in seen] == [
        "2027-02-28",
        "2027-03-31",
        "2027-04-30",
        "2027-05-31",
        "2027-06-30",
    ]


async def test_an_annual_gift_begun_on_29_february_renews_on_the_28th_and_returns(
    shop: Shop,
) -> None:
    shop.wall.now = datetime(2028, 2, 29, 9, tzinfo=UTC)
    subscription = await shop.subscribes(interval="year")

    ends = [(await period(shop, subscription.id))[1]]
    for _ in range(4):
        await shop.advance(366)
        ends.append((await period(shop, subscription.id))[1])

    assert ends == ["2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29", "2033-02-28"]
    invoices = (await shop.client.v1.invoices.list_async({"subscription": subscription.id})).data
    assert [invoice.status for invoice in invoices] == ["paid"] * 5


async def test_a_failing_renewal_is_tried_eight_times_more_then_cancelled(shop: Shop) -> None:
    subscription = await shop.subscribes(card="4000000000000341")
    await shop.sandbox.advance_to_captures()
    last_event = await shop.latest_event()

    await shop.advance(31)
    failing = await shop.events_since(last_event)
    assert failing == [
        "invoice.upcoming",
        "invoice.created",
        "customer.subscription.updated",
        "invoice.finalized",
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
        "invoice.payment_failed",
        "customer.updated",
        "invoice.updated",
        "customer.subscription.updated",
    ]
    behind = await shop.client.v1.subscriptions.retrieve_async(subscription.id)
    assert behind.status == "past_due"

    await shop.advance(15)

    ended = await shop.client.v1.subscriptions.retrieve_async(subscription.id)
    assert ended.status == "canceled"
    assert ended.cancellation_details is not None
    assert ended.cancellation_details.reason == "payment_failed"
    invoice = (await shop.client.v1.invoices.list_async({"subscription": subscription.id})).data[0]
    assert (invoice.attempt_count, invoice.next_payment_attempt) == (9, None)
    charges = (await shop.client.v1.charges.list_async()).data
    assert [charge.status for charge in charges] == ["failed"] * 9 + ["succeeded"]
    assert len({charge.payment_intent for charge in charges[:9]}) == 1
    await shop.advance(60)
    assert len((await shop.client.v1.charges.list_async()).data) == 10


async def test_a_new_card_pays_the_open_invoice_and_the_subscription_is_active_again(
    shop: Shop,
) -> None:
    subscription = await shop.subscribes(card="4000000000000341")
    await shop.advance(31)
    card = await shop.client.v1.payment_methods.attach_async(
        "pm_card_visa", {"customer": str(subscription.customer)}
    )
    invoice = (await shop.client.v1.invoices.list_async({"status": "open"})).data[0]
    with pytest.raises(stripe.CardError):
        await shop.client.v1.invoices.pay_async(invoice.id)

    await shop.client.v1.subscriptions.update_async(
        subscription.id, {"default_payment_method": card.id}
    )
    paid = await shop.client.v1.invoices.pay_async(invoice.id)

    assert paid.status == "paid"
    renewed = await shop.client.v1.subscriptions.retrieve_async(subscription.id)
    assert renewed.status == "active"
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        await shop.client.v1.invoices.pay_async(invoice.id)


async def test_a_detached_card_is_not_charged(shop: Shop) -> None:
    subscription = await shop.subscribes()
    await shop.client.v1.payment_methods.detach_async(str(subscription.default_payment_method))

    await shop.advance(31)

    behind = await shop.client.v1.subscriptions.retrieve_async(subscription.id)
    assert behind.status == "past_due"
    assert len((await shop.client.v1.charges.list_async()).data) == 1


async def test_cancelling_at_the_periods_end_can_be_undone_until_then(shop: Shop) -> None:
    subscription = await shop.subscribes()
    service = shop.client.v1.subscriptions

    leaving = await service.update_async(subscription.id, {"cancel_at_period_end": True})
    assert leaving.cancel_at is not None
    assert day(leaving.cancel_at) == "2026-12-03"
    staying = await service.update_async(subscription.id, {"cancel_at_period_end": False})
    assert (staying.cancel_at, staying.canceled_at) == (None, None)

    await service.update_async(subscription.id, {"cancel_at_period_end": True})
    await shop.advance(31)

    ended = await service.retrieve_async(subscription.id)
    assert ended.status == "canceled"
    assert "customer.subscription.deleted" in await shop.events()
    with pytest.raises(stripe.InvalidRequestError):
        await service.update_async(subscription.id, {"cancel_at_period_end": False})


async def test_a_cancelled_subscription_is_not_renewed_nor_cancelled_twice(shop: Shop) -> None:
    subscription = await shop.subscribes()

    await shop.client.v1.subscriptions.cancel_async(subscription.id)
    await shop.advance(400)

    assert len((await shop.client.v1.charges.list_async()).data) == 1
    assert (await shop.client.v1.subscriptions.list_async()).data == []
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription"):
        await shop.client.v1.subscriptions.cancel_async(subscription.id)


async def test_an_update_tells_what_it_replaced(shop: Shop) -> None:
    subscription = await shop.subscribes()

    await shop.client.v1.subscriptions.update_async(subscription.id, {"metadata": {"a": "1"}})
    await shop.client.v1.subscriptions.update_async(
        subscription.id, {"metadata": {"a": "", "b": "2"}}
    )

    updates = await shop.client.v1.events.list_async({"type": "customer.subscription.updated"})
    event = updates.data[0]
    assert event.data.previous_attributes is not None
    assert event.data.previous_attributes.to_dict() == {"metadata": {"a": "1", "b": None}}
    assert event.data.object["metadata"].to_dict() == {"b": "2"}


async def test_what_the_sandbox_cannot_do_it_says(shop: Shop) -> None:
    subscription = await shop.subscribes()

    with pytest.raises(stripe.InvalidRequestError, match=r"does not do `discounts.0..coupon.` yet"):
        await shop.client.v1.subscriptions.update_async(
            subscription.id, {"discounts": [{"coupon": "none"}]}
        )


async def test_a_subscription_made_through_the_api_is_charged_at_once(shop: Shop) -> None:
    customer = await shop.client.v1.customers.create_async(
        {
            "email": "reader@example.org",
            "payment_method": "pm_card_visa",
            "invoice_settings": {"default_payment_method": "pm_card_visa"},
        }
    )
    price = await shop.client.v1.prices.create_async(
        {
            "currency": "usd",
            "unit_amount": 700,
            "recurring": {"interval": "month"},
            "product": await shop.product(),
        }
    )

    created = await shop.client.v1.subscriptions.create_async(
        {"customer": customer.id, "items": [{"price": price.id}]}
    )

    assert created.status == "active"
    assert (await shop.client.v1.charges.list_async()).data[0].amount == 700


async def test_deleting_a_customer_ends_what_they_subscribed_to(shop: Shop) -> None:
    subscription = await shop.subscribes()

    deleted = await shop.client.v1.customers.delete_async(str(subscription.customer))

    assert deleted.deleted
    ended = await shop.client.v1.subscriptions.retrieve_async(subscription.id)
    assert ended.status == "canceled"
    gone = await shop.client.v1.customers.retrieve_async(str(subscription.customer))
    assert gone.deleted
    assert (await shop.client.v1.customers.list_async()).data == []
    with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
        await shop.checkout(500, customer=str(subscription.customer))


async def test_an_invoice_nobody_can_pay_stays_open(shop: Shop) -> None:
    subscription = await shop.subscribes(card="4000000000000341")
    await shop.advance(31)
    await shop.client.v1.customers.delete_async(str(subscription.customer))
    invoice = (await shop.client.v1.invoices.list_async({"status": "open"})).data[0]

    with pytest.raises(stripe.InvalidRequestError, match="no payment method"):
        await shop.client.v1.invoices.pay_async(invoice.id)
