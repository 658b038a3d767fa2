"""Checkout Sessions: a page, open for a while, where one donor pays, subscribes or saves a card.

A session is open, complete or expired, and lives on the wall clock: people are waiting. What it
will make when it is paid, the intent's and the subscription's own fields, is kept as private facts
until then. The session's metadata stays on the session.
"""

from typing import Final

from payments.sandbox import (
    catalog,
    checkout_blank,
    currencies,
    customers,
    debits,
    listing,
    payment_intents,
    setup_intents,
)
from payments.sandbox import params as read
from payments.sandbox.account import Account, when_due
from payments.sandbox.errors import invalid, missing, not_found
from payments.sandbox.payment_intents import no_longer_supported
from payments.sandbox.routes import Call, resource, route
from payments.sandbox.wire import Obj, Value

KIND: Final = "checkout.session"
SHORTEST: Final = 30 * 60
LONGEST: Final = 24 * 60 * 60

resource(
    KIND,
    "/v1/checkout/sessions",
    {
        "customer": listing.same("customer"),
        "setup_intent": listing.same("setup_intent"),
        "payment_intent": listing.same("payment_intent"),
        "status": listing.same("status"),
        "subscription": listing.same("subscription"),
        "customer_details": lambda row, wanted: (
            (row["customer_details"] or {}).get("email") == wanted.get("email")
        ),
    },
)


@route("POST", "/v1/checkout/sessions")
def create(call: Call) -> Obj:
    _check_mode(call)
    return begin(call.account, call.params)


def begin(account: Account, params: Obj, *, recovered_from: str | None = None) -> Obj:
    """Open a page; the same parameters open another when it has expired."""
    customer = customers.named(account, params)
    if customer and "customer_email" in params:
        raise invalid("You may only specify one of these parameters: customer, customer_email.")
    items = [_line(account, given, index) for index, given in enumerate(_lines(params))]
    if items:
        _check_lines(items, params["mode"])
    now = account.clock.wall_stamp()
    expires_at = _expiry(params, now)
    session = account.make("cs_test", KIND, checkout_blank.blank(params), id_length=58)
    total = sum(item["amount_total"] for item in items) if items else None
    currency = items[0]["currency"] if items else read.text(params, "currency")
    session |= {
        "amount_subtotal": total,
        "amount_total": total,
        "created": now,
        "currency": currency,
        "customer": customer["id"] if customer else None,
        "expires_at": expires_at,
        "payment_method_types": _kinds(session, currency),
        "recovered_from": recovered_from,
        "url": url_of(account, session),
    }
    for item in items:
        account.store.add(item)
        account.store.link("item", "session", session["id"], item["id"])
    if customer:
        account.store.link(KIND, "customer", customer["id"], session["id"])
    account.store.private(session["id"]).update(_makes(params), params=params)
    if session["mode"] == "setup":
        _prepare_setup(account, session)
    account.closings.add(expires_at, "expire_session", session["id"])
    return session


def recover(account: Account, session_id: str) -> Obj | None:
    """The page a recovery link leads to: the expired one again; None when it leads nowhere."""
    old = account.store.find(KIND, session_id)
    recovery = ((old and old["after_expiration"]) or {}).get("recovery") or {}
    if old is None or recovery.get("url") is None:
        return None
    if recovery["expires_at"] <= account.clock.wall_stamp():
        return None
    params = account.store.private(session_id)["params"]
    again = {name: value for name, value in params.items() if name != "expires_at"}
    return begin(account, again, recovered_from=session_id)


@route("POST", "/v1/checkout/sessions/{}")
def update(call: Call) -> Obj:
    session = call.subject(KIND)
    session["metadata"] = read.merge_metadata(session["metadata"], call.params)
    return session


@route("POST", "/v1/checkout/sessions/{}/expire")
def expire_verb(call: Call) -> Obj:
    session = call.subject(KIND)
    if session["status"] != "open":
        message = "Only Checkout Sessions with a status in [open] can be expired. This Checkout "
        raise invalid(message + f"Session has a status of {session['status']}.")
    expire(call.account, session["id"])
    return session


@route("GET", "/v1/checkout/sessions/{}/line_items")
def line_items(call: Call) -> Obj:
    params = {**call.params, "session": call.subject(KIND)["id"]}
    filters: listing.Filters = {"session": lambda row, wanted: True}  # noqa: ARG005 - linked
    return listing.page(call.account.store, "item", call.path, params, filters)


@when_due("expire_session")
def expire(account: Account, session_id: str) -> None:
    """Close a page that nobody paid on."""
    session = account.store.objects[session_id]
    if session["status"] != "open":
        return
    session["status"] = "expired"
    session["url"] = None
    recovery = (session["after_expiration"] or {}).get("recovery")
    if recovery and recovery["enabled"]:
        month = session["expires_at"] + 30 * 86400
        url = f"{account.base_url}/r/{session_id}"
        session["after_expiration"] = {"recovery": {**recovery, "expires_at": month, "url": url}}
    account.emit("checkout.session.expired", session)
    intent = account.store.objects.get(account.store.private(session_id).get("paid_by", ""))
    if intent is not None:
        payment_intents.cancel(account, intent, "automatic")
    if session["setup_intent"]:
        setup_intents.cancel(account, account.store.objects[session["setup_intent"]], "abandoned")


def finish(account: Account, session: Obj, customer: Obj | None, payment_status: str) -> None:
    """The page has done what it was for; what was owed may still be under way."""
    payer = account.store.private(session["id"])["payer"]
    account.change(
        session,
        customer=customer["id"] if customer else None,
        customer_details={
            "address": dict(read.NOWHERE),
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
        account.store.link(KIND, "customer", customer["id"], session["id"])
    account.emit("checkout.session.completed", session)


def items_of(account: Account, session: Obj) -> list[Obj]:
    """What is being paid for."""
    ids = account.store.linked("item", "session", session["id"])
    return [account.store.objects[i] for i in ids]


def url_of(account: Account, session: Obj) -> str:
    """Where the hosted page is."""
    return f"{account.base_url}/c/pay/{session['id']}"


def _check_mode(call: Call) -> None:
    params = call.params
    mode = read.one_of(params, "mode", ("payment", "setup", "subscription"), None)
    if mode is None:
        raise missing("mode")
    if mode == "setup" and not params.keys() & {"currency", "allowed_payment_method_types"}:
        raise missing("currency")
    if call.pinned and "payment_method_types" in params:
        raise no_longer_supported()
    if call.pinned and params.get("ui_mode", "hosted_page") != "hosted_page":
        raise invalid("The sandbox only does ui_mode=hosted_page.", "ui_mode")
    if not read.text(params, "success_url"):
        raise missing("success_url")
    _refuse_unsupported(params)
    for name in _FOREIGN[mode]:
        if name in params:
            raise invalid(f"You can not pass `{name}` in `{mode}` mode.", name)
    if len(read.text(params, "client_reference_id") or "") > 200:
        raise invalid("client_reference_id must be at most 200 characters.", "client_reference_id")


def _refuse_unsupported(params: Obj) -> None:
    read.refuse(params, *_NOT_YET)
    for name in ("adaptive_pricing", "automatic_tax", "invoice_creation"):
        if read.flag(read.table(params, name), "enabled"):
            raise invalid(f"The sandbox does not do {name} yet.", name, "sandbox_unsupported")


def _lines(params: Obj) -> list[Value]:
    lines = read.rows(params, "line_items")
    if not lines and params["mode"] != "setup":
        raise missing("line_items")
    return lines


def _line(account: Account, given: Obj, index: int) -> Obj:
    param = f"line_items[{index}]"
    quantity = read.integer(given, "quantity")
    if quantity is None:
        raise missing(f"{param}[quantity]")
    if quantity < 1:
        raise invalid("Invalid positive integer", f"{param}[quantity]")
    data = read.table(given, "price_data")
    if data:
        price = catalog.make_price(account, data, param=f"{param}[price_data]")
    else:
        price_id = read.required(given, "price")
        found = account.store.find("price", price_id)
        if found is None:
            raise not_found("price", price_id, f"{param}[price]")
        price = found
    total = price["unit_amount"] * quantity
    return {
        "id": account.store.mint("li"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": total,
        "amount_tax": 0,
        "amount_total": total,
        "currency": price["currency"],
        "description": account.store.objects[price["product"]]["name"],
        "metadata": {},
        "price": dict(price),
        "quantity": quantity,
    }


def _check_lines(items: list[Obj], mode: str) -> None:
    recurring = [item for item in items if item["price"]["recurring"]]
    if mode == "payment" and recurring:
        message = "You specified `payment` mode but passed a recurring price."
        raise invalid(
            message + " Either switch to `subscription` mode or use only one-time prices."
        )
    if mode == "subscription" and len(recurring) != 1:
        message = "You must provide one recurring price in `subscription` mode."
        raise invalid(message, "line_items[0][price_data][recurring]")
    if len(items) > 1 and mode == "subscription":
        raise invalid("The sandbox subscribes to one thing at a time.", "line_items")
    if len({item["currency"] for item in items}) > 1:
        raise invalid("All line items must have the same currency.", "line_items")
    total, currency = sum(item["amount_total"] for item in items), items[0]["currency"]
    if total < currencies.least(currency):
        least = currencies.least(currency)
        message = "The Checkout Session's total amount due must add up to at least "
        raise invalid(f"{message}{least} ({currency}).", code="amount_too_small")
    catalog.check_amount(total, currency, "line_items")


def _expiry(params: Obj, now: int) -> int:
    expires_at = read.integer(params, "expires_at")
    if expires_at is None:
        return now + LONGEST
    if not now + SHORTEST <= expires_at <= now + LONGEST:
        message = "The `expires_at` timestamp must be between 30 minutes and 24 hours from "
        raise invalid(message + "Checkout Session creation.", "expires_at")
    return expires_at


def _kinds(session: Obj, currency: str | None) -> list[str]:
    """How this page can be paid: by card, and in euros by debit, unless the shop says otherwise."""
    kinds = ["card", "sepa_debit"] if currency == debits.CURRENCY else ["card"]
    allowed = session["allowed_payment_method_types"]
    return [kind for kind in kinds if allowed is None or kind in allowed] or ["card"]


def _prepare_setup(account: Account, session: Obj) -> None:
    wanted = account.store.private(session["id"])["setup"]
    fields = {**wanted, "customer": session["customer"]}
    intent = setup_intents.make(account, {**fields, "payment_method_types": ["card"]})
    session["setup_intent"] = intent["id"]
    account.store.private(intent["id"])["session"] = session["id"]


def _makes(params: Obj) -> Obj:
    """What the session will make once it is paid."""
    intent = read.table(params, "payment_intent_data")
    subscription = read.table(params, "subscription_data")
    setup = read.table(params, "setup_intent_data")
    read.refuse(setup, "on_behalf_of")
    read.refuse(subscription, "trial_end", "trial_period_days", "billing_cycle_anchor")
    read.refuse(intent, "transfer_data", "application_fee_amount", "on_behalf_of")
    shown = ("description", "receipt_email", "setup_future_usage", "statement_descriptor_suffix")
    return {
        "intent": {
            **{name: read.text(intent, name) for name in shown},
            "metadata": read.metadata(intent),
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


_FOREIGN: Final = {
    "payment": ("subscription_data", "setup_intent_data"),
    "setup": ("line_items", "payment_intent_data", "subscription_data", "invoice_creation"),
    "subscription": (
        "payment_intent_data", "customer_creation", "invoice_creation", "setup_intent_data",
    ),
}  # fmt: skip
_NOT_YET: Final = (
    "billing_address_collection", "consent_collection", "custom_fields", "discounts",
    "name_collection", "optional_items", "phone_number_collection", "shipping_address_collection",
    "shipping_options", "tax_id_collection",
)  # fmt: skip
