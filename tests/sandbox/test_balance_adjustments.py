"""Balance transactions of Stripe's own: fees, reserves, conversions and corrections."""

from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
import stripe

from tests.support.shop import START, Shop, identity_holds, paid

pytestmark = pytest.mark.anyio


async def row(shop: Shop, id_: str) -> stripe.BalanceTransaction:
    return await shop.client.v1.balance_transactions.retrieve_async(id_)


@pytest.mark.parametrize(
    ("kind", "type_", "category"),
    [
        ("billing", "stripe_fee", "fee"),
        ("radar", "stripe_fee", "fee"),
        ("fx", "stripe_fx_fee", "fee"),
        ("tax", "tax_fee", "tax"),
    ],
)
async def test_a_fee_of_its_own_has_no_charge_behind_it(
    shop: Shop, kind: str, type_: str, category: str
) -> None:
    txn = await row(shop, shop.sandbox.charge_fee(kind, 120, "eur"))

    assert (txn.type, txn.reporting_category, txn.source) == (type_, category, None)
    assert (txn.amount, txn.fee, txn.net, txn.currency) == (-120, 0, -120, "eur")
    assert await shop.balance() == {"eur": -120}
    with pytest.raises(ValueError, match="kind is one of billing, radar, fx, tax"):
        shop.sandbox.charge_fee("parking", 120)
    with pytest.raises(stripe.InvalidRequestError, match="No such balance_transaction"):
        await row(shop, "txn_none")


async def test_a_fee_may_be_reported_late_and_is_never_of_tomorrow(shop: Shop) -> None:
    evening = datetime(2026, 10, 31, 20, tzinfo=UTC)

    late = await row(shop, shop.sandbox.charge_fee("radar", 240, at=evening))
    early = await row(shop, shop.sandbox.charge_fee("radar", 1, at=START + timedelta(days=9)))

    assert late.created == int(evening.timestamp())
    assert early.created == int(START.timestamp())
    listed = await shop.client.v1.balance_transactions.list_async(
        {"created": {"lt": int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())}}
    )
    assert [one.id for one in listed.data] == [late.id]


async def test_a_reserve_is_set_aside_and_let_go_and_never_counted_as_ours(shop: Shop) -> None:
    await paid(shop, 5000)
    whole = await shop.balance()

    hold = await row(shop, shop.sandbox.hold_reserve(2000))

    assert (hold.type, hold.reporting_category) == ("reserve_hold", "risk_reserved_funds")
    assert await shop.balance() == {"usd": whole["usd"] - 2000}
    pair = [one for one in await shop.transactions() if one.type == "reserve_hold"]
    assert sorted((one.balance_type, one.amount) for one in pair) == [
        ("payments", -2000),
        ("risk_reserved", 2000),
    ]
    let_go = await row(shop, shop.sandbox.release_reserve(2000))
    assert (let_go.type, let_go.amount) == ("reserve_release", 2000)
    assert await shop.balance() == whole


async def test_a_least_balance_stays_behind_when_the_rest_is_paid_out(shop: Shop) -> None:
    shop.sandbox.set_minimum_balance(500)
    await paid(shop, 1000)
    await shop.advance(6)

    (payout,) = (await shop.client.v1.payouts.list_async()).data
    rows = await shop.transactions(payout=payout.id)
    assert payout.amount == 941 - 500
    assert sorted(one.type for one in rows) == ["charge", "payout", "payout_minimum_balance_hold"]
    assert sum(one.net for one in rows if one.type != "payout") == payout.amount
    assert await shop.balance() == {"usd": 500}
    assert await identity_holds(shop)
    with pytest.raises(stripe.InvalidRequestError, match="insufficient funds"):
        await shop.client.v1.payouts.create_async({"amount": 501, "currency": "usd"})


async def test_a_conversion_is_two_movements_at_the_rate_of_the_day(shop: Shop) -> None:
    shop.sandbox.set_rate("gbp", "1.30")

    gone, came = [await row(shop, id_) for id_ in shop.sandbox.convert_balance(1000, "gbp", "usd")]

    assert (gone.amount, gone.currency) == (-1000, "gbp")
    assert (came.amount, came.currency, came.exchange_rate) == (1300, "usd", 1.3)
    assert gone.description == came.description == "Currency conversion"
    assert await shop.balance() == {"gbp": -1000, "usd": 1300}
    assert await identity_holds(shop)
    with pytest.raises(KeyError):
        shop.sandbox.convert_balance(1000, "gbp", "xau")


async def test_what_is_put_right_is_said_in_words_alone(shop: Shop) -> None:
    txn = await row(shop, shop.sandbox.create_adjustment(77, "usd", "Correction of a fee"))
    assert (txn.type, txn.reporting_category) == ("adjustment", "other_adjustment")
    assert (txn.amount, txn.description, txn.source) == (77, "Correction of a fee", None)


async def test_a_top_up_is_there_at_once_and_nothing_is_not_one(shop: Shop) -> None:
    service = shop.client.v1.topups
    made = await service.create_async({"amount": 2500, "currency": "usd"})
    assert made.status == "succeeded"
    txn = await row(shop, str(made.balance_transaction))
    assert (txn.type, txn.amount, txn.source) == ("topup", 2500, made.id)
    assert (await shop.events())[-2:] == ["topup.created", "topup.succeeded"]
    with pytest.raises(stripe.InvalidRequestError, match="positive"):
        await service.create_async({"amount": 0, "currency": "usd"})
    assert await shop.balance() == {"usd": 2500}


async def test_movements_are_made_over_http_too_and_nonsense_is_refused(shop: Shop) -> None:
    async def do(action: str, **arguments: object) -> tuple[int, str]:
        url = f"{shop.sandbox.url}/_control/do/{action}"
        async with aiohttp.ClientSession() as client, client.post(url, json=arguments) as answer:
            return answer.status, await answer.text()

    charge = await paid(shop, 1000)
    right: list[tuple[str, dict[str, object]]] = [
        ("charge_fee", {"kind": "tax", "amount": 5}),
        ("hold_reserve", {"amount": 5}),
        ("create_adjustment", {"amount": 5, "description": "A gift of Stripe's"}),
        ("convert_balance", {"amount": 5, "currency": "usd", "target": "eur"}),
        ("dispute", {"charge_id": charge.id, "amount": 5}),
    ]
    wrong: list[tuple[str, dict[str, object]]] = [
        ("charge_fee", {"kind": "parking", "amount": 5}),
        ("dispute", {"charge_id": charge.id, "amount": 1001}),
        ("dispute", {"charge_id": "ch_none"}),
        ("fail_payout", {"payout_id": "po_none"}),
        ("fail_refund", {"refund_id": "re_none"}),
        ("decide_dispute", {"dispute_id": "dp_none", "won": True}),
    ]
    for status, actions in ((200, right), (400, wrong)):
        for action, arguments in actions:
            assert (await do(action, **arguments))[0] == status, (action, arguments)
