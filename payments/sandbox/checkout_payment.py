"""Paying a Checkout Session with the card or bank account entered on its page.

The subscription, its invoice and the completed session are created only when the payment has
succeeded or, for a debit, is processing. A decline leaves the session open, for the same intent to
be paid with another card.
"""

from payments.sandbox import (
    checkout,
    customer_balance,
    customers,
    invoices,
    payment_intents,
    payment_methods,
    setup_intents,
    subscriptions,
)
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.cards import Decline
from payments.sandbox.errors import ApiError, invalid_request
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.payment_form import Payer
from payments.sandbox.payment_intents import CustomerPresence, PaymentAttempt
from payments.sandbox.routes import Call, route


def pay(
    account: StripeAccount, session: JsonObject, method: JsonObject, payer: Payer
) -> Decline | None:
    """Pay an open session: complete it, or leave it open awaiting authentication.

    Returns the decline when the bank refuses.
    """
    customer = _customer(account, session, payer)
    private = account.store.private(session["id"])
    private["payer"] = {"email": payer.email, "name": payer.name}
    intent = _intent(account, session, customer)
    if session["mode"] == "setup":
        decline = setup_intents.confirm(account, intent, method)
    else:
        decline = payment_intents.confirm(
            account, intent, PaymentAttempt(method, CustomerPresence.CHECKOUT)
        )
    _complete_if_paid(account, session, intent)
    return decline


def authenticate(account: StripeAccount, session: JsonObject, *, passed: bool) -> Decline | None:
    """Continue a payment after 3-D Secure. Returns the decline when it was failed or refused."""
    intent = intent_of(account, session)
    if intent is None or intent["status"] != "requires_action":
        raise invalid_request("This payment is not waiting for authentication.")
    if session["mode"] == "setup":
        decline = setup_intents.authenticate(account, intent, passed=passed)
    else:
        decline = payment_intents.authenticate(account, intent, passed=passed)
    _complete_if_paid(account, session, intent)
    return decline


def intent_of(account: StripeAccount, session: JsonObject) -> JsonObject | None:
    """Return the payment or setup intent of a session; None before the first attempt to pay."""
    intent_id = account.store.private(session["id"]).get("paying_intent", "")
    return account.store.objects.get(session["setup_intent"] or intent_id)


def is_authenticating(account: StripeAccount, session: JsonObject) -> bool:
    """Return whether a session awaits 3-D Secure authentication."""
    intent = intent_of(account, session)
    return intent is not None and intent["status"] == "requires_action"


def _customer(account: StripeAccount, session: JsonObject, payer: Payer) -> JsonObject | None:
    private = account.store.private(session["id"])
    customer = account.store.get("customer", session["customer"] or private.get("customer"))
    if customer is not None:
        return customer
    if session["mode"] != "subscription" and session["customer_creation"] != "always":
        return None
    customer = customers.make(account, email=payer.email, name=payer.name)
    account.emit("customer.created", customer)
    private["customer"] = customer["id"]
    return customer


def _intent(account: StripeAccount, session: JsonObject, customer: JsonObject | None) -> JsonObject:
    intent = intent_of(account, session)
    if intent is not None:
        if customer is not None and intent["object"] == setup_intents.OBJECT_NAME:
            intent["customer"] = customer["id"]
        return intent
    private = account.store.private(session["id"])
    is_subscription = session["mode"] == "subscription"
    fields: JsonObject = (
        {"description": "Subscription creation", "setup_future_usage": "off_session"}
        if is_subscription
        else dict(private["intent"])
    )
    fields["customer"] = customer["id"] if customer else None
    amount, currency = session["amount_total"], session["currency"]
    intent = payment_intents.make(account, amount, currency, fields)
    private["paying_intent"] = intent["id"]
    account.store.private(intent["id"])["session"] = session["id"]
    if not is_subscription:
        session["payment_intent"] = intent["id"]
        account.store.link(checkout.OBJECT_NAME, "payment_intent", intent["id"], session["id"])
    return intent


def _complete_if_paid(account: StripeAccount, session: JsonObject, intent: JsonObject) -> None:
    if intent["status"] not in ("succeeded", "processing"):
        return
    customer = account.store.get("customer", intent["customer"])
    if intent["object"] == setup_intents.OBJECT_NAME:
        checkout.complete(account, session, customer, "no_payment_required")
        return
    if customer is not None and session["mode"] == "subscription":
        _subscribe(account, session, intent, customer)
    payment_status = "paid" if intent["status"] == "succeeded" else "unpaid"
    checkout.complete(account, session, customer, payment_status)


def _subscribe(
    account: StripeAccount, session: JsonObject, intent: JsonObject, customer: JsonObject
) -> None:
    """Create the subscription and its first invoice, which the intent pays."""
    items = checkout.line_items_of(account, session)
    sold = [(item["price"], item["quantity"]) for item in items if item["price"]["recurring"]]
    subscription = subscriptions.make(account, customer, sold)
    fields = account.store.private(session["id"])["subscription"]
    account.set_fields(
        subscription,
        default_payment_method=intent["payment_method"],
        description=fields["description"],
        metadata=dict(fields["metadata"]),
        status="active",
    )
    account.emit("customer.subscription.created", subscription)
    invoice = invoices.draft(account, subscription, "subscription_create")
    customer_balance.ignore(account, invoice)
    subscription["latest_invoice"] = invoice["id"]
    invoices.finalize(account, invoice)
    invoices.link_intent(account, invoice, intent)
    account.set_fields(invoice, attempt_count=1, attempted=True)
    if intent["status"] == "succeeded":
        invoices.mark_paid(account, invoice)
    account.update_and_emit(customer, "customer.updated", currency=session["currency"])
    session["subscription"], session["invoice"] = subscription["id"], invoice["id"]
    account.store.link(checkout.OBJECT_NAME, "subscription", subscription["id"], session["id"])


@route("GET", "/v1/payment_pages/{}")
def retrieve_payment_page(call: Call) -> JsonObject:
    """Return a session's page as data, for the official command line client. Undocumented."""
    session = call.get_object(checkout.OBJECT_NAME)
    return {
        "id": session["id"].replace("cs_test", "ppage"),
        "object": "checkout.session",
        "session_id": session["id"],
        "currency": session["currency"],
        "mode": session["mode"],
        "total_summary": {"due": session["amount_total"], "total": session["amount_total"]},
        "line_item_group": {"total": session["amount_total"]},
        "state": "active" if session["status"] == "open" else "inactive",
    }


@route("POST", "/v1/payment_pages/{}/confirm", reads=("expected_amount", "payment_method"))
def confirm_payment_page(call: Call) -> JsonObject:
    """Pay a session, for the official command line client. Undocumented."""
    account, session = call.account, call.get_object(checkout.OBJECT_NAME)
    if session["status"] != "open":
        raise invalid_request(
            "This Checkout Session is no longer open.", code="checkout_session_not_open"
        )
    expected = read.integer(call.params, "expected_amount")
    if expected is not None and expected != session["amount_total"]:
        message = "The payment page's total amount does not match the expected amount."
        raise invalid_request(message, "expected_amount", "checkout_amount_mismatch")
    method = payment_methods.find_usable(
        account,
        read.required(call.params, "payment_method"),
        session,
        currency=session["currency"],
    )
    details = method["billing_details"]
    payer = Payer(session["customer_email"] or details["email"], details["name"])
    decline = pay(account, session, method, payer)
    if decline is not None:
        intent = intent_of(account, session) or {}
        error = intent.get("last_payment_error") or intent["last_setup_error"]
        raise ApiError(402, dict(error))
    return {**retrieve_payment_page(call), "payment_status": session["payment_status"]}
