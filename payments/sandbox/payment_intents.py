"""Payment intents: each collects one amount, through as many charges as it takes.

A confirmed intent may require 3-D Secure before it succeeds. A decline returns it to
`requires_payment_method`, and it can be confirmed with another card.
https://docs.stripe.com/payments/paymentintents/lifecycle
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from payments.sandbox import (
    cards,
    charges,
    customers,
    listing,
    payment_method_params,
    payment_methods,
    sepa_debit_payments,
    three_d_secure,
)
from payments.sandbox import request_params as read
from payments.sandbox.account import TASK_HANDLERS, StripeAccount
from payments.sandbox.cards import Decline, SandboxCard
from payments.sandbox.catalog import currency_in, validate_charge_amount
from payments.sandbox.declared_params import shipping
from payments.sandbox.errors import ApiError, invalid_request, missing_param
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route

# Of setup intents too: an intent in any other status can be neither confirmed nor cancelled.
CONFIRMABLE_STATUSES: Final = (
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
)

SHIPPING: Final = shipping("shipping", "carrier", "name", "phone", "tracking_number")

add_list_and_retrieve_routes(
    "payment_intent", "/v1/payment_intents", {"customer": listing.equals("customer")}
)


class CustomerPresence(StrEnum):
    """Where the customer is while a card is charged."""

    CHECKOUT = "checkout"  # on a hosted page
    ON_SESSION = "on_session"  # on the shop's page: the API confirms
    OFF_SESSION = "off_session"  # absent, as at a renewal


@dataclass(frozen=True)
class PaymentAttempt:
    """The payment method to charge, and the customer's presence and authentication."""

    method: JsonObject
    presence: CustomerPresence
    authenticated: bool = False


def make(account: StripeAccount, amount: int, currency: str, fields: JsonObject) -> JsonObject:
    """Create a payment intent over minor units, and emit `payment_intent.created`."""
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
    """Charge a payment method. A card's decline is returned, not raised.

    Afterwards the intent has succeeded, is processing (a debit), requires action or failed.
    """
    if attempt.method["type"] != "card":
        payment_methods.mark_used(account, attempt.method)
        sepa_debit_payments.start(account, intent, attempt.method)
        _save_for_later(account, intent, attempt.method)
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
    payment_methods.mark_used(account, method)
    intent["payment_method"] = method["id"]
    intent["last_payment_error"] = None
    intent["amount_received"] = intent["amount"]
    account.emit("payment_intent.succeeded", intent)
    _save_for_later(account, intent, method)
    return None


def _save_for_later(account: StripeAccount, intent: JsonObject, method: JsonObject) -> None:
    """Attach a payment method that was charged with `setup_future_usage` to the customer."""
    customer = account.store.get("customer", intent["customer"])
    if customer is not None and intent["setup_future_usage"]:
        payment_methods.attach(account, method, customer)


def authenticate(account: StripeAccount, intent: JsonObject, *, passed: bool) -> Decline | None:
    """Complete or fail 3-D Secure. Returns the decline when it was failed or refused."""
    attempt = account.store.private(intent["id"]).pop("authenticating")
    method = account.store.objects[attempt["method"]]
    if passed:
        three_d_secure.record(account, intent, passed=True)
        presence = CustomerPresence(attempt["presence"])
        if presence is CustomerPresence.OFF_SESSION:  # whoever authenticates is on a hosted page
            presence = CustomerPresence.CHECKOUT
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


@route(
    "POST",
    "/v1/payment_intents",
    reads=(
        "amount", "automatic_payment_methods.allow_redirects", "automatic_payment_methods.enabled",
        "capture_method", "confirm", "currency", "customer", "description", "metadata",
        "off_session", "payment_method", "payment_method_types[]", "receipt_email", "return_url",
        "setup_future_usage", "statement_descriptor_suffix",
        *SHIPPING,
    ),
)  # fmt: skip
def create(call: Call) -> JsonObject:
    """Create a payment intent, and with `confirm` charge it."""
    account, params = call.account, call.params
    amount = read.required_integer(params, "amount")
    currency = currency_in(params)
    validate_charge_amount(amount, currency, "amount")
    read.supported(params, "capture_method", ("automatic", "automatic_async"))
    for name in ("off_session", "return_url"):
        if name in params and not read.flag(params, "confirm"):
            raise invalid_request(f"You can only pass `{name}` with `confirm=true`.", name)
    intent = make(account, amount, currency, _fields(account, params, currency))
    if read.flag(params, "confirm"):
        _confirm_or_raise(account, intent, params, intent["payment_method"])
    return intent


@route(
    "POST",
    "/v1/payment_intents/{}",
    reads=("description", "metadata", "receipt_email", "statement_descriptor_suffix"),
)
def update(call: Call) -> JsonObject:
    """Update a payment intent's metadata and texts."""
    intent, params = call.get_object("payment_intent"), call.params
    intent["metadata"] = read.merge_metadata(intent["metadata"], params)
    texts = texts_in(params)
    intent |= {name: value for name, value in texts.items() if name in params}
    return intent


@route(
    "POST", "/v1/payment_intents/{}/confirm", reads=("off_session", "payment_method", "return_url")
)
def confirm_endpoint(call: Call) -> JsonObject:
    """Confirm a payment intent, with the payment method the request names or its own."""
    intent = call.get_object("payment_intent")
    if intent["status"] not in CONFIRMABLE_STATUSES:
        raise _unexpected_state_error(intent, "confirm")
    method_id = read.text(call.params, "payment_method") or intent["payment_method"]
    _confirm_or_raise(call.account, intent, call.params, method_id)
    return intent


@route("POST", "/v1/payment_intents/{}/cancel", reads=("cancellation_reason",))
def cancel_endpoint(call: Call) -> JsonObject:
    """Cancel a payment intent that belongs to no Checkout Session."""
    account, intent = call.account, call.get_object("payment_intent")
    if intent["status"] not in CONFIRMABLE_STATUSES:
        raise _unexpected_state_error(intent, "cancel")
    if account.store.private(intent["id"]).get("session"):
        raise invalid_request(
            "You cannot cancel this PaymentIntent: it belongs to a Checkout Session."
        )
    cancel(account, intent, read.text(call.params, "cancellation_reason"))
    return intent


def cancel(account: StripeAccount, intent: JsonObject, reason: str | None) -> None:
    """Cancel a payment intent."""
    intent["status"] = "canceled"
    intent["canceled_at"] = account.clock.timestamp()
    intent["cancellation_reason"] = reason
    intent["next_action"] = None
    account.emit("payment_intent.canceled", intent)


def payment_error(intent: JsonObject) -> ApiError:
    """Return a 402 with the intent's last error."""
    return ApiError(402, {**intent["last_payment_error"], "payment_intent": dict(intent)})


def _requires_authentication(
    account: StripeAccount, intent: JsonObject, card: SandboxCard, attempt: PaymentAttempt
) -> bool:
    """Return whether 3-D Secure comes first. Off session only an invoice's intent requires it."""
    if attempt.authenticated or not card.requires_3ds:
        return False
    if attempt.presence is not CustomerPresence.OFF_SESSION:
        return True
    is_for_invoice = "invoice" in account.store.private(intent["id"])
    return is_for_invoice and card.renewal_decline is cards.AUTHENTICATION_REQUIRED


def _decline_for(card: SandboxCard, attempt: PaymentAttempt) -> Decline | None:
    if card.decline is not None:
        return card.decline
    if attempt.authenticated:
        return card.decline_after_3ds
    is_absent = attempt.presence is CustomerPresence.OFF_SESSION
    is_in_shop = attempt.presence is CustomerPresence.ON_SESSION and not card.requires_3ds
    return card.renewal_decline if is_absent or is_in_shop else None


def _require_authentication(
    account: StripeAccount, intent: JsonObject, attempt: PaymentAttempt
) -> None:
    account.store.private(intent["id"])["authenticating"] = {
        "method": attempt.method["id"],
        "presence": attempt.presence.value,
    }
    intent["status"] = "requires_action"
    intent["payment_method"] = attempt.method["id"]
    intent["next_action"] = three_d_secure.next_action(account, intent)
    account.emit("payment_intent.requires_action", intent)


def _fields(account: StripeAccount, params: JsonObject, currency: str) -> JsonObject:
    customer = customers.customer_in(account, params)
    automatic = read.nested_object(params, "automatic_payment_methods")
    fields: JsonObject = {
        "customer": customer["id"] if customer else None,
        "metadata": read.metadata(params),
    }
    fields["payment_method_types"] = payment_methods.types_for(currency)
    if "payment_method_types" in params:
        fields["payment_method_types"] = payment_method_params.types_in(params)
    fields |= texts_in(params)
    fields["setup_future_usage"] = read.text(params, "setup_future_usage")
    if automatic:
        enabled = read.flag(automatic, "enabled")
        redirects = read.text(automatic, "allow_redirects") or "always"
        fields["automatic_payment_methods"] = {"enabled": enabled, "allow_redirects": redirects}
    fields["shipping"] = shipping_in(params)
    method_id = read.text(params, "payment_method")
    if method_id:
        method = payment_methods.find_usable(account, method_id, fields, currency=currency)
        fields["payment_method"] = method["id"]
        fields["status"] = "requires_confirmation"
    return fields


def texts_in(params: JsonObject, param: str = "") -> JsonObject:
    """Return the texts of a payment intent; `param` is the path of what holds them."""
    within_param = f"{param}[{{}}]" if param else "{}"
    suffix, receipt = "statement_descriptor_suffix", "receipt_email"
    return {
        "description": read.text(params, "description"),
        receipt: read.email(params, receipt, param=within_param.format(receipt)),
        suffix: read.statement_descriptor(params, suffix, 1, param=within_param.format(suffix)),
    }


def shipping_in(params: JsonObject) -> JsonObject | None:
    """Return the `shipping` of a payment intent that a request names, or None."""
    destination = read.nested_object(params, "shipping")
    if not destination:
        return None
    texts = ("carrier", "name", "phone", "tracking_number")
    fields = {name: read.text(destination, name) for name in texts}
    return {**fields, "address": read.address(destination)}


def _confirm_or_raise(
    account: StripeAccount, intent: JsonObject, params: JsonObject, method_id: str | None
) -> None:
    if method_id is None:
        raise missing_param("payment_method")
    account.store.private(intent["id"])["return_url"] = read.web_address(params, "return_url")
    method = payment_methods.find_usable(account, method_id, intent, currency=intent["currency"])
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
        TASK_HANDLERS["mark_invoice_paid"](account, invoice_id)


def _unexpected_state_error(intent: JsonObject, action: str) -> ApiError:
    status = intent["status"]
    message = f"You cannot {action} this PaymentIntent because it has a status of {status}."
    refusal = invalid_request(message, code="payment_intent_unexpected_state")
    refusal.error["payment_intent"] = dict(intent)
    return refusal
