"""Checkout Sessions: hosted pages on which one person pays, subscribes or saves a card.

A session is open, complete or expired. It expires on the wall clock, because people are waiting.
The fields of the intent and subscription that it creates when paid are private facts until then.
The session's metadata stays on the session.
"""

from typing import Final

from payments.sandbox import (
    catalog,
    checkout_defaults,
    checkout_items,
    customers,
    listing,
    payment_intents,
    payment_method_params,
    payment_methods,
    setup_intents,
)
from payments.sandbox import request_params as read
from payments.sandbox.account import TASK_HANDLERS, StripeAccount, when_due
from payments.sandbox.account_settings import merchant_name
from payments.sandbox.declared_params import PAGE, within
from payments.sandbox.errors import invalid_request, missing_param, unsupported
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route

OBJECT_NAME: Final = "checkout.session"
MIN_OPEN_SECONDS: Final = 30 * 60
MAX_OPEN_SECONDS: Final = 24 * 60 * 60
_INTENT_TEXTS: Final = (
    "description", "receipt_email", "setup_future_usage", "statement_descriptor_suffix"
)  # fmt: skip
RECOVERY_SECONDS: Final = 30 * 24 * 60 * 60  # how long a recovery link works

add_list_and_retrieve_routes(
    OBJECT_NAME,
    "/v1/checkout/sessions",
    {
        "customer": listing.equals("customer"),
        "payment_intent": listing.equals("payment_intent"),
        "payment_link": listing.equals("payment_link"),
        "status": listing.equals("status"),
        "subscription": listing.equals("subscription"),
        "customer_details.email": lambda row, email: (
            (row["customer_details"] or {}).get("email") == email
        ),
    },
)


@route(
    "POST",
    "/v1/checkout/sessions",
    reads=(
        *checkout_defaults.PARAMS, "adaptive_pricing.enabled", "automatic_tax.enabled",
        "currency", "customer", "expires_at", "invoice_creation.enabled", "mode",
        "payment_method_types[]",
        *within("line_items[]", names=(
            "price", "quantity", *within("price_data", names=catalog.CHECKOUT_PRICE_DATA),
        )),
        *within("payment_intent_data", names=(
            *_INTENT_TEXTS, "metadata", *payment_intents.SHIPPING,
        )),
        *within("setup_intent_data", "subscription_data", names=("description", "metadata")),
    ),
)  # fmt: skip
def create(call: Call) -> JsonObject:
    """Create a session; in setup mode, a setup intent too."""
    _check_mode(call)
    return open_session(call.account, call.params)


def open_session(
    account: StripeAccount,
    params: JsonObject,
    *,
    recovered_from: str | None = None,
    only_active: bool = True,
) -> JsonObject:
    """Create an open session from the parameters of a request.

    `recovered_from` is the id of the expired session that it replaces; `only_active` refuses
    prices that are no longer sold.
    """
    customer = customers.customer_in(account, params)
    if customer and "customer_email" in params:
        raise invalid_request(
            "You may only specify one of these parameters: customer, customer_email."
        )
    items = checkout_items.items_in(account, params, only_active=only_active)
    now = account.clock.wall_timestamp()
    expires_at = _expires_at(params, now)
    fields = checkout_defaults.default_fields(params, merchant_name(account))
    session = account.create_object("cs_test", OBJECT_NAME, fields, id_length=58)
    total = sum(item["amount_total"] for item in items) if items else None
    currency = items[0]["currency"] if items else read.text(params, "currency")
    session |= {
        "amount_subtotal": total,
        "amount_total": total,
        "created": now,
        "currency": currency,
        "customer": customer["id"] if customer else None,
        "expires_at": expires_at,
        "payment_method_types": _payment_method_types(params, session, currency),
        "recovered_from": recovered_from,
        "url": url_of(account, session),
    }
    for item in items:
        account.store.add(item)
        account.store.link("item", "session", session["id"], item["id"])
    if customer:
        account.store.link(OBJECT_NAME, "customer", customer["id"], session["id"])
    account.store.private(session["id"]).update(_planned_objects(params), params=params)
    if session["mode"] == "setup":
        _create_setup_intent(account, session)
    account.wall_tasks.add(expires_at, "expire_session", session["id"])
    return session


def recover(account: StripeAccount, session_id: str) -> JsonObject | None:
    """Open a session with the parameters of an expired one. Returns None without a valid link."""
    expired = account.store.get(OBJECT_NAME, session_id)
    recovery = ((expired and expired["after_expiration"]) or {}).get("recovery") or {}
    if expired is None or recovery.get("url") is None:
        return None
    if recovery["expires_at"] <= account.clock.wall_timestamp():
        return None
    params = account.store.private(session_id)["params"]
    params = {name: value for name, value in params.items() if name != "expires_at"}
    return open_session(account, params, recovered_from=session_id, only_active=False)


@route("POST", "/v1/checkout/sessions/{}", reads=("metadata",))
def update(call: Call) -> JsonObject:
    """Update a session's metadata."""
    session = call.get_object(OBJECT_NAME)
    session["metadata"] = read.merge_metadata(session["metadata"], call.params)
    return session


@route("POST", "/v1/checkout/sessions/{}/expire")
def expire_endpoint(call: Call) -> JsonObject:
    """Expire an open session."""
    session = call.get_object(OBJECT_NAME)
    if session["status"] != "open":
        message = "Only Checkout Sessions with a status in [open] can be expired. This Checkout "
        raise invalid_request(message + f"Session has a status of {session['status']}.")
    expire(call.account, session["id"])
    return session


@route("GET", "/v1/checkout/sessions/{}/line_items", reads=PAGE)
def list_line_items(call: Call) -> JsonObject:
    """List a session's line items."""
    rows = line_items_of(call.account, call.get_object(OBJECT_NAME))
    return listing.page_of_rows(rows, call.path, call.params)


@when_due("expire_session")
def expire(account: StripeAccount, session_id: str) -> None:
    """Expire an open session and cancel its intent; do nothing to any other session."""
    session = account.store.objects[session_id]
    if session["status"] != "open":
        return
    session["status"] = "expired"
    session["url"] = None
    recovery = (session["after_expiration"] or {}).get("recovery")
    if recovery and recovery["enabled"]:
        recovery_expires_at = session["expires_at"] + RECOVERY_SECONDS
        url = f"{account.base_url}/r/{session_id}"
        session["after_expiration"] = {
            "recovery": {**recovery, "expires_at": recovery_expires_at, "url": url}
        }
    account.emit("checkout.session.expired", session)
    intent = account.store.objects.get(account.store.private(session_id).get("paying_intent", ""))
    if intent is not None:
        payment_intents.cancel(account, intent, "automatic")
    if session["setup_intent"]:
        setup_intents.cancel(account, account.store.objects[session["setup_intent"]], "abandoned")


def complete(
    account: StripeAccount, session: JsonObject, customer: JsonObject | None, payment_status: str
) -> None:
    """Complete a session and emit the event. While a debit is pending it is `unpaid`."""
    payer = account.store.private(session["id"])["payer"]
    account.set_fields(
        session,
        customer=customer["id"] if customer else None,
        customer_details={
            "address": dict(read.EMPTY_ADDRESS),
            "business_name": None,
            "email": payer["email"],
            "individual_name": None,
            "name": payer["name"],
            "phone": None,
            "tax_exempt": "none",
            "tax_ids": [],
        },
        payment_status=payment_status,
        status="complete",
        url=None,
    )
    if customer:
        account.store.link(OBJECT_NAME, "customer", customer["id"], session["id"])
    account.emit("checkout.session.completed", session)
    if session["payment_link"]:
        TASK_HANDLERS["count_completed_session"](account, session["payment_link"])


def set_custom_amount(account: StripeAccount, session: JsonObject, amount: int) -> None:
    """Set what the payer has chosen to pay, in minor units, of the session's one line item."""
    for row in (session, *line_items_of(account, session)):
        row["amount_subtotal"] = row["amount_total"] = amount
    intent = account.store.objects.get(
        account.store.private(session["id"]).get("paying_intent", "")
    )
    if intent is not None:
        intent["amount"] = amount


def line_items_of(account: StripeAccount, session: JsonObject) -> list[JsonObject]:
    """Return a session's line items in their order."""
    ids = account.store.linked("item", "session", session["id"])
    return [account.store.objects[i] for i in ids]


def url_of(account: StripeAccount, session: JsonObject) -> str:
    """Return the address of a session's hosted page."""
    return f"{account.base_url}/c/pay/{session['id']}"


def _check_mode(call: Call) -> None:
    params = call.params
    mode = read.one_of(params, "mode", ("payment", "setup", "subscription"), None)
    if mode is None:
        raise missing_param("mode")
    if mode == "setup" and not params.keys() & {"currency", "allowed_payment_method_types"}:
        raise missing_param("currency")
    read.supported(params, "ui_mode", ("hosted_page", "hosted"))  # `hosted` before dahlia
    if not read.web_address(params, "success_url"):
        raise missing_param("success_url")
    read.web_address(params, "cancel_url")
    _refuse_unsupported(params)
    for name in _PARAMS_OF_OTHER_MODES[mode]:
        if name in params:
            raise invalid_request(f"You can not pass `{name}` in `{mode}` mode.", name)
    read.limited_text(params, "client_reference_id", 200)
    if "customer_creation" in params and "customer" in params:
        message = "You may only specify one of these parameters: customer, customer_creation."
        raise invalid_request(message, "customer_creation")


def _refuse_unsupported(params: JsonObject) -> None:
    for name in ("adaptive_pricing", "automatic_tax", "invoice_creation"):
        if read.flag(read.nested_object(params, name), "enabled"):
            raise unsupported(f"{name}[enabled]=true")


def _expires_at(params: JsonObject, now: int) -> int:
    expires_at = read.integer(params, "expires_at")
    if expires_at is None:
        return now + MAX_OPEN_SECONDS
    if not now + MIN_OPEN_SECONDS <= expires_at <= now + MAX_OPEN_SECONDS:
        message = "The `expires_at` timestamp must be between 30 minutes and 24 hours from "
        raise invalid_request(message + "Checkout Session creation.", "expires_at")
    return expires_at


def _payment_method_types(
    params: JsonObject, session: JsonObject, currency: str | None
) -> list[str]:
    """Return `card`, and for euros `sepa_debit`, of which the session may allow only some."""
    if "payment_method_types" in params:
        return payment_method_params.types_in(params)
    types, allowed = payment_methods.types_for(currency), session["allowed_payment_method_types"]
    offered = [name for name in types if allowed is None or name in allowed]
    if not offered:
        raise unsupported(f"allowed_payment_method_types={','.join(allowed)}")
    return offered


def _create_setup_intent(account: StripeAccount, session: JsonObject) -> None:
    fields = {
        **account.store.private(session["id"])["setup"],
        "customer": session["customer"],
        "payment_method_types": ["card"],
    }
    intent = setup_intents.make(account, fields)
    session["setup_intent"] = intent["id"]
    account.store.private(intent["id"])["session"] = session["id"]


def _planned_objects(params: JsonObject) -> JsonObject:
    """Return the fields of the objects that the session creates when it is paid."""
    intent = read.nested_object(params, "payment_intent_data")
    subscription = read.nested_object(params, "subscription_data")
    setup = read.nested_object(params, "setup_intent_data")
    return {
        "intent": {
            **payment_intents.texts_in(intent, "payment_intent_data"),
            "setup_future_usage": read.text(intent, "setup_future_usage"),
            "metadata": read.metadata(intent),
            "shipping": payment_intents.shipping_in(intent),
        },
        "subscription": {
            "description": read.text(subscription, "description"),
            "metadata": read.metadata(subscription),
        },
        "setup": {
            "description": read.text(setup, "description"),
            "metadata": read.metadata(setup),
        },
    }


_PARAMS_OF_OTHER_MODES: Final = {
    "payment": ("subscription_data", "setup_intent_data"),
    "setup": ("line_items", "payment_intent_data", "subscription_data", "invoice_creation"),
    "subscription": (
        "payment_intent_data", "customer_creation", "invoice_creation", "setup_intent_data",
    ),
}  # fmt: skip
