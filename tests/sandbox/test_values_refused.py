"""Values that Stripe refuses: beside each, the nearest one that it takes."""

from dataclasses import dataclass
from typing import Any

import pytest
import stripe

from tests.support.shop import Shop

pytestmark = pytest.mark.anyio

Params = dict[str, Any]  # Any: whatever a client may send


@dataclass(frozen=True)
class Case:
    """A call with a part of its parameters taken, and in its place one refused."""

    call: str
    taken: Params
    refused: Params
    param: str | None
    code: str | None = None


LINE = {"price_data": {"currency": "usd", "unit_amount": 500, "product": "$product"}, "quantity": 1}
EUROS = {"currency": "eur"}


def urls(success: str) -> Params:
    return {"success_url": success}


CASES = (
    Case("checkout.sessions", urls("https://shop.example/a"), urls("shop.example/a"),
         "success_url", "url_invalid"),
    Case("checkout.sessions", {"cancel_url": "http://shop.example"}, {"cancel_url": "/back"},
         "cancel_url", "url_invalid"),
    Case("checkout.sessions", {"customer_email": "a@example.org"}, {"customer_email": "a@b"},
         "customer_email", "email_invalid"),
    Case("checkout.sessions", {"line_items": [LINE] * 100}, {"line_items": [LINE] * 101},
         "line_items"),
    Case("checkout.sessions", {"line_items": [{"price": "$price", "quantity": 1}]},
         {"line_items": [{"price": "$inactive", "quantity": 1}]}, "line_items[0][price]"),
    Case("checkout.sessions", {"line_items": [{"price": "$price", "quantity": 1}]},
         {"line_items": [{"price": "$of_inactive_product", "quantity": 1}]},
         "line_items[0][price]"),
    Case("checkout.sessions", {"line_items": [{"price": "$price", "quantity": 999}]},
         {"line_items": [{"price": "$price", "quantity": 1_000_000}]}, "line_items[0][quantity]",
         "parameter_invalid_integer"),
    Case("checkout.sessions", {"client_reference_id": "x" * 200},
         {"client_reference_id": "x" * 201}, "client_reference_id"),
    Case("checkout.sessions", {"custom_text": {"submit": {"message": "x" * 1200}}},
         {"custom_text": {"submit": {"message": "x" * 1201}}}, "custom_text[submit][message]"),
    Case("checkout.sessions", {"customer": "$customer"},
         {"customer": "$customer", "customer_creation": "always"}, "customer_creation"),
    Case("checkout.sessions", {"payment_intent_data": {"receipt_email": "a@example.org"}},
         {"payment_intent_data": {"receipt_email": "nobody"}}, "payment_intent_data[receipt_email]",
         "email_invalid"),
    Case("checkout.sessions", {"payment_intent_data": {"statement_descriptor_suffix": "GIFT"}},
         {"payment_intent_data": {"statement_descriptor_suffix": "2026"}},
         "payment_intent_data[statement_descriptor_suffix]"),
    Case("checkout.sessions", {"allowed_payment_method_types": ["card", "klarna"]},
         {"allowed_payment_method_types": ["klarna"]}, "allowed_payment_method_types",
         "sandbox_unsupported"),
    Case("checkout.sessions", {"ui_mode": "hosted_page"}, {"ui_mode": "elements"}, "ui_mode",
         "sandbox_unsupported"),
    Case("payment_intents", {"amount": 50}, {"amount": 49}, "amount", "amount_too_small"),
    Case("payment_intents", {"amount": 99_999_999}, {"amount": 100_000_000}, "amount",
         "amount_too_large"),
    Case("payment_intents", {"receipt_email": "a@example.org"}, {"receipt_email": "a b@c.org"},
         "receipt_email", "email_invalid"),
    Case("payment_intents", {"capture_method": "automatic"}, {"capture_method": "manual"},
         "capture_method", "sandbox_unsupported"),
    *(Case("payment_intents", {"statement_descriptor_suffix": "Thanks 1"},
           {"statement_descriptor_suffix": suffix}, "statement_descriptor_suffix")
      for suffix in ("x" * 23, "1234", "A*B", "<a>", "Спасибо", 'say "hi"')),
    Case("payment_intents", {"metadata": {"k" * 40: "v" * 500}}, {"metadata": {"k": "v" * 501}},
         "metadata[k]"),
    Case("payment_intents", {"off_session": True, "confirm": True, "payment_method": "$card",
                             "customer": "$customer"},
         {"off_session": True}, "off_session"),
    Case("customers", {"email": "reader@example.org"}, {"email": "reader"}, "email",
         "email_invalid"),
    Case("customers", {"email": f"{'x' * 500}@example.org"}, {"email": f"{'x' * 501}@example.org"},
         "email"),
    Case("payment_methods", {"billing_details": {"email": "a@example.org"}},
         {"billing_details": {"email": "a"}}, "billing_details[email]", "email_invalid"),
    Case("products", {"url": "https://shop.example"}, {"url": "shop"}, "url", "url_invalid"),
    Case("products", {"images": ["https://shop.example/a"] * 8},
         {"images": ["https://shop.example/a"] * 9}, "images"),
    Case("products", {"statement_descriptor": "GIFTS"}, {"statement_descriptor": "GIFT"},
         "statement_descriptor"),
    Case("prices", {"unit_amount": 99_999_999}, {"unit_amount": 100_000_000}, "unit_amount",
         "amount_too_large"),
    Case("prices", {"lookup_key": "new"}, {"lookup_key": "taken"}, "lookup_key"),
    Case("prices", {"lookup_key": "x" * 200}, {"lookup_key": "x" * 201}, "lookup_key"),
    Case("subscriptions", {"items": [{"price": "$monthly"}]}, {"items": [{"price": "$inactive"}]},
         "items[0][price]"),
    Case("subscriptions", {"items": [{"price": "$monthly", "quantity": 2}]},
         {"items": [{"price": "$monthly", "quantity": -1}]}, "items[0][quantity]",
         "parameter_invalid_integer"),
    Case("subscriptions", {"items": [{"price": "$monthly"}]}, {"items": [{"price": "$price"}]},
         "items[0][price]"),
    Case("subscriptions", {"default_payment_method": "$card"}, {"default_payment_method": ""}, None,
         "resource_missing"),
    Case("subscriptions", {"collection_method": "charge_automatically"},
         {"collection_method": "send_invoice"}, "collection_method", "sandbox_unsupported"),
    Case("invoices", {"collection_method": "send_invoice", "days_until_due": 30},
         {"collection_method": "send_invoice"}, "days_until_due"),
    Case("invoices", {}, {"days_until_due": 30}, "days_until_due"),
    Case("invoices", {"currency": "eur"}, {"currency": "xyz"}, "currency", "invalid_currency"),
    Case("webhook_endpoints", {"url": "https://shop.example/"}, {"url": "shop.example"}, "url",
         "url_invalid"),
    Case("webhook_endpoints", {"api_version": "2025-09-30.clover"},
         {"api_version": "2019-02-11"}, "api_version", "sandbox_unsupported"),
)  # fmt: skip
NECESSARY: dict[str, Params] = {
    "checkout.sessions": {
        "mode": "payment",
        "success_url": "https://shop.example/",
        "line_items": [LINE],
    },
    "customers": {},
    "invoices": {"customer": "$customer"},
    "payment_intents": {"amount": 500, "currency": "usd"},
    "payment_methods": {"type": "card", "card": {"token": "tok_visa"}},
    "prices": {"currency": "usd", "unit_amount": 500, "product": "$product"},
    "products": {"name": "A gift"},
    "subscriptions": {
        "customer": "$customer",
        "items": [{"price": "$monthly"}],
        "default_payment_method": "$card",
    },
    "webhook_endpoints": {"url": "https://shop.example/", "enabled_events": ["*"]},
}


async def test_each_value_is_taken_or_refused_and_what_is_refused_leaves_nothing(
    shop: Shop,
) -> None:
    ids = await things(shop)
    for case in CASES:
        create = service(shop, case.call).create_async
        await create(filled({**NECESSARY[case.call], **case.taken}, ids))
        before = contents(shop)
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await create(filled({**NECESSARY[case.call], **case.refused}, ids))
        assert refused.value.param == case.param, case
        assert case.code in (None, refused.value.code), case
        assert contents(shop) == before, case


async def test_a_price_belongs_to_its_product_and_is_its_default_alone(shop: Shop) -> None:
    other = await shop.client.v1.products.create_async({"name": "Another"})
    price = await shop.client.v1.prices.create_async(
        {"currency": "usd", "unit_amount": 500, "product": await shop.product()}
    )
    await shop.client.v1.products.update_async(await shop.product(), {"default_price": price.id})
    for wrong in (price.id, "price_none"):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await shop.client.v1.products.update_async(other.id, {"default_price": wrong})
        assert refused.value.param == "default_price"


async def test_an_invoice_to_be_sent_is_sent_and_not_charged(shop: Shop) -> None:
    ids = await things(shop)
    service = shop.client.v1.invoices
    sent, charged = [
        await invoice_of(shop, ids, how)
        for how in ({"collection_method": "send_invoice", "days_until_due": 30}, {})
    ]
    await shop.advance(1)

    assert (await service.retrieve_async(sent)).status == "open"
    assert (await service.retrieve_async(charged)).status == "paid"
    assert "invoice.sent" in await shop.events()


async def test_a_page_is_cut_by_an_object_of_its_own_kind(shop: Shop) -> None:
    first = await shop.client.v1.customers.create_async({})
    await shop.client.v1.customers.create_async({})
    list_customers = shop.client.v1.customers.list_async
    assert len((await list_customers({"ending_before": first.id})).data) == 1
    for cursor in (await shop.product(), "cus_nobody"):
        with pytest.raises(stripe.InvalidRequestError, match="No such customer") as refused:
            await list_customers({"starting_after": cursor})
        assert (refused.value.http_status, refused.value.param) == (400, "starting_after")


async def invoice_of(shop: Shop, ids: dict[str, str], how: Params) -> str:
    """The id of an invoice over one item, that finalizes itself."""
    await shop.client.v1.invoice_items.create_async(
        {"customer": ids["customer"], "amount": 500, "currency": "usd"}
    )
    params: Params = {
        "customer": ids["customer"],
        "auto_advance": True,
        "default_payment_method": ids["card"],
        "pending_invoice_items_behavior": "include",
        **how,
    }
    invoice = await shop.client.v1.invoices.create_async(params)  # type: ignore[arg-type]  # Params
    return invoice.id


async def things(shop: Shop) -> dict[str, str]:
    """The objects that the cases refer to."""
    v1, product = shop.client.v1, await shop.product()
    customer = await v1.customers.create_async({"email": "reader@example.org"})
    card = await v1.payment_methods.attach_async("pm_card_visa", {"customer": customer.id})
    gone = await v1.products.create_async({"name": "No longer sold"})
    amount: Params = {"currency": "usd", "unit_amount": 100}
    monthly: Params = {**amount, "recurring": {"interval": "month"}, "product": product}
    prices = {
        "price": {**amount, "product": product, "lookup_key": "taken"},
        "monthly": monthly,
        "inactive": {**monthly, "active": False},
        "of_inactive_product": {**amount, "product": gone.id},
    }
    ids = {"customer": customer.id, "card": card.id, "product": product}
    for name, params in prices.items():
        ids[name] = (await v1.prices.create_async(params)).id  # type: ignore[arg-type]  # Params
    await v1.products.update_async(gone.id, {"active": False})
    return ids


def filled(value: Any, ids: dict[str, str]) -> Any:  # noqa: ANN401 - parameters of any shape
    """Parameters with the ids of objects in place of their names."""
    if isinstance(value, dict):
        return {name: filled(part, ids) for name, part in value.items()}
    if isinstance(value, list):
        return [filled(part, ids) for part in value]
    return ids[value[1:]] if isinstance(value, str) and value.startswith("$") else value


def service(shop: Shop, name: str) -> Any:  # noqa: ANN401 - one of many services
    found: Any = shop.client.v1
    for part in name.split("."):
        found = getattr(found, part)
    return found


def contents(shop: Shop) -> tuple[set[str], int, int]:
    """The ids of all objects, the number of links and the number of tasks."""
    account = shop.sandbox.account
    links = sum(len(ids) for ids in account.store.links.values())
    tasks = len(account.billing_tasks.tasks) + len(account.wall_tasks.tasks)
    return set(account.store.objects), links, tasks


# The smallest charge, in minor units. https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
MINIMUMS = {
    "usd": 50, "eur": 50, "aud": 50, "cad": 50, "chf": 50, "nzd": 50, "sgd": 50, "brl": 50,
    "inr": 50, "gbp": 30, "jpy": 50, "hkd": 400, "dkk": 250, "nok": 300, "sek": 300, "pln": 200,
    "ron": 200, "aed": 200, "myr": 200, "czk": 1500, "huf": 17500, "mxn": 1000, "thb": 1000,
}  # fmt: skip


@pytest.mark.parametrize("mode", ["payment", "subscription"])
async def test_checkout_opens_for_an_amount_that_can_be_charged_in_its_currency(
    shop: Shop, mode: str
) -> None:
    sessions: Any = shop.client.v1.checkout.sessions
    product = await shop.product()

    async def refusal(currency: str, amount: int, quantity: int = 1) -> str | None:
        price = {"currency": currency, "unit_amount": amount, "product": product}
        if mode == "subscription":
            price["recurring"] = {"interval": "month"}
        line = {"price_data": price, "quantity": quantity}
        params = {"mode": mode, "line_items": [line], "success_url": "https://shop.example/"}
        try:
            await sessions.create_async(params)
        except stripe.InvalidRequestError as error:
            return error.code
        return None

    for currency, minimum in MINIMUMS.items():
        assert await refusal(currency, minimum) is None, currency
        assert await refusal(currency, minimum - 1) == "amount_too_small", currency
    for currency, taken, refused in (
        ("isk", 5000, 5050),  # sent in hundredths, charged in whole units
        ("ugx", 200000, 200050),
        ("kwd", 1230, 1234),  # the third decimal is 0
    ):
        assert await refusal(currency, taken) is None, currency
        assert await refusal(currency, refused) == "invalid_charge_amount", currency
    assert await refusal("usd", 25, 2) is None  # what is charged is the total
    assert await refusal("usd", 24, 2) == "amount_too_small"
    assert await refusal("usd", 49_999_999, 2) is None
    assert await refusal("usd", 50_000_000, 2) == "amount_too_large"
