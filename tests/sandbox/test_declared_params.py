"""Every parameter of every route: read, refused as not supported, or refused as unknown.

What a route reads is declared beside its handler; what there is to know comes from the SDK's types.
"""

import contextlib
import re
from urllib.parse import urlencode

import msgspec
import pytest

from payments.sandbox import Sandbox, contract, routes
from payments.sandbox.account import StripeAccount
from payments.sandbox.account_settings import ACCOUNT_ID
from payments.sandbox.api import ApiRequest
from payments.sandbox.api_versions import removed_params
from payments.sandbox.contract_parameters import form_name, leaves_of
from payments.sandbox.declared_params import EXPAND, covers
from payments.sandbox.errors import ApiError
from payments.sandbox.form_encoding import JsonObject, decode_form
from payments.sandbox.recorded_params import RecordedParams
from tests.support.shop import Shop

pytestmark = pytest.mark.anyio

PINNED = {"Authorization": "Bearer sk_test_x", "Stripe-Version": "2026-10-28.endive"}
CUSTOMER = {"customer": "cus"}
PRICE = {"currency": "usd", "unit_amount": "500", "product": "prod"}
CARD = {"card[number]": "4242424242424242", "card[exp_month]": "1", "card[exp_year]": "2034"}
# What a request must have, so that its handler comes to the parameter in question.
BASES: dict[tuple[str, str], dict[str, str]] = {
    ("GET", "/v1/subscription_items"): {"subscription": "sub"},
    ("POST", "/v1/checkout/sessions"): {
        "mode": "payment",
        "success_url": "https://shop.example/",
        "line_items[0][price]": "price",
        "line_items[0][quantity]": "1",
    },
    ("POST", "/v1/invoiceitems"): {**CUSTOMER, "amount": "500", "currency": "usd"},
    ("POST", "/v1/invoices"): CUSTOMER,
    ("POST", "/v1/payment_intents"): {"amount": "500", "currency": "usd"},
    ("POST", "/v1/payment_links"): {
        "line_items[0][price]": "price",
        "line_items[0][quantity]": "1",
    },
    ("POST", "/v1/payment_methods"): {"type": "card", **CARD},
    ("POST", "/v1/payouts"): {"amount": "1", "currency": "usd"},
    ("POST", "/v1/prices"): PRICE,
    ("POST", "/v1/products"): {"name": "A gift"},
    ("POST", "/v1/refunds"): {"charge": "ch"},
    ("POST", "/v1/subscription_schedules"): {
        **CUSTOMER,
        "start_date": "4102444800",
        "phases[0][items][0][price]": "price_monthly",
    },
    ("POST", "/v1/subscriptions"): {
        **CUSTOMER,
        "items[0][price]": "price_monthly",
        "payment_behavior": "default_incomplete",
    },
    ("POST", "/v1/subscriptions/{}/pause"): {"bill_for[unused_time_from][type]": "none"},
    ("POST", "/v1/subscriptions/{}/resume"): {"billing_cycle_anchor[type]": "unchanged"},
    ("POST", "/v1/topups"): {"amount": "500", "currency": "usd"},
    ("POST", "/v1/webhook_endpoints"): {
        "url": "https://shop.example/",
        "enabled_events[0]": "*",
    },
}
# What a parameter needs beside it: the first pattern that finds it, and what replaces what.
COMPANIONS: tuple[tuple[str, dict[str, str | None]], ...] = (
    (r"^line_items\[\]\.price_data\.product_data", {
        "line_items[0][price]": None,
        "line_items[0][price_data][currency]": "usd",
        "line_items[0][price_data][unit_amount]": "500",
        "line_items[0][price_data][product_data][name]": "A gift",
    }),
    (r"^line_items\[\]\.price_data", {
        "line_items[0][price]": None,
        **{f"line_items[0][price_data][{name}]": value for name, value in PRICE.items()},
        "line_items[0][price_data][recurring][interval]": "month",
    }),
    (r"^items\[\]\.price_data", {
        "items[0][id]": "si",
        "items[0][price]": None,
        **{f"items[0][price_data][{name}]": value for name, value in PRICE.items()},
        "items[0][price_data][recurring][interval]": "month",
    }),
    (r"^items\[\]", {"items[0][id]": "si"}),
    (r"^product_data", {"product_data[name]": "A gift", "product": None}),
    (r"^custom_unit_amount", {"custom_unit_amount[enabled]": "true", "unit_amount": None}),
    (r"^tiers", {
        "billing_scheme": "tiered",
        "tiers_mode": "volume",
        "tiers[0][up_to]": "inf",
        "tiers[0][unit_amount]": "1",
        "unit_amount": None,
    }),
    (r"^custom_unit_amount", {"custom_unit_amount[enabled]": "true", "unit_amount": None}),
    (r"^recurring", {"recurring[interval]": "month"}),
    (r"^default_price_data", {
        "default_price_data[currency]": "usd",
        "default_price_data[unit_amount]": "500",
        "default_price_data[recurring][interval]": "month",
    }),
    (r"^sepa_debit", {"type": "sepa_debit"}),
    (r"^card.token", dict.fromkeys(CARD)),
    (r"^after_completion\.redirect", {"after_completion[type]": "redirect"}),
    (r"^submit$", {"evidence[uncategorized_text]": "We have proof."}),
    (r"^(off_session|return_url)$", {"confirm": "true", "payment_method": "pm"}),
    (r"^billing_cycle_anchor$", {"billing_cycle_anchor[type]": None}),
    (r"^trial_settings", {"trial_period_days": "7"}),
    (r"^pause_collection\.resumes_at", {"pause_collection[behavior]": "void"}),
    (r"^subscription_data", {"mode": "subscription", "line_items[0][price]": "price_monthly"}),
    (r"^setup_intent_data", {
        "mode": "setup",
        "currency": "usd",
        "line_items[0][price]": None,
        "line_items[0][quantity]": None,
    }),
    (r"^currency$", {
        "mode": "setup",
        "line_items[0][price]": None,
        "line_items[0][quantity]": None,
    }),
)  # fmt: skip
FIRST_VALUES = {"type": "none", "mode": "payment", "status": "all"}


@pytest.fixture(scope="module")
def sdk() -> dict[tuple[str, str], contract.Endpoint]:
    """The SDK's endpoint of each route that it knows."""
    found = {
        (route.method, route.template): contract.find_endpoint(route.method, example_path(route))
        for route in routes.all_routes()
    }
    return {key: endpoint for key, endpoint in found.items() if endpoint is not None}


def example_path(route: routes.Route) -> str:
    return route.template.replace("{}", "id_1")


def key_of(leaf: str) -> str | None:
    """A key to send below a map."""
    return "colour" if leaf.endswith("metadata") else None


def send(sandbox: Sandbox, method: str, path: str, form: dict[str, str]) -> tuple[int, JsonObject]:
    """Send a request to the API itself: thousands over HTTP would take too long."""
    query, body = ("", urlencode(form)) if method == "POST" else (urlencode(form), "")
    answer = sandbox.api.handle(ApiRequest(method, path, query, body, PINNED))
    decoded: JsonObject = msgspec.json.decode(answer.body)
    return answer.status, decoded.get("error", {})


def test_what_the_sdk_knows_and_a_route_does_not_read_is_refused(
    sdk: dict[tuple[str, str], contract.Endpoint],
) -> None:
    sandbox, sent, wrong = Sandbox(), 0, []
    for route in routes.all_routes():
        endpoint = sdk.get((route.method, route.template))
        for leaf, value in leaves_of(endpoint).items() if endpoint else ():
            if leaf in route.reads:
                continue
            sent += 1
            name = form_name(leaf, key_of(leaf))
            answer = send(sandbox, route.method, example_path(route), {name: value})
            status, error = answer
            if (status, error.get("code"), error.get("param")) != (
                400,
                "sandbox_unsupported",
                name,
            ):
                wrong.append((route.method, route.template, name, answer))
            elif f"does not do `{name}` yet" not in error["message"]:
                wrong.append((route.method, route.template, name, error["message"]))
    assert wrong == []
    assert sent > 2500


def test_what_the_sdk_does_not_know_is_refused_at_every_route() -> None:
    sandbox = Sandbox()
    for route in routes.all_routes():
        status, error = send(sandbox, route.method, example_path(route), {"favourite": "red"})
        assert (status, error["code"]) == (400, "parameter_unknown"), route
        assert error["param"] == "favourite", route


def test_what_a_route_declares_is_known_to_the_sdk_or_was_once(
    sdk: dict[tuple[str, str], contract.Endpoint],
) -> None:
    unknown = {
        (route.method, route.template): sorted(rest)
        for route in routes.all_routes()
        if (endpoint := sdk.get((route.method, route.template)))
        if (
            rest := route.reads
            - set(leaves_of(endpoint))
            - removed_params(route.method, route.template)
            - {EXPAND}
        )
    }
    assert unknown == {}


async def test_what_a_route_declares_its_handler_reads(
    shop: Shop, sdk: dict[tuple[str, str], contract.Endpoint]
) -> None:
    ids = await make_one_of_each(shop)
    account = shop.sandbox.account
    saved = msgspec.json.encode(account.dump())
    account.on_event = lambda event: None  # noqa: ARG005 - the samples are no sensible values

    unread = []
    for route in routes.all_routes():
        endpoint = sdk.get((route.method, route.template))
        samples = leaves_of(endpoint) if endpoint else {}
        for leaf in sorted(route.reads - {EXPAND}):
            account.restore(msgspec.json.decode(saved))
            form = filled(form_with(route, leaf, samples.get(leaf, "1")), ids)
            if not any(covers({leaf}, each) for each in leaves_read(account, route, form, ids)):
                unread.append((route.method, route.template, leaf))

    assert unread == []


def form_with(route: routes.Route, leaf: str, value: str) -> dict[str, str]:
    """A request of a route that sends a leaf, and what it needs beside it."""
    form = dict(BASES.get((route.method, route.template), {}))
    for pattern, companions in COMPANIONS:
        if route.method == "POST" and re.search(pattern, leaf):
            form |= {name: text for name, text in companions.items() if text is not None}
            form = {
                name: text for name, text in form.items() if companions.get(name, "") is not None
            }
            break
    name, value = form_name(leaf, key_of(leaf)), "1" if key_of(leaf) else value
    return {**form, name: form.get(name) or FIRST_VALUES.get(leaf, value)}


def filled(form: dict[str, str], ids: dict[str, str]) -> dict[str, str]:
    """The form with the ids of objects in place of their names."""
    return {name: ids.get(value, value) for name, value in form.items()}


def leaves_read(
    account: StripeAccount, route: routes.Route, form: dict[str, str], ids: dict[str, str]
) -> set[str]:
    """The leaves that a route's handler looks at, whether or not it refuses them."""
    params = RecordedParams(decode_form(urlencode(form)))
    before_ids = zip(route.parts, route.parts[1:], strict=False)
    found = tuple(ids.get(kind, "id_1") for kind, part in before_ids if part == "{}")
    if route.template.endswith("/resume"):
        found = (ids["paused"],)
    with contextlib.suppress(ApiError):
        route.handler(routes.Call(account, example_path(route), params, found))
    return set(params.read)


async def make_one_of_each(shop: Shop) -> dict[str, str]:
    """The ids of one object of each kind, by the part of the path before it and by short names."""
    v1, sandbox = shop.client.v1, shop.sandbox
    once, monthly = await shop.gives(500), await shop.subscribes()
    await sandbox.advance_to_captures()
    await shop.advance(4)
    open_session = await shop.checkout()
    item = monthly["items"].data[0]
    customer, method = str(monthly.customer), str(monthly.default_payment_method)
    charge = (await v1.charges.list_async({"payment_intent": str(once.payment_intent)})).data[0]
    other = (await shop.gives(700)).payment_intent
    refund = await v1.refunds.create_async({"payment_intent": str(other)})
    disputed = (await v1.charges.list_async({"customer": customer})).data[0]
    price = await v1.prices.create_async(
        {"currency": "usd", "unit_amount": 500, "product": await shop.product()}
    )
    monthly_price = await v1.prices.create_async(
        {
            "currency": "usd",
            "unit_amount": 500,
            "product": await shop.product(),
            "recurring": {"interval": "month"},
        }
    )
    link = await v1.payment_links.create_async({"line_items": [{"price": price.id, "quantity": 1}]})
    intent = await v1.payment_intents.create_async({"amount": 500, "currency": "usd"})
    setup = await v1.setup_intents.create_async({"customer": customer})
    await v1.invoice_items.create_async({"customer": customer, "amount": 500, "currency": "usd"})
    await v1.topups.create_async({"amount": 50_000, "currency": "usd"})
    paused = (await shop.subscribes()).id
    await v1.subscriptions.pause_async(paused, {"bill_for": {"unused_time_from": {"type": "none"}}})
    draft = await v1.invoices.create_async({"customer": customer})
    endpoint = await v1.webhook_endpoints.create_async(
        {"url": "https://shop.example/hooks", "enabled_events": ["*"]}
    )
    event = (await v1.events.list_async({"limit": 1})).data[0].id
    payout = (await v1.payouts.list_async({"limit": 1})).data[0].id
    return {
        "accounts": ACCOUNT_ID,
        "charges": charge.id, "ch": charge.id,
        "checkout": open_session.id, "sessions": open_session.id, "payment_pages": open_session.id,
        "customers": customer, "cus": customer,
        "disputes": sandbox.dispute(disputed.id),
        "events": event,
        "invoices": draft.id,
        "payment_intents": intent.id,
        "payment_links": link.id,
        "payment_methods": method, "pm": "pm_card_visa",
        "payouts": payout,
        "prices": price.id, "price": price.id, "price_monthly": monthly_price.id,
        "products": price.product if isinstance(price.product, str) else price.product.id,
        "prod": await shop.product(),
        "refunds": refund.id,
        "setup_intents": setup.id,
        "subscriptions": monthly.id, "sub": monthly.id, "paused": paused, "si": item.id,
        "webhook_endpoints": endpoint.id,
    }  # fmt: skip
