"""Refunds that succeed, take a day or fail, and early fraud warnings."""

import pytest
import stripe

from payments.sandbox.errors import ApiError
from tests.support.shop import Shop, identity_holds, paid, refunded

pytestmark = pytest.mark.anyio

SLOW = "4000000000007726"
NOT_TAKEN = "4000000000005126"
WARNED = "4000000000005423"


async def again(shop: Shop, refund: stripe.Refund) -> stripe.Refund:
    return await shop.client.v1.refunds.retrieve_async(refund.id)


# ------------------------------------------------------------------ refunds


async def test_three_equal_parts_are_three_refunds_and_a_fourth_is_too_much(shop: Shop) -> None:
    charge = await paid(shop, 1000)

    made = [await refunded(shop, charge, 300) for _ in range(3)]

    assert len({refund.id for refund in made}) == 3
    assert len({str(refund.balance_transaction) for refund in made}) == 3
    with pytest.raises(stripe.InvalidRequestError, match=r"\(300\) is greater .* \(100\)") as no:
        await refunded(shop, charge, 300)
    assert (no.value.code, no.value.param) == ("amount_too_large", "amount")
    assert await shop.balance() == {"usd": 1000 - 59 - 900}
    assert await identity_holds(shop)


@pytest.mark.parametrize("amount", [0, -5])
async def test_nothing_and_less_than_nothing_cannot_be_refunded(shop: Shop, amount: int) -> None:
    charge = await paid(shop)
    with pytest.raises(stripe.InvalidRequestError, match="Invalid positive integer"):
        await refunded(shop, charge, amount)
    assert (await shop.client.v1.refunds.list_async()).data == []


async def test_the_same_key_refunds_once_and_with_another_amount_not_at_all(shop: Shop) -> None:
    charge = await paid(shop)
    service, twice = shop.client.v1.refunds, {"idempotency_key": "form-1"}

    first = await service.create_async({"charge": charge.id, "amount": 200}, twice)  # type: ignore[arg-type]  # the SDK's own options
    second = await service.create_async({"charge": charge.id, "amount": 200}, twice)  # type: ignore[arg-type]  # as above

    assert first.id == second.id
    with pytest.raises(stripe.IdempotencyError):
        await service.create_async({"charge": charge.id, "amount": 300}, twice)  # type: ignore[arg-type]  # as above
    assert await shop.balance() == {"usd": 1000 - 59 - 200}


async def test_what_is_unknown_is_not_refunded_nor_found(shop: Shop) -> None:
    service = shop.client.v1.refunds
    for params in ({"charge": "ch_none"}, {"payment_intent": "pi_none"}):
        with pytest.raises(stripe.InvalidRequestError, match="No such") as refused:
            await service.create_async(params)  # type: ignore[arg-type]  # one of two keys
        assert refused.value.code == "resource_missing"
    with pytest.raises(stripe.InvalidRequestError, match="No such refund"):
        await service.retrieve_async("re_none")
    with pytest.raises(stripe.InvalidRequestError, match="Missing required param"):
        await service.create_async({})


async def test_a_refund_that_takes_a_day_is_pending_until_then(shop: Shop) -> None:
    refund = await refunded(shop, await paid(shop, card=SLOW))
    assert refund.status == "pending"
    assert await shop.balance() == {"usd": -59}  # it left at once

    await shop.advance(1.01)

    assert (await again(shop, refund)).status == "succeeded"
    assert await shop.latest_previous_attributes("refund.updated") == {"status": "pending"}


async def test_a_refund_that_does_not_arrive_brings_the_money_back_days_later(shop: Shop) -> None:
    charge = await paid(shop, card=NOT_TAKEN)
    refund = await refunded(shop, charge, 400)
    assert refund.status == "succeeded"
    before = await shop.latest_event()

    await shop.advance(2.01)

    failed = await again(shop, refund)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert await shop.events_since(before) == ["refund.failed", "refund.updated"]
    row = await shop.client.v1.balance_transactions.retrieve_async(
        str(failed.failure_balance_transaction)
    )
    assert (row.type, row.reporting_category) == ("refund_failure", "refund_failure")
    assert (row.amount, row.fee, row.source) == (400, 0, refund.id)
    unrefunded = await shop.client.v1.charges.retrieve_async(charge.id)
    assert (unrefunded.amount_refunded, unrefunded.refunded) == (0, False)
    assert await identity_holds(shop)

    whole = await refunded(shop, charge)  # so all of it can be given back again
    assert whole.amount == 1000
    shop.sandbox.fail_refund(whole.id, "lost_or_stolen_card")
    with pytest.raises(ApiError, match="cannot fail"):
        shop.sandbox.fail_refund(whole.id)


async def test_a_refund_in_francs_takes_dollars_at_the_rate_of_its_own_day(shop: Shop) -> None:
    await shop.pays(await shop.checkout(1000, "chf"))
    await shop.sandbox.advance_to_captures()
    charge = (await shop.client.v1.charges.list_async({"limit": 1})).data[0]

    shop.sandbox.set_rate("chf", "1.20")
    await refunded(shop, charge)

    back, came = await shop.transactions()
    assert (came.amount, came.currency, came.exchange_rate) == (1130, "usd", 1.13)
    assert (back.amount, back.currency, back.exchange_rate) == (-1200, "usd", 1.2)
    assert await identity_holds(shop)


# ------------------------------------------------------------------ early fraud warnings


async def test_a_warning_can_be_acted_on_until_the_gift_is_refunded(shop: Shop) -> None:
    charge = await paid(shop, card=WARNED)
    service = shop.client.v1.radar.early_fraud_warnings
    (warning,) = (await service.list_async({"charge": charge.id})).data
    assert (warning.actionable, warning.fraud_type) == (True, "made_with_stolen_card")
    assert warning.payment_intent == charge.payment_intent
    assert await shop.balance() == {"usd": 941}  # nothing has moved

    await refunded(shop, charge, 400)
    assert (await service.retrieve_async(warning.id)).actionable  # a part is no answer
    await refunded(shop, charge)

    assert not (await service.retrieve_async(warning.id)).actionable
    assert await shop.latest_previous_attributes("radar.early_fraud_warning.updated") == {
        "actionable": True
    }
    with pytest.raises(stripe.InvalidRequestError, match=r"No such radar\.early_fraud_warning"):
        await service.retrieve_async("issfr_none")


async def test_a_warning_that_comes_after_the_dispute_cannot_be_acted_on(shop: Shop) -> None:
    charge = await paid(shop)
    shop.sandbox.dispute(charge.id)

    shop.sandbox.create_fraud_warning(charge.id, "unauthorized_use_of_card")

    (warning,) = (await shop.client.v1.radar.early_fraud_warnings.list_async()).data
    assert (warning.actionable, warning.fraud_type) == (False, "unauthorized_use_of_card")
    with pytest.raises(KeyError):
        shop.sandbox.create_fraud_warning("ch_none")
