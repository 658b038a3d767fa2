"""Customers: who pays, and the card that later charges are made to."""

from payments.sandbox import listing, payment_methods
from payments.sandbox import params as read
from payments.sandbox.account import Account
from payments.sandbox.errors import invalid, not_found
from payments.sandbox.routes import Call, resource, route
from payments.sandbox.wire import Obj

resource("customer", "/v1/customers", {"email": listing.same("email")})


@route("GET", "/v1/customers/{}")
def retrieve(call: Call) -> Obj:
    """A customer, or the word that it was deleted."""
    row = call.account.store.objects.get(call.id, {"object": None})
    if row["object"] != "customer":
        raise not_found("customer", call.id)
    return row


@route("POST", "/v1/customers")
def create(call: Call) -> Obj:
    account, params = call.account, call.params
    customer = make(account, email=read.text(params, "email"), name=read.text(params, "name"))
    _set(customer, params)
    account.emit("customer.created", customer)
    card = read.text(params, "payment_method")
    if card:
        method = payment_methods.resolve(account, card)
        payment_methods.attach(account, method, customer)
        # `pm_card_visa` named twice in one request is one card.
        params = _renamed(params, card, method["id"])
    default = _default_card(account, customer, params)
    if default:
        settings = {**customer["invoice_settings"], "default_payment_method": default}
        account.update(customer, "customer.updated", invoice_settings=settings)
    return customer


def make(account: Account, *, email: str | None, name: str | None) -> Obj:
    """A new customer, not yet told of."""
    return account.make(
        "cus",
        "customer",
        {
            "address": None,
            "balance": 0,
            "currency": None,
            "default_source": None,
            "delinquent": False,
            "description": None,
            "discount": None,
            "email": email,
            "invoice_prefix": account.store.mint("x", 8)[2:].upper(),
            "invoice_settings": {
                "custom_fields": None,
                "default_payment_method": None,
                "footer": None,
                "rendering_options": None,
            },
            "metadata": {},
            "name": name,
            "next_invoice_sequence": 1,
            "phone": None,
            "preferred_locales": [],
            "shipping": None,
            "tax_exempt": "none",
            "test_clock": None,
        },
        id_length=14,
    )


@route("POST", "/v1/customers/{}")
def update(call: Call) -> Obj:
    customer = call.subject("customer")
    changed = dict(customer)
    _set(changed, call.params)
    default = _default_card(call.account, customer, call.params)
    if default is not None:
        settings = {**customer["invoice_settings"], "default_payment_method": default or None}
        changed["invoice_settings"] = settings
    call.account.update(customer, "customer.updated", **changed)
    return customer


def named(account: Account, params: Obj) -> Obj | None:
    """The customer a request's `customer` names."""
    customer_id = read.text(params, "customer")
    if customer_id is None:
        return None
    customer = account.store.find("customer", customer_id)
    if customer is None:
        raise not_found("customer", customer_id, "customer")
    return customer


def _set(customer: Obj, params: Obj) -> None:
    for name in ("email", "name", "phone", "description"):
        if name in params:
            customer[name] = read.text(params, name)
    if "address" in params:
        customer["address"] = read.address(params) if params["address"] else None
    if "preferred_locales" in params:
        customer["preferred_locales"] = read.rows(params, "preferred_locales")
    if "shipping" in params:
        shipping = read.table(params, "shipping")
        customer["shipping"] = {**shipping, "address": read.address(shipping)} if shipping else None
    customer["metadata"] = read.merge_metadata(customer["metadata"], params)


def _default_card(account: Account, customer: Obj, params: Obj) -> str | None:
    """The default payment method asked for: None when not mentioned, "" to unset."""
    settings = read.table(params, "invoice_settings")
    if "default_payment_method" not in settings:
        return None
    wanted = read.text(settings, "default_payment_method")
    if wanted is None:
        return ""
    param = "invoice_settings[default_payment_method]"
    method = payment_methods.resolve(account, wanted, param=param)
    if method["customer"] != customer["id"]:
        message = "The customer does not have a payment method with the ID " + method["id"]
        raise invalid(message, param, "resource_missing")
    return str(method["id"])


def _renamed(params: Obj, name: str, method_id: str) -> Obj:
    settings = read.table(params, "invoice_settings")
    if settings.get("default_payment_method") != name:
        return params
    return {**params, "invoice_settings": {**settings, "default_payment_method": method_id}}
