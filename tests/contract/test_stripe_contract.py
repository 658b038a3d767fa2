"""What the contract accepts and refuses."""

from typing import Any
from urllib.parse import urlencode

import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st

from payments.sandbox import contract
from payments.sandbox.form_encoding import FormError, decode_form

Json = dict[str, Any]  # what JSON decodes to

REFUND: Json = {
    "id": "re_1",
    "object": "refund",
    "amount": 500,
    "charge": "ch_1",
    "created": 1_790_000_000,
    "currency": "usd",
    "metadata": {"contribution_id": "c1"},
    "status": "succeeded",
}
CHARGE: Json = {
    "id": "ch_1",
    "object": "charge",
    "amount": 500,
    "amount_captured": 500,
    "amount_refunded": 0,
    "balance_transaction": None,
    "billing_details": {"email": None},
    "captured": True,
    "created": 1_790_000_000,
    "currency": "usd",
    "disputed": False,
    "livemode": False,
    "metadata": {},
    "paid": True,
    "refunded": False,
    "status": "succeeded",
}
PRICE: Json = {
    "id": "price_1",
    "object": "price",
    "active": True,
    "billing_scheme": "per_unit",
    "created": 1_790_000_000,
    "currency": "usd",
    "livemode": False,
    "metadata": {},
    "product": "prod_1",
    "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
    "type": "recurring",
    "unit_amount": 500,
    "unit_amount_decimal": "500",
}
CUSTOMER: Json = {
    "id": "cus_1",
    "object": "customer",
    "created": 1_790_000_000,
    "livemode": False,
    "email": None,
}
REFUNDS: Json = {"object": "list", "url": "/v1/refunds", "has_more": False, "data": [REFUND]}
EVENT: Json = {
    "id": "evt_1",
    "object": "event",
    "api_version": stripe.api_version,
    "created": 1_790_000_000,
    "data": {"object": CHARGE, "previous_attributes": {"balance_transaction": None}},
    "livemode": False,
    "pending_webhooks": 1,
    "request": {"id": None, "idempotency_key": None},
    "type": "charge.updated",
}
SESSION = {
    "mode": "payment",
    "ui_mode": "hosted_page",
    "submit_type": "donate",
    "line_items[0][quantity]": "1",
    "line_items[0][price_data][currency]": "usd",
    "line_items[0][price_data][unit_amount]": "500",
    "line_items[0][price_data][product]": "prod_1",
    "adaptive_pricing[enabled]": "false",
    "metadata[contribution_id]": "c1",
    "success_url": "https://news.example/thanks?s={CHECKOUT_SESSION_ID}",
}


def refused(problems: list[str], about: str) -> bool:
    """Return whether one of the problems contains this text."""
    return any(about in problem for problem in problems)


# ------------------------------------------------------------------ what passes


@pytest.mark.parametrize(
    "payload", [REFUND, CHARGE, PRICE, CUSTOMER, REFUNDS], ids=lambda payload: payload["object"]
)
def test_objects_as_stripe_sends_them_pass(payload: Json) -> None:
    assert contract.check_object(payload) == []


def test_an_event_as_stripe_sends_it_passes() -> None:
    assert contract.check_event(EVENT) == []


def test_a_deleted_customer_is_three_fields() -> None:
    gone = {"id": "cus_1", "object": "customer", "deleted": True}
    assert contract.check_response("DELETE", "/v1/customers/cus_1", gone) == []


def test_an_expanded_field_may_be_an_id_or_the_whole_object() -> None:
    assert contract.check_object(REFUND | {"charge": CHARGE}) == []


@pytest.mark.parametrize(
    ("method", "path", "form"),
    [
        ("POST", "/v1/checkout/sessions", SESSION),
        ("POST", "/v1/refunds", {"charge": "ch_1", "amount": "200", "expand[0]": "charge"}),
        ("POST", "/v1/subscriptions/sub_1", {"default_payment_method": "pm_1", "metadata[k]": ""}),
        ("POST", "/v1/subscriptions/sub_1", {"billing_cycle_anchor[type]": "now"}),
        ("POST", "/v1/subscriptions/sub_1", {"pause_collection": ""}),
        ("GET", "/v1/events?delivery_success=false&types[]=charge.updated&limit=20", {}),
        ("GET", "/v1/balance_transactions?payout=po_1&expand[]=data.source", {}),
        ("GET", "/v1/balance_transactions?created[gte]=1790000000", {}),
        ("DELETE", "/v1/subscriptions/sub_1?prorate=false", {}),
        ("POST", "/v1/checkout/sessions/cs_1/expire", {}),
        ("GET", "/v2/core/events/evt_1?usage[0]=fetch_event", {}),
    ],
)
def test_requests_as_the_sdk_sends_them_pass(method: str, path: str, form: Json) -> None:
    assert contract.check_request(method, path, urlencode(form)) == []


@pytest.mark.parametrize(
    ("method", "path", "payload"),
    [
        ("GET", "/v1/refunds?limit=1", REFUNDS),
        ("POST", "/v1/refunds", REFUND),
        ("GET", "/v1/charges/ch_1", CHARGE),
    ],
)
def test_answers_as_stripe_gives_them_pass(method: str, path: str, payload: Json) -> None:
    assert contract.check_response(method, path, payload) == []


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("payload", "about"),
    [
        pytest.param(REFUND | {"amount": "500"}, "$.amount", id="an amount in a string"),
        pytest.param(REFUND | {"amount": True}, "$.amount", id="an amount that is true"),
        pytest.param(CHARGE | {"status": "suceeded"}, "$.status", id="a typo in a status"),
        pytest.param(CHARGE | {"paid": 1}, "$.paid", id="a number for a boolean"),
        pytest.param(CHARGE | {"amount": None}, "$.amount", id="null where it cannot be"),
        pytest.param(
            {k: v for k, v in CHARGE.items() if k != "currency"}, "$.currency", id="a missing field"
        ),
        pytest.param(CHARGE | {"invoice": None}, "$.invoice", id="charge.invoice, removed"),
        pytest.param(
            {"object": "payment_intent", "charges": []},
            "$.charges: not in",
            id="payment_intent.charges, removed",
        ),
        pytest.param(
            {"object": "subscription", "current_period_end": 1},
            "$.current_period_end: not in",
            id="subscription.current_period_end, removed",
        ),
        pytest.param(
            {"object": "invoice", "subscription": None},
            "$.subscription: not in",
            id="invoice.subscription, removed",
        ),
        pytest.param(CHARGE | {"metadata": {"n": 1}}, "$.metadata.n", id="metadata not a string"),
        pytest.param(
            {"object": "list", "has_more": False, "data": []}, "$.url", id="a list without url"
        ),
        pytest.param(REFUNDS | {"url": "//evil.example"}, "$.url", id="a list of another host"),
        pytest.param(REFUNDS | {"total_count": 1}, "$.total_count", id="total_count, removed"),
        pytest.param(REFUNDS | {"data": [{}]}, "$.data[0]", id="a list of nothing known"),
        pytest.param(
            REFUND | {"charge": {"id": "ch_1", "object": "charge"}},
            "$.charge.amount: missing",
            id="a partial expanded object",
        ),
        pytest.param(
            REFUND | {"charge": CUSTOMER}, "$.charge", id="another object where a charge belongs"
        ),
        pytest.param(
            PRICE | {"unit_amount_decimal": 500}, "$.unit_amount_decimal", id="a decimal as number"
        ),
        pytest.param(
            {"object": "customer", "deleted": True}, "$.id: missing", id="something deleted, no id"
        ),
        pytest.param({"object": "gift"}, "unknown object type 'gift'", id="an unknown object"),
        pytest.param({}, "unknown object type None", id="no object at all"),
        pytest.param([REFUND], "unknown object type None", id="an array"),
    ],
)
def test_objects_stripe_would_not_send_are_refused(payload: Json, about: str) -> None:
    assert refused(contract.check_object(payload), about)


@pytest.mark.parametrize(
    ("change", "about"),
    [
        pytest.param({"type": "charge.eaten"}, "$.type", id="an unknown type"),
        pytest.param({"type": "refund.created"}, "is about a refund", id="another type's object"),
        pytest.param(
            {"type": "charge.dispute.created"}, "is about a dispute", id="a dispute with a charge"
        ),
        pytest.param({"api_version": "2024-04-10"}, "$.api_version", id="an older version"),
        pytest.param(
            {"data": {"object": CHARGE | {"amount": "5"}}}, "$.data.object.amount", id="bad object"
        ),
        pytest.param(
            {"data": {"object": CHARGE, "previous_attributes": {"colour": "red"}}},
            "previous_attributes.colour",
            id="a previous attribute that is none",
        ),
        pytest.param({"data": {"object": "ch_1"}}, "$.data.object", id="an id for an object"),
        pytest.param({"data": None}, "$.data", id="no data"),
        pytest.param({"type": "\0/../"}, "$.type", id="a type from a joker"),
    ],
)
def test_events_stripe_would_not_send_are_refused(change: Json, about: str) -> None:
    assert refused(contract.check_event(EVENT | change), about)


@pytest.mark.parametrize(
    ("path", "form", "about"),
    [
        pytest.param(
            "/v1/checkout/sessions",
            SESSION | {"payment_method_types[]": "card"},
            "$.payment_method_types: not in",
            id="payment_method_types, removed",
        ),
        pytest.param(
            "/v1/payment_intents",
            {"amount": "500", "currency": "usd", "payment_method_types[0]": "card"},
            "$.payment_method_types: not in",
            id="payment_method_types of an intent, removed",
        ),
        pytest.param(
            "/v1/checkout/sessions",
            SESSION | {"ui_mode": "hosted"},
            "$.ui_mode",
            id="ui_mode=hosted",
        ),
        pytest.param(
            "/v1/checkout/sessions",
            SESSION | {"line_items[0][quantity]": "one"},
            "$.line_items[0].quantity",
            id="a quantity in words",
        ),
        pytest.param(
            "/v1/checkout/sessions",
            SESSION | {"line_items[0][price_data][unit_amount]": "5.00"},
            "$.line_items[0].price_data.unit_amount",
            id="an amount in major units",
        ),
        pytest.param(
            "/v1/checkout/sessions",
            SESSION | {"adaptive_pricing[enabled]": "no"},
            "$.adaptive_pricing.enabled",
            id="a boolean in words",
        ),
        pytest.param(
            "/v1/checkout/sessions",
            SESSION | {"idempotency_key": "k"},
            "$.idempotency_key",
            id="an option of the call among its parameters",
        ),
        pytest.param(
            "/v1/subscriptions/sub_1",
            {"billing_cycle_anchor": "now"},
            "$.billing_cycle_anchor",
            id="billing_cycle_anchor as a string",
        ),
        pytest.param(
            "/v1/subscriptions/sub_1", {"coupon": "x"}, "$.coupon: not in", id="coupon, removed"
        ),
        pytest.param("/v1/payouts", {"amount": "1"}, "$.currency: missing", id="a missing field"),
        pytest.param("/v1/refunds", {"a": "1", "a[b]": "2"}, "a is both", id="a broken form"),
        pytest.param("/v1/tokens_of_love", {}, "no such endpoint", id="a route of nobody"),
        pytest.param("/v1/payment_pages/cs_1/confirm", {}, "no such endpoint", id="the CLI's own"),
    ],
)
def test_requests_stripe_would_not_take_are_refused(path: str, form: Json, about: str) -> None:
    assert refused(contract.check_request("POST", path, urlencode(form)), about)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_answer_of_another_kind_is_refused(method: str) -> None:
    assert contract.check_response(method, "/v1/customers/cus_1", REFUND)


def test_an_answer_of_no_route_is_refused() -> None:
    assert refused(contract.check_response("PUT", "/v1/refunds", REFUND), "no such endpoint")


NAMES = st.sampled_from(["object", "id", "data", "type", "previous_attributes", "url", "charge"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KNOWN_VALUES = st.sampled_from(["event", "list", "charge", "search_result", "charge.updated"])
JUNK = st.recursive(
    SCALARS | KNOWN_VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)


@given(junk=JUNK)
@settings(max_examples=100)
def test_junk_is_refused_and_breaks_nothing(junk: object) -> None:
    assert contract.check_event(junk)
    assert isinstance(contract.check_response("GET", "/v1/refunds", junk), list)
    assert isinstance(contract.check_object(junk), list)


@given(body=st.text(alphabet="ab[]=&%0", max_size=30))
@settings(max_examples=100)
def test_a_junk_form_breaks_nothing(body: str) -> None:
    assert isinstance(contract.check_request("POST", "/v1/refunds", body), list)


# ------------------------------------------------------------------ endpoints and forms


def test_the_sdk_names_more_than_600_routes() -> None:
    assert len(contract.endpoints()) > 600


@pytest.mark.parametrize(
    ("method", "path", "template"),
    [
        ("get", "/v1/charges/ch_1", "/v1/charges/{charge}"),
        ("POST", "/v1/invoices/create_preview", "/v1/invoices/create_preview"),
        ("POST", "/v1/subscriptions/sub_1/pause", "/v1/subscriptions/{subscription}/pause"),
    ],
)
def test_a_path_finds_its_route(method: str, path: str, template: str) -> None:
    endpoint = contract.find_endpoint(method, path)
    assert endpoint is not None
    assert endpoint.template == template


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("", {}),
        ("a=1&b=", {"a": "1", "b": ""}),
        ("a[b][c]=1&a[b][d]=2", {"a": {"b": {"c": "1", "d": "2"}}}),
        ("a[1]=y&a[0]=x", {"a": ["x", "y"]}),
        ("a[]=x&a[]=y", {"a": ["x", "y"]}),
        ("a[0][b]=1&a[1][b]=2", {"a": [{"b": "1"}, {"b": "2"}]}),
        ("a[][b]=1&a[][c]=2&a[][b]=3", {"a": [{"b": "1", "c": "2"}, {"b": "3"}]}),
        ("metadata[2026]=x", {"metadata": {"2026": "x"}}),
        ("metadata[0]=x", {"metadata": {"0": "x"}}),
        ("a[metadata][0]=x", {"a": {"metadata": {"0": "x"}}}),
        (
            "line_items[][price]=p&line_items[][quantity]=2",
            {"line_items": [{"price": "p", "quantity": "2"}]},
        ),
        ("a[7]=x", {"a": ["x"]}),
        (
            "a[][b][c]=1&a[][b][d]=2&a[][b][c]=3",
            {"a": [{"b": {"c": "1", "d": "2"}}, {"b": {"c": "3"}}]},
        ),
        ("a[][b][]=1&a[][b][]=2", {"a": [{"b": ["1", "2"]}]}),
        ("a%5Bb%5D=%C3%A9+e", {"a": {"b": "é e"}}),
    ],
)
def test_a_form_stands_for_an_object(text: str, decoded: Json) -> None:
    assert decode_form(text) == decoded


@pytest.mark.parametrize(
    "text",
    [
        "a=1&a[b]=2",
        "a[b]=1&a=2",
        "a" + "[b]" * 99 + "=1",
        "a[b=1",
        "[b]=1",
        "a[b]c=1",
        "a=%ff",
        "a=%00",
        "&".join(f"a[{n}]=1" for n in range(2001)),
    ],
)
def test_a_form_that_contradicts_itself_is_refused(text: str) -> None:
    with pytest.raises(FormError):
        decode_form(text)
