"""The hosted invoice page, on which an invoice is paid with another card or a charge authenticated.

The card entered here pays this invoice only: it is neither attached nor made a default.
"""

from payments.sandbox import (
    hosted_page,
    invoice_collection,
    invoices,
    payment_form,
    payment_intents,
    sepa_debit,
)
from payments.sandbox.account import StripeAccount
from payments.sandbox.account_settings import merchant_name
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.hosted_page import PageResponse
from payments.sandbox.payment_intents import CustomerPresence

_PAYABLE = ("open", "uncollectible")
_STATUS_LABELS = {"open": "not paid yet", "void": "no longer owed", "uncollectible": "not paid"}


def show(account: StripeAccount, token: str) -> PageResponse:
    """Show an invoice, whatever its status."""
    invoice = _invoice(account, token)
    return _page(account, invoice, {}, {}, 200) if invoice else _not_found_page()


def submit(account: StripeAccount, token: str, form: dict[str, str]) -> PageResponse:
    """Pay the invoice with the submitted form."""
    invoice = _invoice(account, token)
    if invoice is None or not _is_payable(account, invoice):
        return show(account, token)
    takes_debit = invoice["currency"] == sepa_debit.DEBIT_CURRENCY
    parsed = payment_form.parse(account, form, invoice["customer_email"], takes_debit=takes_debit)
    if isinstance(parsed, dict):
        return _page(account, invoice, form, parsed, 422)
    method = parsed.create_payment_method(account)
    decline = invoices.collect(
        account, invoice, method, counts_attempt=False, presence=CustomerPresence.CHECKOUT
    )
    if decline is invoices.ACTION_REQUIRED:
        return PageResponse(303, location=f"/i/{token}/authenticate")
    if decline is not None:
        account.emit("invoice.payment_failed", invoice)
        return _page(account, invoice, form, payment_form.decline_errors(decline), 402)
    return _after_payment(account, invoice, token)


def show_authentication(account: StripeAccount, token: str) -> PageResponse:
    """Show the 3-D Secure page."""
    invoice = _invoice(account, token)
    if invoice is None or not _awaits_authentication(account, invoice):
        return PageResponse(303, location=f"/i/{token}")
    return hosted_page.authentication_page(
        f"the payment of {_amount_text(invoice)}", hosted_page.content_security_policy(None)
    )


def submit_authentication(account: StripeAccount, token: str, form: dict[str, str]) -> PageResponse:
    """Complete or fail 3-D Secure, as the submitted form says."""
    invoice = _invoice(account, token)
    if invoice is None or not _awaits_authentication(account, invoice):
        return PageResponse(303, location=f"/i/{token}")
    intent = invoices.intent_of(account, invoice)
    passed = form.get("answer") == "complete"
    decline = payment_intents.authenticate(account, intent, passed=passed)
    if decline is not None:
        account.emit("invoice.payment_failed", invoice)
        return _page(account, invoice, {}, payment_form.decline_errors(decline), 402)
    invoices.mark_paid(account, invoice)
    return _after_payment(account, invoice, token)


def _after_payment(account: StripeAccount, invoice: JsonObject, token: str) -> PageResponse:
    if invoice["status"] == "paid":
        invoice_collection.record_recovery(account, invoice)
    return PageResponse(303, location=f"/i/{token}")


def _invoice(account: StripeAccount, token: str) -> JsonObject | None:
    for invoice_id in account.store.linked("invoice", "page_token", token):
        return account.store.get("invoice", invoice_id)
    return None


def _is_payable(account: StripeAccount, invoice: JsonObject) -> bool:
    if invoice["status"] not in _PAYABLE:
        return False
    return bool(invoices.intent_of(account, invoice)["status"] != "processing")


def _awaits_authentication(account: StripeAccount, invoice: JsonObject) -> bool:
    if not _is_payable(account, invoice):
        return False
    return bool(invoices.intent_of(account, invoice)["status"] == "requires_action")


def _amount_text(invoice: JsonObject) -> str:
    return hosted_page.format_amount(invoice["amount_due"], invoice["currency"])


def _page(
    account: StripeAccount,
    invoice: JsonObject,
    form: dict[str, str],
    errors: dict[str, str],
    status: int,
) -> PageResponse:
    path = f"/i/{account.store.private(invoice['id'])['page_token']}"
    awaits_authentication = _awaits_authentication(account, invoice)
    html = hosted_page.get_template("invoice.html").render(
        action=path,
        amount=_amount_text(invoice),
        button=f"Pay {_amount_text(invoice)}",
        debit=invoice["currency"] == sepa_debit.DEBIT_CURRENCY,
        lines=invoice["lines"]["data"],
        merchant=merchant_name(account),
        note=None,
        number=invoice["number"],
        payable=_is_payable(account, invoice),
        authentication_url=f"{path}/authenticate" if awaits_authentication else None,
        status=_STATUS_LABELS.get(invoice["status"], invoice["status"]),
        **hosted_page.form_context(account, form, errors, invoice["customer_email"]),
    )
    return PageResponse(status, html, headers=hosted_page.content_security_policy(None))


def _not_found_page() -> PageResponse:
    return hosted_page.message_page("Page not found", "There is no such invoice.", 404)
