"""Checkout Sessions: a page, open for a while, on which one donor pays once or subscribes.

A session is open, complete or expired, and lives on the wall clock: people are waiting. What it
will make when it is paid, the intent's and the subscription's own fields, is kept as private facts
until then. The session's metadata stays on the session.
"""

from typing import Final

from payments.sandbox import catalog, currencies, customers, listing, payment_intents
from payments.sandbox import params as read
from payments.sandbox.account import MERCHANT, Account, when_due
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
    account, params = call.account, call.params
    _check_mode(call)
    customer = customers.named(account, params)
    if customer and "customer_email" in params:
        raise invalid("You may only specify one of these parameters: customer, customer_email.")
    items = [_line(account, given, index) for index, given in enumerate(_lines(params))]
    _check_lines(items, params["mode"])
    now = account.clock.wall_stamp()
    expires_at = _expiry(params, now)
    session = account.make("cs_test", KIND, _blank(params), id_length=58)
    total = sum(item["amount_total"] for item in items)
    session |= {
        "amount_subtotal": total,
        "amount_total": total,
        "created": now,
        "currency": items[0]["currency"],
        "customer": customer["id"] if customer else None,
        "expires_at": expires_at,
        "url": url_of(account, session),
    }
    for item in items:
        account.store.add(item)
        account.store.link("item", "session", session["id"], item["id"])
    if customer:
        account.store.link(KIND, "customer", customer["id"], session["id"])
    account.store.private(session["id"]).update(_makes(params))
    account.closings.add(expires_at, "expire_session", session["id"])
    return session


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
    if recovery:
        month = session["expires_at"] + 30 * 86400
        url = f"{account.base_url}/r/{session_id}"
        session["after_expiration"] = {"recovery": {**recovery, "expires_at": month, "url": url}}
    account.emit("checkout.session.expired", session)
    intent = account.store.objects.get(account.store.private(session_id).get("paid_by", ""))
    if intent is not None:
        payment_intents.cancel(account, intent, "automatic")


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
    if mode == "setup":
        raise invalid("The sandbox does not do mode=setup yet.", "mode", "sandbox_unsupported")
    if call.pinned and "payment_method_types" in params:
        raise no_longer_supported()
    if call.pinned and params.get("ui_mode", "hosted_page") != "hosted_page":
        raise invalid("The sandbox only does ui_mode=hosted_page.", "ui_mode")
    if not read.text(params, "success_url"):
        raise missing("success_url")
    _refuse_unsupported(params)
    foreign = {
        "payment": ("subscription_data",),
        "subscription": ("payment_intent_data", "customer_creation", "invoice_creation"),
    }
    for name in foreign[mode]:
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
    if not lines:
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


def _makes(params: Obj) -> Obj:
    """What the session will make once it is paid."""
    intent = read.table(params, "payment_intent_data")
    subscription = read.table(params, "subscription_data")
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
    }


def _after_expiration(params: Obj) -> Obj | None:
    recovery = read.table(read.table(params, "after_expiration"), "recovery")
    if not recovery:
        return None
    return {
        "recovery": {
            "allow_promotion_codes": read.flag(recovery, "allow_promotion_codes"),
            "enabled": read.flag(recovery, "enabled"),
            "expires_at": None,
            "url": None,
        }
    }


def _custom_text(params: Obj) -> Obj:
    given = read.table(params, "custom_text")
    places = ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")
    return {place: read.table(given, place) or None for place in places}


def _blank(params: Obj) -> Obj:
    mode = params["mode"]
    creation = read.text(params, "customer_creation")
    return {
        **dict.fromkeys(_ABSENT),
        "adaptive_pricing": {"enabled": False},
        "after_expiration": _after_expiration(params),
        "allowed_payment_method_types": read.rows(params, "allowed_payment_method_types") or None,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "branding_settings": _branding(params),
        "cancel_url": read.text(params, "cancel_url"),
        "client_reference_id": read.text(params, "client_reference_id"),
        "custom_fields": [],
        "custom_text": _custom_text(params),
        "customer_creation": (creation or "if_required") if mode == "payment" else None,
        "customer_email": read.text(params, "customer_email"),
        "integration_identifier": read.text(params, "integration_identifier"),
        "invoice_creation": _NO_INVOICE if mode == "payment" else None,
        "locale": read.text(params, "locale"),
        "metadata": read.metadata(params),
        "mode": mode,
        "origin_context": read.text(params, "origin_context"),
        "payment_method_collection": "if_required" if mode == "payment" else "always",
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "payment_status": "unpaid",
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "open",
        "submit_type": read.text(params, "submit_type"),
        "success_url": read.text(params, "success_url"),
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "wallet_options": read.table(params, "wallet_options") or None,
    }


def _branding(params: Obj) -> Obj:
    plain = {
        "background_color": "#ffffff",
        "border_style": "rounded",
        "button_color": "#0074d4",
        "display_name": MERCHANT,
        "font_family": "default",
        "icon": None,
        "logo": None,
    }
    return {**plain, **read.table(params, "branding_settings")}


_NO_INVOICE: Final[Obj] = {
    "enabled": False,
    "invoice_data": {
        "account_tax_ids": None,
        "custom_fields": None,
        "description": None,
        "footer": None,
        "issuer": None,
        "metadata": {},
        "rendering_options": None,
    },
}
_NOT_YET: Final = (
    "billing_address_collection", "consent_collection", "custom_fields", "discounts",
    "name_collection", "optional_items", "phone_number_collection", "shipping_address_collection",
    "shipping_options", "tax_id_collection",
)  # fmt: skip
_ABSENT: Final = (
    "allow_promotion_codes", "billing_address_collection", "client_secret",
    "collected_information", "consent", "consent_collection", "currency_conversion", "customer",
    "customer_account", "customer_details", "discounts", "invoice",
    "managed_payments", "payment_intent", "payment_link",
    "payment_method_configuration_details", "permissions", "recovered_from",
    "saved_payment_method_options", "setup_intent", "shipping_address_collection",
    "shipping_cost", "subscription", "url", )  # fmt: skip
