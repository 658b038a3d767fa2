"""What a request may ask to see whole: it follows from the SDK's types."""

import pytest
import stripe

from payments.sandbox import contract
from payments.sandbox.contract_expansion import can_expand
from tests.support.shop import Shop

pytestmark = pytest.mark.anyio


async def test_ids_are_expanded_as_deep_as_four(shop: Shop) -> None:
    session = await shop.gives(500, "month")
    await shop.sandbox.advance_to_captures()

    expanded = await shop.client.v1.checkout.sessions.retrieve_async(
        session.id, {"expand": ["invoice.payments", "customer", "subscription.latest_invoice"]}
    )
    assert isinstance(expanded.customer, stripe.Customer)
    assert isinstance(expanded.invoice, stripe.Invoice)
    assert expanded.invoice.payments is not None
    assert isinstance(expanded.subscription, stripe.Subscription)
    assert isinstance(expanded.subscription.latest_invoice, stripe.Invoice)
    payments = await shop.client.v1.invoice_payments.list_async(
        {"expand": ["data.payment.payment_intent.latest_charge"]}
    )
    intent = payments.data[0].payment.payment_intent
    assert isinstance(intent, stripe.PaymentIntent)
    assert isinstance(intent.latest_charge, stripe.Charge)

    listed = await shop.client.v1.payment_intents.list_async(
        {"expand": ["data.latest_charge.balance_transaction"]}
    )
    charge = listed.data[0].latest_charge
    assert isinstance(charge, stripe.Charge)
    assert isinstance(charge.balance_transaction, stripe.BalanceTransaction)
    stored = await shop.client.v1.checkout.sessions.retrieve_async(session.id)
    assert stored.customer == expanded.customer.id, "expansion is for the response only"


@pytest.mark.parametrize(
    ("path", "expanded"),
    [
        pytest.param("/v1/charges/ch_1", "customer", id="an id"),
        pytest.param("/v1/charges/ch_1", "payment_method_details.card.mandate", id="an id inside"),
        pytest.param("/v1/charges/ch_1", "refunds.data.charge.customer", id="four levels"),
        pytest.param("/v1/charges", "data.customer", id="of a list"),
        pytest.param("/v1/balance_transactions", "data.source.charge", id="of one of many kinds"),
        pytest.param("/v1/invoices", "data.lines.data.discounts", id="an array of ids"),
        pytest.param("/v1/subscriptions/sub_1", "items.data.price", id="an object that is whole"),
        pytest.param("/v1/subscriptions/sub_1", "items.data.price.product", id="below such a one"),
        pytest.param("/v1/prices", "data.tiers", id="what is hidden"),
        pytest.param(
            "/v1/checkout/sessions", "data.total_details.breakdown", id="what is hidden inside"
        ),
        pytest.param("/v1/payouts", "data.destination", id="a bank account"),
    ],
)
def test_what_can_be_expanded(path: str, expanded: str) -> None:
    assert expands(path, expanded)


@pytest.mark.parametrize(
    ("path", "expanded"),
    [
        pytest.param("/v1/charges/ch_1", "nothing", id="no such property"),
        pytest.param("/v1/charges/ch_1", "amount", id="a number"),
        pytest.param("/v1/charges/ch_1", "metadata", id="metadata"),
        pytest.param("/v1/charges/ch_1", "billing_details", id="a part of the object"),
        pytest.param("/v1/charges/ch_1", "customer.id", id="an id itself"),
        pytest.param("/v1/charges/ch_1", "invoice", id="removed by basil"),
        pytest.param("/v1/charges", "data", id="what a list has anyway"),
        pytest.param("/v1/charges", "customer", id="an object's property, of a list"),
        pytest.param("/v1/balance_transactions", "data.source.colour", id="of none of many kinds"),
        pytest.param("/v1/charges/ch_1", "", id="nothing at all"),
    ],
)
def test_what_cannot_be_expanded(path: str, expanded: str) -> None:
    assert not expands(path, expanded)


def expands(path: str, expanded: str) -> bool:
    endpoint = contract.find_endpoint("GET", path)
    assert endpoint is not None
    return can_expand(endpoint.returns, endpoint.module, tuple(expanded.split(".")))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("amount", r"This property cannot be expanded \(amount\)\.$"),
        ("data.nothing", r"This property cannot be expanded \(data\.nothing\)\.$"),
        ("customer", r"\(customer\)\. You may want to try expanding 'data\.customer' instead\.$"),
        ("data.source.charge.customer.subscriptions", "more than 4 levels"),
    ],
)
async def test_what_cannot_be_expanded_is_refused_in_stripes_words(
    shop: Shop, path: str, message: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError, match=message) as refusal:
        await shop.client.v1.charges.list_async({"expand": [path]})
    assert refusal.value.param == "expand"


async def test_a_refused_expansion_creates_nothing(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        await shop.client.v1.customers.create_async({"expand": ["metadata"]})
    assert (await shop.client.v1.customers.list_async()).data == []


async def test_what_is_hidden_is_shown_when_asked_to(shop: Shop) -> None:
    customer = await shop.client.v1.customers.create_async(
        {"expand": ["sources", "subscriptions", "tax_ids"]}
    )
    for shown in (customer.sources, customer.subscriptions, customer.tax_ids):
        assert shown is not None
        assert shown.data == []
    price = await shop.client.v1.prices.create_async(
        {"currency": "usd", "unit_amount": 700, "product": await shop.product()}
    )
    assert "currency_options" not in price
    price = await shop.client.v1.prices.retrieve_async(
        price.id, {"expand": ["currency_options", "tiers"]}
    )
    assert price.currency_options is not None
    assert price.currency_options["usd"].unit_amount == 700
    assert "tiers" not in price, "it has none"
    session = await shop.checkout(500)
    session = await shop.client.v1.checkout.sessions.retrieve_async(
        session.id, {"expand": ["total_details.breakdown"]}
    )
    assert session.total_details is not None
    assert session.total_details.breakdown is not None
    assert session.total_details.breakdown.taxes == []


async def test_nothing_of_a_deleted_customer_can_be_expanded(shop: Shop) -> None:
    customer = await shop.client.v1.customers.create_async({})
    await shop.pays(await shop.checkout(500, customer=customer.id))
    charge = (await shop.client.v1.charges.list_async()).data[0]
    await shop.client.v1.customers.delete_async(customer.id)

    found = await shop.client.v1.charges.retrieve_async(charge.id, {"expand": ["customer"]})
    assert isinstance(found.customer, stripe.Customer)
    assert found.customer.deleted
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        await shop.client.v1.charges.retrieve_async(charge.id, {"expand": ["customer.sources"]})
