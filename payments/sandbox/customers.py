"""Customers: who pays, and the card that later charges are made to."""

from payments.sandbox import listing, payment_methods
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.errors import invalid_request, not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route

add_list_and_retrieve_routes("customer", "/v1/customers", {"email": listing.equals("email")})


@route("GET", "/v1/customers/{}")
def retrieve(call: Call) -> JsonObject:
    """A customer, or the word that it was deleted."""
    row = call.account.store.objects.get(call.id, {"object": None})
    if row["object"] != "customer":
        raise not_found("customer", call.id)
    return row


@route("POST", "/v1/customers")
def create(call: Call) -> JsonObject:
    account, params = call.account, call.params
    customer = make(account, email=read.text(params, "email"), name=read.text(params, "name"))
    _apply_params(customer, params)
    account.emit("customer.created", customer)
    card = read.text(params, "payment_method")
    if card:
        method = payment_methods.find_or_create(account, card)
        payment_methods.attach(account, method, customer)
        # `pm_card_visa` named twice in one request is one card.
        params = _with_resolved_default(params, card, method["id"])
    default = _default_payment_method_in(account, customer, params)
    if default:
        settings = {**customer["invoice_settings"], "default_payment_method": default}
        account.update_and_emit(customer, "customer.updated", invoice_settings=settings)
    return customer


def make(account: StripeAccount, *, email: str | None, name: str | None) -> JsonObject:
    """A new customer, not yet told of."""
    return account.create_object(
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
            "invoice_prefix": account.store.new_id("x", 8)[2:].upper(),
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
def update(call: Call) -> JsonObject:
    customer = call.get_object("customer")
    changed = dict(customer)
    _apply_params(changed, call.params)
    default = _default_payment_method_in(call.account, customer, call.params)
    if default is not None:
        settings = {**customer["invoice_settings"], "default_payment_method": default or None}
        changed["invoice_settings"] = settings
    call.account.update_and_emit(customer, "customer.updated", **changed)
    return customer


def customer_in(account: StripeAccount, params: JsonObject) -> JsonObject | None:
    """The customer a request's `customer` names."""
    customer_id = read.text(params, "customer")
    if customer_id is None:
        return None
    customer = account.store.get("customer", customer_id)
    if customer is None:
        raise not_found("customer", customer_id, "customer")
    return customer


def _apply_params(customer: JsonObject, params: JsonObject) -> None:
    for name in ("email", "name", "phone", "description"):
        if name in params:
            customer[name] = read.text(params, name)
    if "address" in params:
        customer["address"] = read.address(params) if params["address"] else None
    if "preferred_locales" in params:
        customer["preferred_locales"] = read.array(params, "preferred_locales")
    if "shipping" in params:
        shipping = read.nested_object(params, "shipping")
        customer["shipping"] = {**shipping, "address": read.address(shipping)} if shipping else None
    customer["metadata"] = read.merge_metadata(customer["metadata"], params)


def _default_payment_method_in(
    account: StripeAccount, customer: JsonObject, params: JsonObject
) -> str | None:
    """The default payment method asked for: None when not mentioned, "" to unset."""
    settings = read.nested_object(params, "invoice_settings")
    if "default_payment_method" not in settings:
        return None
    wanted = read.text(settings, "default_payment_method")
    if wanted is None:
        return ""
    param = "invoice_settings[default_payment_method]"
    method = payment_methods.find_or_create(account, wanted, param=param)
    if method["customer"] != customer["id"]:
        message = "The customer does not have a payment method with the ID " + method["id"]
        raise invalid_request(message, param, "resource_missing")
    return str(method["id"])


def _with_resolved_default(params: JsonObject, name: str, method_id: str) -> JsonObject:
    settings = read.nested_object(params, "invoice_settings")
    if settings.get("default_payment_method") != name:
        return params
    return {**params, "invoice_settings": {**settings, "default_payment_method": method_id}}
