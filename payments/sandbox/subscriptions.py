"""Subscriptions: a price, charged again each period until someone, or the bank, says stop.

Periods are counted from the anchor, so a subscription begun on the 31st renews on the last day of
shorter months and returns to the 31st. A renewal that fails is tried three times more, then the
subscription is cancelled.
"""

from datetime import timedelta
from typing import Final

from payments.sandbox import catalog, customers, invoices, listing, payment_methods, periods
from payments.sandbox import params as read
from payments.sandbox.account import Account, when_due
from payments.sandbox.cards import Decline
from payments.sandbox.errors import Refusal, invalid, missing, not_found
from payments.sandbox.routes import Call, retrieved, route
from payments.sandbox.wire import Obj

RETRIES_AFTER: Final = (timedelta(days=3), timedelta(days=5), timedelta(days=7))
ENDED: Final = ("canceled", "incomplete_expired")


def _status(row: Obj, wanted: object) -> bool:
    if wanted == "all":
        return True
    return bool(row["status"] in ENDED if wanted == "ended" else row["status"] == wanted)


_FILTERS: Final = {"customer": listing.same("customer"), "status": _status}

retrieved("subscription", "/v1/subscriptions")


@route("GET", "/v1/subscriptions")
def list_all(call: Call) -> Obj:
    filters, params = dict(_FILTERS), dict(call.params)
    if "status" not in params:
        params["status"] = "running"
        filters["status"] = lambda row, wanted: row["status"] not in ENDED  # noqa: ARG005 - Stripe's default
    return listing.page(call.account.store, "subscription", call.path, params, filters)


@route("POST", "/v1/subscriptions")
def create(call: Call) -> Obj:
    account, params = call.account, call.params
    read.refuse(params, "trial_end", "trial_period_days", "billing_cycle_anchor", "discounts")
    customer = customers.named(account, params)
    if customer is None:
        raise missing("customer")
    price, quantity = _item_of(account, params)
    default = read.text(params, "default_payment_method")
    subscription = make(account, customer, price, quantity)
    subscription["metadata"] = read.metadata(params)
    subscription["description"] = read.text(params, "description")
    if default:
        subscription["default_payment_method"] = _method(account, subscription, params)
    decline = begin(account, subscription, read.text(params, "payment_behavior"))
    account.emit("customer.subscription.created", subscription)
    if decline is not None and params.get("payment_behavior") == "error_if_incomplete":
        invoice = account.store.objects[subscription["latest_invoice"]]
        raise _refused(account, invoice, decline)
    return subscription


def make(account: Account, customer: Obj, price: Obj, quantity: int) -> Obj:
    """A subscription whose first period begins now; not yet paid, not yet told of."""
    now = account.clock.stamp()
    end = periods.nth(now, price["recurring"], 1)
    subscription = account.make("sub", "subscription", _blank(customer, price, now))
    item: Obj = {
        "id": account.store.mint("si", 14),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": now,
        "current_period_end": end,
        "current_period_start": now,
        "discounts": [],
        "metadata": {},
        "plan": catalog.plan_of(price),
        "price": dict(price),
        "quantity": quantity,
        "subscription": subscription["id"],
        "tax_rates": [],
    }
    url = f"/v1/subscription_items?subscription={subscription['id']}"
    subscription["items"] = listing.of([item], url)
    account.store.private(subscription["id"])["cycle"] = 0
    account.store.link("subscription", "customer", customer["id"], subscription["id"])
    account.at(end, "renew", subscription["id"])
    return subscription


def begin(account: Account, subscription: Obj, behavior: str | None) -> Decline | None:
    """Invoice and charge the first period of a subscription made through the API."""
    invoice = invoices.draft(account, subscription, "subscription_create")
    subscription["latest_invoice"] = invoice["id"]
    invoices.finalize(account, invoice)
    invoices.make_intent(account, invoice, "Subscription creation")
    if behavior == "default_incomplete":
        return None
    decline = invoices.collect(account, invoice, invoices.card_for(account, subscription))
    if decline is None:
        subscription["status"] = "active"
    else:
        account.emit("invoice.payment_failed", invoice)
    return decline


@route("POST", "/v1/subscriptions/{}")
def update(call: Call) -> Obj:
    account, subscription, params = call.account, call.subject("subscription"), call.params
    read.refuse(params, "items", "pause_collection", "trial_end", "billing_cycle_anchor",
                "discounts", "cancel_at")  # fmt: skip
    if subscription["status"] in ENDED and set(params) - {"metadata", "cancellation_details"}:
        raise invalid("A canceled subscription can only update its cancellation_details "
                      "and metadata.")  # fmt: skip
    changes: Obj = {"metadata": read.merge_metadata(subscription["metadata"], params)}
    if "description" in params:
        changes["description"] = read.text(params, "description")
    if "default_payment_method" in params:
        changes["default_payment_method"] = _method(account, subscription, params)
    changes["cancellation_details"] = _feedback(subscription, params)
    if "cancel_at_period_end" in params:
        changes |= _cancelling(account, subscription, changes, params)
    account.update(subscription, "customer.subscription.updated", **changes)
    return subscription


@route("DELETE", "/v1/subscriptions/{}")
def cancel(call: Call) -> Obj:
    subscription = call.subject("subscription")
    if subscription["status"] in ENDED:
        raise not_found("subscription", subscription["id"])
    subscription["cancellation_details"] = _feedback(subscription, call.params)
    end(call.account, subscription, reason="cancellation_requested")
    return subscription


def end(account: Account, subscription: Obj, *, reason: str) -> None:
    """Stop for good; open invoices are no longer collected by themselves."""
    now = account.clock.stamp()
    account.change(
        subscription,
        status="canceled",
        canceled_at=subscription["canceled_at"] or now,
        ended_at=now,
        cancellation_details={**subscription["cancellation_details"], "reason": reason},
    )
    for invoice_id in account.store.linked("invoice", "subscription", subscription["id"]):
        invoice = account.store.objects[invoice_id]
        if invoice["status"] == "open" and invoice["auto_advance"]:
            fields = {"auto_advance": False, "next_payment_attempt": None}
            account.update(invoice, "invoice.updated", **fields)
    account.emit("customer.subscription.deleted", subscription)


@route("DELETE", "/v1/customers/{}")
def delete_customer(call: Call) -> Obj:
    """A customer leaves, and what they subscribed to stops."""
    account, customer = call.account, call.subject("customer")
    for subscription_id in account.store.linked("subscription", "customer", customer["id"]):
        subscription = account.store.objects[subscription_id]
        if subscription["status"] not in ENDED:
            end(account, subscription, reason="cancellation_requested")
    account.emit("customer.deleted", customer)
    return account.store.bury(customer["id"])


@when_due("renew")
def renew(account: Account, subscription_id: str) -> None:
    """A period is over: begin the next and invoice it, or stop."""
    subscription = account.store.objects[subscription_id]
    item = subscription["items"]["data"][0]
    if subscription["status"] in ENDED or account.clock.stamp() < item["current_period_end"]:
        return
    if subscription["status"] == "incomplete" or subscription["cancel_at_period_end"]:
        end(account, subscription, reason="cancellation_requested")
        return
    private = account.store.private(subscription_id)
    private["cycle"] += 1
    private["period_before"] = item["current_period_start"]
    anchor, recurring = subscription["billing_cycle_anchor"], item["price"]["recurring"]
    start = item["current_period_end"]
    stop = periods.nth(anchor, recurring, private["cycle"] + 1)
    renewed = {**item, "current_period_start": start, "current_period_end": stop}
    items = {**subscription["items"], "data": [renewed]}
    previous = account.change(subscription, items=items)
    invoice = invoices.draft(account, subscription, "subscription_cycle")
    previous |= account.change(subscription, latest_invoice=invoice["id"])
    account.emit("customer.subscription.updated", subscription, previous)
    account.later(invoices.DRAFT_FOR, "finalize_invoice", invoice["id"])
    account.at(stop, "renew", subscription_id)


@when_due("finalize_invoice")
def finalize_invoice(account: Account, invoice_id: str) -> None:
    """The draft's hour is over: make it final and charge it."""
    invoice = account.store.objects[invoice_id]
    subscription = account.store.objects[invoices.subscription_of(invoice)]
    if invoice["status"] != "draft" or subscription["status"] in ENDED:
        return
    invoices.finalize(account, invoice)
    invoices.make_intent(account, invoice, "Subscription update")
    charge_invoice(account, invoice)


@when_due("retry_invoice")
def retry_invoice(account: Account, invoice_id: str) -> None:
    """Try again, if this is still the next attempt."""
    invoice = account.store.objects[invoice_id]
    due = invoice["next_payment_attempt"]
    if invoice["status"] == "open" and due is not None and due <= account.clock.stamp():
        charge_invoice(account, invoice)


def charge_invoice(account: Account, invoice: Obj) -> None:
    """Charge what is owed to the subscription's card, and draw the consequence."""
    subscription = account.store.objects[invoices.subscription_of(invoice)]
    decline = invoices.collect(account, invoice, invoices.card_for(account, subscription))
    if decline is None:
        recovered(account, subscription)
        return
    failures = invoice["attempt_count"]
    previous = {"next_payment_attempt": invoice["next_payment_attempt"]}
    if failures > len(RETRIES_AFTER):
        invoice["next_payment_attempt"] = None
    else:
        wait = RETRIES_AFTER[failures - 1]
        invoice["next_payment_attempt"] = account.clock.stamp() + int(wait.total_seconds())
        account.later(wait, "retry_invoice", invoice["id"])
    account.emit("invoice.payment_failed", invoice)
    account.emit("invoice.updated", invoice, previous)
    if invoice["next_payment_attempt"] is None:
        end(account, subscription, reason="payment_failed")
    else:
        account.update(subscription, "customer.subscription.updated", status="past_due")


def recovered(account: Account, subscription: Obj) -> None:
    """Paid at last, a subscription that was behind is active again."""
    if subscription["status"] in ("past_due", "incomplete", "unpaid"):
        account.update(subscription, "customer.subscription.updated", status="active")


@route("POST", "/v1/invoices/{}/pay")
def pay_invoice(call: Call) -> Obj:
    account, invoice = call.account, call.subject("invoice")
    invoices.refuse_payment(invoice)
    subscription = account.store.objects[invoices.subscription_of(invoice)]
    method = invoices.named_card(account, call.params)
    decline = invoices.collect(account, invoice, method or invoices.card_for(account, subscription))
    if decline is not None:
        account.emit("invoice.payment_failed", invoice)
        raise _refused(account, invoice, decline)
    recovered(account, subscription)
    return invoice


def _refused(account: Account, invoice: Obj, decline: Decline) -> Refusal:
    if decline is invoices.NO_CARD:
        return invalid(decline.message, code="invoice_payment_intent_requires_action")
    intent = invoices.intent_of(account, invoice)
    return Refusal(402, {**intent["last_payment_error"], "payment_intent": dict(intent)})


def _item_of(account: Account, params: Obj) -> tuple[Obj, int]:
    given = read.rows(params, "items")
    if len(given) != 1:
        raise missing("items") if not given else invalid("The sandbox sells one thing.", "items")
    item = given[0]
    if "price_data" in item:
        price = catalog.make_price(account, item["price_data"], param="items[0][price_data]")
    else:
        price_id = read.required(item, "price")
        found = account.store.find("price", price_id)
        if found is None:
            raise not_found("price", price_id, "items[0][price]")
        price = found
    if price["recurring"] is None:
        message = "The price specified is set to `type=one_time` but this field only accepts "
        raise invalid(message + "prices with `type=recurring`.", "items[0][price]")
    return price, read.integer(item, "quantity") or 1


def _method(account: Account, subscription: Obj, params: Obj) -> str | None:
    wanted = read.text(params, "default_payment_method")
    if wanted is None:
        return None
    method = payment_methods.resolve(account, wanted, param="default_payment_method")
    if method["customer"] != subscription["customer"]:
        message = "The customer does not have a payment method with the ID " + method["id"]
        raise invalid(message, "default_payment_method", "resource_missing")
    return str(method["id"])


def _feedback(subscription: Obj, params: Obj) -> Obj:
    given = read.table(params, "cancellation_details")
    said = {name: read.text(given, name) for name in ("comment", "feedback") if name in given}
    return {**subscription["cancellation_details"], **said}


def _cancelling(account: Account, subscription: Obj, changes: Obj, params: Obj) -> Obj:
    wanted = read.flag(params, "cancel_at_period_end")
    if wanted == subscription["cancel_at_period_end"]:
        return {}
    end_of_period = subscription["items"]["data"][0]["current_period_end"]
    reason = "cancellation_requested" if wanted else None
    return {
        "cancel_at_period_end": wanted,
        "cancel_at": end_of_period if wanted else None,
        "canceled_at": account.clock.stamp() if wanted else None,
        "cancellation_details": {**changes["cancellation_details"], "reason": reason},
    }


def _blank(customer: Obj, price: Obj, now: int) -> Obj:
    return {
        **dict.fromkeys(_ABSENT),
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": now,
        "billing_schedules": [],
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
        "cancel_at_period_end": False,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "currency": price["currency"],
        "customer": customer["id"],
        "default_tax_rates": [],
        "discounts": [],
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "metadata": {},
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "start_date": now,
        "status": "incomplete",
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
    }


_ABSENT: Final = (
    "application", "application_fee_percent", "billing_cycle_anchor_config", "billing_thresholds",
    "cancel_at", "canceled_at", "customer_account", "days_until_due", "default_payment_method",
    "default_source", "description", "ended_at", "latest_invoice", "managed_payments",
    "next_pending_invoice_item_invoice", "on_behalf_of", "pause_collection",
    "pending_invoice_item_interval", "pending_setup_intent", "pending_update", "schedule",
    "test_clock", "transfer_data", "trial_end", "trial_start",
)  # fmt: skip
