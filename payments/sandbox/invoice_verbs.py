"""What the API does with an invoice: pay, finalize, void, write off."""

from payments.sandbox import collecting, invoices, payment_methods, subscribing
from payments.sandbox import params as read
from payments.sandbox.account import Account, when_due
from payments.sandbox.errors import invalid
from payments.sandbox.routes import Call, route
from payments.sandbox.wire import Obj


@route("POST", "/v1/invoices/{}/pay")
def pay(call: Call) -> Obj:
    account, invoice = call.account, call.subject("invoice")
    read.refuse(call.params, "paid_out_of_band", "forgive", "source")
    if invoice["status"] == "paid":
        raise invalid("Invoice is already paid", code="invoice_already_paid")
    if invoice["status"] == "void":
        raise invalid("You cannot pay an invoice that is void.", code="invoice_not_payable")
    method = _named(account, invoice, call.params)
    if invoice["status"] == "draft":
        invoices.finalize(account, invoice)
    decline = collecting.by_hand(account, invoice, method)
    if decline is not None:
        raise subscribing.refused(account, invoice, decline)
    return invoice


@when_due("settle_invoice")
def settle(account: Account, invoice_id: str) -> None:
    """Its payment intent has been paid, whoever confirmed it."""
    invoice = account.store.objects[invoice_id]
    if invoice["status"] in ("open", "uncollectible"):
        invoices.settle(account, invoice)
        collecting.recovered(account, invoice)


@route("POST", "/v1/invoices/{}/finalize")
def finalize(call: Call) -> Obj:
    account, invoice = call.account, call.subject("invoice")
    if invoice["status"] != "draft":
        raise invalid("This invoice is already finalized, you can't re-finalize it.",
                      code="invoice_not_editable")  # fmt: skip
    invoice["auto_advance"] = read.flag(
        call.params, "auto_advance", default=invoice["auto_advance"]
    )
    invoices.finalize(account, invoice)
    if invoice["amount_due"] == 0:
        invoices.settle(account, invoice)
    else:
        invoices.make_intent(account, invoice)
    return invoice


@route("POST", "/v1/invoices/{}/void")
def void(call: Call) -> Obj:
    account, invoice = call.account, call.subject("invoice")
    if invoice["status"] not in ("open", "uncollectible"):
        message = f"You can only void open or uncollectible invoices; this is {invoice['status']}."
        raise invalid(message, code="status_transition_invalid")
    invoices.void(account, invoice)
    subscription = invoices.subscription_of(account, invoice)
    if subscription is None or not collecting.is_resuming(account, subscription):
        collecting.recovered(account, invoice)
    return invoice


@route("POST", "/v1/invoices/{}/mark_uncollectible")
def mark_uncollectible(call: Call) -> Obj:
    account, invoice = call.account, call.subject("invoice")
    if invoice["status"] != "open":
        message = f"You can only write off open invoices; this is {invoice['status']}."
        raise invalid(message, code="status_transition_invalid")
    invoices.write_off(account, invoice, "user_forgiven")
    collecting.recovered(account, invoice)
    return invoice


def _named(account: Account, invoice: Obj, params: Obj) -> Obj | None:
    """The card a request to pay names; it must be the customer's own."""
    method_id = read.text(params, "payment_method")
    if method_id is None:
        return None
    method = payment_methods.resolve(account, method_id)
    if method["customer"] != invoice["customer"]:
        message = f"The customer does not have a payment method with the ID {method_id}."
        raise invalid(message, "payment_method", "resource_missing")
    return method
