"""A customer pays once, on the hosted page."""

from datetime import timedelta

import pytest
import stripe

from payments import sandbox
from payments.sandbox.form_encoding import JsonValue
from tests.support.shop import Shop

pytestmark = pytest.mark.anyio


async def test_a_payment_emits_events_in_stripes_order(shop: Shop) -> None:
    session = await shop.checkout(500, customer_creation="always")
    last_event = await shop.latest_event()

    result = await shop.pays(session)

    assert (result.status, result.redirect_url) == (
        303,
        f"https://shop.example/thanks?s={session.id}",
    )
    assert await shop.events_since(last_event) == [
        "customer.created",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]
    await shop.sandbox.advance_to_captures()
    assert (await shop.events())[-1] == "charge.updated"


async def test_the_session_holds_what_the_shop_needs_and_no_address_any_more(shop: Shop) -> None:
    session = await shop.checkout(
        500, client_reference_id="gift-1", metadata={"contribution_id": "gift-1"}
    )
    assert (session.status, session.payment_intent) == ("open", None)

    await shop.pays(session)

    paid = await shop.client.v1.checkout.sessions.retrieve_async(session.id)
    assert (paid.status, paid.payment_status, paid.url) == ("complete", "paid", None)
    assert (paid.client_reference_id, paid.amount_total) == ("gift-1", 500)
    assert paid.customer is None, "a guest, unless a customer was asked for"
    assert paid.customer_details is not None
    assert paid.customer_details.email == "payer@example.org"
    assert isinstance(paid.payment_intent, str)


async def test_the_intents_metadata_reaches_its_charges_and_the_sessions_does_not(
    shop: Shop,
) -> None:
    session = await shop.checkout(
        500,
        metadata={"on": "session"},
        payment_intent_data={"metadata": {"on": "intent"}, "description": "A gift"},
    )
    await shop.pays(session)

    charges = await shop.client.v1.charges.list_async()

    (charge,) = charges.data
    assert charge.metadata.to_dict() == {"on": "intent"}
    assert charge.description == "A gift"


async def test_the_fee_is_known_only_after_the_capture(shop: Shop) -> None:
    session = await shop.gives(1000)
    (charge,) = (await shop.client.v1.charges.list_async()).data
    assert charge.balance_transaction is None
    assert await shop.balance() == {}

    await shop.sandbox.advance_to_captures()

    intent = await shop.client.v1.payment_intents.retrieve_async(
        str(session.payment_intent), {"expand": ["latest_charge.balance_transaction"]}
    )
    captured = intent.latest_charge
    assert isinstance(captured, stripe.Charge)
    row = captured.balance_transaction
    assert isinstance(row, stripe.BalanceTransaction)
    assert (row.amount, row.fee, row.net) == (1000, 59, 941)
    assert (row.status, row.type, row.source) == ("pending", "charge", captured.id)
    updated = (await shop.client.v1.events.list_async({"type": "charge.updated"})).data[0]
    assert updated.data.previous_attributes is not None
    assert updated.data.previous_attributes.to_dict() == {"balance_transaction": None}


async def test_a_decline_leaves_the_session_open_and_the_same_intent_takes_the_next_card(
    shop: Shop,
) -> None:
    session = await shop.checkout(500)
    last_event = await shop.latest_event()

    declined = await shop.pays(session, "4000000000000002")

    assert declined.redirect_url is None
    assert declined.error_text == "Your card was declined. Nothing was charged."
    assert await shop.events_since(last_event) == [
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
    ]
    waiting = await shop.client.v1.checkout.sessions.retrieve_async(session.id)
    assert waiting.status == "open"

    assert (await shop.pays(session)).status == 303
    paid = await shop.client.v1.checkout.sessions.retrieve_async(session.id)
    assert paid.payment_intent == waiting.payment_intent
    charges = await shop.client.v1.charges.list_async({"payment_intent": str(paid.payment_intent)})
    assert [charge.status for charge in charges.data] == ["succeeded", "failed"]


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("4000000000000002", "card_declined", "generic_decline"),
        ("4000000000009995", "card_declined", "insufficient_funds"),
        ("4000000000009987", "card_declined", "lost_card"),
        ("4000000000009979", "card_declined", "stolen_card"),
        ("4000000000000069", "expired_card", "expired_card"),
        ("4000000000000127", "incorrect_cvc", "incorrect_cvc"),
        ("4000000000000119", "processing_error", "processing_error"),
    ],
)
async def test_each_declining_card_says_why(
    shop: Shop, card: str, code: str, decline_code: str
) -> None:
    session = await shop.checkout(500)
    assert (await shop.pays(session, card)).status == 402

    (intent,) = (await shop.client.v1.payment_intents.list_async()).data
    assert intent.status == "requires_payment_method"
    assert intent.last_payment_error is not None
    error = intent.last_payment_error
    assert (error.code, error.decline_code) == (code, decline_code)
    (charge,) = (await shop.client.v1.charges.list_async()).data
    assert (charge.status, charge.paid, charge.failure_code) == ("failed", False, code)


async def test_a_payment_that_radar_blocks_never_reaches_the_bank(shop: Shop) -> None:
    session = await shop.checkout(500)
    assert (await shop.pays(session, "4100000000000019")).status == 402

    (charge,) = (await shop.client.v1.charges.list_async()).data
    assert charge.outcome is not None
    assert (charge.outcome.type, charge.outcome.network_status) == (
        "blocked",
        "not_sent_to_network",
    )


@pytest.mark.parametrize("card", ["4000002500003155", "4000002760003184", "4000000000003220"])
async def test_a_card_that_asks_for_authentication_is_charged_once_it_is_given(
    shop: Shop, card: str
) -> None:
    session = await shop.checkout(500)
    last_event = await shop.latest_event()

    assert (await shop.pays(session, card)).redirect_url is not None

    assert await shop.events_since(last_event) == [
        "payment_intent.created",
        "payment_intent.requires_action",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]


async def test_an_authentication_that_fails_charges_nothing_and_can_be_tried_again(
    shop: Shop,
) -> None:
    session = await shop.checkout(500)
    assert session.url is not None

    failed = await sandbox.pay(session.url, "4000002760003184", complete_3ds=False)

    assert failed.error_text is not None
    assert "unable to authenticate" in failed.error_text
    (intent,) = (await shop.client.v1.payment_intents.list_async()).data
    assert intent.last_payment_error is not None
    assert intent.last_payment_error.code == "payment_intent_authentication_failure"
    assert (await shop.client.v1.charges.list_async()).data == []
    assert (await shop.pays(session)).status == 303


async def test_a_session_nobody_pays_expires_by_the_wall(shop: Shop) -> None:
    expires_at = int(shop.wall.now.timestamp()) + 1800
    session = await shop.checkout(
        500, expires_at=expires_at, after_expiration={"recovery": {"enabled": True}}
    )
    assert session.url is not None
    await shop.advance(days=3)
    assert (await shop.client.v1.checkout.sessions.retrieve_async(session.id)).status == "open"

    shop.wall.advance(timedelta(minutes=31))
    await shop.sandbox.run_due()

    expired = await shop.client.v1.checkout.sessions.retrieve_async(session.id)
    assert (expired.status, expired.url) == ("expired", None)
    assert expired.after_expiration is not None
    assert expired.after_expiration.recovery is not None
    assert expired.after_expiration.recovery.url is not None
    assert (await shop.events())[-1] == "checkout.session.expired"
    assert (await sandbox.pay(session.url)).status == 410


async def test_a_session_that_expires_gives_up_its_intent(shop: Shop) -> None:
    session = await shop.checkout(500)
    await shop.pays(session, "4000000000000002")

    await shop.client.v1.checkout.sessions.expire_async(session.id)

    assert (await shop.events())[-2:] == ["checkout.session.expired", "payment_intent.canceled"]
    (intent,) = (await shop.client.v1.payment_intents.list_async()).data
    assert (intent.status, intent.cancellation_reason) == ("canceled", "automatic")


async def test_a_card_saved_for_later_is_attached_to_the_customer(shop: Shop) -> None:
    session = await shop.checkout(
        500,
        customer_creation="always",
        payment_intent_data={"setup_future_usage": "off_session"},
    )
    await shop.pays(session)

    paid = await shop.client.v1.checkout.sessions.retrieve_async(session.id)
    stored = await shop.client.v1.customers.payment_methods.list_async(str(paid.customer))
    assert len(stored.data) == 1


async def test_what_the_sandbox_cannot_do_on_the_page_it_says(shop: Shop) -> None:
    for extra in (
        {"consent_collection": {"terms_of_service": "required"}},
        {"automatic_tax": {"enabled": True}},
        {"phone_number_collection": {"enabled": True}},
    ):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await shop.checkout(500, **extra)
        assert refused.value.code == "sandbox_unsupported"


async def test_a_page_is_closed_at_its_hour_even_before_the_sandbox_has_noticed(
    shop: Shop,
) -> None:
    session = await shop.checkout(500)
    shop.wall.advance(timedelta(hours=24))

    assert (await shop.pays(session)).status == 410


async def test_the_shop_can_expire_an_open_session_but_not_a_paid_one(shop: Shop) -> None:
    open_session, paid = await shop.checkout(500), await shop.gives(500)

    expired = await shop.client.v1.checkout.sessions.expire_async(open_session.id)

    assert expired.status == "expired"
    with pytest.raises(stripe.InvalidRequestError, match="complete"):
        await shop.client.v1.checkout.sessions.expire_async(paid.id)


async def test_a_paid_page_is_not_paid_twice(shop: Shop) -> None:
    session = await shop.checkout(500)
    await shop.pays(session)

    again = await shop.pays(session)

    assert (again.status, again.redirect_url) == (200, None)
    assert len((await shop.client.v1.charges.list_async()).data) == 1


async def test_the_way_back_leads_to_the_shop_and_charges_nothing(shop: Shop) -> None:
    session = await shop.checkout(500)
    assert session.url is not None

    assert await sandbox.follow_cancel_link(session.url) == "https://shop.example/donate"

    assert (await shop.client.v1.charges.list_async()).data == []


async def test_line_items_are_shown_only_when_asked_for(shop: Shop) -> None:
    session = await shop.checkout(500)
    assert "line_items" not in session

    shown = await shop.client.v1.checkout.sessions.retrieve_async(
        session.id, {"expand": ["line_items"]}
    )
    listed = await shop.client.v1.checkout.sessions.line_items.list_async(session.id)

    assert shown.line_items is not None
    assert [item.id for item in shown.line_items.data] == [item.id for item in listed.data]
    assert listed.data[0].amount_total == 500


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"success_url": ""}, "success_url"),
        ({"expires_at": 1}, "expires_at"),
        ({"subscription_data": {"description": "x"}}, "subscription_data"),
        ({"mode": "subscription"}, "line_items[0][price_data][recurring]"),
        ({"line_items": []}, "line_items"),
        ({"customer": "cus_nobody"}, "customer"),
        ({"metadata": {"k" * 41: "v"}}, f"metadata[{'k' * 41}]"),
        ({"client_reference_id": "x" * 201}, "client_reference_id"),
    ],
)
async def test_a_session_that_makes_no_sense_is_refused_by_name(
    shop: Shop, extra: dict[str, JsonValue], param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.checkout(500, **extra)
    assert refused.value.param == param


@pytest.mark.parametrize(("amount", "currency"), [(49, "usd"), (29, "gbp"), (100_000_000, "usd")])
async def test_too_small_and_too_large_a_gift_are_refused(
    shop: Shop, amount: int, currency: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="amount"):
        await shop.checkout(amount, currency)


async def test_a_currency_stripe_does_not_know_is_refused(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="Invalid currency"):
        await shop.checkout(500, "xyz")
