"""Payment methods: cards and bank accounts.

The number is a private fact and never shown. Once attached, a payment method belongs to one
customer; once detached, it can never be attached again.
"""

import hashlib
import re
from dataclasses import replace
from typing import Final

from payments.sandbox import cards, listing, sepa_debit
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.cards import SandboxCard
from payments.sandbox.declared_params import address, within
from payments.sandbox.errors import (
    ApiError,
    card_error,
    invalid_request,
    missing_param,
    not_found,
    unsupported,
)
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route
from payments.sandbox.sepa_debit import BankAccount

TYPES: Final = ("card", "sepa_debit")
_FILTERS: Final = {"customer": listing.equals("customer"), "type": listing.equals("type")}
_BILLING_DETAILS: Final = within(
    "billing_details", names=(*address(), "email", "name", "phone", "tax_id")
)

add_list_and_retrieve_routes("payment_method", "/v1/payment_methods", _FILTERS, by_created=False)


@route(
    "POST",
    "/v1/payment_methods",
    reads=(
        *_BILLING_DETAILS, "allow_redisplay", "metadata", "sepa_debit.iban", "type",
        *within("card", names=("cvc", "exp_month", "exp_year", "number", "token")),
    ),
)  # fmt: skip
def create(call: Call) -> JsonObject:
    """Create a card or a SEPA debit, from a test number or a token."""
    account, params = call.account, call.params
    type_ = read.required(params, "type")
    payer = read.nested_object(params, "billing_details")
    if type_ == "sepa_debit":
        debit_params = read.nested_object(params, "sepa_debit")
        iban = read.required(debit_params, "iban").replace(" ", "").upper()
        method = make_sepa_debit(account, _bank_account_of(iban), payer)
        return _with_common_fields(method, params)
    if type_ != "card":
        raise invalid_request(f"The sandbox has no payment method of type {type_}.", "type")
    card_params = read.nested_object(params, "card")
    if "token" in card_params:
        method = make(account, _card_of_token(card_params["token"], "card[token]"), payer)
    else:
        method = make(account, _card_of_number(card_params), payer)
        method["card"] |= _expiry_in(account, card_params, {})
        method["card"]["checks"]["cvc_check"] = "pass" if _cvc_in(card_params) else None
    return _with_common_fields(method, params)


def _with_common_fields(method: JsonObject, params: JsonObject) -> JsonObject:
    method["metadata"] = read.metadata(params)
    method["allow_redisplay"] = read.text(params, "allow_redisplay") or "unspecified"
    return method


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
                "checks": {
                    "address_line1_check": None,
                    "address_postal_code_check": None,
                    "cvc_check": "pass",
                },
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


def _unattached_fields(type_: str, payer: JsonObject) -> JsonObject:
    return {
        "allow_redisplay": "unspecified",
        "billing_details": {
            "address": read.address(payer),
            "email": payer.get("email") or None,
            "name": payer.get("name") or None,
            "phone": payer.get("phone") or None,
            "tax_id": payer.get("tax_id") or None,
        },
        "customer": None,
        "customer_account": None,
        "metadata": {},
        "type": type_,
    }


def types_in(params: JsonObject) -> list[str]:
    """Return the `payment_method_types` of a request older than endive; `card` without them."""
    types = read.array(params, "payment_method_types")
    for name in types:
        if name not in TYPES:
            raise unsupported(f"payment_method_types={name}")
    return types or ["card"]


def find_or_create(
    account: StripeAccount, method_id: str, *, param: str = "payment_method"
) -> JsonObject:
    """Return a payment method by its id, or a new one for a token such as `pm_card_visa`.

    Raises ApiError, naming `param`, when there is none such.
    """
    method = account.store.get("payment_method", method_id)
    if method is not None:
        return method
    if cards.card_by_token(method_id) is None:
        raise not_found("PaymentMethod", method_id, param)
    return make(account, _card_of_token(method_id, param))


def find_of_customer(
    account: StripeAccount, customer_id: str, method_id: str, *, param: str
) -> JsonObject:
    """Return a customer's own payment method.

    Raises ApiError, naming `param`, when it does not exist or is not attached to this customer.
    """
    method = find_or_create(account, method_id, param=param)
    if method["customer"] != customer_id:
        message = f"The customer does not have a payment method with the ID {method['id']}"
        raise invalid_request(message, param, "resource_missing")
    return method


def of_customer_in(
    account: StripeAccount, customer_id: str, params: JsonObject, *, param: str = "payment_method"
) -> JsonObject | None:
    """Return the customer's own payment method that a request names, or None without one."""
    method_id = read.text(params, param)
    if method_id is None:
        return None
    return find_of_customer(account, customer_id, method_id, param=param)


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
    reads=(*_BILLING_DETAILS, "allow_redisplay", "card.exp_month", "card.exp_year", "metadata"),
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
        expiry = _expiry_in(call.account, card_params, method["card"])
        changes["card"] = {**method["card"], **expiry}
    if "allow_redisplay" in params:
        changes["allow_redisplay"] = read.text(params, "allow_redisplay")
    call.account.update_and_emit(method, "payment_method.updated", **changes)
    return method


def _updated_payer(present: JsonObject, params: JsonObject) -> JsonObject:
    """Return the billing details with the fields that a request sets or unsets."""
    changes: JsonObject = {name: read.text(params, name) for name in params if name != "address"}
    if "address" in params:
        changes["address"] = present["address"] | read.nested_object(params, "address")
        if not params["address"]:
            changes["address"] = dict(read.EMPTY_ADDRESS)
    return {**present, **changes}


@route("POST", "/v1/payment_methods/{}/attach", reads=("customer",))
def attach_endpoint(call: Call) -> JsonObject:
    """Attach a payment method to a customer, unless the bank declines the card."""
    method = find_or_create(call.account, call.id, param="id")
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
    """Attach a payment method to a customer. Raises ApiError when it was attached to another."""
    if method["customer"] == customer["id"]:
        return
    if method["customer"] is not None or account.store.private(method["id"]).get("detached"):
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


def _expiry_in(account: StripeAccount, params: JsonObject, present: JsonObject) -> JsonObject:
    """Return a card's expiry; what the request does not name stays. Raises ApiError, a 402."""
    expiry: JsonObject = {}
    for name in ("exp_month", "exp_year"):
        value = read.integer(params, name)
        expiry[name] = present.get(name) if value is None else value
        if expiry[name] is None:
            raise missing_param(f"card[{name}]")
    now = account.clock.now()
    if not 1 <= expiry["exp_month"] <= 12:
        raise _card_field_error("invalid_expiry_month", "exp_month", "expiration month is invalid")
    if (expiry["exp_year"], expiry["exp_month"]) < (now.year, now.month):
        raise _card_field_error("invalid_expiry_year", "exp_year", "expiration year is invalid")
    return expiry


def _cvc_in(params: JsonObject) -> str | None:
    cvc = read.text(params, "cvc")
    if cvc is not None and not re.fullmatch(r"\d{3,4}", cvc):
        raise _card_field_error("invalid_cvc", "cvc", "security code is invalid")
    return cvc


def _card_field_error(code: str, param: str, problem: str) -> ApiError:
    return card_error({"code": code, "message": f"Your card's {problem}.", "param": param})


def _bank_account_of(iban: str) -> BankAccount:
    bank_account = sepa_debit.BY_IBAN.get(iban)
    if bank_account is None:
        message = f"The IBAN you provided is not valid: {iban[:4]}…"
        raise invalid_request(message, "sepa_debit[iban]", "invalid_bank_account_iban")
    return bank_account


def _card_of_token(token: object, param: str) -> SandboxCard:
    card = cards.card_by_token(str(token))
    if card is None:
        raise not_found("token", str(token), param)
    return card


def _card_of_number(params: JsonObject) -> SandboxCard:
    number = read.required(params, "number").replace(" ", "")
    card = cards.BY_NUMBER.get(number)
    if card is None:
        message = "Your card number is incorrect."
        raise card_error({"code": "incorrect_number", "message": message, "param": "number"})
    return card
