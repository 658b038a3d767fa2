"""Asynchronous payments: the session or invoice that a debit pays, once its outcome is known."""

from payments.sandbox import checkout, invoice_collection, sepa_debit
from payments.sandbox.account import TASK_HANDLERS, StripeAccount, when_due
from payments.sandbox.form_encoding import JsonObject


@when_due("debit_succeeded")
def payment_succeeded(account: StripeAccount, intent_id: str) -> None:
    """Mark the invoice and the session of a debit's payment intent as paid."""
    private = account.store.private(intent_id)
    if "invoice" in private:
        TASK_HANDLERS["mark_invoice_paid"](account, private["invoice"])
    session = _unpaid_session(account, intent_id)
    if session is not None:
        session["payment_status"] = "paid"
        account.emit("checkout.session.async_payment_succeeded", session)


@when_due("debit_failed")
def payment_failed(account: StripeAccount, intent_id: str) -> None:
    """Schedule the invoice's next attempt and emit the session's failure."""
    private = account.store.private(intent_id)
    if "invoice" in private:
        invoice = account.store.objects[private["invoice"]]
        if invoice["status"] == "open":
            invoice_collection.record_async_failure(account, invoice, sepa_debit.DEBIT_FAILED)
    session = _unpaid_session(account, intent_id)
    if session is not None:
        account.emit("checkout.session.async_payment_failed", session)


def _unpaid_session(account: StripeAccount, intent_id: str) -> JsonObject | None:
    """Return the completed session that is still unpaid, or None."""
    session_id = account.store.private(intent_id).get("session")
    session = account.store.get(checkout.OBJECT_NAME, session_id)
    if session is None or session["payment_status"] != "unpaid":
        return None
    return session
