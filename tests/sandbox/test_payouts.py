"""Payouts: automatic and manual, late, failed, and negative ones."""

from datetime import UTC, datetime, timedelta

import pytest
import stripe

from payments.sandbox.errors import ApiError
from tests.support.shop import Shop, identity_holds, paid, refunded

pytestmark = pytest.mark.anyio

AT_ONCE = "4000000000000077"
NIGHT = datetime(2026, 11, 6, 0, 30, tzinfo=UTC)  # when what is paid on the third goes to the bank


async def automatic(shop: Shop, amount: int = 1000) -> stripe.Payout:
    """The payout that carries one gift away, on the night it is made."""
    await paid(shop, amount)
    await shop.sandbox.advance(to=NIGHT)
    return (await shop.client.v1.payouts.list_async({"limit": 1})).data[0]


async def by_hand(shop: Shop, amount: int, method: str = "standard") -> stripe.Payout:
    return await shop.client.v1.payouts.create_async(
        {"amount": amount, "currency": "usd", "method": method}
    )


async def now(shop: Shop, payout: stripe.Payout) -> stripe.Payout:
    return await shop.client.v1.payouts.retrieve_async(payout.id)


async def types_of(shop: Shop, payout: stripe.Payout) -> list[str]:
    return sorted(row.type for row in await shop.transactions(payout=payout.id))


# ------------------------------------------------------------------ on its way


async def test_a_payout_is_pending_on_its_way_and_there(shop: Shop) -> None:
    payout = await automatic(shop)
    assert (payout.amount, payout.method, payout.type) == (941, "standard", "bank_account")
    seen = [(await now(shop, payout)).status]
    for _ in range(3):
        await shop.advance(1)
        seen.append((await now(shop, payout)).status)
    assert list(dict.fromkeys(seen))[-2:] == ["in_transit", "paid"]
    assert (await now(shop, payout)).trace_id is not None
    with pytest.raises(stripe.InvalidRequestError, match="No such payout"):
        await shop.client.v1.payouts.retrieve_async("po_none")


async def test_its_list_may_be_final_only_hours_after_it_was_paid(shop: Shop) -> None:
    shop.sandbox.delay_reconciliation(timedelta(hours=6).total_seconds())
    await shop.gives(500)
    payout = await automatic(shop)
    whole = 3  # both gifts, and the payout itself

    await shop.advance(2.1)
    arrived = await now(shop, payout)
    assert (arrived.status, arrived.reconciliation_status) == ("paid", "in_progress")
    assert len(await shop.transactions(payout=payout.id)) < whole
    assert "payout.reconciliation_completed" not in await shop.events()
    await shop.advance(0.3)

    assert (await now(shop, payout)).reconciliation_status == "completed"
    assert len(await shop.transactions(payout=payout.id)) == whole
    assert (await shop.events())[-1] == "payout.reconciliation_completed"


async def test_once_a_week_is_one_payout_of_all_that_came_since(shop: Shop) -> None:
    shop.sandbox.set_weekly_payouts(0)
    with pytest.raises(IndexError):
        shop.sandbox.set_weekly_payouts(7)
    for _ in range(3):
        await paid(shop, 1000)
        await shop.advance(1)
    await shop.advance(11)

    (payout,) = (await shop.client.v1.payouts.list_async()).data
    assert datetime.fromtimestamp(payout.created, UTC).strftime("%a %H:%M") == "Mon 00:00"
    assert payout.amount == 3 * 941
    assert await types_of(shop, payout) == ["charge", "charge", "charge", "payout"]
    assert await shop.balance() == {}
    assert await identity_holds(shop)


# ------------------------------------------------------------------ it does not arrive


@pytest.mark.parametrize("days", [0.1, 4])
async def test_a_payout_that_fails_brings_the_money_back_even_after_it_was_paid(
    shop: Shop, days: float
) -> None:
    payout = await automatic(shop)
    await shop.advance(days)

    shop.sandbox.fail_payout(payout.id, "no_account")

    failed = await now(shop, payout)
    assert (failed.status, failed.failure_code) == ("failed", "no_account")
    row = await shop.client.v1.balance_transactions.retrieve_async(
        str(failed.failure_balance_transaction)
    )
    assert (row.type, row.reporting_category) == ("payout_failure", "payout_reversal")
    assert (row.amount, row.source) == (payout.amount, payout.id)
    assert await shop.balance() == {"usd": 941}
    with pytest.raises(ApiError, match="failed already"):
        shop.sandbox.fail_payout(payout.id)
    with pytest.raises(stripe.InvalidRequestError, match="can't be canceled"):
        await shop.client.v1.payouts.cancel_async(payout.id)
    assert await identity_holds(shop)

    await shop.advance(4)  # the next one carries the same money, and what came back with it
    second = (await shop.client.v1.payouts.list_async({"limit": 1})).data[0]
    assert (second.amount, second.status) == (941, "paid")
    assert await types_of(shop, second) == ["payout", "payout_failure"]
    assert await shop.balance() == {}


async def test_a_payout_is_cancelled_while_it_is_pending_and_no_later(shop: Shop) -> None:
    payout = await automatic(shop)

    cancelled = await shop.client.v1.payouts.cancel_async(payout.id)

    assert (cancelled.status, payout.status) == ("canceled", "pending")
    back, *_ = await shop.transactions()
    assert (back.type, back.reporting_category) == ("payout_cancel", "payout_reversal")
    assert (await shop.events())[-2:] == ["payout.canceled", "payout.reconciliation_completed"]
    with pytest.raises(stripe.InvalidRequestError, match=r"canceled can't be canceled"):
        await shop.client.v1.payouts.cancel_async(payout.id)
    await shop.advance(1)
    again = (await shop.client.v1.payouts.list_async({"limit": 1})).data[0]
    assert again.id != payout.id
    await shop.advance(0.1)
    with pytest.raises(stripe.InvalidRequestError, match=r"in_transit can't be canceled"):
        await shop.client.v1.payouts.cancel_async(again.id)
    with pytest.raises(stripe.InvalidRequestError, match="No such payout"):
        await shop.client.v1.payouts.cancel_async("po_none")
    assert await identity_holds(shop)


# ------------------------------------------------------------------ by hand


async def test_an_instant_payout_is_there_in_half_an_hour_for_a_fee(shop: Shop) -> None:
    await paid(shop, 10_000, AT_ONCE)

    payout = await by_hand(shop, 5000, "instant")

    assert (payout.method, payout.automatic) == ("instant", False)
    assert payout.reconciliation_status == "not_applicable"
    transaction, *_ = await shop.transactions()
    assert (transaction.type, transaction.amount, transaction.fee, transaction.net) == (
        "payout",
        -5000,
        50,
        -5050,
    )
    await shop.sandbox.advance(timedelta(minutes=31))
    assert (await now(shop, payout)).status == "paid"
    with pytest.raises(stripe.InvalidRequestError, match="automatic"):
        await shop.transactions(payout=payout.id)
    for amount, code in ((10_000, "balance_insufficient"), (0, "parameter_invalid_integer")):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await by_hand(shop, amount, "instant")
        assert refused.value.code == code
    assert await identity_holds(shop)


async def test_what_is_pending_cannot_be_paid_out_by_hand(shop: Shop) -> None:
    await paid(shop, 1000)
    with pytest.raises(stripe.InvalidRequestError, match="insufficient funds"):
        await by_hand(shop, 1)
    assert (await shop.client.v1.payouts.list_async()).data == []


# ------------------------------------------------------------------ less than nothing


async def test_less_than_nothing_waits_or_is_taken_from_the_bank_if_it_may_be(shop: Shop) -> None:
    payout = await automatic(shop)
    charge = (await shop.client.v1.charges.list_async({"limit": 1})).data[0]
    await refunded(shop, charge)
    await shop.advance(3)
    assert await shop.balance() == {"usd": -1000}
    assert [one.id for one in (await shop.client.v1.payouts.list_async()).data] == [payout.id]

    shop.sandbox.allow_negative_payouts()
    shop.sandbox.charge_fee("radar", 20)  # a new movement, so the day is closed again
    await shop.advance(3.1)

    debit = (await shop.client.v1.payouts.list_async({"limit": 1})).data[0]
    assert (debit.amount, debit.status, debit.automatic) == (-1020, "paid", True)
    assert await types_of(shop, debit) == ["payout", "refund", "stripe_fee"]
    assert await shop.balance() == {}
    assert await identity_holds(shop)
