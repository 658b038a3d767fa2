"""Invoices and their payments.

An invoice begins as a draft. Finalized, it is open: it has a number, a hosted page and a payment
intent, linked by an invoice payment. It ends as paid, void or uncollectible.
"""

from datetime import timedelta
from typing import Final

from payments.sandbox import (
    customer_balance,
    invoice_lines,
    listing,
    payment_intents,
    payment_methods,
    pricing,
)
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.account_settings import merchant_name
from payments.sandbox.cards import Decline
from payments.sandbox.declared_params import PAGE
from payments.sandbox.form_encoding import JsonObject, JsonValue
from payments.sandbox.payment_intents import CustomerPresence, PaymentAttempt
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, add_retrieve_route, route

DRAFT_PERIOD: Final = timedelta(hours=1)

_PAYMENT_FILTERS: Final[listing.Filters] = {
    "invoice": listing.equals("invoice"),
    "payment.payment_intent": lambda row, intent_id: row["payment"]["payment_intent"] == intent_id,
    "payment.type": lambda row, type_: row["payment"]["type"] == type_,
    "status": listing.equals("status"),
}


def _is_of_subscription(row: JsonObject, value: JsonValue) -> bool:
    return bool(subscription_id(row) == value)


add_list_and_retrieve_routes(
    "invoice",
    "/v1/invoices",
    {
        "collection_method": listing.equals("collection_method"),
        "customer": listing.equals("customer"),
        "status": listing.equals("status"),
        "subscription": _is_of_subscription,
    },
)


add_retrieve_route("invoice_payment", "/v1/invoice_payments")


@route("GET", "/v1/invoices/{}/lines", reads=PAGE)
def list_lines(call: Call) -> JsonObject:
    """List an invoice's lines."""
    rows = call.get_object("invoice")["lines"]["data"]
    return listing.page_of_rows(rows, call.path, call.params)


@route("GET", "/v1/invoice_payments", reads=listing.reads(_PAYMENT_FILTERS))
def list_payments(call: Call) -> JsonObject:
    """List invoice payments, by `payment[payment_intent]` too."""
    store, params, filters = call.account.store, call.params, dict(_PAYMENT_FILTERS)
    intent_id = read.text(read.nested_object(params, "payment"), "payment_intent")
    if intent_id is not None:
        params = params | {"payment_intent": intent_id}
        filters["payment_intent"] = lambda row, value: True  # noqa: ARG005 - linked
    return listing.page(store, "invoice_payment", call.path, params, filters)


def subscription_id(invoice: JsonObject) -> str | None:
    """Return the id of an invoice's subscription; a manual invoice has none."""
    parent = invoice["parent"]
    return str(parent["subscription_details"]["subscription"]) if parent else None


def subscription_of(account: StripeAccount, invoice: JsonObject) -> JsonObject | None:
    """Return an invoice's subscription, or None."""
    return account.store.get("subscription", subscription_id(invoice))


def make(
    account: StripeAccount, customer: JsonObject, amount: int, currency: str, reason: str
) -> JsonObject:
    """Create a draft over minor units, emitting nothing. `reason` is its `billing_reason`."""
    fields = invoice_lines.default_fields(customer, amount, currency)
    invoice = account.create_object("in", "invoice", fields)
    now = account.clock.timestamp()
    invoice |= customer_balance.draft_amounts(account, customer, currency, amount)
    invoice |= {
        "account_name": merchant_name(account),
        "billing_reason": reason,
        "parent": None,
        "period_end": now,
        "period_start": now,
    }
    account.store.link("invoice", "customer", customer["id"], invoice["id"])
    return invoice


def for_subscription(account: StripeAccount, subscription: JsonObject, reason: str) -> JsonObject:
    """Create a draft for a subscription's present period, emitting nothing; a trial is free."""
    items = subscription["items"]["data"]
    customer, currency = account.store.objects[subscription["customer"]], subscription["currency"]
    is_free = subscription["status"] == "trialing"
    pending = [] if is_free else pending_items(account, customer["id"], currency)
    amount = 0 if is_free else pricing.items_amount(account, items)
    amount += sum(item["amount"] for item in pending)
    invoice = make(account, customer, amount, currency, reason)
    invoice |= {
        "lines": invoice_lines.lines_for_period(account, invoice, subscription, pending),
        "parent": {
            "quote_details": None,
            "subscription_details": {
                "metadata": dict(subscription["metadata"]),
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        },
        # These fields are the period that has just ended; the lines have the new one.
        "period_end": items[0]["current_period_start"],
        "period_start": _period_before(account, subscription),
    }
    account.store.link("invoice", "subscription", subscription["id"], invoice["id"])
    return invoice


def pending_items(account: StripeAccount, customer_id: str, currency: str) -> list[JsonObject]:
    """Return a customer's invoice items in a currency that no invoice includes yet."""
    ids = account.store.linked("invoiceitem", "customer", customer_id)
    items = [item for item in account.store.existing(ids) if item["invoice"] is None]
    return [item for item in items if item["currency"] == currency]


def draft(account: StripeAccount, subscription: JsonObject, reason: str) -> JsonObject:
    """Create a draft for a subscription's present period, and emit `invoice.created`."""
    invoice = for_subscription(account, subscription, reason)
    for line in invoice["lines"]["data"]:
        details = line["parent"]["invoice_item_details"]
        if details is not None:
            account.store.objects[details["invoice_item"]]["invoice"] = invoice["id"]
    now = account.clock.timestamp()
    invoice["automatically_finalizes_at"] = now + int(DRAFT_PERIOD.total_seconds())
    invoice["webhooks_delivered_at"] = now
    event = account.emit("invoice.created", invoice)
    account.store.private(invoice["id"])["created_event"] = event["id"]
    return invoice


def _period_before(account: StripeAccount, subscription: JsonObject) -> int:
    """Return the Unix time at which the period before the present one began."""
    start = subscription["items"]["data"][0]["current_period_start"]
    return int(account.store.private(subscription["id"]).get("previous_period_start", start))


def finalize(account: StripeAccount, invoice: JsonObject) -> None:
    """Finalize a draft: it gets its number and hosted page, and is open; over nothing, paid.

    The customer's balance is used.
    """
    customer = account.store.get("customer", invoice["customer"]) or {}
    sequence = customer.get("next_invoice_sequence", 1)
    if customer:
        customer["next_invoice_sequence"] = sequence + 1
    customer_balance.apply(account, invoice)
    now = account.clock.timestamp()
    account.set_fields(
        invoice,
        automatically_finalizes_at=None,
        effective_at=now,
        hosted_invoice_url=hosted_url(account, invoice),
        invoice_pdf=f"{hosted_url(account, invoice)}/pdf",
        number=f"{customer.get('invoice_prefix', 'SANDBOX')}-{sequence:04d}",
        status="open",
        status_transitions={**invoice["status_transitions"], "finalized_at": now},
    )
    account.emit("invoice.finalized", invoice)
    if invoice["amount_due"] == 0:
        mark_paid(account, invoice)


def hosted_url(account: StripeAccount, invoice: JsonObject) -> str:
    """Return the address of an invoice's hosted page; nobody can guess its token."""
    private = account.store.private(invoice["id"])
    if "page_token" not in private:
        private["page_token"] = account.store.new_id("x", 32)[2:]
        account.store.link("invoice", "page_token", private["page_token"], invoice["id"])
    return f"{account.base_url}/i/{private['page_token']}"


def link_intent(account: StripeAccount, invoice: JsonObject, intent: JsonObject) -> JsonObject:
    """Create the invoice payment that links an invoice to the intent that pays it."""
    payment = account.create_object(
        "inpay",
        "invoice_payment",
        {
            "amount_paid": None,
            "amount_requested": invoice["amount_due"],
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": True,
            "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        },
    )
    account.store.link("invoice_payment", "invoice", invoice["id"], payment["id"])
    account.store.link("invoice_payment", "payment_intent", intent["id"], payment["id"])
    account.store.private(invoice["id"])["payment"] = payment["id"]
    account.store.private(intent["id"])["invoice"] = invoice["id"]
    return payment


def create_intent(account: StripeAccount, invoice: JsonObject) -> None:
    """Create the payment intent of an open invoice; one over nothing is paid and has none."""
    if invoice["status"] == "open":
        _make_intent(account, invoice)


def _make_intent(account: StripeAccount, invoice: JsonObject) -> JsonObject:
    """Create an invoice's payment intent; it has none of the subscription's metadata."""
    texts = {"subscription_create": "Subscription creation", "manual": "Payment for Invoice"}
    description = texts.get(invoice["billing_reason"], "Subscription update")
    fields = {"customer": invoice["customer"], "description": description}
    intent = payment_intents.make(account, invoice["amount_due"], invoice["currency"], fields)
    link_intent(account, invoice, intent)
    return intent


def collect(
    account: StripeAccount,
    invoice: JsonObject,
    method: JsonObject | None,
    *,
    counts_attempt: bool = True,
    presence: CustomerPresence = CustomerPresence.OFF_SESSION,
) -> Decline | None:
    """Charge an open invoice. Returns the decline, NO_PAYMENT_METHOD or ACTION_REQUIRED, if any.

    An attempt with `counts_attempt=False` is counted only if it is the first of all.
    """
    if counts_attempt or not invoice["attempted"]:
        invoice["attempt_count"] += 1
    invoice["attempted"] = True
    if invoice["amount_due"] == 0:
        mark_paid(account, invoice)
        return None
    if method is None:
        return NO_PAYMENT_METHOD
    intent = intent_of(account, invoice)
    decline = payment_intents.confirm(account, intent, PaymentAttempt(method, presence))
    if intent["status"] == "succeeded":
        mark_paid(account, invoice)
    return ACTION_REQUIRED if intent["status"] == "requires_action" else decline


NO_PAYMENT_METHOD: Final = Decline(
    "missing_payment_method", "missing_payment_method", "There is no payment method to charge."
)
ACTION_REQUIRED: Final = Decline(
    "invoice_payment_intent_requires_action",
    "authentication_required",
    "This payment requires additional user action before it can be completed successfully. "
    "Payment can be completed using the PaymentIntent associated with the invoice.",
)


def intent_of(account: StripeAccount, invoice: JsonObject) -> JsonObject:
    """Return an invoice's payment intent, creating it when it is first needed."""
    payment_id = account.store.private(invoice["id"]).get("payment")
    if payment_id is None:
        return _make_intent(account, invoice)
    payment = account.store.objects[payment_id]
    return account.store.objects[payment["payment"]["payment_intent"]]


def mark_paid(account: StripeAccount, invoice: JsonObject) -> None:
    """Mark an invoice and its payment as paid, unless it is."""
    if invoice["status"] == "paid":
        return
    now = account.clock.timestamp()
    payment = account.store.objects.get(account.store.private(invoice["id"]).get("payment", ""))
    if payment is not None:
        account.set_fields(
            payment,
            amount_paid=invoice["amount_due"],
            status="paid",
            status_transitions={"canceled_at": None, "paid_at": now},
        )
        account.emit("invoice_payment.paid", payment)
    account.set_fields(
        invoice,
        amount_paid=invoice["amount_due"],
        amount_remaining=0,
        attempted=True,
        auto_advance=False,
        next_payment_attempt=None,
        status="paid",
        status_transitions={**invoice["status_transitions"], "paid_at": now},
    )
    account.emit("invoice.paid", invoice)
    account.emit("invoice.payment_succeeded", invoice)


def void(account: StripeAccount, invoice: JsonObject) -> None:
    """Void an invoice, cancel its payment, and give back what it used of the balance."""
    customer_balance.give_back(account, invoice)
    _set_final_status(account, invoice, "void", "voided_at")
    payment = account.store.objects.get(account.store.private(invoice["id"]).get("payment", ""))
    if payment is not None:
        now = account.clock.timestamp()
        account.set_fields(
            payment, status="canceled", status_transitions={"canceled_at": now, "paid_at": None}
        )
        intent = intent_of(account, invoice)
        if intent["status"] not in ("succeeded", "canceled"):
            payment_intents.cancel(account, intent, "void_invoice")
    account.emit("invoice.voided", invoice)


def write_off(account: StripeAccount, invoice: JsonObject, reason: str) -> None:
    """Mark an invoice as uncollectible; it can still be paid."""
    invoice["status_details"] = {"uncollectible": {"reason": reason}}
    _set_final_status(account, invoice, "uncollectible", "marked_uncollectible_at")
    account.emit("invoice.marked_uncollectible", invoice)


def _set_final_status(
    account: StripeAccount, invoice: JsonObject, status: str, timestamp_field: str
) -> None:
    now = account.clock.timestamp()
    account.set_fields(
        invoice,
        auto_advance=False,
        next_payment_attempt=None,
        status=status,
        status_transitions={**invoice["status_transitions"], timestamp_field: now},
    )


def payment_method_for(account: StripeAccount, invoice: JsonObject) -> JsonObject | None:
    """Return the default payment method of an invoice, of its subscription or of its customer."""
    subscription = subscription_of(account, invoice) or {}
    names = ("default_payment_method", "default_source")
    ids = [row.get(name) for row in (invoice, subscription) for name in names]
    method_id = next(filter(None, ids), None)
    customer_id, currency = invoice["customer"], invoice["currency"]
    return default_payment_method(account, customer_id, method_id, currency)


def default_payment_method(
    account: StripeAccount, customer_id: str, method_id: str | None, currency: str
) -> JsonObject | None:
    """Return this payment method, or else the customer's default.

    None when it is no longer attached or cannot be charged in the currency.
    """
    customer = account.store.get("customer", customer_id)
    if customer is None:
        return None
    method_id = method_id or customer["invoice_settings"]["default_payment_method"]
    method = account.store.get("payment_method", method_id or customer["default_source"])
    if method is None or method["customer"] != customer["id"]:
        return None
    return method if payment_methods.can_charge(method, currency) else None
