"""Webhook deliveries: signed, sent, retried, and listed while unacknowledged."""

import asyncio
from datetime import timedelta

import pytest
import stripe
from aiohttp import web
from aiohttp.test_utils import TestServer

from payments.sandbox import Delivery, Sandbox
from payments.sandbox.form_encoding import JsonValue
from tests.support.newsroom import REAL_TIMEOUT_SECONDS
from tests.support.shop import ManualWallClock, Shop, open_shop

pytestmark = pytest.mark.anyio

URL = "http://shop.example/webhooks"


async def endpoint(shop: Shop, *enabled: JsonValue, url: str = URL) -> stripe.WebhookEndpoint:
    """Create a webhook endpoint."""
    return await shop.client.v1.webhook_endpoints.create_async(
        {"url": url, "enabled_events": list(enabled or ("*",)), "api_version": "2026-10-28.endive"}
    )


async def undelivered(shop: Shop) -> list[str]:
    listed = await shop.client.v1.events.list_async({"delivery_success": False})
    return [str(event.type) for event in listed.data]


async def test_a_delivery_is_signed_so_that_the_sdk_believes_it(shop: Shop) -> None:
    hook = await endpoint(shop)
    await shop.gives(500)
    delivery = shop.sandbox.take_deliveries()[-1]
    assert hook.secret is not None

    event = stripe.Webhook.construct_event(
        delivery.body, delivery.headers["Stripe-Signature"], hook.secret, tolerance=10**9
    )

    assert (event.id, event.type) == (delivery.event_id, "checkout.session.completed")
    assert event.api_version == "2026-10-28.endive"
    assert event.pending_webhooks == 1
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(
            delivery.body + b" ", delivery.headers["Stripe-Signature"], hook.secret
        )


async def test_the_signature_carries_the_walls_time_whatever_billing_time_is(shop: Shop) -> None:
    await endpoint(shop)
    await shop.advance(40)
    await shop.gives(500)
    shop.wall.advance(timedelta(minutes=5))

    delivery = shop.sandbox.take_deliveries()[0]

    written = delivery.headers["Stripe-Signature"].partition(",")[0]
    assert written == f"t={int(shop.wall.now.timestamp())}"


async def test_an_endpoint_gets_only_the_events_it_enabled(shop: Shop) -> None:
    await endpoint(shop, "checkout.session.completed", "charge.updated")
    await shop.gives(500)
    await shop.sandbox.advance_to_captures()

    assert [d.event_type for d in shop.sandbox.take_deliveries()] == [
        "checkout.session.completed",
        "charge.updated",
    ]
    assert shop.sandbox.take_deliveries() == []


async def test_each_endpoint_has_its_own_delivery_and_its_own_secret(shop: Shop) -> None:
    first = await endpoint(shop, "customer.created")
    second = await endpoint(shop, "customer.created", url=URL + "/two")
    await shop.client.v1.customers.create_async({})

    one, two = shop.sandbox.take_deliveries()

    assert (one.url, two.url, one.event_id) == (URL, URL + "/two", two.event_id)
    assert first.secret != second.secret
    assert one.headers["Stripe-Signature"] != two.headers["Stripe-Signature"]


async def test_a_disabled_or_deleted_endpoint_gets_nothing(shop: Shop) -> None:
    hook = await endpoint(shop)
    await shop.client.v1.webhook_endpoints.update_async(hook.id, {"disabled": True})
    await shop.client.v1.customers.create_async({})
    assert shop.sandbox.take_deliveries() == []

    other = await endpoint(shop)
    await shop.client.v1.customers.create_async({})
    await shop.client.v1.webhook_endpoints.delete_async(other.id)
    assert shop.sandbox.take_deliveries() == []
    with pytest.raises(stripe.InvalidRequestError):
        await shop.client.v1.webhook_endpoints.retrieve_async(other.id)


async def test_a_secret_is_shown_only_once(shop: Shop) -> None:
    hook = await endpoint(shop)
    assert hook.secret is not None
    again = await shop.client.v1.webhook_endpoints.retrieve_async(hook.id)
    assert "secret" not in again


async def test_what_was_not_acknowledged_is_found_among_the_undelivered(shop: Shop) -> None:
    await endpoint(shop, "customer.created", "customer.deleted")
    customer = await shop.client.v1.customers.create_async({})
    await shop.client.v1.customers.delete_async(customer.id)

    taken, _lost = shop.sandbox.take_deliveries()
    assert await undelivered(shop) == ["customer.deleted", "customer.created"]
    shop.sandbox.acknowledge(taken)

    assert await undelivered(shop) == ["customer.deleted"]
    reached = await shop.client.v1.events.list_async({"delivery_success": True})
    assert taken.event_id in [event.id for event in reached.data]


async def test_a_failing_endpoint_is_tried_again_later_and_later_and_then_left() -> None:
    tries: list[Delivery] = []

    async def refuse(delivery: Delivery) -> int:
        tries.append(delivery)
        if len(tries) == 2:
            raise ConnectionError("nobody there")
        return 500

    wall = ManualWallClock()
    async with open_shop(Sandbox(wall=wall, deliver=refuse, check_contract=True), wall) as shop:
        await endpoint(shop, "customer.created")
        await shop.client.v1.customers.create_async({})

        assert await shop.sandbox.deliver_pending() == 1
        assert await shop.sandbox.deliver_pending() == 0, "not due yet"
        await shop.sandbox.advance(timedelta(seconds=10))
        assert await shop.sandbox.deliver_pending() == 1
        for _ in range(100):
            await shop.sandbox.advance(timedelta(hours=1))
            await shop.sandbox.deliver_pending()

        assert 10 < len(tries) < 20
        assert len({delivery.id for delivery in tries}) == 1
        assert await undelivered(shop) == ["customer.created"]
        shop.sandbox.redeliver(tries[0].event_id)
        assert await shop.sandbox.deliver_pending() == 1


async def test_an_endpoint_that_recovers_has_everything_delivered() -> None:
    status = 503
    tries: list[str] = []

    async def answer(delivery: Delivery) -> int:
        tries.append(delivery.event_type)
        return status

    wall = ManualWallClock()
    async with open_shop(Sandbox(wall=wall, deliver=answer, check_contract=True), wall) as shop:
        await endpoint(shop)
        await shop.client.v1.customers.create_async({})
        await shop.sandbox.deliver_pending()
        status = 200
        await shop.sandbox.advance(timedelta(minutes=1))
        await shop.sandbox.deliver_pending()

        assert tries == ["customer.created", "customer.created"]
        assert await undelivered(shop) == []
        (event,) = (await shop.client.v1.events.list_async()).data
        assert event.pending_webhooks == 0


async def test_an_event_is_sent_again_when_asked_for(shop: Shop) -> None:
    await endpoint(shop, "customer.created")
    await shop.client.v1.customers.create_async({})
    (first,) = shop.sandbox.take_deliveries()

    shop.sandbox.redeliver(first.event_id)

    (second,) = shop.sandbox.take_deliveries()
    assert second.event_id == first.event_id
    assert second.id != first.id


async def test_live_the_sandbox_delivers_by_itself_over_http() -> None:
    got: list[str] = []

    async def receive(request: web.Request) -> web.Response:
        got.append((await request.json())["type"])
        if got[-1] == "charge.updated":
            done.set()
        return web.Response()

    done = asyncio.Event()
    app = web.Application()
    app.router.add_post("/hooks", receive)
    async with TestServer(app) as server:
        sandbox = Sandbox(live=True, capture_delay=timedelta(0), check_contract=True)
        async with open_shop(sandbox, ManualWallClock()) as shop:
            await endpoint(shop, url=str(server.make_url("/hooks")))
            await shop.gives(500)
            await asyncio.wait_for(done.wait(), REAL_TIMEOUT_SECONDS)
    assert sorted(got) == sorted(
        [
            "product.created",
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.succeeded",
            "checkout.session.completed",
            "charge.updated",
        ]
    )
    assert sandbox.problems == []


@pytest.mark.parametrize("url", ["ftp://shop.example", "shop.example"])
async def test_an_endpoint_must_be_a_web_address(shop: Shop, url: str) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="Invalid URL"):
        await endpoint(shop, url=url)


async def test_a_seventeenth_endpoint_is_refused(shop: Shop) -> None:
    for number in range(16):
        await endpoint(shop, url=f"{URL}/{number}")
    with pytest.raises(stripe.InvalidRequestError, match="maximum of 16"):
        await endpoint(shop)


async def test_events_are_found_by_type_and_retained_thirty_days(shop: Shop) -> None:
    session = await shop.gives(500)
    events = shop.client.v1.events
    paid = await events.list_async({"types": ["payment_intent.succeeded", "charge.succeeded"]})
    assert [event.type for event in paid.data] == ["payment_intent.succeeded", "charge.succeeded"]
    assert {str(e.type) for e in (await events.list_async({"type": "charge.*"})).data} == {
        "charge.succeeded"
    }
    assert paid.data[0].data.object["id"] == session.payment_intent
    assert paid.data[1].data.object["balance_transaction"] is None, "as it was then"

    await shop.advance(31)

    with pytest.raises(stripe.InvalidRequestError):
        await events.list_async({"types": ["charge.failed"] * 21})
    gone = await events.list_async({"type": "checkout.session.completed"})
    assert gone.data == []
