"""Prices as Stripe can have them, subscriptions to several, and values that no SDK knows."""

from datetime import UTC, datetime

import pytest
import stripe

from payments.sandbox.form_encoding import JsonObject
from tests.support.shop import Shop

pytestmark = pytest.mark.anyio

TIERS = [
    {"up_to": 5, "unit_amount": 100},
    {"up_to": 10, "unit_amount": 80, "flat_amount": 50},
    {"up_to": "inf", "unit_amount_decimal": "0.5"},
]


async def price(shop: Shop, **params: object) -> stripe.Price:
    """A monthly price in dollars; what else it has, the contract checks better than a type."""
    base: dict[str, object] = {
        "currency": "usd",
        "product": await shop.product(),
        "recurring": {"interval": "month"},
    }
    return await shop.client.v1.prices.create_async({**base, **params})  # type: ignore[typeddict-item]


async def subscribe(shop: Shop, *items: JsonObject, **params: object) -> stripe.Subscription:
    """A subscription of a customer with a good card."""
    customer = await shop.client.v1.customers.create_async({})
    method = await shop.client.v1.payment_methods.attach_async(
        "pm_card_visa", {"customer": customer.id}
    )
    base: dict[str, object] = {
        "customer": customer.id,
        "default_payment_method": method.id,
        "items": list(items),
    }
    return await shop.client.v1.subscriptions.create_async({**base, **params})  # type: ignore[arg-type]


def period_end(item: stripe.SubscriptionItem) -> datetime:
    return datetime.fromtimestamp(item.current_period_end, UTC)


# ------------------------------------------------------------------ what a price costs


@pytest.mark.parametrize(
    ("params", "quantity", "amount"),
    [
        ({"unit_amount": 500}, 3, 1500),
        ({"unit_amount": 500}, 0, 0),
        ({"unit_amount_decimal": "0.5"}, 3, 2),
        ({"unit_amount_decimal": "12.345"}, 100, 1235),
        ({"unit_amount": 500, "transform_quantity": {"divide_by": 10, "round": "up"}}, 11, 1000),
        ({"unit_amount": 500, "transform_quantity": {"divide_by": 10, "round": "down"}}, 19, 500),
        ({"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": TIERS}, 5, 500),
        ({"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": TIERS}, 7, 710),
        ({"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": TIERS}, 15, 953),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": TIERS}, 5, 500),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": TIERS}, 7, 610),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": TIERS}, 2000, 1000),
    ],
)
async def test_a_period_costs_what_the_price_says(
    shop: Shop, params: JsonObject, quantity: int, amount: int
) -> None:
    subscription = await subscribe(
        shop, {"price": (await price(shop, **params)).id, "quantity": quantity}
    )
    invoice = await shop.latest_invoice(subscription.id)
    assert (invoice.amount_due, invoice.status) == (amount, "paid")
    assert invoice.lines.data[0].amount == amount
    assert await shop.paid_amounts() == [amount] * bool(amount)


async def test_a_preview_is_the_next_invoice_as_it_would_be_and_nothing_is_stored(
    shop: Shop,
) -> None:
    invoices = shop.client.v1.invoices
    made = await price(shop, billing_scheme="tiered", tiers_mode="graduated", tiers=TIERS)
    subscription = await subscribe(shop, {"price": made.id, "quantity": 7})
    await shop.client.v1.invoice_items.create_async(
        {"customer": str(subscription.customer), "amount": 90, "currency": "usd"}
    )
    events = await shop.events()
    preview = await invoices.create_preview_async({"subscription": subscription.id})
    assert [line.amount for line in preview.lines.data] == [710, 90]
    assert len((await invoices.list_async()).data) == 1
    assert await shop.events() == events

    await shop.advance(31)
    renewal = await shop.latest_invoice(subscription.id)
    assert [line.amount for line in renewal.lines.data] == [710, 90]
    assert renewal.lines.data[0].period == preview.lines.data[0].period

    await shop.client.v1.subscriptions.update_async(subscription.id, {"cancel_at_period_end": True})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await invoices.create_preview_async({"subscription": subscription.id})
    assert (refused.value.http_status, refused.value.code) == (404, "invoice_upcoming_none")
    with pytest.raises(stripe.InvalidRequestError) as missing:
        await invoices.create_preview_async({"subscription": "sub_none"})
    assert missing.value.param == "subscription"


@pytest.mark.parametrize("behavior", ["allow_incomplete", "default_incomplete"])
async def test_what_costs_nothing_is_paid_at_once_and_has_no_payment(
    shop: Shop, behavior: str
) -> None:
    made = await price(shop, unit_amount=0)
    subscription = await subscribe(shop, {"price": made.id}, payment_behavior=behavior)
    assert subscription.status == "active"

    await shop.advance(31)

    invoices = (await shop.client.v1.invoices.list_async()).data
    assert [(invoice.status, invoice.amount_due) for invoice in invoices] == [("paid", 0)] * 2
    assert (await shop.client.v1.invoice_payments.list_async()).data == []
    assert (await shop.client.v1.payment_intents.list_async()).data == []
    assert (await shop.subscription(subscription.id)).status == "active"


async def test_an_amount_that_is_not_whole_is_null_and_so_is_that_of_tiers(shop: Shop) -> None:
    fraction = await price(shop, unit_amount_decimal="12.50")
    assert (fraction.unit_amount, str(fraction.unit_amount_decimal)) == (None, "12.5")
    whole = await price(shop, unit_amount_decimal="12.00")
    assert (whole.unit_amount, str(whole.unit_amount_decimal)) == (12, "12")

    tiered = await price(shop, billing_scheme="tiered", tiers_mode="volume", tiers=TIERS)
    assert (tiered.unit_amount, tiered.unit_amount_decimal) == (None, None)
    assert "tiers" not in tiered
    shown = await shop.client.v1.prices.retrieve_async(tiered.id, {"expand": ["tiers"]})
    assert shown.tiers is not None
    assert [tier.up_to for tier in shown.tiers] == [5, 10, None]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({}, "unit_amount"),
        ({"unit_amount": -1}, "unit_amount"),
        ({"unit_amount": 1, "unit_amount_decimal": "1"}, "unit_amount"),
        ({"unit_amount_decimal": "1.0000000000001"}, "unit_amount_decimal"),
        ({"billing_scheme": "tiered", "tiers": TIERS}, "tiers_mode"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume"}, "tiers"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": TIERS[:2]}, "tiers"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": TIERS[1::-1]}, "tiers"),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "tiers": TIERS, "unit_amount": 1},
         "unit_amount"),
        ({"unit_amount": 1, "recurring": {"interval": "month", "interval_count": 37}},
         "recurring[interval_count]"),
        ({"unit_amount": 1, "recurring": {"interval": "day", "interval_count": 0}},
         "interval_count"),
    ],
)  # fmt: skip
async def test_a_price_that_cannot_be_is_refused(
    shop: Shop, params: JsonObject, param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await price(shop, **params)
    assert refused.value.param == param
    assert (await shop.client.v1.prices.list_async()).data == []


@pytest.mark.parametrize(
    ("interval", "count", "ends"),
    [
        ("day", 90, ["2027-02-01", "2027-05-02"]),
        ("week", 2, ["2026-11-17", "2026-12-01"]),
        ("month", 3, ["2027-02-03", "2027-05-03"]),
        ("year", 2, ["2028-11-03", "2030-11-03"]),
    ],
)
async def test_every_interval_and_count_is_billed_when_it_ends(
    shop: Shop, interval: str, count: int, ends: list[str]
) -> None:
    recurring = {"interval": interval, "interval_count": count}
    made = await price(shop, unit_amount=900, recurring=recurring)
    subscription = await subscribe(shop, {"price": made.id})
    assert f"{period_end(subscription['items'].data[0]):%F}" == ends[0]

    await shop.sandbox.advance(to=period_end(subscription["items"].data[0]))
    await shop.advance(0.1)

    renewed = await shop.subscription(subscription.id)
    assert f"{period_end(renewed['items'].data[0]):%F}" == ends[1]
    assert await shop.paid_amounts() == [900, 900]


# ------------------------------------------------------------------ several items


async def test_all_items_are_billed_together_each_with_a_line(shop: Shop) -> None:
    first, second = await price(shop, unit_amount=500), await price(shop, unit_amount=1000)
    subscription = await subscribe(shop, {"price": first.id}, {"price": second.id, "quantity": 2})
    invoice = await shop.latest_invoice(subscription.id)
    assert invoice.amount_due == 2500
    assert [line.amount for line in invoice.lines.data] == [500, 2000]

    await shop.advance(31)
    assert await shop.paid_amounts() == [2500, 2500]


async def test_an_item_is_added_changed_and_deleted_in_an_update(shop: Shop) -> None:
    first, second = await price(shop, unit_amount=500), await price(shop, unit_amount=1000)
    subscription = await subscribe(shop, {"price": first.id})
    existing = subscription["items"].data[0].id
    service = shop.client.v1.subscriptions

    both = await service.update_async(
        subscription.id, {"items": [{"price": second.id}], "proration_behavior": "none"}
    )
    added = both["items"].data[1].id
    assert [item.price.id for item in both["items"].data] == [first.id, second.id]
    assert added != existing
    await service.update_async(
        subscription.id,
        {
            "items": [{"id": existing, "deleted": True}, {"id": added, "quantity": 3}],
            "proration_behavior": "none",
        },
    )
    await shop.advance(31)

    assert await shop.paid_amounts() == [500, 3000]
    with pytest.raises(stripe.InvalidRequestError, match="at least one active plan"):
        await service.update_async(subscription.id, {"items": [{"id": added, "deleted": True}]})
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription_item"):
        await service.update_async(subscription.id, {"items": [{"id": existing, "quantity": 1}]})


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (None, "same plan"),
        ({"unit_amount": 1, "currency": "eur"}, "one currency"),
        ({"unit_amount": 1, "recurring": {"interval": "year"}}, "different intervals"),
    ],
)
async def test_items_that_do_not_go_together_are_refused(
    shop: Shop, second: JsonObject | None, words: str
) -> None:
    first = await price(shop, unit_amount=500)
    other = first if second is None else await price(shop, **second)
    with pytest.raises(stripe.InvalidRequestError, match=words):
        await subscribe(shop, {"price": first.id}, {"price": other.id})
    subscription = await subscribe(shop, {"price": first.id})
    with pytest.raises(stripe.InvalidRequestError, match=words):
        await shop.client.v1.subscriptions.update_async(
            subscription.id, {"items": [{"price": other.id}], "proration_behavior": "none"}
        )


async def test_several_prices_are_sold_on_one_checkout_page(shop: Shop) -> None:
    first, second = await price(shop, unit_amount=500), await price(shop, unit_amount=700)
    items = [{"price": first.id, "quantity": 1}, {"price": second.id, "quantity": 2}]
    session = await shop.checkout(mode="subscription", line_items=items)
    await shop.pays(session)

    complete = await shop.client.v1.checkout.sessions.retrieve_async(session.id)
    assert complete.amount_total == 1900
    assert isinstance(complete.subscription, str)
    subscription = await shop.subscription(complete.subscription)
    assert [item.quantity for item in subscription["items"].data] == [1, 2]
    assert (await shop.latest_invoice(subscription.id)).amount_paid == 1900


async def test_a_pending_invoice_item_is_charged_with_the_next_renewal_once(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    assert isinstance(subscription.customer, str)
    for currency in ("usd", "eur"):
        await shop.client.v1.invoice_items.create_async(
            {"customer": subscription.customer, "amount": 300, "currency": currency}
        )

    await shop.advance(62)

    assert await shop.paid_amounts() == [500, 800, 500]
    pending = await shop.client.v1.invoice_items.list_async({"customer": subscription.customer})
    assert [(item.currency, bool(item.invoice)) for item in pending.data] == [
        ("eur", False),
        ("usd", True),
    ]


@pytest.mark.parametrize(
    ("credit", "charged", "balances"),
    [(-200, [500, 300, 500], [0, 0, 0]), (-800, [500, 200, 500], [0, -300, 0, 0])],
)
async def test_a_credit_lowers_the_next_invoices_and_never_charges_backwards(
    shop: Shop, credit: int, charged: list[int], balances: list[int]
) -> None:
    subscription = await shop.subscribes(500)
    await shop.client.v1.invoice_items.create_async(
        {"customer": str(subscription.customer), "amount": credit, "currency": "usd"}
    )

    await shop.advance(31 * (len(balances) - 1))

    assert await shop.paid_amounts() == charged
    invoices = (await shop.client.v1.invoices.list_async()).data[::-1]
    assert [invoice.status for invoice in invoices] == ["paid"] * len(balances)
    assert [invoice.ending_balance or 0 for invoice in invoices] == balances
    customer = await shop.client.v1.customers.retrieve_async(str(subscription.customer))
    assert customer.balance == 0


async def test_a_voided_invoice_gives_back_the_credit_it_used(shop: Shop) -> None:
    subscription = await shop.subscribes(500)
    customer = str(subscription.customer)
    items = shop.client.v1.invoice_items
    await items.create_async({"customer": customer, "amount": -800, "currency": "usd"})
    await shop.advance(31)
    shop.sandbox.fail_card(str(subscription.default_payment_method), "insufficient_funds")
    await shop.advance(31)
    latest = await shop.latest_invoice(subscription.id)
    assert (latest.status, latest.total, latest.amount_due) == ("open", 500, 200)
    assert (await shop.client.v1.customers.retrieve_async(customer)).balance == 0

    await shop.client.v1.invoices.void_invoice_async(str(latest.id))

    assert (await shop.client.v1.customers.retrieve_async(customer)).balance == -300
    assert await shop.paid_amounts() == [500]


# ------------------------------------------------------------------ values that no SDK knows


async def test_an_object_is_given_a_value_that_no_sdk_knows_without_a_problem(shop: Shop) -> None:
    subscription = await shop.subscribes()
    shop.sandbox.set_unknown_values(
        subscription.id,
        {"status": "hibernating", "collection_method": 42},
        "customer.subscription.updated",
    )

    seen = (await shop.client.v1.subscriptions.list_async()).data[0]
    assert seen.to_dict()["status"] == "hibernating"
    assert seen.to_dict()["collection_method"] == 42
    assert await shop.latest_previous_attributes() == {
        "collection_method": "charge_automatically",
        "status": "active",
    }
    await shop.advance(40)
    assert await shop.paid_amounts() == [500]


@pytest.mark.parametrize("fields", [{"colour": "red"}, {"id": "sub_2"}, {"object": "plan"}])
async def test_only_fields_of_the_object_can_be_given_one(shop: Shop, fields: JsonObject) -> None:
    subscription = await shop.subscribes()
    with pytest.raises(ValueError, match=next(iter(fields))):
        shop.sandbox.set_unknown_values(subscription.id, fields)
    assert (await shop.subscription(subscription.id)).status == "active"
