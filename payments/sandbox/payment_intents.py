"""Payment intents: the will to be paid an amount, through as many charges as it takes.

An intent moves from needing a card, past the donor's authentication where the card asks for it, to
succeeded. A decline sends it back to needing a card; the same intent then takes the next one.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from payments.sandbox import (
    cards,
    charges,
    customers,
    listing,
    payment_methods,
    sepa_debit_payments,
)
from payments.sandbox import request_params as read
from payments.sandbox.account import TASK_HANDLERS, StripeAccount
from payments.sandbox.cards import Decline, SandboxCard
from payments.sandbox.catalog import currency_in, validate_charge_amount
from payments.sandbox.errors import ApiError, invalid_request, missing_param
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route

_CONFIRMABLE_STATUSES: Final = (
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
)

add_list_and_retrieve_routes(
    "payment_intent", "/v1/payment_intents", {"customer": listing.equals("customer")}
)


class CustomerPresence(StrEnum):
    """Where the donor is while the card is charged."""

    CHECKOUT = "checkout"  # on the hosted page
    ON_SESSION = "on_session"  # on a page of ours: the API confirms
    OFF_SESSION = "off_session"  # nowhere near: a renewal


@dataclass(frozen=True)
class PaymentAttempt:
    """A card, or a bank account, and the donor's part in it."""

    method: JsonObject
    presence: CustomerPresence
    authenticated: bool = False


def make(account: StripeAccount, amount: int, currency: str, fields: JsonObject) -> JsonObject:
    """A payment intent, told of."""
    intent = account.create_object(
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
    intent["client_secret"] = f"{intent['id']}_secret_{account.store.new_id('x')[2:]}"
    if intent["customer"]:
        account.store.link("payment_intent", "customer", intent["customer"], intent["id"])
    account.emit("payment_intent.created", intent)
    return intent


def confirm(account: StripeAccount, intent: JsonObject, attempt: PaymentAttempt) -> Decline | None:
    """Try to be paid with a card or a debit; a card's decline is returned, not raised."""
    if attempt.method["type"] != "card":
        sepa_debit_payments.start(account, intent, attempt.method)
        return None
    method, card = attempt.method, payment_methods.sandbox_card_of(account, attempt.method)
    if _requires_authentication(account, intent, card, attempt):
        _require_authentication(account, intent, attempt)
        return None
    account.store.private(intent["id"]).pop("authenticating", None)
    decline = _decline_for(card, attempt)
    charge = charges.charge_card(account, intent, method, decline)
    intent["latest_charge"] = charge["id"]
    intent["next_action"] = None
    if decline is not None:
        intent["status"] = "requires_payment_method"
        intent["payment_method"] = None
        intent["last_payment_error"] = charges.payment_error(account, charge, decline)
        account.emit("payment_intent.payment_failed", intent)
        return decline
    intent["status"] = "succeeded"
    intent["payment_method"] = method["id"]
    intent["last_payment_error"] = None
    intent["amount_received"] = intent["amount"]
    account.emit("payment_intent.succeeded", intent)
    return None


def authenticate(account: StripeAccount, intent: JsonObject, *, passed: bool) -> Decline | None:
    """The donor has passed, or failed, the card's own question."""
    waiting = account.store.private(intent["id"]).pop("authenticating")
    method = account.store.objects[waiting["method"]]
    if passed:
        # An answer is never given from afar: whatever was asked while away, the donor came back.
        away = waiting["presence"] == CustomerPresence.OFF_SESSION
        presence = CustomerPresence.CHECKOUT if away else CustomerPresence(waiting["presence"])
        if intent["setup_future_usage"]:
            payment_methods.mark_authenticated(account, method)
        return confirm(account, intent, PaymentAttempt(method, presence, authenticated=True))
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
def create(call: Call) -> JsonObject:
    account, params = call.account, call.params
    if call.uses_pinned_version and "payment_method_types" in params:
        raise payment_method_types_error()
    amount = read.integer(params, "amount")
    if amount is None:
        raise missing_param("amount")
    currency = currency_in(params)
    validate_charge_amount(amount, currency, "amount")
    if read.text(params, "capture_method") == "manual":
        raise invalid_request("The sandbox does not do manual capture yet.", "capture_method")
    intent = make(account, amount, currency, _fields(account, params))
    if read.flag(params, "confirm"):
        _confirm_or_raise(account, intent, params, intent["payment_method"])
    return intent


@route("POST", "/v1/payment_intents/{}")
def update(call: Call) -> JsonObject:
    intent, params = call.get_object("payment_intent"), call.params
    read.refuse_unsupported(params, "amount", "currency", "customer", "payment_method")
    intent["metadata"] = read.merge_metadata(intent["metadata"], params)
    for name in ("description", "receipt_email", "statement_descriptor_suffix"):
        if name in params:
            intent[name] = read.text(params, name)
    return intent


@route("POST", "/v1/payment_intents/{}/confirm")
def confirm_endpoint(call: Call) -> JsonObject:
    intent = call.get_object("payment_intent")
    if intent["status"] not in _CONFIRMABLE_STATUSES:
        raise _unexpected_state_error(intent, "confirm")
    chosen = read.text(call.params, "payment_method") or intent["payment_method"]
    _confirm_or_raise(call.account, intent, call.params, chosen)
    return intent


@route("POST", "/v1/payment_intents/{}/cancel")
def cancel_endpoint(call: Call) -> JsonObject:
    account, intent = call.account, call.get_object("payment_intent")
    if intent["status"] not in _CONFIRMABLE_STATUSES:
        raise _unexpected_state_error(intent, "cancel")
    if account.store.private(intent["id"]).get("session"):
        raise invalid_request(
            "You cannot cancel this PaymentIntent: it belongs to a Checkout Session."
        )
    cancel(account, intent, read.text(call.params, "cancellation_reason"))
    return intent


def cancel(account: StripeAccount, intent: JsonObject, reason: str | None) -> None:
    """Give up on being paid."""
    intent["status"] = "canceled"
    intent["canceled_at"] = account.clock.timestamp()
    intent["cancellation_reason"] = reason
    intent["next_action"] = None
    account.emit("payment_intent.canceled", intent)


def payment_error(intent: JsonObject) -> ApiError:
    """402: what the bank said."""
    return ApiError(402, {**intent["last_payment_error"], "payment_intent": dict(intent)})


def payment_method_types_error() -> ApiError:
    """The endive versions took `payment_method_types` away."""
    return invalid_request(
        "payment_method_types is no longer supported; use allowed_payment_method_types.",
        "payment_method_types",
        "payment_method_types_no_longer_supported",
    )


def _requires_authentication(
    account: StripeAccount, intent: JsonObject, card: SandboxCard, attempt: PaymentAttempt
) -> bool:
    """Whether the bank wants the donor. An invoice waits for them; other intents just fail."""
    if attempt.authenticated or not card.requires_3ds:
        return False
    if attempt.presence is not CustomerPresence.OFF_SESSION:
        return True
    waits = "invoice" in account.store.private(intent["id"])
    return waits and card.renewal_decline is cards.AUTHENTICATION_REQUIRED


def _decline_for(card: SandboxCard, attempt: PaymentAttempt) -> Decline | None:
    if card.decline is not None:
        return card.decline
    if attempt.authenticated:
        return card.decline_after_3ds
    away = attempt.presence is CustomerPresence.OFF_SESSION
    shop = attempt.presence is CustomerPresence.ON_SESSION and not card.requires_3ds
    return card.renewal_decline if away or shop else None


def _require_authentication(
    account: StripeAccount, intent: JsonObject, attempt: PaymentAttempt
) -> None:
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


def _fields(account: StripeAccount, params: JsonObject) -> JsonObject:
    customer = customers.customer_in(account, params)
    automatic = read.nested_object(params, "automatic_payment_methods")
    fields: JsonObject = {
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
    shipping = read.nested_object(params, "shipping")
    if shipping:
        fields["shipping"] = {**shipping, "address": read.address(shipping)}
    method = read.text(params, "payment_method")
    if method:
        fields["payment_method"] = payment_methods.find_or_create(account, method)["id"]
        fields["status"] = "requires_confirmation"
    return fields


def _confirm_or_raise(
    account: StripeAccount, intent: JsonObject, params: JsonObject, chosen: str | None
) -> None:
    if chosen is None:
        raise missing_param("payment_method")
    method = payment_methods.find_or_create(account, chosen)
    presence = (
        CustomerPresence.OFF_SESSION
        if read.flag(params, "off_session")
        else CustomerPresence.ON_SESSION
    )
    decline = confirm(account, intent, PaymentAttempt(method, presence))
    if decline is not None:
        raise payment_error(intent)
    invoice_id = account.store.private(intent["id"]).get("invoice")
    if invoice_id is not None and intent["status"] == "succeeded":
        TASK_HANDLERS["settle_invoice"](account, invoice_id)


def _unexpected_state_error(intent: JsonObject, verb: str) -> ApiError:
    message = f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}."
    refusal = invalid_request(message, code="payment_intent_unexpected_state")
    refusal.error["payment_intent"] = dict(intent)
    return refusal
