"""The documents that objects point to: receipts, mandates and invoices as PDF.

They say what the object says, in few words, so that a link leads somewhere.
"""

from payments.sandbox.account import StripeAccount
from payments.sandbox.account_settings import merchant_name
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.hosted_page import PageResponse, format_amount, message_page
from payments.sandbox.pdf import one_page_pdf


def show_receipt(account: StripeAccount, charge_id: str) -> PageResponse:
    """Show the receipt of a charge."""
    charge = account.store.get("charge", charge_id)
    if charge is None or not charge["receipt_url"]:
        return message_page("Page not found", "There is no such receipt.", 404)
    text = (
        f"{format_amount(charge['amount'], charge['currency'])} paid to {merchant_name(account)}."
    )
    if charge["amount_refunded"]:
        text += f" {format_amount(charge['amount_refunded'], charge['currency'])} refunded."
    return message_page("Receipt", text, 200)


def show_mandate(account: StripeAccount, reference: str) -> PageResponse:
    """Show the mandate that a debit's reference names."""
    for mandate_id in account.store.linked("mandate", "reference", reference):
        status = account.store.objects[mandate_id]["status"]
        payee = merchant_name(account)
        text = f"SEPA Direct Debit, reference {reference}, payable to {payee}: {status}."
        return message_page("Mandate", text, 200)
    return message_page("Page not found", "There is no such mandate.", 404)


def invoice_pdf(account: StripeAccount, token: str) -> bytes | None:
    """Return the PDF of the invoice with this page token, or None when there is none such."""
    for invoice_id in account.store.linked("invoice", "page_token", token):
        invoice = account.store.get("invoice", invoice_id)
        return one_page_pdf(_invoice_text(invoice)) if invoice is not None else None
    return None


def _invoice_text(invoice: JsonObject) -> list[str]:
    currency = invoice["currency"]
    lines = [
        f"{line['description'] or ''}   {format_amount(line['amount'], currency)}"
        for line in invoice["lines"]["data"]
    ]
    due = format_amount(invoice["amount_due"], currency)
    paid = format_amount(invoice["amount_paid"], currency)
    head = [
        f"Invoice {invoice['number']}",
        f"From {invoice['account_name']}",
        f"Status: {invoice['status']}",
    ]
    return [*head, "", *lines, "", f"Due {due}, paid {paid}", "Test stand-in: no real money moves."]
