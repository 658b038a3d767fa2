"""The two clocks, faults, saving and loading, and control over HTTP."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import stripe

from payments.sandbox import Sandbox
from tests.support.newsroom import REAL_TIMEOUT_SECONDS
from tests.support.shop import START, ManualWallClock, Shop, open_shop

pytestmark = pytest.mark.anyio


async def control(
    shop: Shop,
    method: str,
    path: str,
    body: dict[str, object] | None = None,
) -> dict[str, Any]:  # Any: whatever that route answers
    url = f"{shop.sandbox.url}/_control/{path}"
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, url, json=body) as response,
    ):
        answer: dict[str, Any] = await response.json()  # Any: the same
        return {**answer, "status_code": response.status}


# ------------------------------------------------------------------ clocks


async def test_turning_billing_time_leaves_the_wall_alone(shop: Shop) -> None:
    await shop.advance(10)

    assert shop.sandbox.clock.now() == START + timedelta(days=10)
    session = await shop.checkout(500, expires_at=int(START.timestamp()) + 3600)
    customer = await shop.client.v1.customers.create_async({})
    assert session.created == START.timestamp()
    assert customer.created == (START + timedelta(days=10)).timestamp()


async def test_time_goes_only_forward(shop: Shop) -> None:
    with pytest.raises(ValueError, match="forward"):
        await shop.sandbox.advance(timedelta(seconds=-1))
    with pytest.raises(ValueError, match="forward"):
        await shop.sandbox.advance(to=START - timedelta(days=1))


async def test_turning_the_wall_is_noticed_when_asked_and_dated_when_it_was_due(
    shop: Shop,
) -> None:
    await shop.subscribes()
    shop.wall.advance(timedelta(days=30, hours=3))
    assert len((await shop.client.v1.invoices.list_async()).data) == 1

    await shop.sandbox.run_due()

    renewal = (await shop.client.v1.invoices.list_async()).data[0]
    assert datetime.fromtimestamp(renewal.created, UTC) == START + timedelta(days=30)
    assert renewal.status == "paid"


async def test_settling_moves_no_further_than_the_captures(shop: Shop) -> None:
    await shop.gives(500)

    await shop.sandbox.advance_to_captures()
    await shop.sandbox.advance_to_captures()

    assert shop.sandbox.clock.now() == START + timedelta(seconds=1)
    assert await shop.balance() == {"usd": 455}


async def test_events_of_a_year_are_in_the_order_of_their_time(shop: Shop) -> None:
    for _ in range(3):
        await shop.subscribes()
        await shop.advance(7)
    await shop.advance(365)

    created = [event["created"] for event in shop.sandbox.account.store.of_kind("event")]
    assert created == sorted(created)
    assert len((await shop.client.v1.invoices.list_async({"limit": 100})).data) == 3 * 13


# ------------------------------------------------------------------ faults


async def test_an_answer_lost_on_the_way_is_given_again_to_the_same_key(shop: Shop) -> None:
    shop.sandbox.faults.add("POST", "/v1/customers$", "drop_after")
    options: stripe.RequestOptions = {"idempotency_key": "k", "max_network_retries": 1}

    customer = await shop.client.v1.customers.create_async({}, options)

    assert customer.last_response is not None
    assert customer.last_response.headers["Idempotent-Replayed"] == "true"
    assert len((await shop.client.v1.customers.list_async()).data) == 1


async def test_a_request_lost_on_the_way_was_never_carried_out(shop: Shop) -> None:
    shop.sandbox.faults.add("POST", "/v1/customers$", "drop_before")

    with pytest.raises(stripe.APIConnectionError):
        await shop.client.v1.customers.create_async({})

    assert (await shop.client.v1.customers.list_async()).data == []


@pytest.mark.parametrize("kind", ["status_500", "html_500"])
async def test_a_server_error_is_an_api_error_and_may_be_tried_again(shop: Shop, kind: str) -> None:
    shop.sandbox.faults.add("POST", "/v1/customers$", kind, remaining=2)
    options: stripe.RequestOptions = {"idempotency_key": "k"}
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            await shop.client.v1.customers.create_async({}, options)

    assert await shop.client.v1.customers.create_async({}, options)


@pytest.mark.parametrize(("should_retry", "times"), [(True, 2), (False, 1)])
async def test_a_rate_limit_says_whether_to_come_back(
    shop: Shop, should_retry: bool, times: int
) -> None:
    shop.sandbox.faults.add(
        "GET", "/v1/balance$", "rate_limited", remaining=5, should_retry=should_retry
    )

    with pytest.raises(stripe.RateLimitError):
        await shop.client.v1.balance.retrieve_async(options={"max_network_retries": 1})

    assert [seen.status for seen in shop.sandbox.requests] == [429] * times


async def test_a_conflict_is_reported_as_one(shop: Shop) -> None:
    shop.sandbox.faults.add("*", "/v1/", "conflict_409")
    with pytest.raises(stripe.APIError) as refused:
        await shop.client.v1.customers.create_async({})
    assert refused.value.http_status == 409


async def test_a_request_that_hangs_holds_its_key_until_released(shop: Shop) -> None:
    shop.sandbox.faults.add("POST", "/v1/customers$", "hang_after")
    options: stripe.RequestOptions = {"idempotency_key": "k"}
    hanging = asyncio.create_task(shop.client.v1.customers.create_async({}, options))
    await asyncio.wait_for(shop.sandbox.faults.wait_until_hanging(), REAL_TIMEOUT_SECONDS)

    assert len((await shop.client.v1.customers.list_async()).data) == 1, "it was done"
    with pytest.raises(stripe.APIError) as refused:
        await shop.client.v1.customers.create_async({}, options)
    assert refused.value.http_status == 409

    shop.sandbox.faults.release()
    assert (await hanging).id


async def test_a_fault_nobody_knows_is_refused(shop: Shop) -> None:
    with pytest.raises(ValueError, match="no such fault"):
        shop.sandbox.faults.add("GET", "/", "gremlins")


# ------------------------------------------------------------------ saving and loading


async def test_a_saved_sandbox_goes_on_where_it_stopped(shop: Shop, tmp_path: Path) -> None:
    hook = await shop.client.v1.webhook_endpoints.create_async(
        {"url": "http://shop.example/hooks", "enabled_events": ["*"]}
    )
    options: stripe.RequestOptions = {"idempotency_key": "k"}
    customer = await shop.client.v1.customers.create_async({}, options)
    subscription = await shop.subscribes()
    waiting = await shop.checkout(500)
    await shop.advance(3)
    shop.sandbox.save(tmp_path / "sandbox.json")

    other = Sandbox(wall=shop.wall, check_contract=True)
    other.load(tmp_path / "sandbox.json")
    async with open_shop(other, shop.wall) as later:
        assert other.clock.now() == shop.sandbox.clock.now()
        assert await later.events() == await shop.events()
        assert (await later.client.v1.customers.create_async({}, options)).id == customer.id
        reopened = await later.client.v1.checkout.sessions.retrieve_async(waiting.id)
        assert reopened.url is not None
        assert reopened.url.startswith(other.url)
        assert (await later.pays(reopened)).status == 303
        for sandbox in (shop.sandbox, other):
            await sandbox.advance(timedelta(days=60))
        original, restored = [
            await each.client.v1.subscriptions.retrieve_async(subscription.id)
            for each in (shop, later)
        ]
        assert (
            original["items"].data[0].current_period_end
            == restored["items"].data[0].current_period_end
        )
        assert (await later.client.v1.webhook_endpoints.retrieve_async(hook.id)).url == hook.url
        assert other.take_deliveries()[0].event_type == "customer.created"
    assert other.problems == []


async def test_two_sandboxes_with_one_seed_make_the_same_ids_and_with_another_do_not() -> None:
    ids = []
    for seed in (1, 1, 2):
        wall = ManualWallClock()
        async with open_shop(Sandbox(wall=wall, seed=seed), wall) as shop:
            ids.append((await shop.client.v1.customers.create_async({})).id)
    assert ids[0] == ids[1] != ids[2]


# ------------------------------------------------------------------ control


async def test_the_clock_is_turned_over_http(shop: Shop) -> None:
    turned = await control(shop, "POST", "clock", {"advance_seconds": 86400})
    assert turned["now"] == (START + timedelta(days=1)).isoformat()
    assert turned["wall"] == START.isoformat()
    await control(shop, "POST", "clock", {"to": "2027-01-01T00:00:00+00:00"})
    assert (await control(shop, "GET", "clock"))["now"] == "2027-01-01T00:00:00+00:00"
    refused = await control(shop, "POST", "clock", {"to": "2020-01-01T00:00:00+00:00"})
    assert refused["status_code"] == 400


async def test_faults_are_made_and_cleared_over_http(shop: Shop) -> None:
    fault: dict[str, object] = {"method": "GET", "path": "/v1/balance", "kind": "status_500"}
    made = await control(shop, "POST", "faults", {**fault, "times": 2})
    assert made["faults"] == [{**fault, "times": 2}]
    with pytest.raises(stripe.APIError):
        await shop.client.v1.balance.retrieve_async()

    assert (await control(shop, "DELETE", "faults"))["faults"] == []
    assert await shop.client.v1.balance.retrieve_async()
    assert (await control(shop, "POST", "faults", {"path": "/"}))["status_code"] == 400
    assert (await control(shop, "POST", "faults", {"path": "/", "kind": "x"}))["status_code"] == 400


async def test_deliveries_are_seen_and_sent_over_http() -> None:
    got: list[str] = []

    async def deliver(delivery: object) -> int:
        got.append(str(delivery))
        return 200

    wall = ManualWallClock()
    async with open_shop(Sandbox(wall=wall, deliver=deliver), wall) as shop:
        await shop.client.v1.webhook_endpoints.create_async(
            {"url": "http://shop.example/hooks", "enabled_events": ["customer.created"]}
        )
        await shop.client.v1.customers.create_async({})
        pending = (await control(shop, "GET", "deliveries"))["pending"]
        assert len(pending) == 1
        assert (await control(shop, "POST", "deliveries/flush"))["sent"] == 1

        again = {"event": pending[0]["event"]}
        await control(shop, "POST", "deliveries/redeliver", again)
        assert (await control(shop, "POST", "deliveries/flush"))["sent"] == 1
        assert len(got) == 2
        missing = await control(shop, "POST", "deliveries/redeliver", {"event": "evt_none"})
        assert missing["status_code"] == 404


async def test_requests_are_counted_by_route(shop: Shop, tmp_path: Path) -> None:
    for _ in range(2):
        customer = await shop.client.v1.customers.create_async({})
        await shop.client.v1.customers.retrieve_async(customer.id)

    counted = (await control(shop, "GET", "requests"))["requests"]
    assert counted == {"POST /v1/customers": 2, "GET /v1/customers/{}": 2}
    assert (await control(shop, "GET", "health"))["status"] == "ok"
    path = str(tmp_path / "s.json")
    assert (await control(shop, "POST", "save", {"path": path}))["saved"] == path


async def test_the_index_shows_what_is_here_and_turns_the_clock(shop: Shop) -> None:
    await shop.gives(500)
    await shop.checkout(700)
    async with aiohttp.ClientSession() as browser:
        async with browser.get(shop.sandbox.url + "/") as response:
            html = await response.text()
        assert "checkout.session.completed" in html
        assert "$7.00" in html
        async with browser.post(shop.sandbox.url + "/", data={"by": "day"}) as response:
            assert "2026-11-04 12:00 UTC" in await response.text()
