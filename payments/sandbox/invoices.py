"""Invoices: what a subscription asks for each period, and the payments made towards it.

An invoice is a draft for an hour, then final: it gets a number and a payment intent, joined by an
invoice payment. Paid, or tried again some days later, or left open.
"""

from datetime import timedelta
from typing import Final

from payments.sandbox import listing, payment_intents, payment_methods
from payments.sandbox import params as read
from payments.sandbox.account import MERCHANT, Account
from payments.sandbox.cards import Decline
from payments.sandbox.errors import invalid
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
    return bool(subscription_of(row) == wanted)


resource(
    "invoice",
    "/v1/invoices",
    {
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


def subscription_of(invoice: Obj) -> str:
    """The subscription an invoice is for."""
    return str(invoice["parent"]["subscription_details"]["subscription"])


def draft(account: Account, subscription: Obj, reason: str) -> Obj:
    """The invoice for a subscription's present period, told of."""
    item = subscription["items"]["data"][0]
    customer = account.store.objects[subscription["customer"]]
    amount = item["price"]["unit_amount"] * (item["quantity"] or 1)
    now = account.clock.stamp()
    invoice = account.make("in", "invoice", _blank(customer, amount, subscription["currency"]))
    invoice |= {
        "automatically_finalizes_at": now + int(DRAFT_FOR.total_seconds()),
        "billing_reason": reason,
        "lines": _lines(account, invoice, subscription, amount),
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
        "webhooks_delivered_at": now,
    }
    account.store.link("invoice", "subscription", subscription["id"], invoice["id"])
    account.store.link("invoice", "customer", customer["id"], invoice["id"])
    account.emit("invoice.created", invoice)
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
        hosted_invoice_url=f"{account.base_url}/invoices/{invoice['id']}",
        number=f"{customer.get('invoice_prefix', 'SANDBOX')}-{sequence:04d}",
        status="open",
        status_transitions={**invoice["status_transitions"], "finalized_at": now},
    )
    account.emit("invoice.finalized", invoice)


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


def make_intent(account: Account, invoice: Obj, description: str) -> Obj:
    """The intent that is to pay an invoice; it carries none of the subscription's metadata."""
    fields = {"customer": invoice["customer"], "description": description}
    intent = payment_intents.make(account, invoice["amount_due"], invoice["currency"], fields)
    join(account, invoice, intent)
    return intent


def collect(account: Account, invoice: Obj, method: Obj | None) -> Decline | None:
    """Try to be paid for an open invoice; without a card there is nothing to try."""
    invoice["attempt_count"] += 1
    invoice["attempted"] = True
    if method is None:
        return NO_CARD
    intent = intent_of(account, invoice)
    decline = payment_intents.confirm(account, intent, Attempt(method, Presence.AWAY))
    if decline is None:
        settle(account, invoice)
    return decline


NO_CARD: Final = Decline(
    "missing_payment_method", "missing_payment_method", "There is no payment method to charge."
)


def intent_of(account: Account, invoice: Obj) -> Obj:
    """The intent that is to pay an invoice."""
    payment = account.store.objects[account.store.private(invoice["id"])["payment"]]
    return account.store.objects[payment["payment"]["payment_intent"]]


def settle(account: Account, invoice: Obj) -> None:
    """The invoice is paid."""
    now = account.clock.stamp()
    payment = account.store.objects[account.store.private(invoice["id"])["payment"]]
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


def refuse_payment(invoice: Obj) -> None:
    """Refuse to pay what is not owed."""
    if invoice["status"] == "paid":
        raise invalid("Invoice is already paid", code="invoice_already_paid")
    if invoice["status"] != "open":
        message = f"You cannot pay an invoice with status {invoice['status']}."
        raise invalid(message, code="invoice_not_payable")


def card_for(account: Account, subscription: Obj) -> Obj | None:
    """The subscription's card, or its customer's, if it is still attached."""
    customer = account.store.find("customer", subscription["customer"])
    if customer is None:
        return None
    settings = customer["invoice_settings"]
    chosen = subscription["default_payment_method"] or settings["default_payment_method"]
    method = account.store.find("payment_method", chosen)
    return method if method and method["customer"] == customer["id"] else None


def named_card(account: Account, params: Obj) -> Obj | None:
    """The card that a request to pay names."""
    method_id = read.text(params, "payment_method")
    return payment_methods.resolve(account, method_id) if method_id else None


def _lines(account: Account, invoice: Obj, subscription: Obj, amount: int) -> Obj:
    item = subscription["items"]["data"][0]
    price = item["price"]
    product = account.store.objects.get(price["product"], {"name": "Subscription"})
    interval = price["recurring"]["interval"]
    line: Obj = {
        "id": account.store.mint("il"),
        "object": "line_item",
        "amount": amount,
        "currency": invoice["currency"],
        "description": f"{item['quantity']} × {product['name']} (per {interval})",  # noqa: RUF001 - as Stripe writes it
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice["id"],
        "livemode": False,
        "metadata": dict(subscription["metadata"]),
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": item["current_period_end"], "start": item["current_period_start"]},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": str(price["unit_amount"]),
        },
        "quantity": item["quantity"],
        "quantity_decimal": str(item["quantity"]),
        "subscription": subscription["id"],
        "subtotal": amount,
        "taxes": [],
    }
    return listing.of([line], f"/v1/invoices/{invoice['id']}/lines")


def _blank(customer: Obj, amount: int, currency: str) -> Obj:
    nothing = dict.fromkeys(_ABSENT)
    return {
        **nothing,
        "account_country": "US",
        "account_name": MERCHANT,
        "amount_due": amount,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": amount,
        "amount_shipping": 0,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "collection_method": "charge_automatically",
        "currency": currency,
        "customer": customer["id"],
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_tax_rates": [],
        "discounts": [],
        "issuer": {"type": "self"},
        "metadata": {},
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": amount,
        "subtotal_excluding_tax": amount,
        "total": amount,
        "total_discount_amounts": [],
        "total_excluding_tax": amount,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
    }


_ABSENT: Final = (
    "account_tax_ids", "application", "billing_reason", "custom_fields", "customer_account",
    "customer_shipping", "default_payment_method", "default_source", "description", "due_date",
    "effective_at", "ending_balance", "footer", "from_invoice", "hosted_invoice_url",
    "invoice_pdf", "last_finalization_error", "latest_revision", "next_payment_attempt", "number",
    "on_behalf_of", "receipt_number", "rendering", "shipping_cost", "shipping_details",
    "statement_descriptor", "test_clock", "threshold_reason",
)  # fmt: skip
