"""The invoice API: pay, finalize, void and mark uncollectible."""

from payments.sandbox import invoice_collection, invoices, payment_methods, subscription_endpoints
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.errors import invalid_request
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.payment_intents import CustomerPresence
from payments.sandbox.routes import Call, route


@route("POST", "/v1/invoices/{}/pay", reads=("off_session", "payment_method"))
def pay(call: Call) -> JsonObject:
    """Charge an invoice, with the payment method the request names or its default one."""
    account, invoice = call.account, call.get_object("invoice")
    is_absent = read.flag(call.params, "off_session", default=True)
    presence = CustomerPresence.OFF_SESSION if is_absent else CustomerPresence.ON_SESSION
    if invoice["status"] == "paid":
        raise invalid_request("Invoice is already paid", code="invoice_already_paid")
    if invoice["status"] == "void":
        raise invalid_request("You cannot pay an invoice that is void.", code="invoice_not_payable")
    method = payment_methods.of_customer_in(
        account, invoice["customer"], call.params, currency=invoice["currency"]
    )
    if invoice["status"] == "draft":
        invoices.finalize(account, invoice)
    decline = invoice_collection.pay_on_request(account, invoice, method, presence)
    if decline is not None:
        raise subscription_endpoints.payment_error(account, invoice, decline)
    return invoice


@when_due("mark_invoice_paid")
def settle_from_intent(account: StripeAccount, invoice_id: str) -> None:
    """Mark an invoice as paid after its payment intent has succeeded."""
    invoice = account.store.objects[invoice_id]
    if invoice["status"] in ("open", "uncollectible"):
        invoices.mark_paid(account, invoice)
        invoice_collection.record_recovery(account, invoice)


@route("POST", "/v1/invoices/{}/finalize", reads=("auto_advance",))
def finalize(call: Call) -> JsonObject:
    """Finalize a draft; an invoice over nothing is paid at once."""
    account, invoice = call.account, call.get_object("invoice")
    if invoice["status"] != "draft":
        message = "This invoice is already finalized, you can't re-finalize it."
        raise invalid_request(message, code="invoice_not_editable")
    invoice["auto_advance"] = read.flag(
        call.params, "auto_advance", default=invoice["auto_advance"]
    )
    invoices.finalize(account, invoice)
    invoices.create_intent(account, invoice)
    return invoice


@route("POST", "/v1/invoices/{}/void")
def void(call: Call) -> JsonObject:
    """Void an open or uncollectible invoice."""
    account, invoice = call.account, call.get_object("invoice")
    if invoice["status"] not in ("open", "uncollectible"):
        message = f"You can only void open or uncollectible invoices; this is {invoice['status']}."
        raise invalid_request(message, code="status_transition_invalid")
    invoices.void(account, invoice)
    subscription = invoices.subscription_of(account, invoice)
    if subscription is None or not invoice_collection.is_resuming(account, subscription):
        invoice_collection.record_recovery(account, invoice)
    return invoice


@route("POST", "/v1/invoices/{}/mark_uncollectible")
def mark_uncollectible(call: Call) -> JsonObject:
    """Write off an open invoice."""
    account, invoice = call.account, call.get_object("invoice")
    if invoice["status"] != "open":
        message = f"You can only write off open invoices; this is {invoice['status']}."
        raise invalid_request(message, code="status_transition_invalid")
    invoices.write_off(account, invoice, "user_forgiven")
    invoice_collection.record_recovery(account, invoice)
    return invoice
