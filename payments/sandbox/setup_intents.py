"""Setup intents: each saves a card or bank account for later, without charging it.

The card is authenticated now, so that later charges need no authentication. The payment method is
attached to the customer; it does not become a default.
https://docs.stripe.com/payments/setupintents/lifecycle
"""

from typing import Final

from payments.sandbox import (
    customers,
    listing,
    payment_method_params,
    payment_methods,
    sepa_debit,
    three_d_secure,
)
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.cards import Decline
from payments.sandbox.errors import ApiError, invalid_request, missing_param
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.payment_intents import (
    AUTHENTICATION_FAILED,
    CONFIRMABLE_STATUSES,
)
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route

OBJECT_NAME: Final = "setup_intent"
_CANCELLATION_REASONS: Final = ("abandoned", "duplicate", "requested_by_customer")

add_list_and_retrieve_routes(
    OBJECT_NAME,
    "/v1/setup_intents",
    {"customer": listing.equals("customer"), "payment_method": listing.equals("payment_method")},
)
add_list_and_retrieve_routes(
    "setup_attempt",
    "/v1/setup_attempts",
    {"setup_intent": listing.equals("setup_intent")},
)


@route(
    "POST",
    "/v1/setup_intents",
    reads=(
        "confirm", "customer", "description", "metadata", "payment_method",
        "payment_method_types[]", "return_url", "usage",
    ),
)  # fmt: skip
def create(call: Call) -> JsonObject:
    """Create a setup intent, and with `confirm` confirm it."""
    account, params = call.account, call.params
    customer = customers.customer_in(account, params)
    fields: JsonObject = {
        "customer": customer["id"] if customer else None,
        "description": read.text(params, "description"),
        "metadata": read.metadata(params),
        "payment_method_types": payment_method_params.types_in(params),
        "usage": read.text(params, "usage") or "off_session",
    }
    method_id = read.text(params, "payment_method")
    if method_id:
        method = payment_methods.find_usable(account, method_id, fields)
        fields["payment_method"] = method["id"]
        fields["status"] = "requires_confirmation"
    if "return_url" in params and not read.flag(params, "confirm"):
        raise invalid_request("You can only pass `return_url` with `confirm=true`.", "return_url")
    intent = make(account, fields)
    if read.flag(params, "confirm"):
        _confirm_or_raise(account, intent, params, intent["payment_method"])
    return intent


@route("POST", "/v1/setup_intents/{}", reads=("description", "metadata"))
def update(call: Call) -> JsonObject:
    """Update a setup intent's metadata and description."""
    intent, params = call.get_object(OBJECT_NAME), call.params
    intent["metadata"] = read.merge_metadata(intent["metadata"], params)
    if "description" in params:
        intent["description"] = read.text(params, "description")
    return intent


@route("POST", "/v1/setup_intents/{}/confirm", reads=("payment_method", "return_url"))
def confirm_endpoint(call: Call) -> JsonObject:
    """Confirm a setup intent, with the payment method the request names or its own."""
    intent = call.get_object(OBJECT_NAME)
    _check_confirmable(call.account, intent, "confirm")
    method_id = read.text(call.params, "payment_method") or intent["payment_method"]
    _confirm_or_raise(call.account, intent, call.params, method_id)
    return intent


@route("POST", "/v1/setup_intents/{}/cancel", reads=("cancellation_reason",))
def cancel_endpoint(call: Call) -> JsonObject:
    """Cancel a setup intent that belongs to no Checkout Session."""
    account, intent = call.account, call.get_object(OBJECT_NAME)
    _check_confirmable(account, intent, "cancel")
    reason = read.one_of(call.params, "cancellation_reason", _CANCELLATION_REASONS, None)
    cancel(account, intent, reason)
    return intent


def make(account: StripeAccount, fields: JsonObject) -> JsonObject:
    """Create a setup intent, and emit `setup_intent.created`."""
    intent = account.create_object(
        "seti",
        OBJECT_NAME,
        {
            **dict.fromkeys(_NULL_FIELDS),
            "automatic_payment_methods": {"allow_redirects": "always", "enabled": True},
            "managed_payments": {"enabled": False},
            "metadata": {},
            "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
            "payment_method_types": ["card"],
            "status": "requires_payment_method",
            "usage": "off_session",
            **fields,
        },
    )
    intent["client_secret"] = f"{intent['id']}_secret_{account.store.new_id('x')[2:]}"
    if intent["customer"]:
        account.store.link(OBJECT_NAME, "customer", intent["customer"], intent["id"])
    account.emit("setup_intent.created", intent)
    return intent


def confirm(
    account: StripeAccount, intent: JsonObject, method: JsonObject, *, authenticated: bool = False
) -> Decline | None:
    """Save a payment method. A decline is returned, not raised.

    Afterwards the intent has succeeded, requires action or failed.
    """
    if method["type"] != "card":
        intent["mandate"] = sepa_debit.mandate_of(account, method)["id"]
        _succeed(account, intent, method)
        return None
    card = payment_methods.sandbox_card_of(account, method)
    if card.requires_3ds and not authenticated:
        _require_authentication(account, intent, method)
        return None
    if card.decline is not None:
        error = {"code": card.decline.code, "decline_code": card.decline.decline_code,
                 "message": card.decline.message, "type": "card_error"}  # fmt: skip
        _fail(account, intent, method, error)
        return card.decline
    _succeed(account, intent, method)
    return None


def authenticate(account: StripeAccount, intent: JsonObject, *, passed: bool) -> Decline | None:
    """Complete or fail 3-D Secure. Returns the decline when it was failed or refused."""
    method = account.store.objects[intent["payment_method"]]
    three_d_secure.record(account, intent, passed=passed)
    if passed:
        return confirm(account, intent, method, authenticated=True)
    error = {"code": "setup_intent_authentication_failure", "type": "invalid_request_error",
             "message": AUTHENTICATION_FAILED.message}  # fmt: skip
    _fail(account, intent, method, error)
    return AUTHENTICATION_FAILED


def cancel(account: StripeAccount, intent: JsonObject, reason: str | None) -> None:
    """Cancel a setup intent; an attempt that required action is abandoned."""
    attempt = account.store.get("setup_attempt", intent["latest_attempt"])
    if attempt is not None and attempt["status"] == "requires_action":
        attempt["status"] = "abandoned"
    account.set_fields(intent, cancellation_reason=reason, next_action=None, status="canceled")
    account.emit("setup_intent.canceled", intent)


def _require_authentication(account: StripeAccount, intent: JsonObject, method: JsonObject) -> None:
    _record_attempt(account, intent, method, "requires_action")
    account.set_fields(
        intent,
        next_action=three_d_secure.next_action(account, intent),
        payment_method=method["id"],
        status="requires_action",
    )
    account.emit("setup_intent.requires_action", intent)


def _succeed(account: StripeAccount, intent: JsonObject, method: JsonObject) -> None:
    _record_attempt(account, intent, method, "succeeded")
    account.set_fields(
        intent,
        last_setup_error=None,
        next_action=None,
        payment_method=method["id"],
        status="succeeded",
    )
    payment_methods.mark_authenticated(account, method)
    account.emit("setup_intent.succeeded", intent)
    customer = account.store.get("customer", intent["customer"])
    if customer is not None:
        payment_methods.attach(account, method, customer)


def _fail(
    account: StripeAccount, intent: JsonObject, method: JsonObject, error: JsonObject
) -> None:
    error = {**error, "payment_method": dict(method)}
    _record_attempt(account, intent, method, "failed", error)
    account.set_fields(
        intent,
        last_setup_error=error,
        next_action=None,
        payment_method=None,
        status="requires_payment_method",
    )
    account.emit("setup_intent.setup_failed", intent)


def _record_attempt(
    account: StripeAccount,
    intent: JsonObject,
    method: JsonObject,
    status: str,
    error: JsonObject | None = None,
) -> None:
    """Record the attempt to save a payment method, or how one that required action ended."""
    details: JsonObject = {"type": method["type"], method["type"]: {}}
    if method["type"] == "card":
        names = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding",
                 "last4", "wallet")  # fmt: skip
        card = {name: method["card"][name] for name in names}
        outcome = three_d_secure.taken_outcome(account, intent)
        details["card"] = {**card, "network": method["card"]["brand"], "three_d_secure": outcome}
    pending = account.store.get("setup_attempt", intent["latest_attempt"])
    if pending is not None and pending["status"] == "requires_action":
        pending |= {"payment_method_details": details, "setup_error": error, "status": status}
        return
    attempt = account.create_object(
        "setatt",
        "setup_attempt",
        {
            "application": None,
            "customer": intent["customer"],
            "customer_account": None,
            "flow_directions": None,
            "on_behalf_of": None,
            "payment_method": method["id"],
            "payment_method_details": details,
            "setup_error": error,
            "setup_intent": intent["id"],
            "status": status,
            "usage": intent["usage"],
        },
    )
    intent["latest_attempt"] = attempt["id"]


def _confirm_or_raise(
    account: StripeAccount, intent: JsonObject, params: JsonObject, method_id: str | None
) -> None:
    account.store.private(intent["id"])["return_url"] = read.web_address(params, "return_url")
    if method_id is None:
        raise missing_param("payment_method")
    method = payment_methods.find_usable(account, method_id, intent)
    if confirm(account, intent, method) is not None:
        raise setup_error(intent)


def setup_error(intent: JsonObject) -> ApiError:
    """Return a 402 with the intent's last error."""
    return ApiError(402, {**intent["last_setup_error"], "setup_intent": dict(intent)})


def _check_confirmable(account: StripeAccount, intent: JsonObject, action: str) -> None:
    if account.store.private(intent["id"]).get("session"):
        raise invalid_request(
            f"You cannot {action} this SetupIntent: it belongs to a Checkout Session."
        )
    if intent["status"] not in CONFIRMABLE_STATUSES:
        status = intent["status"]
        message = f"You cannot {action} this SetupIntent because it has a status of {status}."
        raise invalid_request(message, code="setup_intent_unexpected_state")


_NULL_FIELDS: Final = (
    "allowed_payment_method_types", "application", "attach_to_self", "cancellation_reason",
    "client_secret", "customer", "customer_account", "description",
    "excluded_payment_method_types", "flow_directions", "last_setup_error", "latest_attempt",
    "mandate", "next_action", "on_behalf_of", "payment_method",
    "payment_method_configuration_details", "single_use_mandate",
)  # fmt: skip
