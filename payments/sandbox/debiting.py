"""Debiting: a payment that is under way for days, and may come back even after it arrived."""

from datetime import timedelta
from typing import Final

from payments.sandbox import balance, charges, currencies, debits
from payments.sandbox.account import VERBS, Account, when_due
from payments.sandbox.errors import invalid
from payments.sandbox.routes import retrieved
from payments.sandbox.wire import Obj

UNDER_WAY_FOR: Final = timedelta(days=3)
RETURNED_AFTER: Final = timedelta(days=7)

retrieved("mandate", "/v1/mandates")


def start(account: Account, intent: Obj, method: Obj) -> None:
    """Ask the donor's bank for the money."""
    if intent["currency"] != debits.CURRENCY:
        message = f"The currency provided ({intent['currency']}) is invalid for one or more of the "
        raise invalid(message + "specified payment method types (sepa_debit).", "currency")
    charge = charges.make(account, intent, method, None, status="pending")
    account.change(
        intent,
        last_payment_error=None,
        latest_charge=charge["id"],
        payment_method=method["id"],
        status="processing",
    )
    account.emit("charge.pending", charge)
    account.emit("payment_intent.processing", intent)
    account.later(UNDER_WAY_FOR, "debit_answered", charge["id"])


@when_due("debit_answered")
def answered(account: Account, charge_id: str) -> None:
    """The bank has answered."""
    charge = account.store.objects[charge_id]
    method = account.store.objects[charge["payment_method"]]
    outcome = debits.outcome_of(account, method)
    if outcome is debits.Outcome.FAILS:
        _refuse(account, charge)
        VERBS["debit_failed"](account, charge["payment_intent"])
        return
    _arrive(account, charge)
    VERBS["debit_arrived"](account, charge["payment_intent"])
    if outcome is debits.Outcome.RETURNS:
        account.later(RETURNED_AFTER, "debit_returned", charge_id)


@when_due("debit_returned")
def returned(account: Account, charge_id: str) -> None:
    """The donor's bank takes back what it had paid."""
    charge = account.store.objects[charge_id]
    if charge["amount_refunded"]:
        return  # it was given back before
    row = _record(account, charge, "payment_failure_refund", -1)
    charge["failure_balance_transaction"] = row["id"]
    _refuse(account, charge)


def _arrive(account: Account, charge: Obj) -> None:
    row = _record(account, charge, "payment", 1)
    account.change(
        charge,
        amount_captured=charge["amount"],
        balance_transaction=row["id"],
        paid=True,
        status="succeeded",
    )
    account.emit("charge.succeeded", charge)
    intent = account.store.objects[charge["payment_intent"]]
    account.change(intent, amount_received=intent["amount"], status="succeeded")
    account.emit("payment_intent.succeeded", intent)


def _refuse(account: Account, charge: Obj) -> None:
    account.change(
        charge,
        failure_code=debits.FAILED.decline_code,
        failure_message=debits.FAILED.message,
        paid=False,
        status="failed",
    )
    account.emit("charge.failed", charge)
    intent = account.store.objects[charge["payment_intent"]]
    account.change(
        intent,
        amount_received=0,
        last_payment_error=charges.error(account, charge, debits.FAILED),
        payment_method=None,
        status="requires_payment_method",
    )
    account.emit("payment_intent.payment_failed", intent)


def _record(account: Account, charge: Obj, kind: str, sign: int) -> Obj:
    amount, rate = currencies.settle(charge["amount"], charge["currency"])
    return balance.record(
        account,
        {
            "type": kind,
            "reporting_category": "charge" if sign > 0 else "charge_failure",
            "amount": sign * amount,
            "currency": currencies.settles_in(charge["currency"]),
            "fee": debits.FEE if sign > 0 else 0,
            "exchange_rate": rate,
            "source": charge["id"],
            "description": charge["description"],
        },
    )
