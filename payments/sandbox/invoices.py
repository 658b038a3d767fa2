"""Invoices: what is asked for, and the payments made towards it.

A draft, then open: with a number, a page of its own and a payment intent, joined to it by an
invoice payment. In the end it is paid, void, or written off as uncollectible.
"""

from datetime import timedelta
from typing import Final

from payments.sandbox import invoice_lines, listing, payment_intents
from payments.sandbox import params as read
from payments.sandbox.account import Account
from payments.sandbox.cards import Decline
from payments.sandbox.payment_intents import Attempt, Presence
from payments.sandbox.routes import Call, resource, retrieved, route
from payments.sandbox.wire import Obj, Value

DRAFT_FOR: Final = timedelta(hours=1)

_PAYMENT_FILTERS: Final = {
    "invoice": listing.same("invoice"),
    "payment_intent": lambda row, wanted: row["payment"]["payment_intent"] == wanted,
    "status": listing.same("status"),
}


def _of_subscription(row: Obj, wanted: Value) -> bool:
    return bool(subscription_id(row) == wanted)


resource(
    "invoice",
    "/v1/invoices",
    {
        "collection_method": listing.same("collection_method"),
        "customer": listing.same("customer"),
        "status": listing.same("status"),
        "subscription": _of_subscription,
    },
)


retrieved("invoice_payment", "/v1/invoice_payments")


@route("GET", "/v1/invoices/{}/lines")
def lines(call: Call) -> Obj:
    shown: Obj = call.subject("invoice")["lines"]
    return shown


@route("GET", "/v1/invoice_payments")
def list_payments(call: Call) -> Obj:
    params = dict(call.params)
    paid_by = read.table(params, "payment")
    if params.pop("payment", None):
        params["payment_intent"] = paid_by.get("payment_intent", "")
    store = call.account.store
    return listing.page(store, "invoice_payment", call.path, params, _PAYMENT_FILTERS)


def subscription_id(invoice: Obj) -> str | None:
    """The id of the subscription an invoice is for; one made by hand is for none."""
    parent = invoice["parent"]
    return str(parent["subscription_details"]["subscription"]) if parent else None


def subscription_of(account: Account, invoice: Obj) -> Obj | None:
    """The subscription an invoice is for."""
    return account.store.find("subscription", subscription_id(invoice))


def make(account: Account, customer: Obj, amount: int, currency: str, reason: str) -> Obj:
    """A draft, not yet told of."""
    fields = invoice_lines.blank(customer, amount, currency)
    invoice = account.make("in", "invoice", fields)
    now = account.clock.stamp()
    invoice |= {"billing_reason": reason, "parent": None, "period_end": now, "period_start": now}
    account.store.link("invoice", "customer", customer["id"], invoice["id"])
    return invoice


def for_subscription(account: Account, subscription: Obj, reason: str) -> Obj:
    """A draft for a subscription's present period, not yet told of; a trial costs nothing."""
    item = subscription["items"]["data"][0]
    customer = account.store.objects[subscription["customer"]]
    amount = item["price"]["unit_amount"] * (item["quantity"] or 1)
    if subscription["status"] == "trialing":
        amount = 0
    invoice = make(account, customer, amount, subscription["currency"], reason)
    invoice |= {
        "lines": invoice_lines.for_period(account, invoice, subscription),
        "parent": {
            "quote_details": None,
            "subscription_details": {
                "metadata": dict(subscription["metadata"]),
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        },
        # An invoice looks back: these are the period that just ended; lines hold the new one.
        "period_end": item["current_period_start"],
        "period_start": _period_before(account, subscription),
    }
    account.store.link("invoice", "subscription", subscription["id"], invoice["id"])
    return invoice


def draft(account: Account, subscription: Obj, reason: str) -> Obj:
    """The invoice for a subscription's present period, told of."""
    invoice = for_subscription(account, subscription, reason)
    now = account.clock.stamp()
    invoice["automatically_finalizes_at"] = now + int(DRAFT_FOR.total_seconds())
    invoice["webhooks_delivered_at"] = now
    event = account.emit("invoice.created", invoice)
    account.store.private(invoice["id"])["told_by"] = event["id"]
    return invoice


def _period_before(account: Account, subscription: Obj) -> int:
    """When the period before the present one began."""
    start = subscription["items"]["data"][0]["current_period_start"]
    return int(account.store.private(subscription["id"]).get("period_before", start))


def finalize(account: Account, invoice: Obj) -> None:
    """Give the invoice its number: from now on it is owed."""
    customer = account.store.find("customer", invoice["customer"]) or {}
    sequence = customer.get("next_invoice_sequence", 1)
    if customer:
        customer["next_invoice_sequence"] = sequence + 1
    now = account.clock.stamp()
    account.change(
        invoice,
        automatically_finalizes_at=None,
        effective_at=now,
        hosted_invoice_url=page_of(account, invoice),
        number=f"{customer.get('invoice_prefix', 'SANDBOX')}-{sequence:04d}",
        status="open",
        status_transitions={**invoice["status_transitions"], "finalized_at": now},
    )
    account.emit("invoice.finalized", invoice)


def page_of(account: Account, invoice: Obj) -> str:
    """Where the invoice's own page is: an address nobody can guess."""
    private = account.store.private(invoice["id"])
    if "page" not in private:
        private["page"] = account.store.mint("x", 32)[2:]
        account.store.link("invoice", "page", private["page"], invoice["id"])
    return f"{account.base_url}/i/{private['page']}"


def join(account: Account, invoice: Obj, intent: Obj) -> Obj:
    """The invoice payment that says which intent is to pay which invoice."""
    payment = account.make(
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


def make_intent(account: Account, invoice: Obj) -> Obj:
    """The intent that is to pay an invoice; it carries none of the subscription's metadata."""
    words = {"subscription_create": "Subscription creation", "manual": "Payment for Invoice"}
    description = words.get(invoice["billing_reason"], "Subscription update")
    fields = {"customer": invoice["customer"], "description": description}
    intent = payment_intents.make(account, invoice["amount_due"], invoice["currency"], fields)
    join(account, invoice, intent)
    return intent


def collect(
    account: Account,
    invoice: Obj,
    method: Obj | None,
    *,
    counts: bool = True,
    presence: Presence = Presence.AWAY,
) -> Decline | None:
    """Try to be paid for an open invoice; without a card there is nothing to try.

    Whoever asks for it by hand is not counted, but for the first attempt of all.
    """
    if counts or not invoice["attempted"]:
        invoice["attempt_count"] += 1
    invoice["attempted"] = True
    if invoice["amount_due"] == 0:
        settle(account, invoice)
        return None
    if method is None:
        return NO_CARD
    intent = intent_of(account, invoice)
    decline = payment_intents.confirm(account, intent, Attempt(method, presence))
    if intent["status"] == "succeeded":
        settle(account, invoice)
    return ACTION_NEEDED if intent["status"] == "requires_action" else decline


NO_CARD: Final = Decline(
    "missing_payment_method", "missing_payment_method", "There is no payment method to charge."
)
ACTION_NEEDED: Final = Decline(
    "invoice_payment_intent_requires_action",
    "authentication_required",
    "This payment requires additional user action before it can be completed successfully. "
    "Payment can be completed using the PaymentIntent associated with the invoice.",
)


def intent_of(account: Account, invoice: Obj) -> Obj:
    """The intent that is to pay an invoice, made when it is first needed."""
    payment_id = account.store.private(invoice["id"]).get("payment")
    if payment_id is None:
        return make_intent(account, invoice)
    payment = account.store.objects[payment_id]
    return account.store.objects[payment["payment"]["payment_intent"]]


def settle(account: Account, invoice: Obj) -> None:
    """The invoice is paid."""
    now = account.clock.stamp()
    payment = account.store.objects.get(account.store.private(invoice["id"]).get("payment", ""))
    if payment is not None:
        account.change(
            payment,
            amount_paid=invoice["amount_due"],
            status="paid",
            status_transitions={"canceled_at": None, "paid_at": now},
        )
        account.emit("invoice_payment.paid", payment)
    account.change(
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


def void(account: Account, invoice: Obj) -> None:
    """It was never owed: nobody will be asked for it again."""
    _close(account, invoice, "void", "voided_at")
    payment = account.store.objects.get(account.store.private(invoice["id"]).get("payment", ""))
    if payment is not None:
        now = account.clock.stamp()
        account.change(
            payment, status="canceled", status_transitions={"canceled_at": now, "paid_at": None}
        )
        intent = intent_of(account, invoice)
        if intent["status"] not in ("succeeded", "canceled"):
            payment_intents.cancel(account, intent, "void_invoice")
    account.emit("invoice.voided", invoice)


def write_off(account: Account, invoice: Obj, reason: str) -> None:
    """It is owed and will hardly be paid; it still may be."""
    invoice["status_details"] = {"uncollectible": {"reason": reason}}
    _close(account, invoice, "uncollectible", "marked_uncollectible_at")
    account.emit("invoice.marked_uncollectible", invoice)


def _close(account: Account, invoice: Obj, status: str, moment: str) -> None:
    account.change(
        invoice,
        auto_advance=False,
        next_payment_attempt=None,
        status=status,
        status_transitions={**invoice["status_transitions"], moment: account.clock.stamp()},
    )


def card_for(account: Account, invoice: Obj) -> Obj | None:
    """The card an invoice is charged to: its own, its subscription's, or its customer's."""
    subscription = subscription_of(account, invoice) or {}
    chosen = invoice["default_payment_method"] or subscription.get("default_payment_method")
    return usual_card(account, invoice["customer"], chosen)


def usual_card(account: Account, customer_id: str, chosen: str | None) -> Obj | None:
    """The chosen card, or else the customer's default, if it is still attached."""
    customer = account.store.find("customer", customer_id)
    if customer is None:
        return None
    default = customer["invoice_settings"]["default_payment_method"]
    method = account.store.find("payment_method", chosen or default)
    return method if method and method["customer"] == customer["id"] else None
