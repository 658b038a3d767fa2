"""Subscribing through the API, and stopping: what Checkout does in its own way."""

from payments.sandbox import (
    collecting,
    customers,
    invoices,
    payment_intents,
    renewals,
    subscriptions,
)
from payments.sandbox import params as read
from payments.sandbox.account import Account
from payments.sandbox.cards import Decline
from payments.sandbox.errors import Refusal, card_refused, invalid, missing, not_found
from payments.sandbox.routes import Call, route
from payments.sandbox.wire import Obj


@route("POST", "/v1/subscriptions")
def create(call: Call) -> Obj:
    account, params = call.account, call.params
    read.refuse(params, "billing_cycle_anchor", "discounts", "add_invoice_items")
    customer = customers.named(account, params)
    if customer is None:
        raise missing("customer")
    given = subscriptions.only_item(params)
    price = subscriptions.price_in(account, given, "items[0]")
    default = subscriptions.method_in(account, customer["id"], params)
    trial_end = _trial_end(account, params)
    subscription = subscriptions.make(
        account, customer, price, read.integer(given, "quantity") or 1
    )
    subscription |= {
        "default_payment_method": default,
        "description": read.text(params, "description"),
        "metadata": read.metadata(params),
        "trial_settings": _trial_settings(params),
    }
    if trial_end is not None:
        _begin_trial(account, subscription, trial_end)
        return subscription
    decline = _begin(account, subscription, read.text(params, "payment_behavior"))
    account.emit("customer.subscription.created", subscription)
    if decline is not None and params.get("payment_behavior") == "error_if_incomplete":
        raise refused(account, account.store.objects[subscription["latest_invoice"]], decline)
    return subscription


@route("DELETE", "/v1/subscriptions/{}")
def cancel(call: Call) -> Obj:
    subscription = call.subject("subscription")
    if subscription["status"] in subscriptions.ENDED:
        raise not_found("subscription", subscription["id"])
    for name in ("invoice_now", "prorate"):
        if read.flag(call.params, name):
            raise invalid(f"The sandbox does not do {name} yet.", name, "sandbox_unsupported")
    subscription["cancellation_details"] = subscriptions.feedback(subscription, call.params)
    subscriptions.end(call.account, subscription, reason="cancellation_requested")
    return subscription


@route("DELETE", "/v1/customers/{}")
def delete_customer(call: Call) -> Obj:
    """A customer leaves, and what they subscribed to stops."""
    account, customer = call.account, call.subject("customer")
    for subscription_id in account.store.linked("subscription", "customer", customer["id"]):
        subscription = account.store.objects[subscription_id]
        if subscription["status"] not in subscriptions.ENDED:
            subscriptions.end(account, subscription, reason="cancellation_requested")
    account.emit("customer.deleted", customer)
    return account.store.bury(customer["id"])


def refused(account: Account, invoice: Obj, decline: Decline) -> Refusal:
    """What a request answers when the invoice it wanted paid was not."""
    if decline is invoices.NO_CARD:
        return invalid(f"{decline.message} Add one to the customer or the invoice.")
    intent = invoices.intent_of(account, invoice)
    if decline is invoices.ACTION_NEEDED:
        error = {"code": decline.code, "message": decline.message, "payment_intent": dict(intent)}
        return card_refused(error)
    return payment_intents.refused(intent)


def _begin(account: Account, subscription: Obj, behavior: str | None) -> Decline | None:
    """Invoice and charge the first period."""
    invoice = invoices.draft(account, subscription, "subscription_create")
    subscription["latest_invoice"] = invoice["id"]
    invoices.finalize(account, invoice)
    invoices.make_intent(account, invoice)
    account.later(renewals.INCOMPLETE_FOR, "expire_incomplete", subscription["id"])
    if behavior == "default_incomplete":
        return None
    decline = invoices.collect(account, invoice, invoices.card_for(account, invoice))
    if decline is None:
        subscription["status"] = "active"
    else:
        collecting.first_payment_failed(account, invoice, decline)
    return decline


def _begin_trial(account: Account, subscription: Obj, trial_end: int) -> None:
    """Nothing is owed until the trial ends; an invoice over nothing says so."""
    now = account.clock.stamp()
    items = subscriptions.with_item(subscription, current_period_end=trial_end)
    account.change(
        subscription,
        billing_cycle_anchor=trial_end,
        items=items,
        status="trialing",
        trial_end=trial_end,
        trial_start=now,
    )
    subscriptions.count_anew(account, subscription, cycle=-1)
    invoice = invoices.draft(account, subscription, "subscription_create")
    subscription["latest_invoice"] = invoice["id"]
    invoices.finalize(account, invoice)
    invoices.settle(account, invoice)
    account.emit("customer.subscription.created", subscription)
    subscriptions.schedule(account, subscription)
    renewals.warn_of_trial_end(account, subscription["id"])


def _trial_end(account: Account, params: Obj) -> int | None:
    days = read.integer(params, "trial_period_days")
    if days is not None and "trial_end" in params:
        raise invalid("You may only specify one of trial_end and trial_period_days.")
    if days is not None:
        if not 0 < days <= 730:
            raise invalid("trial_period_days must be between 1 and 730.", "trial_period_days")
        return account.clock.stamp() + days * 86400
    if params.get("trial_end") in (None, "", "now"):
        return None
    moment = read.integer(params, "trial_end")
    if moment is None or moment <= account.clock.stamp():
        raise invalid("Invalid timestamp: must be in the future.", "trial_end")
    return moment


def _trial_settings(params: Obj) -> Obj:
    behavior = read.table(read.table(params, "trial_settings"), "end_behavior")
    read.refuse(behavior, "billing_cycle_anchor")
    missing_card = ("cancel", "create_invoice", "pause")
    chosen = read.one_of(behavior, "missing_payment_method", missing_card, "create_invoice")
    return {"end_behavior": {"missing_payment_method": chosen}}
