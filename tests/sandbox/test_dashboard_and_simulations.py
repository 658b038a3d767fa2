"""Deliveries that go wrong, and changes made in the dashboard, the portal and by banks."""

from datetime import timedelta
from typing import Any

import aiohttp
import msgspec
import pytest
import stripe

from payments.sandbox import BillingSettings, Delivery
from payments.sandbox.errors import ApiError
from payments.sandbox.form_encoding import JsonValue
from tests.support.shop import Shop

pytestmark = pytest.mark.anyio

EVENTS = ("customer.created", "payment_intent.succeeded", "checkout.session.completed")


async def endpoint(
    shop: Shop, *types: JsonValue, api_version: JsonValue = "2026-10-28.endive"
) -> tuple[str, str]:
    made = await shop.client.v1.webhook_endpoints.create_async(
        {
            "url": "http://shop.example/hooks",
            "enabled_events": list(types or ("*",)),
            "api_version": api_version,
        }
    )
    assert made.secret is not None
    return made.id, made.secret


def is_verified(delivery: Delivery, secret: str) -> bool:
    try:
        stripe.Webhook.construct_event(
            delivery.body, delivery.headers["Stripe-Signature"], secret, tolerance=10**9
        )
    except stripe.SignatureVerificationError:
        return False
    return True


def body(delivery: Delivery) -> dict[str, Any]:  # Any: an event as it is sent
    event: dict[str, Any] = msgspec.json.decode(delivery.body)  # Any: the same
    return event


# ------------------------------------------------------------------ deliveries


async def test_deliveries_come_twice_and_in_another_order(shop: Shop) -> None:
    await endpoint(shop, *EVENTS)
    await shop.gives(500, "month")

    taken = shop.sandbox.take_deliveries(copies=2, seed=1)

    event_types = [delivery.event_type for delivery in taken]
    assert sorted(event_types) == sorted([*EVENTS, *EVENTS])
    assert list(dict.fromkeys(event_types)) != list(EVENTS)
    assert len({delivery.event_id for delivery in taken}) == 3
    for delivery in taken:
        shop.sandbox.acknowledge(delivery)
    assert shop.sandbox.take_deliveries() == []


async def test_while_a_secret_is_rolled_both_sign_and_afterwards_only_the_new(shop: Shop) -> None:
    hook, old = await endpoint(shop)

    new = shop.sandbox.roll_secret(hook, overlap_hours=24)

    await shop.client.v1.customers.create_async({})
    (both,) = shop.sandbox.take_deliveries()
    assert both.headers["Stripe-Signature"].count("v1=") == 2
    assert is_verified(both, old)
    assert is_verified(both, new)
    shop.wall.advance(timedelta(hours=25))
    await shop.client.v1.customers.create_async({})
    (later,) = shop.sandbox.take_deliveries()
    assert is_verified(later, new)
    assert not is_verified(later, old)
    with pytest.raises(ApiError, match="No such webhook_endpoint"):
        shop.sandbox.roll_secret("we_other")


async def test_a_delivery_is_signed_at_another_time_or_by_another_hand(shop: Shop) -> None:
    _, secret = await endpoint(shop)
    await shop.client.v1.customers.create_async({})
    (delivery,) = shop.sandbox.take_deliveries()

    old = shop.sandbox.sign_again(delivery, at=shop.wall.now - timedelta(minutes=6))
    forged = shop.sandbox.sign_again(delivery, secret="whsec_forged")

    timestamp = int((shop.wall.now - timedelta(minutes=6)).timestamp())
    assert old.headers["Stripe-Signature"].startswith(f"t={timestamp},")
    assert is_verified(old, secret)
    assert not is_verified(forged, secret)
    assert forged.body == old.body == delivery.body


async def test_an_endpoint_of_an_older_version_gets_the_fields_of_that_version(shop: Shop) -> None:
    types = ("invoice.paid", "customer.subscription.created", "charge.succeeded", "charge.updated")
    await endpoint(shop, *types, api_version="2024-06-20")
    hook, _ = await endpoint(shop, "invoice.paid")
    subscription = await shop.subscribes(500)
    await shop.advance(31)

    events = [body(delivery) for delivery in shop.sandbox.take_deliveries()]

    old = {event["type"]: event for event in events if event["api_version"] == "2024-06-20"}
    invoice = old["invoice.paid"]["data"]["object"]
    assert invoice["subscription"] == subscription.id
    assert invoice["payment_intent"].startswith("pi_")
    assert invoice["paid"] is True
    assert "current_period_end" in old["customer.subscription.created"]["data"]["object"]
    assert old["charge.updated"]["data"]["object"]["invoice"] == invoice["id"]
    new = next(event for event in events if event["api_version"] == "2026-10-28.endive")
    assert "subscription" not in new["data"]["object"]

    shop.sandbox.set_endpoint_version(hook, "2025-09-30.clover")
    await shop.advance(31)
    versions = {body(delivery)["api_version"] for delivery in shop.sandbox.take_deliveries()}
    assert versions == {"2024-06-20", "2025-09-30.clover"}


async def test_a_new_event_type_or_value_is_emitted_and_changes_nothing(shop: Shop) -> None:
    await endpoint(shop)
    session = await shop.gives(500)
    intent = str(session.payment_intent)
    shop.sandbox.take_deliveries()

    shop.sandbox.emit_event("payment_intent.teleported", intent)
    shop.sandbox.emit_event("payment_intent.succeeded", intent, status="teleporting")

    unknown_type, unknown_status = [body(delivery) for delivery in shop.sandbox.take_deliveries()]
    assert unknown_type["type"] == "payment_intent.teleported"
    assert unknown_status["data"]["object"]["status"] == "teleporting"
    assert (await shop.client.v1.payment_intents.retrieve_async(intent)).status == "succeeded"
    assert shop.sandbox.problems == []
    with pytest.raises(KeyError):
        shop.sandbox.emit_event("charge.updated", "ch_nothing")


async def test_the_fee_of_a_charge_may_be_known_only_much_later(shop: Shop) -> None:
    shop.sandbox.delay_captures(600)
    await shop.gives(500)

    await shop.sandbox.advance(timedelta(minutes=9))
    assert "charge.updated" not in await shop.events()
    await shop.sandbox.advance(timedelta(minutes=2))
    assert "charge.updated" in await shop.events()


# ------------------------------------------------------------------ dashboard, portal and banks


async def test_what_is_done_in_the_dashboard_emits_events_and_is_no_request_of_ours(
    shop: Shop,
) -> None:
    subscription = await shop.subscribes(500)
    request_count = len(shop.sandbox.requests)

    shop.sandbox.dashboard_request(
        "POST", f"/v1/subscriptions/{subscription.id}", {"cancel_at_period_end": True}
    )
    shop.sandbox.dashboard_request("DELETE", f"/v1/subscriptions/{subscription.id}")
    charge = (await shop.client.v1.charges.list_async()).data[0]
    shop.sandbox.dashboard_request("POST", "/v1/refunds", {"charge": charge.id, "amount": 200})

    assert len(shop.sandbox.requests) == request_count + 1, "only the list"
    ended = await shop.subscription(subscription.id)
    assert ended.status == "canceled"
    (event,) = (
        await shop.client.v1.events.list_async({"type": "customer.subscription.deleted"})
    ).data
    assert event.request is not None
    assert event.request.id is not None
    assert event.request.idempotency_key is None
    with pytest.raises(ApiError, match="No such subscription"):
        shop.sandbox.dashboard_request("DELETE", f"/v1/subscriptions/{subscription.id}")
    with pytest.raises(ValueError, match="no such route"):
        shop.sandbox.dashboard_request("POST", "/v1/teapots")


async def test_leave_to_debit_that_is_taken_back_lets_no_debit_through(shop: Shop) -> None:
    customer = await shop.client.v1.customers.create_async({})
    account = await shop.client.v1.payment_methods.create_async(
        {"type": "sepa_debit", "sepa_debit": {"iban": "AT611904300234573201"}}
    )
    await shop.client.v1.payment_methods.attach_async(account.id, {"customer": customer.id})
    saved = await shop.client.v1.setup_intents.create_async(
        {"customer": customer.id, "payment_method": account.id, "confirm": True}
    )

    shop.sandbox.revoke_mandate(account.id)

    mandate = await shop.client.v1.mandates.retrieve_async(str(saved.mandate))
    assert mandate.status == "inactive"
    assert await shop.latest_previous_attributes("mandate.updated") == {"status": "active"}
    intent = await shop.client.v1.payment_intents.create_async(
        {
            "amount": 500,
            "currency": "eur",
            "customer": customer.id,
            "payment_method": account.id,
            "confirm": True,
        }
    )
    await shop.advance(3)
    failed = await shop.client.v1.payment_intents.retrieve_async(intent.id)
    assert (intent.status, failed.status) == ("processing", "requires_payment_method")


async def test_others_act_over_http_too(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    card = str(subscription.default_payment_method)

    async def do(action: str, **arguments: object) -> tuple[int, dict[str, object]]:
        url = f"{shop.sandbox.url}/_control/do/{action}"
        async with aiohttp.ClientSession() as client, client.post(url, json=arguments) as answer:
            return answer.status, await answer.json()

    assert (await do("set_billing", retry_days=[1], status_after_retries="unpaid"))[0] == 200
    assert (await do("fail_card", payment_method_id=card, code="lost_card"))[0] == 200
    assert shop.sandbox.billing == BillingSettings(retry_days=(1,), status_after_retries="unpaid")
    await shop.advance(33)
    assert (await shop.subscription(subscription.id)).status == "unpaid"
    customer = str(subscription.customer)
    chosen = {"customer_id": customer, "payment_method_id": "pm_card_visa"}
    status, answer = await do("set_default_in_portal", **chosen)
    assert status == 200
    assert str(answer["done"]).startswith("pm_")
    path = f"/v1/subscriptions/{subscription.id}"
    status, answer = await do("dashboard_request", method="DELETE", path=path)
    assert status == 200

    for action, arguments, expected in (
        ("dashboard_request", {"method": "DELETE", "path": path}, 400),
        ("fail_card", {"payment_method_id": card, "code": "gremlins"}, 400),
        ("fail_card", {}, 400),
        ("set_billing", {"status_after_retries": "forgotten"}, 400),
        ("listen", {}, 404),
    ):
        assert (await do(action, **arguments))[0] == expected


# ------------------------------------------------------------------ pages that expired


async def test_a_page_that_expired_is_recovered_by_its_link(shop: Shop) -> None:
    session = await shop.checkout(
        500,
        after_expiration={"recovery": {"enabled": True}},
        client_reference_id="gift-1",
        expires_at=int(shop.wall.now.timestamp()) + 1800,
    )
    shop.wall.advance(timedelta(hours=1))
    await shop.sandbox.run_due()
    expired = await shop.client.v1.checkout.sessions.retrieve_async(session.id)
    assert expired.after_expiration is not None
    assert expired.after_expiration.recovery is not None
    link = expired.after_expiration.recovery.url

    paid = await shop.pays(expired_page(link))

    assert paid.status == 303
    completed = (await shop.client.v1.checkout.sessions.list_async({"limit": 1})).data[0]
    assert (completed.recovered_from, completed.status) == (session.id, "complete")
    assert completed.client_reference_id == "gift-1"
    assert await shop.paid_amounts() == [500]


async def test_a_page_that_may_not_be_recovered_or_not_any_more_is_not(shop: Shop) -> None:
    plain = await shop.checkout(500)
    await shop.client.v1.checkout.sessions.expire_async(plain.id)
    recoverable = await shop.checkout(500, after_expiration={"recovery": {"enabled": True}})

    for session in (plain, recoverable):
        link = f"{shop.sandbox.url}/r/{session.id}"
        assert (await shop.pays(expired_page(link))).status == 404
    await shop.client.v1.checkout.sessions.expire_async(recoverable.id)
    shop.wall.advance(timedelta(days=40))
    assert (await shop.pays(expired_page(f"{shop.sandbox.url}/r/{recoverable.id}"))).status == 404


def expired_page(link: str | None) -> stripe.checkout.Session:
    """What a reader opens who follows a recovery link."""
    return stripe.checkout.Session.construct_from({"url": link}, None)
