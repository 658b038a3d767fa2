"""Customers: who pays, and the default payment method of later charges."""

from typing import Final

from payments.sandbox import legacy_sources, listing, payment_methods
from payments.sandbox import request_params as read
from payments.sandbox.account import TASK_HANDLERS, StripeAccount
from payments.sandbox.declared_params import address, shipping
from payments.sandbox.errors import not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route

_PARAMS: Final = (
    *address(), "description", "email", "invoice_settings.default_payment_method", "metadata",
    "name", "phone", "preferred_locales[]", "shipping", *shipping("shipping", "name", "phone"),
)  # fmt: skip

add_list_and_retrieve_routes("customer", "/v1/customers", {"email": listing.equals("email")})


@route("GET", "/v1/customers/{}")
def retrieve(call: Call) -> JsonObject:
    """Return a customer; of a deleted one, that it was deleted."""
    row = call.account.store.objects.get(call.id, {"object": None})
    if row["object"] != "customer":
        raise not_found("customer", call.id)
    return row


@route("POST", "/v1/customers", reads=(*_PARAMS, "payment_method"))
def create(call: Call) -> JsonObject:
    """Create a customer, with `payment_method` attach a payment method too."""
    account, params = call.account, call.params
    customer = make(account, email=read.email(params), name=read.text(params, "name"))
    _apply_params(customer, params)
    account.emit("customer.created", customer)
    method_id = read.text(params, "payment_method")
    if method_id:
        method = payment_methods.find_or_create(account, method_id)
        payment_methods.attach(account, method, customer)
        # `pm_card_visa` named twice in one request is one card.
        params = _with_resolved_default(params, method_id, method["id"])
    default_id = _default_payment_method_in(account, customer, params)
    if default_id:
        settings = {**customer["invoice_settings"], "default_payment_method": default_id}
        account.update_and_emit(customer, "customer.updated", invoice_settings=settings)
    return customer


def make(account: StripeAccount, *, email: str | None, name: str | None) -> JsonObject:
    """Create a customer, emitting nothing."""
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


@route("POST", "/v1/customers/{}", reads=(*_PARAMS, "default_source"))
def update(call: Call) -> JsonObject:
    """Update a customer."""
    customer = call.get_object("customer")
    changed = dict(customer)
    _apply_params(changed, call.params)
    default_id = _default_payment_method_in(call.account, customer, call.params)
    if default_id is not None:
        settings = {**customer["invoice_settings"], "default_payment_method": default_id or None}
        changed["invoice_settings"] = settings
    changed["default_source"] = legacy_sources.default_source_in(
        call.account, customer["id"], call.params, customer["default_source"]
    )
    call.account.update_and_emit(customer, "customer.updated", **changed)
    return customer


@route("DELETE", "/v1/customers/{}")
def delete(call: Call) -> JsonObject:
    """Delete a customer; their subscriptions end."""
    account, customer = call.account, call.get_object("customer")
    TASK_HANDLERS["end_customer_subscriptions"](account, customer["id"])
    account.emit("customer.deleted", customer)
    return account.store.mark_deleted(customer["id"])


def customer_in(account: StripeAccount, params: JsonObject) -> JsonObject | None:
    """Return the customer that a request names, or None. Raises ApiError for an unknown id."""
    customer_id = read.text(params, "customer")
    if customer_id is None:
        return None
    customer = account.store.get("customer", customer_id)
    if customer is None:
        raise not_found("customer", customer_id, "customer")
    return customer


def _apply_params(customer: JsonObject, params: JsonObject) -> None:
    if "email" in params:
        customer["email"] = read.email(params)
    for name in ("name", "phone", "description"):
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
    """Return the id of the requested default payment method: None if absent, "" to unset it."""
    settings = read.nested_object(params, "invoice_settings")
    if "default_payment_method" not in settings:
        return None
    method_id = read.text(settings, "default_payment_method")
    if method_id is None:
        return ""
    param = "invoice_settings[default_payment_method]"
    method = payment_methods.find_of_customer(account, customer["id"], method_id, param=param)
    return str(method["id"])


def _with_resolved_default(params: JsonObject, token: str, method_id: str) -> JsonObject:
    settings = read.nested_object(params, "invoice_settings")
    if settings.get("default_payment_method") != token:
        return params
    return params | {"invoice_settings": settings | {"default_payment_method": method_id}}
