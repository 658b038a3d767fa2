"""What a delayed payment was for: the session or the invoice that waits for it."""

from payments.sandbox import checkout, collecting, debits
from payments.sandbox.account import VERBS, Account, when_due
from payments.sandbox.wire import Obj


@when_due("debit_arrived")
def arrived(account: Account, intent_id: str) -> None:
    """The money is here: the session is paid, the invoice too."""
    private = account.store.private(intent_id)
    if "invoice" in private:
        VERBS["settle_invoice"](account, private["invoice"])
    session = _session(account, intent_id)
    if session is not None:
        session["payment_status"] = "paid"
        account.emit("checkout.session.async_payment_succeeded", session)


@when_due("debit_failed")
def failed(account: Account, intent_id: str) -> None:
    """The money did not come."""
    private = account.store.private(intent_id)
    if "invoice" in private:
        invoice = account.store.objects[private["invoice"]]
        if invoice["status"] == "open":
            collecting.failed_late(account, invoice, debits.FAILED)
    session = _session(account, intent_id)
    if session is not None:
        account.emit("checkout.session.async_payment_failed", session)


def _session(account: Account, intent_id: str) -> Obj | None:
    """The session that is complete but for this payment."""
    session_id = account.store.private(intent_id).get("session")
    session = account.store.find(checkout.KIND, session_id)
    if session is None or session["payment_status"] != "unpaid":
        return None
    return session
