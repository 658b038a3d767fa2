"""Setup intents: the will to save a card or an account for later, without charging it.

Authenticated now, where the bank asks for it, so that it need not ask when the donor is away. What
is saved belongs to the customer afterwards; nothing becomes a default by itself.
"""

from typing import Final

from payments.sandbox import customers, debits, listing, payment_methods
from payments.sandbox import params as read
from payments.sandbox.account import Account
from payments.sandbox.cards import Decline
from payments.sandbox.errors import Refusal, invalid, missing
from payments.sandbox.payment_intents import AUTHENTICATION_FAILED, no_longer_supported
from payments.sandbox.routes import Call, resource, route
from payments.sandbox.wire import Obj

KIND: Final = "setup_intent"
_OPEN: Final = ("requires_payment_method", "requires_confirmation", "requires_action")
_REASONS: Final = ("abandoned", "duplicate", "requested_by_customer")

resource(
    KIND,
    "/v1/setup_intents",
    {"customer": listing.same("customer"), "payment_method": listing.same("payment_method")},
)
resource(
    "setup_attempt",
    "/v1/setup_attempts",
    {"setup_intent": listing.same("setup_intent")},
)


@route("POST", "/v1/setup_intents")
def create(call: Call) -> Obj:
    account, params = call.account, call.params
    if call.pinned and "payment_method_types" in params:
        raise no_longer_supported()
    customer = customers.named(account, params)
    fields: Obj = {
        "customer": customer["id"] if customer else None,
        "description": read.text(params, "description"),
        "metadata": read.metadata(params),
        "usage": read.text(params, "usage") or "off_session",
    }
    method_id = read.text(params, "payment_method")
    if method_id:
        fields["payment_method"] = payment_methods.resolve(account, method_id)["id"]
        fields["status"] = "requires_confirmation"
    intent = make(account, fields)
    if read.flag(params, "confirm"):
        _confirm_or_refuse(account, intent, intent["payment_method"])
    return intent


@route("POST", "/v1/setup_intents/{}")
def update(call: Call) -> Obj:
    intent, params = call.subject(KIND), call.params
    read.refuse(params, "customer", "payment_method")
    intent["metadata"] = read.merge_metadata(intent["metadata"], params)
    if "description" in params:
        intent["description"] = read.text(params, "description")
    return intent


@route("POST", "/v1/setup_intents/{}/confirm")
def confirm_verb(call: Call) -> Obj:
    intent = call.subject(KIND)
    _refuse_unless_open(call.account, intent, "confirm")
    chosen = read.text(call.params, "payment_method") or intent["payment_method"]
    _confirm_or_refuse(call.account, intent, chosen)
    return intent


@route("POST", "/v1/setup_intents/{}/cancel")
def cancel_verb(call: Call) -> Obj:
    account, intent = call.account, call.subject(KIND)
    _refuse_unless_open(account, intent, "cancel")
    cancel(account, intent, read.one_of(call.params, "cancellation_reason", _REASONS, None))
    return intent


def make(account: Account, fields: Obj) -> Obj:
    """A setup intent, told of."""
    intent = account.make(
        "seti",
        KIND,
        {
            **dict.fromkeys(_ABSENT),
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
    intent["client_secret"] = f"{intent['id']}_secret_{account.store.mint('x')[2:]}"
    if intent["customer"]:
        account.store.link(KIND, "customer", intent["customer"], intent["id"])
    account.emit("setup_intent.created", intent)
    return intent


def confirm(
    account: Account, intent: Obj, method: Obj, *, authenticated: bool = False
) -> Decline | None:
    """Try to save a payment method; a decline is returned, not raised."""
    if method["type"] != "card":
        intent["mandate"] = debits.mandate_of(account, method)["id"]
        _succeed(account, intent, method)
        return None
    card = payment_methods.card_of(account, method)
    if card.secure and not authenticated:
        _ask(account, intent, method)
        return None
    if card.decline is not None:
        error = {"code": card.decline.code, "decline_code": card.decline.decline_code,
                 "message": card.decline.message, "type": "card_error"}  # fmt: skip
        _fail(account, intent, method, error)
        return card.decline
    _succeed(account, intent, method)
    return None


def authenticate(account: Account, intent: Obj, *, passed: bool) -> Decline | None:
    """The donor has passed, or failed, the card's own question."""
    method = account.store.objects[intent["payment_method"]]
    if passed:
        return confirm(account, intent, method, authenticated=True)
    error = {"code": "setup_intent_authentication_failure", "type": "invalid_request_error",
             "message": AUTHENTICATION_FAILED.message}  # fmt: skip
    _fail(account, intent, method, error)
    return AUTHENTICATION_FAILED


def cancel(account: Account, intent: Obj, reason: str | None) -> None:
    """Give up on saving anything."""
    account.change(intent, cancellation_reason=reason, next_action=None, status="canceled")
    account.emit("setup_intent.canceled", intent)


def _ask(account: Account, intent: Obj, method: Obj) -> None:
    question = {"type": "three_d_secure_redirect"}
    account.change(
        intent,
        next_action={"type": "use_stripe_sdk", "use_stripe_sdk": question},
        payment_method=method["id"],
        status="requires_action",
    )
    account.emit("setup_intent.requires_action", intent)


def _succeed(account: Account, intent: Obj, method: Obj) -> None:
    _attempted(account, intent, method, None)
    account.change(
        intent,
        last_setup_error=None,
        next_action=None,
        payment_method=method["id"],
        status="succeeded",
    )
    payment_methods.remember(account, method)
    account.emit("setup_intent.succeeded", intent)
    customer = account.store.find("customer", intent["customer"])
    if customer is not None:
        payment_methods.attach(account, method, customer)


def _fail(account: Account, intent: Obj, method: Obj, error: Obj) -> None:
    error = {**error, "payment_method": dict(method)}
    _attempted(account, intent, method, error)
    account.change(
        intent,
        last_setup_error=error,
        next_action=None,
        payment_method=None,
        status="requires_payment_method",
    )
    account.emit("setup_intent.setup_failed", intent)


def _attempted(account: Account, intent: Obj, method: Obj, error: Obj | None) -> None:
    details: Obj = {"type": method["type"], method["type"]: {}}
    if method["type"] == "card":
        names = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding",
                 "last4", "wallet")  # fmt: skip
        shown = {name: method["card"][name] for name in names}
        details["card"] = {**shown, "network": method["card"]["brand"], "three_d_secure": None}
    attempt = account.make(
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
            "status": "failed" if error else "succeeded",
            "usage": intent["usage"],
        },
    )
    intent["latest_attempt"] = attempt["id"]


def _confirm_or_refuse(account: Account, intent: Obj, chosen: str | None) -> None:
    if chosen is None:
        raise missing("payment_method")
    method = payment_methods.resolve(account, chosen)
    if confirm(account, intent, method) is not None:
        raise refused(intent)


def refused(intent: Obj) -> Refusal:
    """402: what the bank said."""
    return Refusal(402, {**intent["last_setup_error"], "setup_intent": dict(intent)})


def _refuse_unless_open(account: Account, intent: Obj, verb: str) -> None:
    if account.store.private(intent["id"]).get("session"):
        raise invalid(f"You cannot {verb} this SetupIntent: it belongs to a Checkout Session.")
    if intent["status"] not in _OPEN:
        message = f"You cannot {verb} this SetupIntent because it has a status of "
        raise invalid(message + f"{intent['status']}.", code="setup_intent_unexpected_state")


_ABSENT: Final = (
    "allowed_payment_method_types", "application", "attach_to_self", "cancellation_reason",
    "client_secret", "customer", "customer_account", "description",
    "excluded_payment_method_types", "flow_directions", "last_setup_error", "latest_attempt",
    "mandate", "next_action", "on_behalf_of", "payment_method",
    "payment_method_configuration_details", "single_use_mandate",
)  # fmt: skip
