"""Outages: errors by route, class of request and time; what a stored error does to its key."""

import asyncio
from datetime import timedelta

import pytest
import stripe

from payments.sandbox import Sandbox
from payments.sandbox.faults import FAULT_KINDS
from tests.support.shop import START, Shop

pytestmark = pytest.mark.anyio

ONCE: stripe.RequestOptions = {"idempotency_key": "once"}


async def statuses(shop: Shop, *calls: str) -> list[int]:
    """Make calls, `GET` or `POST` of customers, and return how they were answered."""
    for method in calls:
        try:
            if method == "GET":
                await shop.client.v1.customers.list_async()
            else:
                await shop.client.v1.customers.create_async({})
        except stripe.StripeError:
            continue
    return [seen.status for seen in shop.sandbox.requests]


# ------------------------------------------------------------------ which requests, and when


@pytest.mark.parametrize(
    ("method", "answered"),
    [("reads", [500, 200]), ("writes", [200, 500]), ("*", [500, 500]), ("get", [500, 200])],
)
async def test_an_outage_is_of_reads_of_writes_or_of_all(
    shop: Shop, method: str, answered: list[int]
) -> None:
    shop.sandbox.faults.add(method, "/v1/", "status_500", until=START + timedelta(hours=1))
    assert await statuses(shop, "GET", "POST") == answered


async def test_an_outage_is_of_the_routes_that_its_pattern_finds(shop: Shop) -> None:
    shop.sandbox.faults.add("*", "/v1/customers$", "status_503", 5)
    customer = await shop.client.v1.products.create_async({"name": "A gift"})
    assert customer.id
    assert (await statuses(shop, "GET"))[-1] == 503


async def test_an_outage_begins_and_ends_with_the_clock(shop: Shop) -> None:
    begin, end = START + timedelta(hours=1), START + timedelta(hours=3)
    shop.sandbox.faults.add("*", "/v1/", "status_503", since=begin, until=end)
    for _ in range(4):
        await statuses(shop, "GET")
        shop.wall.advance(timedelta(hours=1))

    assert [seen.status for seen in shop.sandbox.requests] == [200, 503, 503, 200]
    assert shop.sandbox.faults.pending == []


async def test_a_share_of_the_requests_fails_evenly_spread(shop: Shop) -> None:
    end = START + timedelta(hours=1)
    shop.sandbox.faults.add("*", "/v1/", "rate_limited", until=end, share=0.25)
    assert await statuses(shop, *["GET"] * 8) == [200, 200, 200, 429] * 2


async def test_the_first_fault_that_matches_is_used_up_first(shop: Shop) -> None:
    shop.sandbox.faults.add("*", "/v1/", "status_500", 2)
    shop.sandbox.faults.add("*", "/v1/", "status_503")
    assert await statuses(shop, *["GET"] * 4) == [500, 500, 503, 200]


# ------------------------------------------------------------------ kinds


@pytest.mark.parametrize(
    ("kind", "error", "status"),
    [
        ("status_500", stripe.APIError, 500),
        ("status_503", stripe.APIError, 503),
        ("html_503", stripe.APIError, 503),
        ("rate_limited", stripe.RateLimitError, 429),
        ("lock_timeout", stripe.RateLimitError, 429),
        ("conflict_409", stripe.APIError, 409),
        ("refused", stripe.InvalidRequestError, 400),
        ("declined", stripe.CardError, 402),
        ("unauthorized", stripe.AuthenticationError, 401),
        ("forbidden", stripe.PermissionError, 403),
    ],
)
async def test_each_kind_is_the_error_of_its_class_and_nothing_is_done(
    shop: Shop, kind: str, error: type[stripe.StripeError], status: int
) -> None:
    shop.sandbox.faults.add("writes", "/v1/customers", kind)

    with pytest.raises(stripe.StripeError) as refused:
        await shop.client.v1.customers.create_async({})

    assert (type(refused.value), refused.value.http_status) == (error, status)
    assert (await shop.client.v1.customers.list_async()).data == []


async def test_a_forbidden_route_names_its_permission(shop: Shop) -> None:
    shop.sandbox.faults.add("reads", "/v1/invoice_payments", "forbidden")
    with pytest.raises(stripe.PermissionError, match="'rak_invoice_read' permission"):
        await shop.client.v1.invoice_payments.list_async()
    assert (await shop.client.v1.invoices.list_async()).data == []


@pytest.mark.parametrize(
    ("kind", "should_retry", "attempts"),
    [("lock_timeout", True, 2), ("lock_timeout", None, 1), ("status_500", False, 1)],
)
async def test_an_error_can_say_whether_to_come_back(
    shop: Shop, kind: str, should_retry: bool | None, attempts: int
) -> None:
    shop.sandbox.faults.add("*", "/v1/balance", kind, 9, should_retry=should_retry)
    with pytest.raises(stripe.StripeError):
        await shop.client.v1.balance.retrieve_async(options={"max_network_retries": 1})
    assert len(shop.sandbox.requests) == attempts


async def test_a_request_that_hangs_for_seconds_is_answered_by_itself(shop: Shop) -> None:
    shop.sandbox.faults.add("reads", "/v1/balance", "hang_before", seconds=0.01)
    assert await asyncio.wait_for(shop.client.v1.balance.retrieve_async(), 60)


# ------------------------------------------------------------------ stored errors


async def test_an_error_stored_for_its_key_is_given_again_and_another_key_goes_through(
    shop: Shop,
) -> None:
    shop.sandbox.faults.add("writes", "/v1/customers", "status_500", keep=True)
    for _ in range(2):
        with pytest.raises(stripe.APIError) as refused:
            await shop.client.v1.customers.create_async({}, ONCE)
    assert refused.value.headers is not None
    assert refused.value.headers["Idempotent-Replayed"] == "true"

    assert await shop.client.v1.customers.create_async({}, {"idempotency_key": "another"})
    assert len((await shop.client.v1.customers.list_async()).data) == 1


async def test_an_error_not_stored_lets_its_key_through_afterwards(shop: Shop) -> None:
    shop.sandbox.faults.add("writes", "/v1/customers", "status_500")
    with pytest.raises(stripe.APIError):
        await shop.client.v1.customers.create_async({}, ONCE)
    assert await shop.client.v1.customers.create_async({}, ONCE)


@pytest.mark.parametrize("keep", [True, False])
async def test_an_error_may_hide_that_the_request_took_effect(shop: Shop, keep: bool) -> None:
    shop.sandbox.faults.add("writes", "/v1/customers", "status_500", keep=keep, takes_effect=True)
    with pytest.raises(stripe.APIError):
        await shop.client.v1.customers.create_async({}, ONCE)
    assert [seen.status for seen in shop.sandbox.requests] == [500]

    if keep:
        with pytest.raises(stripe.APIError):
            await shop.client.v1.customers.create_async({}, ONCE)
    else:
        assert await shop.client.v1.customers.create_async({}, ONCE)
    assert len((await shop.client.v1.customers.list_async()).data) == 1


# ------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "gremlins"}, "no such fault"),
        ({"kind": "status_500", "share": 0.0}, "share: "),
        ({"kind": "status_500", "share": 1.5}, "share: "),
        ({"kind": "status_500", "remaining": 0}, "remaining: "),
        ({"kind": "status_500", "path_regex": "("}, "path: "),
        ({"kind": "drop_after", "keep": True}, "keep"),
        ({"kind": "html_500", "takes_effect": True}, "takes_effect"),
        ({"kind": "hang_before", "should_retry": True}, "should_retry"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_by_name(
    arguments: dict[str, object], words: str
) -> None:
    faults = Sandbox().faults
    with pytest.raises(ValueError, match=words):
        faults.add("*", **{"path_regex": "/v1/", **arguments})  # type: ignore[arg-type]  # on purpose
    assert faults.pending == []
    assert len(set(FAULT_KINDS)) == len(FAULT_KINDS)
