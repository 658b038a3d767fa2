"""Saving and replacing cards: nothing is charged."""

import pytest
import stripe

from payments import sandbox as sandboxes
from payments.sandbox.errors import ApiError
from tests.support.shop import Shop

pytestmark = pytest.mark.anyio


async def reader(shop: Shop) -> str:
    return (await shop.client.v1.customers.create_async({"email": "reader@example.org"})).id


async def cards_of(shop: Shop, customer: str) -> list[str]:
    listed = await shop.client.v1.customers.payment_methods.list_async(customer)
    return [method.card.last4 or "" for method in listed.data if method.card]


# ------------------------------------------------------------------ on the hosted page


async def test_a_card_is_saved_on_the_page_without_being_charged(shop: Shop) -> None:
    customer = await reader(shop)
    last_event = await shop.latest_event()
    session = await shop.setup_session(
        customer, setup_intent_data={"metadata": {"subscription_id": "sub_1"}}
    )
    assert (session.payment_status, session.amount_total) == ("no_payment_required", None)

    saved = await shop.pays(session)

    assert saved.redirect_url == "https://shop.example/saved"
    assert await shop.events_since(last_event) == [
        "setup_intent.created",
        "setup_intent.succeeded",
        "payment_method.attached",
        "checkout.session.completed",
    ]
    done = await shop.client.v1.checkout.sessions.retrieve_async(
        session.id, {"expand": ["setup_intent.latest_attempt"]}
    )
    assert (done.mode, done.status) == ("setup", "complete")
    assert isinstance(done.setup_intent, stripe.SetupIntent)
    assert done.setup_intent.status == "succeeded"
    assert done.setup_intent.metadata is not None
    assert done.setup_intent.metadata.to_dict() == {"subscription_id": "sub_1"}
    assert await cards_of(shop, customer) == ["4242"]
    stored = await shop.client.v1.customers.retrieve_async(customer)
    assert stored.invoice_settings is not None
    assert stored.invoice_settings.default_payment_method is None, "nothing becomes a default"
    assert await shop.paid_amounts() == []


async def test_the_bank_is_asked_once_when_the_card_is_saved(shop: Shop) -> None:
    customer = await reader(shop)
    session = await shop.setup_session(customer)

    failed = await sandboxes.pay(str(session.url), "4000002500003155", complete_3ds=False)
    assert failed.status == 402
    assert failed.error_text is not None
    assert "unable to authenticate" in failed.error_text
    assert (await shop.pays(session, "4000002500003155")).status == 303

    events = await shop.events()
    for name in ("requires_action", "setup_failed", "succeeded"):
        assert f"setup_intent.{name}" in events
    assert events.count("payment_method.attached") == 1


async def test_a_card_the_bank_refuses_is_not_saved(shop: Shop) -> None:
    customer = await reader(shop)
    session = await shop.setup_session(customer)

    refused = await shop.pays(session, "4000000000000002")

    assert refused.status == 402
    assert await cards_of(shop, customer) == []
    assert (await shop.pays(session, "4000000000000341")).status == 303
    assert await cards_of(shop, customer) == ["0341"]
    assert (await shop.pays(session)).status == 200, "the page is closed"


async def test_a_page_to_save_a_card_names_a_currency_and_sells_nothing(shop: Shop) -> None:
    customer = await reader(shop)
    with pytest.raises(stripe.InvalidRequestError, match="Missing required param: currency"):
        await shop.setup_session(customer, currency=None)
    with pytest.raises(stripe.InvalidRequestError, match="can not pass `line_items`"):
        await shop.setup_session(
            customer,
            line_items=[
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": 500,
                        "product": await shop.product(),
                    },
                }
            ],
        )
    assert await shop.setup_session(customer, currency=None, allowed_payment_method_types=["card"])


async def test_a_page_nobody_saves_a_card_on_expires(shop: Shop) -> None:
    session = await shop.setup_session(await reader(shop))

    await shop.client.v1.checkout.sessions.expire_async(session.id)

    assert (await shop.pays(session)).status == 410
    intent = await shop.client.v1.setup_intents.retrieve_async(str(session.setup_intent))
    assert intent.status == "canceled"


# ------------------------------------------------------------------ through the API


async def test_a_setup_intent_saves_a_card_for_its_customer(shop: Shop) -> None:
    customer = await reader(shop)
    service = shop.client.v1.setup_intents
    intent = await service.create_async({"customer": customer})
    with pytest.raises(stripe.CardError) as refused:
        await service.confirm_async(intent.id, {"payment_method": "pm_card_chargeDeclined"})
    assert refused.value.error is not None
    assert refused.value.error.setup_intent is not None

    done = await service.confirm_async(intent.id, {"payment_method": "pm_card_visa"})

    assert done.status == "succeeded"
    assert await cards_of(shop, customer) == ["4242"]
    assert [i.id for i in (await service.list_async({"customer": customer})).data] == [intent.id]
    attempts = await shop.client.v1.setup_attempts.list_async({"setup_intent": intent.id})
    assert [attempt.status for attempt in attempts.data] == ["succeeded", "failed"]
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        await service.confirm_async(intent.id, {"payment_method": "pm_card_visa"})


async def test_a_setup_intent_is_cancelled_once_and_never_a_pages(shop: Shop) -> None:
    service = shop.client.v1.setup_intents
    intent = await service.create_async({"payment_method": "pm_card_visa"})
    assert intent.status == "requires_confirmation"
    cancelled = await service.cancel_async(intent.id, {"cancellation_reason": "duplicate"})
    assert (cancelled.status, cancelled.cancellation_reason) == ("canceled", "duplicate")
    with pytest.raises(stripe.InvalidRequestError, match="status of canceled"):
        await service.cancel_async(intent.id)

    session = await shop.setup_session(await reader(shop))
    with pytest.raises(stripe.InvalidRequestError, match="belongs to a Checkout Session"):
        await service.cancel_async(str(session.setup_intent))


async def test_a_card_saved_with_authentication_renews_without_asking(shop: Shop) -> None:
    subscription = await shop.subscribes(500, card="4000002500003155")
    await shop.advance(31)
    assert await shop.paid_amounts() == [500, 500]

    unasked = await shop.client.v1.payment_methods.create_async(
        {
            "type": "card",
            "card": {
                "number": "4000002500003155",
                "exp_month": 8,
                "exp_year": 2034,
                "cvc": "123",
            },
        }
    )
    await shop.client.v1.payment_methods.attach_async(
        unasked.id, {"customer": str(subscription.customer)}
    )
    await shop.client.v1.subscriptions.update_async(
        subscription.id, {"default_payment_method": unasked.id}
    )
    await shop.advance(31)
    assert (await shop.subscription(subscription.id)).status == "past_due"


# ------------------------------------------------------------------ a card's life


async def test_a_renewed_card_is_the_same_payment_method_with_a_new_date(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    card = str(subscription.default_payment_method)
    await shop.sandbox.advance_to_captures()
    last_event = await shop.latest_event()

    shop.sandbox.update_card_by_network(card, exp_month=3, exp_year=2040, last4="1111")

    assert await shop.events_since(last_event) == ["payment_method.automatically_updated"]
    changed = await shop.client.v1.payment_methods.retrieve_async(card)
    assert changed.card is not None
    assert (changed.card.exp_month, changed.card.exp_year, changed.card.last4) == (3, 2040, "1111")
    before = await shop.latest_previous_attributes("payment_method.automatically_updated")
    assert before == {"card": {"exp_month": 12, "exp_year": 2049, "last4": "4242"}}
    await shop.advance(31)
    assert await shop.paid_amounts() == [500, 500]
    with pytest.raises(ValueError, match="no such payment method"):
        shop.sandbox.update_card_by_network("pm_other", exp_month=1, exp_year=2040)


async def test_a_card_is_changed_only_while_it_is_somebodys(shop: Shop) -> None:
    methods = shop.client.v1.payment_methods
    loose = await methods.create_async({"type": "card", "card": {"token": "tok_visa"}})
    with pytest.raises(stripe.InvalidRequestError, match="must save this PaymentMethod"):
        await methods.update_async(loose.id, {"metadata": {"a": "1"}})

    await methods.attach_async(loose.id, {"customer": await reader(shop)})
    changed = await methods.update_async(loose.id, {"card": {"exp_month": 1, "exp_year": 2041}})

    assert changed.card is not None
    assert (changed.card.exp_month, changed.card.exp_year) == (1, 2041)


async def test_a_detached_card_says_whose_it_was_and_is_nobodys_for_good(shop: Shop) -> None:
    customer = await reader(shop)
    methods = shop.client.v1.payment_methods
    card = await methods.attach_async("pm_card_visa", {"customer": customer})

    detached = await methods.detach_async(card.id)

    assert detached.customer is None
    assert await shop.latest_previous_attributes("payment_method.detached") == {
        "customer": customer
    }
    with pytest.raises(stripe.InvalidRequestError, match="not attached"):
        await methods.detach_async(card.id)
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        await methods.attach_async(card.id, {"customer": customer})


async def test_the_portal_sets_the_customers_default_and_perhaps_the_subscriptions(
    shop: Shop,
) -> None:
    subscription = await shop.subscribes(500)
    customer = str(subscription.customer)
    await shop.sandbox.advance_to_captures()
    last_event, request_count = await shop.latest_event(), len(shop.sandbox.requests)

    card = shop.sandbox.set_default_in_portal(customer, "pm_card_mastercard")

    assert len(shop.sandbox.requests) == request_count
    assert await shop.events_since(last_event) == ["payment_method.attached", "customer.updated"]
    stored = await shop.client.v1.customers.retrieve_async(customer)
    assert stored.invoice_settings is not None
    assert stored.invoice_settings.default_payment_method == card
    unchanged = await shop.subscription(subscription.id)
    assert unchanged.default_payment_method == subscription.default_payment_method

    shop.sandbox.set_default_in_portal(customer, card, on_subscriptions=True)
    assert (await shop.subscription(subscription.id)).default_payment_method == card
    with pytest.raises(ApiError, match="No such customer"):
        shop.sandbox.set_default_in_portal("cus_nobody", card)
