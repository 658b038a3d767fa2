"""The invoice's own page: a reader pays what is owed, or confirms it with the bank."""

import aiohttp
import pytest
import stripe

from payments import sandbox as sandboxes
from tests.support.shop import Shop

pytestmark = pytest.mark.anyio


async def owes(
    shop: Shop, code: str = "insufficient_funds"
) -> tuple[stripe.Subscription, stripe.Invoice]:
    subscription = await shop.subscribes(500)
    shop.sandbox.fail_card(str(subscription.default_payment_method), code)
    await shop.advance(30.1)
    return subscription, await shop.latest_invoice(subscription.id)


async def page(url: str | None) -> tuple[int, str]:
    async with aiohttp.ClientSession() as browser, browser.get(str(url)) as response:
        return response.status, await response.text()


async def test_an_open_invoice_is_paid_with_another_card_which_is_not_saved(shop: Shop) -> None:
    subscription, invoice = await owes(shop)
    status, html = await page(invoice.hosted_invoice_url)
    assert status == 200
    assert "$5.00" in html
    assert "not paid yet" in html

    refused = await sandboxes.pay(str(invoice.hosted_invoice_url), "4000000000000002")
    assert refused.status == 402
    paid = await sandboxes.pay(str(invoice.hosted_invoice_url), "5555555555554444")

    assert (paid.status, paid.error_text) == (200, None)
    assert (await shop.latest_invoice(subscription.id)).status == "paid"
    after = await shop.subscription(subscription.id)
    assert after.status == "active"
    assert after.default_payment_method == subscription.default_payment_method
    _, html = await page(invoice.hosted_invoice_url)
    assert "<form" not in html, "there is nothing more to pay"
    await sandboxes.pay(str(invoice.hosted_invoice_url))
    assert await shop.paid_amounts() == [500, 500]


async def test_a_renewal_that_needs_the_reader_waits_for_them(shop: Shop) -> None:
    subscription = await shop.subscribes(500, card="4000002760003184")
    await shop.sandbox.advance_to_captures()
    last_event = await shop.latest_event()

    await shop.advance(31)

    assert await shop.events_since(last_event) == [
        "invoice.upcoming",
        "invoice.created",
        "customer.subscription.updated",
        "invoice.finalized",
        "payment_intent.created",
        "payment_intent.requires_action",
        "invoice.payment_action_required",
        "invoice.payment_failed",
        "customer.updated",
        "invoice.updated",
        "customer.subscription.updated",
    ]
    invoice = await shop.latest_invoice(subscription.id)
    (payment,) = (await shop.client.v1.invoice_payments.list_async({"invoice": invoice.id})).data
    intent = await shop.client.v1.payment_intents.retrieve_async(
        str(payment.payment.payment_intent)
    )
    assert intent.status == "requires_action"
    assert (await shop.subscription(subscription.id)).status == "past_due"
    with pytest.raises(stripe.CardError) as refused:
        await shop.client.v1.invoices.pay_async(invoice.id)
    assert refused.value.code == "invoice_payment_intent_requires_action"

    confirmed = await sandboxes.confirm_invoice_payment(str(invoice.hosted_invoice_url))

    assert (confirmed.status, confirmed.error_text) == (200, None)
    assert await shop.paid_amounts() == [500, 500]
    assert (await shop.subscription(subscription.id)).status == "active"
    again = await sandboxes.confirm_invoice_payment(str(invoice.hosted_invoice_url))
    assert again.error_text == "There is nothing to confirm."


async def test_a_reader_who_does_not_confirm_has_not_paid_and_may_use_another_card(
    shop: Shop,
) -> None:
    _, invoice = await owes(shop, "authentication_required")

    failed = await sandboxes.confirm_invoice_payment(
        str(invoice.hosted_invoice_url), complete_3ds=False
    )

    assert failed.status == 402
    assert await shop.paid_amounts() == [500]
    paid = await sandboxes.pay(str(invoice.hosted_invoice_url), "4000000000003220")
    assert paid.status == 200
    assert await shop.paid_amounts() == [500, 500]


async def test_a_charge_waiting_for_the_reader_is_not_tried_again_by_itself(shop: Shop) -> None:
    subscription = await shop.subscribes(500, card="4000002760003184")

    await shop.advance(47)

    assert len((await shop.client.v1.charges.list_async()).data) == 1
    assert (await shop.subscription(subscription.id)).status == "canceled"


async def test_what_is_no_longer_owed_cannot_be_paid(shop: Shop) -> None:
    _, invoice = await owes(shop)
    await shop.client.v1.invoices.void_invoice_async(invoice.id)

    _, html = await page(invoice.hosted_invoice_url)

    assert "no longer owed" in html
    await sandboxes.pay(str(invoice.hosted_invoice_url))
    assert await shop.paid_amounts() == [500]


async def test_an_address_that_is_guessed_shows_nothing(shop: Shop) -> None:
    await owes(shop)
    for path in ("/i/guess", "/i/guess/authenticate"):
        status, html = await page(shop.sandbox.url + path)
        assert status == 404
        assert "no such invoice" in html
