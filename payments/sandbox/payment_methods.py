"""Payment methods: a card or a bank account, kept as what may be shown of it.

The number is never shown: which test card it was is a private fact. A payment method belongs
to one customer once attached, and to none for good once detached.
"""

import hashlib
from dataclasses import replace

from payments.sandbox import cards, debits, listing
from payments.sandbox import params as read
from payments.sandbox.account import Account
from payments.sandbox.cards import Card
from payments.sandbox.debits import Debit
from payments.sandbox.errors import card_refused, invalid, not_found
from payments.sandbox.routes import Call, resource, route
from payments.sandbox.wire import Obj

resource(
    "payment_method",
    "/v1/payment_methods",
    {"customer": listing.same("customer"), "type": listing.same("type")},
)


@route("POST", "/v1/payment_methods")
def create(call: Call) -> Obj:
    account, params = call.account, call.params
    kind = read.required(params, "type")
    payer = read.table(params, "billing_details")
    if kind == "sepa_debit":
        iban = read.required(read.table(params, "sepa_debit"), "iban").replace(" ", "").upper()
        method = make_debit(account, _account_of(iban), payer)
        method["metadata"] = read.metadata(params)
        return method
    if kind != "card":
        raise invalid(f"The sandbox has no payment method of type {kind}.", "type")
    given = read.table(params, "card")
    if "token" in given:
        method = make(account, _named(given["token"], "card[token]"), payer)
    else:
        method = make(account, _numbered(given), payer)
        method["card"]["exp_month"] = read.integer(given, "exp_month")
        method["card"]["exp_year"] = read.integer(given, "exp_year")
    method["metadata"] = read.metadata(params)
    return method


def make(account: Account, card: Card, payer: Obj | None = None) -> Obj:
    """A payment method for a test card, attached to nobody."""
    method = account.make(
        "pm",
        "payment_method",
        {
            **_of_nobody("card", payer or {}),
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


def make_debit(account: Account, debit: Debit, payer: Obj | None = None) -> Obj:
    """A payment method for a test bank account, attached to nobody."""
    fields = {**_of_nobody("sepa_debit", payer or {}), "sepa_debit": debits.shown(debit.iban)}
    method = account.make("pm", "payment_method", fields)
    account.store.private(method["id"])["number"] = debit.iban
    return method


def _of_nobody(kind: str, payer: Obj) -> Obj:
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


def resolve(account: Account, method_id: str, *, param: str = "payment_method") -> Obj:
    """A payment method by its id, or a new one for a name such as `pm_card_visa`."""
    found = account.store.find("payment_method", method_id)
    if found is not None:
        return found
    if cards.named(method_id) is None:
        raise not_found("PaymentMethod", method_id, param)
    return make(account, _named(method_id, param))


def card_of(account: Account, method: Obj) -> Card:
    """Which test card this is, and how it behaves at present."""
    private = account.store.private(method["id"])
    card, failing = cards.BY_NUMBER[private["number"]], private.get("failing")
    if failing == cards.AUTHENTICATION.decline_code:
        return replace(card, secure=True, later=cards.AUTHENTICATION, remembers=False)
    if failing is not None:
        return replace(card, secure=False, decline=cards.DECLINES[failing])
    return replace(card, later=None) if card.remembers and private.get("set_up") else card


def fail(account: Account, method_id: str, code: str) -> None:
    """From now on the bank refuses this card, for this reason."""
    if code not in cards.DECLINES:
        raise ValueError(f"no such decline code: {code}")
    account.store.private(known(account, method_id)["id"])["failing"] = code


def heal(account: Account, method_id: str) -> None:
    """From now on the bank says what it usually says to this test card."""
    private = account.store.private(known(account, method_id)["id"])
    private.pop("failing", None)


def update_by_network(
    account: Account, method_id: str, *, exp_month: int, exp_year: int, last4: str | None = None
) -> Obj:
    """The card network tells of a renewed card: the same payment method, with a new date."""
    method = known(account, method_id)
    card = {**method["card"], "exp_month": exp_month, "exp_year": exp_year}
    card["last4"] = last4 or card["last4"]
    account.update(method, "payment_method.automatically_updated", card=card)
    return method


def remember(account: Account, method: Obj) -> None:
    """The donor has authenticated this card for later payments too."""
    account.store.private(method["id"])["set_up"] = True


def known(account: Account, method_id: str) -> Obj:
    """A payment method that must be there."""
    method = account.store.find("payment_method", method_id)
    if method is None:
        raise ValueError(f"no such payment method: {method_id}")
    return method


@route("POST", "/v1/payment_methods/{}")
def update(call: Call) -> Obj:
    method, params = call.subject("payment_method"), call.params
    if method["customer"] is None:
        raise invalid("You must save this PaymentMethod to a customer before you can update it.")
    changes: Obj = {"metadata": read.merge_metadata(method["metadata"], params)}
    payer = read.table(params, "billing_details")
    if payer:
        changes["billing_details"] = {**method["billing_details"], **payer}
    card = read.table(params, "card")
    if card and method["type"] == "card":
        dates = {name: read.integer(card, name) for name in ("exp_month", "exp_year")}
        given = {name: value for name, value in dates.items() if value is not None}
        changes["card"] = {**method["card"], **given}
    if "allow_redisplay" in params:
        changes["allow_redisplay"] = read.text(params, "allow_redisplay")
    call.account.update(method, "payment_method.updated", **changes)
    return method


@route("POST", "/v1/payment_methods/{}/attach")
def attach_verb(call: Call) -> Obj:
    method = resolve(call.account, call.id, param="id")
    customer_id = read.required(call.params, "customer")
    customer = call.account.store.find("customer", customer_id)
    if customer is None:
        raise not_found("customer", customer_id, "customer")
    if method["type"] != "card":
        attach(call.account, method, customer)
        return method
    card = card_of(call.account, method)
    if card.decline is not None and not card.decline.blocked:
        raise card_refused({"code": card.decline.code, "message": card.decline.message})
    attach(call.account, method, customer)
    return method


def attach(account: Account, method: Obj, customer: Obj) -> None:
    """Give the payment method to a customer."""
    if method["customer"] == customer["id"]:
        return
    if method["customer"] is not None or account.store.private(method["id"]).get("detached"):
        raise invalid("The payment method you provided has already been attached to a customer.")
    account.store.link("payment_method", "customer", customer["id"], method["id"])
    method["customer"] = customer["id"]
    account.emit("payment_method.attached", method)


@route("POST", "/v1/payment_methods/{}/detach")
def detach(call: Call) -> Obj:
    account, method = call.account, call.subject("payment_method")
    if method["customer"] is None:
        raise invalid("The payment method you provided is not attached to a customer.")
    account.store.private(method["id"])["detached"] = True
    account.update(method, "payment_method.detached", customer=None)
    return method


@route("GET", "/v1/customers/{}/payment_methods")
def of_customer(call: Call) -> Obj:
    customer = call.subject("customer")
    params = {**call.params, "customer": customer["id"]}
    filters = {"customer": listing.same("customer"), "type": listing.same("type")}
    return listing.page(call.account.store, "payment_method", call.path, params, filters)


@route("GET", "/v1/customers/{}/payment_methods/{}")
def one_of_customer(call: Call) -> Obj:
    customer = call.subject("customer")
    method = call.account.store.find("payment_method", call.ids[1])
    if method is None or method["customer"] != customer["id"]:
        raise not_found("PaymentMethod", call.ids[1])
    return method


def _account_of(iban: str) -> Debit:
    debit = debits.BY_IBAN.get(iban)
    if debit is None:
        message = f"The IBAN you provided is not valid: {iban[:4]}…"
        raise invalid(message, "sepa_debit[iban]", "invalid_bank_account_iban")
    return debit


def _named(name: object, param: str) -> Card:
    card = cards.named(str(name))
    if card is None:
        raise not_found("token", str(name), param)
    return card


def _numbered(given: Obj) -> Card:
    number = read.required(given, "number").replace(" ", "")
    card = cards.BY_NUMBER.get(number)
    if card is None:
        raise card_refused({"code": "incorrect_number", "message": "Your card number is incorrect.",
                            "param": "number"})  # fmt: skip
    return card
