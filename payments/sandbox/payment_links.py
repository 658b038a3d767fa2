"""Payment Links: pages that sell the same prices to whoever opens them.

Each visit opens a Checkout Session of its own, with the link's metadata and `payment_link`. What
the session makes knows nothing of whoever sent the payer there, apart from `client_reference_id`
and `prefilled_email` in the link's query.
"""

from collections.abc import Mapping
from typing import Final

from payments.sandbox import catalog, checkout, checkout_items, listing
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.declared_params import PAGE, within
from payments.sandbox.errors import invalid_request, missing_param
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route

OBJECT_NAME: Final = "payment_link"
MAX_LINE_ITEMS: Final = 20
INACTIVE_TEXT: Final = "This link is no longer active."

_INTENT_TEXTS: Final = ("description", "setup_future_usage", "statement_descriptor_suffix")
_AFTER_COMPLETION: Final = (
    "after_completion.hosted_confirmation.custom_message", "after_completion.redirect.url",
    "after_completion.type",
)  # fmt: skip

add_list_and_retrieve_routes(
    OBJECT_NAME, "/v1/payment_links", {"active": listing.equals("active")}, by_created=False
)


@route(
    "POST",
    "/v1/payment_links",
    reads=(
        *_AFTER_COMPLETION, "customer_creation", "inactive_message", "metadata",
        "restrictions.completed_sessions.limit", "submit_type",
        *within("line_items[]", names=(
            "price", "quantity", *within("price_data", names=catalog.CHECKOUT_PRICE_DATA),
        )),
        *within("payment_intent_data", names=(*_INTENT_TEXTS, "metadata")),
        *within("subscription_data", names=("description", "metadata")),
    ),
)  # fmt: skip
def create(call: Call) -> JsonObject:
    """Create a payment link for one or more prices."""
    account, params = call.account, call.params
    sold = [
        _sold_in(account, item, f"line_items[{index}]")
        for index, item in enumerate(read.array(params, "line_items"))
    ]
    if not sold:
        raise missing_param("line_items")
    if len(sold) > MAX_LINE_ITEMS:
        raise invalid_request(f"At most {MAX_LINE_ITEMS} line items are possible.", "line_items")
    mode = "subscription" if any(price["recurring"] for price, _ in sold) else "payment"
    items = [checkout_items.line_item(account, price, quantity) for price, quantity in sold]
    checkout_items.check_line_items(items, mode)
    link = account.create_object("plink", OBJECT_NAME, _fields(params, items[0]["currency"], mode))
    del link["created"]
    link["url"] = f"{account.base_url}/l/{link['id']}"
    for item in items:
        account.store.add(item)
        account.store.link("item", OBJECT_NAME, link["id"], item["id"])
    account.store.private(link["id"]).update(mode=mode, completed=0)
    account.emit("payment_link.created", link)
    return link


@route(
    "POST",
    "/v1/payment_links/{}",
    reads=(*_AFTER_COMPLETION, "active", "inactive_message", "metadata"),
)
def update(call: Call) -> JsonObject:
    """Update a link's metadata or texts, or deactivate it; its line items stay."""
    link, params = call.get_object(OBJECT_NAME), call.params
    changes: JsonObject = {"metadata": read.merge_metadata(link["metadata"], params)}
    if "active" in params:
        changes["active"] = read.flag(params, "active")
    if "inactive_message" in params:
        changes["inactive_message"] = read.text(params, "inactive_message")
    if "after_completion" in params:
        changes["after_completion"] = _after_completion(params)
    call.account.update_and_emit(link, "payment_link.updated", **changes)
    return link


@route("GET", "/v1/payment_links/{}/line_items", reads=PAGE)
def list_line_items(call: Call) -> JsonObject:
    """List what a link sells."""
    ids = call.account.store.linked("item", OBJECT_NAME, call.get_object(OBJECT_NAME)["id"])
    rows = list(call.account.store.existing(ids))
    return listing.page_of_rows(rows, call.path, call.params)


def open_session(account: StripeAccount, link: JsonObject, query: Mapping[str, str]) -> JsonObject:
    """Open a Checkout Session for a visitor of an active link."""
    store = account.store
    items = [store.objects[i] for i in store.linked("item", OBJECT_NAME, link["id"])]
    redirect = link["after_completion"]["redirect"]
    params: JsonObject = {
        "mode": store.private(link["id"])["mode"],
        "line_items": [
            {"price": item["price"]["id"], "quantity": str(item["quantity"])} for item in items
        ],
        "metadata": dict(link["metadata"]),
        "submit_type": link["submit_type"],
        "payment_intent_data": link["payment_intent_data"] or {},
        "subscription_data": _subscription_data(link),
        "success_url": redirect["url"] if redirect else None,
        "client_reference_id": query.get("client_reference_id"),
        "customer_email": query.get("prefilled_email"),
        "customer_creation": link["customer_creation"],
    }
    params = {name: value for name, value in params.items() if value not in (None, {})}
    session = checkout.open_session(account, params, only_active=False)
    session["payment_link"] = link["id"]
    store.link(checkout.OBJECT_NAME, OBJECT_NAME, link["id"], session["id"])
    return session


@when_due("count_completed_session")
def count_completed_session(account: StripeAccount, link_id: str) -> None:
    """Count a completed session, and deactivate a link whose limit is reached."""
    link = account.store.objects[link_id]
    restrictions = link["restrictions"]
    if restrictions is None:
        return
    limit = restrictions["completed_sessions"]["limit"]
    count = restrictions["completed_sessions"]["count"] + 1
    fields = {
        "active": link["active"] and count < limit,
        "restrictions": {"completed_sessions": {"count": count, "limit": limit}},
    }
    account.update_and_emit(link, "payment_link.updated", **fields)


def _sold_in(account: StripeAccount, params: JsonObject, param: str) -> tuple[JsonObject, int]:
    quantity = read.positive_integer(params, "quantity", param=f"{param}[quantity]")
    if quantity is None:
        raise missing_param(f"{param}[quantity]")
    return catalog.price_in(account, params, param), quantity


def _subscription_data(link: JsonObject) -> JsonObject:
    data = link["subscription_data"]
    return {} if data is None else {n: data[n] for n in ("description", "metadata") if data[n]}


def _fields(params: JsonObject, currency: str, mode: str) -> JsonObject:
    creation = read.one_of(params, "customer_creation", ("always", "if_required"), "if_required")
    kinds = ("auto", "book", "donate", "pay", "subscribe")
    return {
        **dict.fromkeys(_NULL_FIELDS),
        "active": True,
        "after_completion": _after_completion(params),
        "allow_promotion_codes": False,
        "automatic_tax": {"enabled": False, "liability": None},
        "billing_address_collection": "auto",
        "currency": currency,
        "custom_fields": [],
        "custom_text": dict.fromkeys(
            ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")
        ),
        "customer_creation": "always" if mode == "subscription" else creation,
        "inactive_message": read.text(params, "inactive_message"),
        "metadata": read.metadata(params),
        "payment_intent_data": _payment_intent_data(params) if mode == "payment" else None,
        "payment_method_collection": "always",
        "phone_number_collection": {"enabled": False},
        "restrictions": _restrictions(params),
        "shipping_options": [],
        "submit_type": read.one_of(params, "submit_type", kinds, "auto"),
        "subscription_data": _subscription_data_in(params) if mode == "subscription" else None,
        "tax_id_collection": {"enabled": False, "required": "never"},
    }


def _after_completion(params: JsonObject) -> JsonObject:
    after = read.nested_object(params, "after_completion")
    kind = read.one_of(after, "type", ("hosted_confirmation", "redirect"), "hosted_confirmation")
    if kind == "redirect":
        redirect, param = read.nested_object(after, "redirect"), "after_completion[redirect][url]"
        url = read.web_address(redirect, "url", param=param)
        if url is None:
            raise missing_param(param)
        return {"hosted_confirmation": None, "redirect": {"url": url}, "type": kind}
    message = read.text(read.nested_object(after, "hosted_confirmation"), "custom_message")
    return {"hosted_confirmation": {"custom_message": message}, "redirect": None, "type": kind}


def _payment_intent_data(params: JsonObject) -> JsonObject | None:
    data = read.nested_object(params, "payment_intent_data")
    if not data:
        return None
    nulls = dict.fromkeys(("capture_method", "statement_descriptor", "transfer_group"))
    return {
        **nulls,
        **{n: read.text(data, n) for n in _INTENT_TEXTS},
        "metadata": read.metadata(data),
    }


def _subscription_data_in(params: JsonObject) -> JsonObject | None:
    data = read.nested_object(params, "subscription_data")
    if not data:
        return None
    return {
        "description": read.text(data, "description"),
        "invoice_settings": {"issuer": {"type": "self"}},
        "metadata": read.metadata(data),
        "trial_period_days": None,
        "trial_settings": None,
    }


def _restrictions(params: JsonObject) -> JsonObject | None:
    sessions = read.nested_object(read.nested_object(params, "restrictions"), "completed_sessions")
    if not sessions:
        return None
    return {"completed_sessions": {"count": 0, "limit": read.required_integer(sessions, "limit")}}


_NULL_FIELDS: Final = (
    "application", "application_fee_amount", "application_fee_percent", "consent_collection",
    "invoice_creation", "managed_payments", "on_behalf_of", "optional_items",
    "payment_method_options", "payment_method_types", "shipping_address_collection",
    "transfer_data",
)  # fmt: skip
