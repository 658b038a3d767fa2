"""Payment intents: the will to be paid an amount, through as many charges as it takes.

An intent moves from needing a card, past the donor's authentication where the card asks for it, to
succeeded. A decline sends it back to needing a card; the same intent then takes the next one.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from payments.sandbox import cards, charges, customers, debiting, listing, payment_methods
from payments.sandbox import params as read
from payments.sandbox.account import VERBS, Account
from payments.sandbox.cards import Card, Decline
from payments.sandbox.catalog import check_amount, currency_of
from payments.sandbox.errors import Refusal, invalid, missing
from payments.sandbox.routes import Call, resource, route
from payments.sandbox.wire import Obj

_CONFIRMABLE: Final = ("requires_payment_method", "requires_confirmation", "requires_action")

resource("payment_intent", "/v1/payment_intents", {"customer": listing.same("customer")})


class Presence(StrEnum):
    """Where the donor is while the card is charged."""

    CHECKOUT = "checkout"  # on the hosted page
    SHOP = "shop"  # on a page of ours: the API confirms
    AWAY = "away"  # nowhere near: a renewal


@dataclass(frozen=True)
class Attempt:
    """A card, or a bank account, and the donor's part in it."""

    method: Obj
    presence: Presence
    authenticated: bool = False


def make(account: Account, amount: int, currency: str, fields: Obj) -> Obj:
    """A payment intent, told of."""
    intent = account.make(
        "pi",
        "payment_intent",
        {
            "allowed_payment_method_types": None,
            "amount": amount,
            "amount_capturable": 0,
            "amount_details": {"tip": {}},
            "amount_received": 0,
            "application": None,
            "application_fee_amount": None,
            "automatic_payment_methods": None,
            "canceled_at": None,
            "cancellation_reason": None,
            "capture_method": "automatic_async",
            "client_secret": None,
            "confirmation_method": "automatic",
            "currency": currency,
            "customer": None,
            "customer_account": None,
            "description": None,
            "excluded_payment_method_types": None,
            "last_payment_error": None,
            "latest_charge": None,
            "managed_payments": {"enabled": False},
            "metadata": {},
            "next_action": None,
            "on_behalf_of": None,
            "payment_method": None,
            "payment_method_configuration_details": None,
            "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
            "payment_method_types": ["card"],
            "processing": None,
            "receipt_email": None,
            "review": None,
            "setup_future_usage": None,
            "shipping": None,
            "source": None,
            "statement_descriptor": None,
            "statement_descriptor_suffix": None,
            "status": "requires_payment_method",
            "transfer_data": None,
            "transfer_group": None,
            **fields,
        },
    )
    intent["client_secret"] = f"{intent['id']}_secret_{account.store.mint('x')[2:]}"
    if intent["customer"]:
        account.store.link("payment_intent", "customer", intent["customer"], intent["id"])
    account.emit("payment_intent.created", intent)
    return intent


def confirm(account: Account, intent: Obj, attempt: Attempt) -> Decline | None:
    """Try to be paid with a card or a debit; a card's decline is returned, not raised."""
    if attempt.method["type"] != "card":
        debiting.start(account, intent, attempt.method)
        return None
    method, card = attempt.method, payment_methods.card_of(account, attempt.method)
    if _must_ask(account, intent, card, attempt):
        _ask_for_authentication(account, intent, attempt)
        return None
    account.store.private(intent["id"]).pop("authenticating", None)
    decline = _answer(card, attempt)
    charge = charges.attempt(account, intent, method, decline)
    intent["latest_charge"] = charge["id"]
    intent["next_action"] = None
    if decline is not None:
        intent["status"] = "requires_payment_method"
        intent["payment_method"] = None
        intent["last_payment_error"] = charges.error(account, charge, decline)
        account.emit("payment_intent.payment_failed", intent)
        return decline
    intent["status"] = "succeeded"
    intent["payment_method"] = method["id"]
    intent["last_payment_error"] = None
    intent["amount_received"] = intent["amount"]
    account.emit("payment_intent.succeeded", intent)
    return None


def authenticate(account: Account, intent: Obj, *, passed: bool) -> Decline | None:
    """The donor has passed, or failed, the card's own question."""
    waiting = account.store.private(intent["id"]).pop("authenticating")
    method = account.store.objects[waiting["method"]]
    if passed:
        # An answer is never given from afar: whatever was asked while away, the donor came back.
        away = waiting["presence"] == Presence.AWAY
        presence = Presence.CHECKOUT if away else Presence(waiting["presence"])
        if intent["setup_future_usage"]:
            payment_methods.remember(account, method)
        return confirm(account, intent, Attempt(method, presence, authenticated=True))
    intent["status"] = "requires_payment_method"
    intent["payment_method"] = None
    intent["next_action"] = None
    intent["last_payment_error"] = {
        "code": "payment_intent_authentication_failure",
        "doc_url": "https://stripe.com/docs/error-codes/payment-intent-authentication-failure",
        "message": AUTHENTICATION_FAILED.message,
        "payment_method": dict(method),
        "type": "invalid_request_error",
    }
    account.emit("payment_intent.payment_failed", intent)
    return AUTHENTICATION_FAILED


AUTHENTICATION_FAILED: Final = Decline(
    "payment_intent_authentication_failure",
    "authentication_required",
    "We are unable to authenticate your payment method. "
    "Please choose a different payment method and try again.",
)


@route("POST", "/v1/payment_intents")
def create(call: Call) -> Obj:
    account, params = call.account, call.params
    if call.pinned and "payment_method_types" in params:
        raise no_longer_supported()
    amount = read.integer(params, "amount")
    if amount is None:
        raise missing("amount")
    currency = currency_of(params)
    check_amount(amount, currency, "amount")
    if read.text(params, "capture_method") == "manual":
        raise invalid("The sandbox does not do manual capture yet.", "capture_method")
    intent = make(account, amount, currency, _fields(account, params))
    if read.flag(params, "confirm"):
        _confirm_or_refuse(account, intent, params, intent["payment_method"])
    return intent


@route("POST", "/v1/payment_intents/{}")
def update(call: Call) -> Obj:
    intent, params = call.subject("payment_intent"), call.params
    read.refuse(params, "amount", "currency", "customer", "payment_method")
    intent["metadata"] = read.merge_metadata(intent["metadata"], params)
    for name in ("description", "receipt_email", "statement_descriptor_suffix"):
        if name in params:
            intent[name] = read.text(params, name)
    return intent


@route("POST", "/v1/payment_intents/{}/confirm")
def confirm_verb(call: Call) -> Obj:
    intent = call.subject("payment_intent")
    if intent["status"] not in _CONFIRMABLE:
        raise _unexpected_state(intent, "confirm")
    chosen = read.text(call.params, "payment_method") or intent["payment_method"]
    _confirm_or_refuse(call.account, intent, call.params, chosen)
    return intent


@route("POST", "/v1/payment_intents/{}/cancel")
def cancel_verb(call: Call) -> Obj:
    account, intent = call.account, call.subject("payment_intent")
    if intent["status"] not in _CONFIRMABLE:
        raise _unexpected_state(intent, "cancel")
    if account.store.private(intent["id"]).get("session"):
        raise invalid("You cannot cancel this PaymentIntent: it belongs to a Checkout Session.")
    cancel(account, intent, read.text(call.params, "cancellation_reason"))
    return intent


def cancel(account: Account, intent: Obj, reason: str | None) -> None:
    """Give up on being paid."""
    intent["status"] = "canceled"
    intent["canceled_at"] = account.clock.stamp()
    intent["cancellation_reason"] = reason
    intent["next_action"] = None
    account.emit("payment_intent.canceled", intent)


def refused(intent: Obj) -> Refusal:
    """402: what the bank said."""
    return Refusal(402, {**intent["last_payment_error"], "payment_intent": dict(intent)})


def no_longer_supported() -> Refusal:
    """The endive versions took `payment_method_types` away."""
    return invalid(
        "payment_method_types is no longer supported; use allowed_payment_method_types.",
        "payment_method_types",
        "payment_method_types_no_longer_supported",
    )


def _must_ask(account: Account, intent: Obj, card: Card, attempt: Attempt) -> bool:
    """Whether the bank wants the donor. An invoice waits for them; other intents just fail."""
    if attempt.authenticated or not card.secure:
        return False
    if attempt.presence is not Presence.AWAY:
        return True
    waits = "invoice" in account.store.private(intent["id"])
    return waits and card.later is cards.AUTHENTICATION


def _answer(card: Card, attempt: Attempt) -> Decline | None:
    if card.decline is not None:
        return card.decline
    if attempt.authenticated:
        return card.after_question
    away = attempt.presence is Presence.AWAY
    shop = attempt.presence is Presence.SHOP and not card.secure
    return card.later if away or shop else None


def _ask_for_authentication(account: Account, intent: Obj, attempt: Attempt) -> None:
    account.store.private(intent["id"])["authenticating"] = {
        "method": attempt.method["id"],
        "presence": attempt.presence.value,
    }
    intent["status"] = "requires_action"
    intent["payment_method"] = attempt.method["id"]
    intent["next_action"] = {
        "type": "use_stripe_sdk",
        "use_stripe_sdk": {"type": "three_d_secure_redirect"},
    }
    account.emit("payment_intent.requires_action", intent)


def _fields(account: Account, params: Obj) -> Obj:
    customer = customers.named(account, params)
    automatic = read.table(params, "automatic_payment_methods")
    fields: Obj = {
        "customer": customer["id"] if customer else None,
        "metadata": read.metadata(params),
    }
    for name in ("description", "receipt_email", "setup_future_usage"):
        fields[name] = read.text(params, name)
    fields["statement_descriptor_suffix"] = read.text(params, "statement_descriptor_suffix")
    if automatic:
        enabled = read.flag(automatic, "enabled")
        redirects = read.text(automatic, "allow_redirects") or "always"
        fields["automatic_payment_methods"] = {"enabled": enabled, "allow_redirects": redirects}
    shipping = read.table(params, "shipping")
    if shipping:
        fields["shipping"] = {**shipping, "address": read.address(shipping)}
    method = read.text(params, "payment_method")
    if method:
        fields["payment_method"] = payment_methods.resolve(account, method)["id"]
        fields["status"] = "requires_confirmation"
    return fields


def _confirm_or_refuse(account: Account, intent: Obj, params: Obj, chosen: str | None) -> None:
    if chosen is None:
        raise missing("payment_method")
    method = payment_methods.resolve(account, chosen)
    presence = Presence.AWAY if read.flag(params, "off_session") else Presence.SHOP
    decline = confirm(account, intent, Attempt(method, presence))
    if decline is not None:
        raise refused(intent)
    invoice_id = account.store.private(intent["id"]).get("invoice")
    if invoice_id is not None and intent["status"] == "succeeded":
        VERBS["settle_invoice"](account, invoice_id)


def _unexpected_state(intent: Obj, verb: str) -> Refusal:
    message = f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}."
    refusal = invalid(message, code="payment_intent_unexpected_state")
    refusal.error["payment_intent"] = dict(intent)
    return refusal
