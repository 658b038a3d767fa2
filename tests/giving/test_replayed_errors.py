"""What Stripe once answered an idempotency key is not the end of what was asked for."""

from datetime import timedelta
from uuid import uuid4

import pytest
import stripe

from payments.core.errors import StripeRejected, StripeUnavailable
from payments.core.money import Money
from payments.giving import subscription_changes
from payments.giving.change_log import Actor
from payments.giving.change_requests import ChangeNotMade
from payments.settlement import refund_requests
from payments.settlement.refunds import RefundReason
from tests.support.donor import subscription_id_of
from tests.support.newsroom import Newsroom
from tests.support.past import has_given

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("takes_effect", [False, True])
async def test_the_same_form_pressed_again_leads_to_one_page(
    newsroom: Newsroom, *, takes_effect: bool
) -> None:
    newsroom.sandbox.faults.add(
        "POST", "/v1/checkout/sessions", "status_500", 2, keep=True, takes_effect=takes_effect
    )
    key = uuid4().hex
    first = await newsroom.requests_contribution(key=key)
    newsroom.sandbox.faults.clear()
    assert first.status_code in (201, 503)
    again = await newsroom.requests_contribution(key=key)
    assert again.status_code == 201
    await newsroom.pays(again.json()["checkout_url"])
    await newsroom.runs_until_idle()
    assert await newsroom.rows("SELECT status, amount FROM contributions") == [("paid", 500)]
    assert await newsroom.count("charges") == 1


async def test_a_change_that_met_one_is_made_when_it_is_asked_again(newsroom: Newsroom) -> None:
    await has_given(newsroom, 500, "monthly")
    subscription_id = await subscription_id_of(newsroom)

    async def change(amount: int) -> None:
        await subscription_changes.change_amount(
            newsroom.ctx,
            subscription_id,
            Money(amount, "usd"),
            actor=Actor.DONOR,
            idempotency_key="one form",
        )

    path = f"/v1/subscriptions/{subscription_id}"
    newsroom.sandbox.faults.add("POST", path, "status_500", 4, keep=True)
    with pytest.raises(StripeUnavailable):
        await change(700)
    newsroom.sandbox.faults.clear()
    await change(700)

    newsroom.sandbox.faults.add("POST", path, "refused", keep=True)
    with pytest.raises(StripeRejected):
        await change(800)
    await change(800)

    newsroom.sandbox.faults.add("POST", path, "without_effect")
    with pytest.raises(ChangeNotMade):
        await change(900)
    await newsroom.advances_time(timedelta(minutes=1))
    await change(900)
    assert await newsroom.rows("SELECT amount FROM subscriptions") == [(900,)]
    assert await newsroom.rows("SELECT count(*) FROM subscription_changes") == [(3,)]


async def test_a_refusal_of_before_is_asked_again_but_of_a_refund(
    newsroom: Newsroom,
) -> None:
    once: stripe.RequestOptions = {"idempotency_key": "once"}
    await has_given(newsroom, 900)
    ((charge,),) = await newsroom.rows("SELECT stripe_charge_id FROM charges")
    client, faults = newsroom.ctx.stripe.v1, newsroom.sandbox.faults

    faults.add("POST", "/v1/customers", "refused", keep=True)
    with pytest.raises(stripe.InvalidRequestError):
        await client.customers.create_async({}, once)
    assert await client.customers.create_async({}, once)

    faults.add("POST", "/v1/refunds", "refused", keep=True)
    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError):
            await client.refunds.create_async({"charge": str(charge)}, {"idempotency_key": "back"})
    assert list(newsroom.sandbox.account.store.of_kind("refund")) == []


@pytest.mark.parametrize("takes_effect", [False, True])
async def test_a_refund_that_met_one_is_made_once(
    newsroom: Newsroom, *, takes_effect: bool
) -> None:
    await has_given(newsroom, 900)
    ((charge,),) = await newsroom.rows("SELECT stripe_charge_id FROM charges")
    newsroom.sandbox.faults.add(
        "POST", "/v1/refunds", "status_500", 1, keep=True, takes_effect=takes_effect
    )
    refund = await refund_requests.request(
        newsroom.ctx,
        str(charge),
        amount=400,
        reason=RefundReason.DUPLICATE,
        staff_id=None,
        idempotency_key="one form",
    )
    assert refund.stripe_refund_id is not None
    at_stripe = list(newsroom.sandbox.account.store.of_kind("refund"))
    assert [one["id"] for one in at_stripe] == [refund.stripe_refund_id]
