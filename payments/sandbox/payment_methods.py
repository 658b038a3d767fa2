"""Payment methods: a card or a bank account, kept as what may be shown of it.

The number is never shown: which test card it was is a private fact. A payment method belongs
to one customer once attached, and to none for good once detached.
"""

import hashlib
from dataclasses import replace

from payments.sandbox import cards, listing, sepa_debit
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.cards import SandboxCard
from payments.sandbox.errors import card_error, invalid_request, not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route
from payments.sandbox.sepa_debit import BankAccount

add_list_and_retrieve_routes(
    "payment_method",
    "/v1/payment_methods",
    {"customer": listing.equals("customer"), "type": listing.equals("type")},
)


@route("POST", "/v1/payment_methods")
def create(call: Call) -> JsonObject:
    account, params = call.account, call.params
    kind = read.required(params, "type")
    payer = read.nested_object(params, "billing_details")
    if kind == "sepa_debit":
        iban = (
            read.required(read.nested_object(params, "sepa_debit"), "iban").replace(" ", "").upper()
        )
        method = make_sepa_debit(account, _bank_account_of(iban), payer)
        method["metadata"] = read.metadata(params)
        return method
    if kind != "card":
        raise invalid_request(f"The sandbox has no payment method of type {kind}.", "type")
    given = read.nested_object(params, "card")
    if "token" in given:
        method = make(account, _card_of_token(given["token"], "card[token]"), payer)
    else:
        method = make(account, _card_of_number(given), payer)
        method["card"]["exp_month"] = read.integer(given, "exp_month")
        method["card"]["exp_year"] = read.integer(given, "exp_year")
    method["metadata"] = read.metadata(params)
    return method


def make(account: StripeAccount, card: SandboxCard, payer: JsonObject | None = None) -> JsonObject:
    """A payment method for a test card, attached to nobody."""
    method = account.create_object(
        "pm",
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
    account: StripeAccount, debit: BankAccount, payer: JsonObject | None = None
) -> JsonObject:
    """A payment method for a test bank account, attached to nobody."""
    fields = {
        **_unattached_fields("sepa_debit", payer or {}),
        "sepa_debit": sepa_debit.public_fields(debit.iban),
    }
    method = account.create_object("pm", "payment_method", fields)
    account.store.private(method["id"])["number"] = debit.iban
    return method


def _unattached_fields(kind: str, payer: JsonObject) -> JsonObject:
    return {
        "allow_redisplay": "unspecified",
        "billing_details": {
            "address": read.address(payer),
            "email": payer.get("email") or None,
            "name": payer.get("name") or None,
            "phone": payer.get("phone") or None,
            "tax_id": None,
        },
        "customer": None,
        "customer_account": None,
        "metadata": {},
        "type": kind,
    }


def find_or_create(
    account: StripeAccount, method_id: str, *, param: str = "payment_method"
) -> JsonObject:
    """A payment method by its id, or a new one for a name such as `pm_card_visa`."""
    found = account.store.get("payment_method", method_id)
    if found is not None:
        return found
    if cards.card_by_token(method_id) is None:
        raise not_found("PaymentMethod", method_id, param)
    return make(account, _card_of_token(method_id, param))


def sandbox_card_of(account: StripeAccount, method: JsonObject) -> SandboxCard:
    """Which test card this is, and how it behaves at present."""
    private = account.store.private(method["id"])
    card, failing = cards.BY_NUMBER[private["number"]], private.get("failing")
    if failing == cards.AUTHENTICATION_REQUIRED.decline_code:
        return replace(
            card,
            requires_3ds=True,
            renewal_decline=cards.AUTHENTICATION_REQUIRED,
            reuses_authentication=False,
        )
    if failing is not None:
        return replace(card, requires_3ds=False, decline=cards.DECLINES[failing])
    return (
        replace(card, renewal_decline=None)
        if card.reuses_authentication and private.get("set_up")
        else card
    )


def set_decline(account: StripeAccount, method_id: str, code: str) -> None:
    """From now on the bank refuses this card, for this reason."""
    if code not in cards.DECLINES:
        raise ValueError(f"no such decline code: {code}")
    account.store.private(get(account, method_id)["id"])["failing"] = code


def clear_decline(account: StripeAccount, method_id: str) -> None:
    """From now on the bank says what it usually says to this test card."""
    private = account.store.private(get(account, method_id)["id"])
    private.pop("failing", None)


def update_by_network(
    account: StripeAccount,
    method_id: str,
    *,
    exp_month: int,
    exp_year: int,
    last4: str | None = None,
) -> JsonObject:
    """The card network tells of a renewed card: the same payment method, with a new date."""
    method = get(account, method_id)
    card = {**method["card"], "exp_month": exp_month, "exp_year": exp_year}
    card["last4"] = last4 or card["last4"]
    account.update_and_emit(method, "payment_method.automatically_updated", card=card)
    return method


def mark_authenticated(account: StripeAccount, method: JsonObject) -> None:
    """The donor has authenticated this card for later payments too."""
    account.store.private(method["id"])["set_up"] = True


def get(account: StripeAccount, method_id: str) -> JsonObject:
    """A payment method that must be there."""
    method = account.store.get("payment_method", method_id)
    if method is None:
        raise ValueError(f"no such payment method: {method_id}")
    return method


@route("POST", "/v1/payment_methods/{}")
def update(call: Call) -> JsonObject:
    method, params = call.get_object("payment_method"), call.params
    if method["customer"] is None:
        raise invalid_request(
            "You must save this PaymentMethod to a customer before you can update it."
        )
    changes: JsonObject = {"metadata": read.merge_metadata(method["metadata"], params)}
    payer = read.nested_object(params, "billing_details")
    if payer:
        changes["billing_details"] = {**method["billing_details"], **payer}
    card = read.nested_object(params, "card")
    if card and method["type"] == "card":
        dates = {name: read.integer(card, name) for name in ("exp_month", "exp_year")}
        given = {name: value for name, value in dates.items() if value is not None}
        changes["card"] = {**method["card"], **given}
    if "allow_redisplay" in params:
        changes["allow_redisplay"] = read.text(params, "allow_redisplay")
    call.account.update_and_emit(method, "payment_method.updated", **changes)
    return method


@route("POST", "/v1/payment_methods/{}/attach")
def attach_endpoint(call: Call) -> JsonObject:
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
    """Give the payment method to a customer."""
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
    account, method = call.account, call.get_object("payment_method")
    if method["customer"] is None:
        raise invalid_request("The payment method you provided is not attached to a customer.")
    account.store.private(method["id"])["detached"] = True
    account.update_and_emit(method, "payment_method.detached", customer=None)
    return method


@route("GET", "/v1/customers/{}/payment_methods")
def list_of_customer(call: Call) -> JsonObject:
    customer = call.get_object("customer")
    params = {**call.params, "customer": customer["id"]}
    filters = {"customer": listing.equals("customer"), "type": listing.equals("type")}
    return listing.page(call.account.store, "payment_method", call.path, params, filters)


@route("GET", "/v1/customers/{}/payment_methods/{}")
def retrieve_of_customer(call: Call) -> JsonObject:
    customer = call.get_object("customer")
    method = call.account.store.get("payment_method", call.ids[1])
    if method is None or method["customer"] != customer["id"]:
        raise not_found("PaymentMethod", call.ids[1])
    return method


def _bank_account_of(iban: str) -> BankAccount:
    debit = sepa_debit.BY_IBAN.get(iban)
    if debit is None:
        message = f"The IBAN you provided is not valid: {iban[:4]}…"
        raise invalid_request(message, "sepa_debit[iban]", "invalid_bank_account_iban")
    return debit


def _card_of_token(name: object, param: str) -> SandboxCard:
    card = cards.card_by_token(str(name))
    if card is None:
        raise not_found("token", str(name), param)
    return card


def _card_of_number(given: JsonObject) -> SandboxCard:
    number = read.required(given, "number").replace(" ", "")
    card = cards.BY_NUMBER.get(number)
    if card is None:
        raise card_error({"code": "incorrect_number", "message": "Your card number is incorrect.",
                            "param": "number"})  # fmt: skip
    return card
