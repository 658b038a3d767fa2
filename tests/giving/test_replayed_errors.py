"""An error that Stripe keeps for an idempotency key is not the end of what was asked for."""

import pytest

from payments.core.errors import StripeUnavailable
from payments.core.money import Money
from payments.giving import subscription_changes
from payments.giving.change_log import Actor
from payments.settlement import refund_requests
from payments.settlement.refunds import RefundReason
from tests.support.donor import subscription_id_of
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("takes_effect", [False, True])
async def test_the_same_form_pressed_again_leads_to_one_page(
    newsroom: Newsroom, *, takes_effect: bool
) -> None:
    newsroom.sandbox.faults.add(
        "POST", "/v1/checkout/sessions", "status_500", 2, keep=True, takes_effect=takes_effect
    )
    first = await newsroom.requests_contribution(key="k" * 32)
    newsroom.sandbox.faults.clear()
    assert first.status_code in (201, 503)
    again = await newsroom.requests_contribution(key="k" * 32)
    assert again.status_code == 201
    await newsroom.pays(again.json()["checkout_url"])
    await newsroom.runs_until_idle()
    assert await newsroom.rows("SELECT status, amount FROM contributions") == [("paid", 500)]
    assert await newsroom.count("charges") == 1


async def test_a_change_that_met_one_is_made_when_it_is_asked_again(newsroom: Newsroom) -> None:
    await newsroom.gives(500, "monthly")
    await newsroom.runs_until_idle()
    subscription_id = await subscription_id_of(newsroom)
    newsroom.sandbox.faults.add("POST", "/v1/subscriptions/", "status_500", 4, keep=True)

    async def change() -> None:
        await subscription_changes.change_amount(
            newsroom.ctx,
            subscription_id,
            Money(700, "usd"),
            actor=Actor.DONOR,
            idempotency_key="one form",
        )

    with pytest.raises(StripeUnavailable):
        await change()
    newsroom.sandbox.faults.clear()
    await change()
    assert await newsroom.rows("SELECT amount FROM subscriptions") == [(700,)]


@pytest.mark.parametrize("takes_effect", [False, True])
async def test_a_refund_that_met_one_is_made_once(
    newsroom: Newsroom, *, takes_effect: bool
) -> None:
    await newsroom.gives(900)
    await newsroom.runs_until_idle()
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
