"""The balance: every transaction, its fee, and the payouts that pay it out."""

from datetime import UTC, datetime, timedelta

import pytest
import stripe

from tests.support.shop import Shop, identity_holds

pytestmark = pytest.mark.anyio


async def pays_in(shop: Shop, amount: int, currency: str) -> stripe.Charge:
    await shop.pays(await shop.checkout(amount, currency))
    await shop.sandbox.advance_to_captures()
    listed = await shop.client.v1.charges.list_async({"expand": ["data.balance_transaction"]})
    return listed.data[0]


@pytest.mark.parametrize(
    ("amount", "currency", "settled", "fee", "settles_in"),
    [
        (1000, "usd", 1000, 59, "usd"),
        (1000, "eur", 1000, 54, "eur"),
        (1000, "gbp", 1000, 49, "gbp"),
        (1000, "cad", 730, 51, "usd"),
        (1000, "jpy", 660, 49, "usd"),
        (10_000, "kwd", 3250, 124, "usd"),
    ],
)
async def test_a_charge_settles_to_the_cent(
    shop: Shop, amount: int, currency: str, settled: int, fee: int, settles_in: str
) -> None:
    charge = await pays_in(shop, amount, currency)

    row = charge.balance_transaction
    assert isinstance(row, stripe.BalanceTransaction)
    assert (row.amount, row.fee, row.currency) == (settled, fee, settles_in)
    assert (row.exchange_rate is None) == (currency == settles_in)
    assert charge.currency == currency


async def test_funds_become_available_and_are_paid_out_and_arrive(shop: Shop) -> None:
    for amount in (500, 1500, 2500):
        await shop.gives(amount)
    await shop.sandbox.advance_to_captures()
    pending = await shop.client.v1.balance.retrieve_async()
    assert (pending.available[0].amount, pending.pending[0].amount) == (0, 4278)

    await shop.sandbox.advance(to=datetime(2026, 11, 6, 0, 30, tzinfo=UTC))

    (payout,) = (await shop.client.v1.payouts.list_async()).data
    assert (payout.amount, payout.status, payout.automatic) == (4278, "pending", True)
    assert payout.reconciliation_status == "in_progress"
    assert await shop.balance() == {}
    rows = await shop.transactions(payout=payout.id)
    assert sum(row.net for row in rows if row.type != "payout") == payout.amount
    assert [row.net for row in rows if row.type == "payout"] == [-4278]
    assert {row.status for row in rows} == {"available"}

    last_event = await shop.latest_event()
    await shop.advance(3)
    arrived = await shop.client.v1.payouts.retrieve_async(payout.id)
    assert (arrived.status, arrived.reconciliation_status) == ("paid", "completed")
    assert await shop.events_since(last_event) == []
    assert (await shop.events())[-4:] == [
        "payout.created",
        "payout.updated",
        "payout.paid",
        "payout.reconciliation_completed",
    ]


async def test_every_transaction_is_in_one_payout_at_most_and_payouts_sum(shop: Shop) -> None:
    for currency in ("usd", "eur", "gbp", "cad"):
        await shop.pays(await shop.checkout(2000, currency, "month"))
        await shop.pays(await shop.checkout(3000, currency))
        await shop.advance(1.3)
    await shop.advance(100)

    assert await identity_holds(shop)
    seen: set[str] = set()
    payouts = await shop.client.v1.payouts.list_async({"limit": 100})
    async for payout in payouts.auto_paging_iter():
        rows = await shop.transactions(payout=payout.id)
        assert {row.currency for row in rows} == {payout.currency}
        assert sum(row.net for row in rows if row.type != "payout") == payout.amount
        ids = {row.id for row in rows}
        assert not ids & seen
        seen |= ids
    assert len(seen) > 20


async def test_billing_takes_its_own_fee_on_the_first_of_the_month(shop: Shop) -> None:
    await shop.subscribes(10_000)
    await shop.gives(10_000)

    await shop.sandbox.advance(to=datetime(2026, 12, 1, 1, tzinfo=UTC))

    fees = [row for row in await shop.transactions() if row.type == "stripe_fee"]
    assert [(row.amount, row.net, row.source) for row in fees] == [(-70, -70, None)]
    assert fees[0].reporting_category == "fee"
    assert await identity_holds(shop)


async def test_a_refund_returns_the_gift_but_not_the_fee(shop: Shop) -> None:
    session = await shop.gives(1000)
    service = shop.client.v1.refunds
    intent = str(session.payment_intent)

    part = await service.create_async(
        {"payment_intent": intent, "amount": 300, "reason": "requested_by_customer"}
    )
    charge = (await shop.client.v1.charges.list_async()).data[0]
    assert (charge.amount_refunded, charge.refunded) == (300, False)
    await service.create_async({"charge": charge.id})

    charge = await shop.client.v1.charges.retrieve_async(charge.id, {"expand": ["refunds"]})
    assert (charge.amount_refunded, charge.refunded) == (1000, True)
    assert charge.refunds is not None
    assert [refund.amount for refund in charge.refunds.data] == [700, 300]
    assert part.status == "succeeded"
    assert await shop.balance() == {"usd": -59}
    assert (await shop.events())[-2:] == ["refund.created", "charge.refunded"]
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await service.create_async({"charge": charge.id})
    assert refused.value.code == "charge_already_refunded"


async def test_more_than_was_given_is_not_refunded_nor_what_was_never_paid(shop: Shop) -> None:
    session = await shop.gives(1000)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        await shop.client.v1.refunds.create_async(
            {"payment_intent": str(session.payment_intent), "amount": 1001}
        )

    declined = await shop.checkout(1000)
    await shop.pays(declined, "4000000000000002")
    charge = (await shop.client.v1.charges.list_async()).data[0]
    with pytest.raises(stripe.InvalidRequestError, match="not been paid"):
        await shop.client.v1.refunds.create_async({"charge": charge.id})


async def test_what_is_available_can_be_paid_out_by_hand_and_no_more(shop: Shop) -> None:
    await shop.gives(1000, card="4000000000000077")
    await shop.sandbox.advance_to_captures()
    service = shop.client.v1.payouts
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await service.create_async({"amount": 942, "currency": "usd"})
    assert refused.value.code == "balance_insufficient"

    payout = await service.create_async({"amount": 900, "currency": "usd"})

    assert (payout.automatic, payout.reconciliation_status) == (False, "not_applicable")
    assert await shop.balance() == {"usd": 41}
    with pytest.raises(stripe.InvalidRequestError, match="automatic"):
        await shop.transactions(payout=payout.id)
    await shop.sandbox.advance(timedelta(days=4))
    assert await shop.balance() == {}
    assert await identity_holds(shop)


async def test_transactions_are_found_by_their_source_and_type(shop: Shop) -> None:
    await shop.gives(1000)
    await shop.gives(2000)
    await shop.sandbox.advance_to_captures()
    charge = (await shop.client.v1.charges.list_async()).data[0]
    service = shop.client.v1.balance_transactions

    by_source = await service.list_async({"source": charge.id, "expand": ["data.source"]})
    by_type = await service.list_async({"type": "refund"})

    (row,) = by_source.data
    assert isinstance(row.source, stripe.Charge)
    assert row.amount == 2000
    assert by_type.data == []
