"""Payment methods: cards and bank accounts.

The number is a private fact and never shown. Once attached, a payment method belongs to one
customer; once detached, it can never be attached again.
"""

import hashlib
from dataclasses import replace
from typing import Final

from payments.sandbox import cards, listing, payment_method_params, sepa_debit
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.cards import SandboxCard
from payments.sandbox.declared_params import address, within
from payments.sandbox.errors import (
    card_error,
    invalid_request,
    not_found,
)
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route
from payments.sandbox.sepa_debit import BankAccount

_FILTERS: Final = {"customer": listing.equals("customer"), "type": listing.equals("type")}
BILLING_DETAILS: Final = within(
    "billing_details", names=(*address(), "email", "name", "phone", "tax_id")
)

add_list_and_retrieve_routes("payment_method", "/v1/payment_methods", _FILTERS, by_created=False)


def make(
    account: StripeAccount,
    card: SandboxCard,
    payer: JsonObject | None = None,
    *,
    prefix: str = "pm",
) -> JsonObject:
    """Create a payment method for a test card, attached to no customer.

    `payer` may have `email`, `name`, `phone` and `address`, for the billing details. `prefix` is
    that of its id: legacy sources have others.
    """
    method = account.create_object(
        prefix,
        "payment_method",
        {
            **_unattached_fields("card", payer or {}),
            "card": {
                "brand": card.brand,
                "checks": _checks(card, payer or {}),
                "country": card.country,
                "display_brand": "american_express" if card.brand == "amex" else card.brand,
                "exp_month": 8,
                "exp_year": account.clock.now().year + 8,
                "fingerprint": hashlib.sha256(card.number.encode()).hexdigest()[:16],
                "funding": card.funding,
                "generated_from": None,
                "last4": card.number[-4:],
                "networks": {"available": [card.brand], "preferred": None},
                "regulated_status": "unregulated",
                "three_d_secure_usage": {"supported": True},
                "wallet": None,
            },
        },
    )
    account.store.private(method["id"])["number"] = card.number
    return method


def make_sepa_debit(
    account: StripeAccount, bank_account: BankAccount, payer: JsonObject | None = None
) -> JsonObject:
    """Create a payment method for a test bank account, attached to no customer."""
    fields = {
        **_unattached_fields("sepa_debit", payer or {}),
        "sepa_debit": sepa_debit.public_fields(bank_account.iban),
    }
    method = account.create_object("pm", "payment_method", fields)
    account.store.private(method["id"])["number"] = bank_account.iban
    return method


def _checks(card: SandboxCard, payer: JsonObject) -> JsonObject:
    address = read.nested_object(payer, "address")
    return {
        "address_line1_check": card.line1_check if address.get("line1") else None,
        "address_postal_code_check": card.zip_check if address.get("postal_code") else None,
        "cvc_check": card.cvc_check,
    }


def _unattached_fields(type_: str, payer: JsonObject) -> JsonObject:
    return {
        "allow_redisplay": "unspecified",
        "billing_details": {
            "address": read.address(payer),
            "email": read.email(payer, param="billing_details[email]"),
            "name": payer.get("name") or None,
            "phone": payer.get("phone") or None,
            "tax_id": payer.get("tax_id") or None,
        },
        "customer": None,
        "customer_account": None,
        "metadata": {},
        "type": type_,
    }


def find_or_create(
    account: StripeAccount, method_id: str, *, param: str = "payment_method"
) -> JsonObject:
    """Return a payment method by its id, or a new one for a token such as `pm_card_visa`.

    Raises ApiError, naming `param`, when there is none such.
    """
    method = account.store.get("payment_method", method_id)
    if method is not None:
        return method
    card = cards.card_by_token(method_id, "pm_card_")
    if card is None:
        raise not_found("PaymentMethod", method_id, param)
    return make(account, card)


def find_of_customer(
    account: StripeAccount,
    customer_id: str,
    method_id: str,
    *,
    param: str,
    currency: str | None = None,
) -> JsonObject:
    """Return a customer's own payment method, which can be charged in a currency.

    Raises ApiError, naming `param`, when it does not exist, is not attached to this customer, or
    cannot be charged in the currency.
    """
    method = find_or_create(account, method_id, param=param)
    if method["customer"] != customer_id:
        message = f"The customer does not have a payment method with the ID {method['id']}."
        if method["customer"]:
            message += " The payment method belongs to another customer."
        raise invalid_request(message, param, "resource_missing")
    _check_currency(method, currency)
    return method


def find_usable(
    account: StripeAccount,
    method_id: str,
    intent: JsonObject,
    *,
    currency: str | None = None,
    param: str = "payment_method",
) -> JsonObject:
    """Return a payment method, or a new one for a token, with which an intent can be confirmed.

    `intent` has the `customer` and the `payment_method_types`. Raises ApiError for another
    customer's, a detached or a used one, and for a type that the intent or currency does not allow.
    """
    method = find_or_create(account, method_id, param=param)
    owner = method["customer"]
    if owner is None:
        _check_reusable(account, method, param)
    elif intent["customer"] is None:
        message = f"The payment method {method['id']} belongs to the customer {owner}. Please "
        message += "include the customer in the `customer` parameter."
        raise invalid_request(message, param)
    elif owner != intent["customer"]:
        message = f"The payment method {method['id']} belongs to another customer, not to "
        raise invalid_request(f"{message}{intent['customer']}.", param)
    _check_currency(method, currency)
    if method["type"] not in intent["payment_method_types"]:
        message = f"The payment method type {method['type']} is not allowed for this intent. It "
        allowed = ", ".join(intent["payment_method_types"])
        raise invalid_request(f"{message}allows: {allowed}.", param)
    return method


def can_charge(method: JsonObject, currency: str) -> bool:
    """Return whether a payment method can be charged in a currency."""
    return bool(method["type"] != "sepa_debit" or currency == sepa_debit.DEBIT_CURRENCY)


def types_for(currency: str | None) -> list[str]:
    """Return the types of payment method that can be charged in a currency."""
    return ["card", "sepa_debit"] if currency == sepa_debit.DEBIT_CURRENCY else ["card"]


def mark_used(account: StripeAccount, method: JsonObject) -> None:
    """Record that a payment method was charged; unless it is attached, it was the only time."""
    if method["customer"] is None:
        account.store.private(method["id"])["used"] = True


def _check_reusable(account: StripeAccount, method: JsonObject, param: str) -> None:
    private = account.store.private(method["id"])
    if private.get("detached") or private.get("used"):
        message = "The provided PaymentMethod was previously used with a PaymentIntent without "
        message += "Customer attachment, or was detached from a Customer. It may not be used "
        message += "again. To use a PaymentMethod multiple times, you must attach it to a Customer "
        raise invalid_request(message + "first.", param)


def _check_currency(method: JsonObject, currency: str | None) -> None:
    if currency is not None and not can_charge(method, currency):
        message = f"The currency provided ({currency}) is invalid for one or more of the "
        message += f"specified payment method types ({method['type']})."
        raise invalid_request(message, "currency")


def of_customer_in(
    account: StripeAccount,
    customer_id: str,
    params: JsonObject,
    *,
    currency: str,
    param: str = "payment_method",
) -> JsonObject | None:
    """Return the customer's own payment method that a request names, or None without one."""
    method_id = read.text(params, param)
    if method_id is None:
        return None
    return find_of_customer(account, customer_id, method_id, param=param, currency=currency)


def sandbox_card_of(account: StripeAccount, method: JsonObject) -> SandboxCard:
    """Return the test card behind a payment method, as it behaves at present."""
    private = account.store.private(method["id"])
    card, decline_code = cards.BY_NUMBER[private["number"]], private.get("forced_decline")
    if decline_code == cards.AUTHENTICATION_REQUIRED.decline_code:
        return replace(
            card,
            requires_3ds=True,
            renewal_decline=cards.AUTHENTICATION_REQUIRED,
            reuses_authentication=False,
        )
    if decline_code is not None:
        return replace(card, requires_3ds=False, decline=cards.DECLINES[decline_code])
    if card.reuses_authentication and private.get("authenticated"):
        return replace(card, renewal_decline=None)
    return card


def set_decline(account: StripeAccount, method_id: str, code: str) -> None:
    """Have the bank decline every charge from now on. Raises ValueError for an unknown code."""
    if code not in cards.DECLINES:
        raise ValueError(f"no such decline code: {code}")
    account.store.private(get(account, method_id)["id"])["forced_decline"] = code


def clear_decline(account: StripeAccount, method_id: str) -> None:
    """Let a payment method behave as its test card does again."""
    private = account.store.private(get(account, method_id)["id"])
    private.pop("forced_decline", None)


def update_by_network(
    account: StripeAccount,
    method_id: str,
    *,
    exp_month: int,
    exp_year: int,
    last4: str | None = None,
) -> JsonObject:
    """Update a card as its network does when the bank has issued a new one."""
    method = get(account, method_id)
    card = {**method["card"], "exp_month": exp_month, "exp_year": exp_year}
    card["last4"] = last4 or card["last4"]
    account.update_and_emit(method, "payment_method.automatically_updated", card=card)
    return method


def mark_authenticated(account: StripeAccount, method: JsonObject) -> None:
    """Record that the customer has authenticated a card for later payments."""
    account.store.private(method["id"])["authenticated"] = True


def get(account: StripeAccount, method_id: str) -> JsonObject:
    """Return a payment method. Raises ValueError when there is none such."""
    method = account.store.get("payment_method", method_id)
    if method is None:
        raise ValueError(f"no such payment method: {method_id}")
    return method


@route(
    "POST",
    "/v1/payment_methods/{}",
    reads=(*BILLING_DETAILS, "allow_redisplay", "card.exp_month", "card.exp_year", "metadata"),
)
def update(call: Call) -> JsonObject:
    """Update an attached payment method."""
    method, params = call.get_object("payment_method"), call.params
    if method["customer"] is None:
        raise invalid_request(
            "You must save this PaymentMethod to a customer before you can update it."
        )
    changes: JsonObject = {"metadata": read.merge_metadata(method["metadata"], params)}
    payer = read.nested_object(params, "billing_details")
    if payer:
        changes["billing_details"] = _updated_payer(method["billing_details"], payer)
    card_params = read.nested_object(params, "card")
    if card_params and method["type"] == "card":
        expiry = payment_method_params.expiry(call.account, card_params, method["card"])
        changes["card"] = {**method["card"], **expiry}
    if "allow_redisplay" in params:
        changes["allow_redisplay"] = read.text(params, "allow_redisplay")
    call.account.update_and_emit(method, "payment_method.updated", **changes)
    return method


def _updated_payer(present: JsonObject, params: JsonObject) -> JsonObject:
    """Return the billing details with the fields that a request sets or unsets."""
    changes: JsonObject = {name: read.text(params, name) for name in params if name != "address"}
    read.email(params, param="billing_details[email]")
    if "address" in params:
        changes["address"] = present["address"] | read.nested_object(params, "address")
        if not params["address"]:
            changes["address"] = dict(read.EMPTY_ADDRESS)
    return {**present, **changes}


@route("POST", "/v1/payment_methods/{}/attach", reads=("customer",))
def attach_endpoint(call: Call) -> JsonObject:
    """Attach a payment method to a customer, unless the bank declines the card."""
    method = find_or_create(call.account, call.id, param="id")
    if method["customer"] is None:
        _check_reusable(call.account, method, "payment_method")
    customer_id = read.required(call.params, "customer")
    customer = call.account.store.get("customer", customer_id)
    if customer is None:
        raise not_found("customer", customer_id, "customer")
    if method["type"] != "card":
        attach(call.account, method, customer)
        return method
    card = sandbox_card_of(call.account, method)
    if card.decline is not None and not card.decline.blocked_by_radar:
        raise card_error({"code": card.decline.code, "message": card.decline.message})
    attach(call.account, method, customer)
    return method


def attach(account: StripeAccount, method: JsonObject, customer: JsonObject) -> None:
    """Attach a payment method to a customer. Raises ApiError when it is attached to another."""
    if method["customer"] == customer["id"]:
        return
    if method["customer"] is not None:
        raise invalid_request(
            "The payment method you provided has already been attached to a customer."
        )
    account.store.link("payment_method", "customer", customer["id"], method["id"])
    method["customer"] = customer["id"]
    account.emit("payment_method.attached", method)


@route("POST", "/v1/payment_methods/{}/detach")
def detach(call: Call) -> JsonObject:
    """Detach a payment method from its customer, for good."""
    account, method = call.account, call.get_object("payment_method")
    if method["customer"] is None:
        raise invalid_request("The payment method you provided is not attached to a customer.")
    account.store.private(method["id"])["detached"] = True
    account.update_and_emit(method, "payment_method.detached", customer=None)
    return method


@route(
    "GET",
    "/v1/customers/{}/payment_methods",
    reads=listing.reads({"type": listing.equals("type")}, by_created=False),
)
def list_of_customer(call: Call) -> JsonObject:
    """List a customer's payment methods."""
    customer = call.get_object("customer")
    params = call.params | {"customer": customer["id"]}
    return listing.page(call.account.store, "payment_method", call.path, params, _FILTERS)


@route("GET", "/v1/customers/{}/payment_methods/{}")
def retrieve_of_customer(call: Call) -> JsonObject:
    """Return one of a customer's payment methods."""
    customer = call.get_object("customer")
    method = call.account.store.get("payment_method", call.ids[1])
    if method is None or method["customer"] != customer["id"]:
        raise not_found("PaymentMethod", call.ids[1])
    return method
