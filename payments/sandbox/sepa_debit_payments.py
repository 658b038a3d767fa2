"""Debits: payments that are processing for days and may be returned even after they succeeded."""

from datetime import timedelta
from typing import Final

from payments.sandbox import balance, charges, currencies, sepa_debit
from payments.sandbox.account import TASK_HANDLERS, StripeAccount, when_due
from payments.sandbox.errors import invalid_request
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import add_retrieve_route

PROCESSING_TIME: Final = timedelta(days=3)
RETURN_DELAY: Final = timedelta(days=7)

add_retrieve_route("mandate", "/v1/mandates")


def start(account: StripeAccount, intent: JsonObject, method: JsonObject) -> None:
    """Start a debit: the intent is processing. Raises ApiError unless it is in euros."""
    if intent["currency"] != sepa_debit.DEBIT_CURRENCY:
        message = f"The currency provided ({intent['currency']}) is invalid for one or more of the "
        raise invalid_request(message + "specified payment method types (sepa_debit).", "currency")
    charge = charges.make(account, intent, method, None, status="pending")
    account.set_fields(
        intent,
        last_payment_error=None,
        latest_charge=charge["id"],
        payment_method=method["id"],
        status="processing",
    )
    account.emit("charge.pending", charge)
    account.emit("payment_intent.processing", intent)
    account.schedule_in(PROCESSING_TIME, "complete_debit", charge["id"])


@when_due("complete_debit")
def complete(account: StripeAccount, charge_id: str) -> None:
    """Succeed or fail a debit, as its test account does."""
    charge = account.store.objects[charge_id]
    method = account.store.objects[charge["payment_method"]]
    outcome = sepa_debit.outcome_of(account, method)
    if outcome is sepa_debit.DebitOutcome.FAILS:
        _fail(account, charge)
        TASK_HANDLERS["debit_failed"](account, charge["payment_intent"])
        return
    _succeed(account, charge)
    TASK_HANDLERS["debit_succeeded"](account, charge["payment_intent"])
    if outcome is sepa_debit.DebitOutcome.RETURNS:
        account.schedule_in(RETURN_DELAY, "return_debit", charge_id)


@when_due("return_debit")
def return_debit(account: StripeAccount, charge_id: str) -> None:
    """Return a debit that succeeded, unless it was refunded meanwhile."""
    charge = account.store.objects[charge_id]
    if charge["amount_refunded"]:
        return
    row = _create_transaction(account, charge, "payment_failure_refund", -1)
    charge["failure_balance_transaction"] = row["id"]
    _fail(account, charge)


def _succeed(account: StripeAccount, charge: JsonObject) -> None:
    row = _create_transaction(account, charge, "payment", 1)
    account.set_fields(
        charge,
        amount_captured=charge["amount"],
        balance_transaction=row["id"],
        paid=True,
        status="succeeded",
    )
    account.emit("charge.succeeded", charge)
    intent = account.store.objects[charge["payment_intent"]]
    account.set_fields(intent, amount_received=intent["amount"], status="succeeded")
    account.emit("payment_intent.succeeded", intent)


def _fail(account: StripeAccount, charge: JsonObject) -> None:
    account.set_fields(
        charge,
        failure_code=sepa_debit.DEBIT_FAILED.decline_code,
        failure_message=sepa_debit.DEBIT_FAILED.message,
        paid=False,
        status="failed",
    )
    account.emit("charge.failed", charge)
    intent = account.store.objects[charge["payment_intent"]]
    account.set_fields(
        intent,
        amount_received=0,
        last_payment_error=charges.payment_error(account, charge, sepa_debit.DEBIT_FAILED),
        payment_method=None,
        status="requires_payment_method",
    )
    account.emit("payment_intent.payment_failed", intent)


def _create_transaction(
    account: StripeAccount, charge: JsonObject, type_: str, sign: int
) -> JsonObject:
    amount, rate = currencies.to_settlement(charge["amount"], charge["currency"])
    return balance.create_transaction(
        account,
        {
            "type": type_,
            "reporting_category": "charge" if sign > 0 else "charge_failure",
            "amount": sign * amount,
            "currency": currencies.settlement_currency(charge["currency"]),
            "fee": sepa_debit.DEBIT_FEE if sign > 0 else 0,
            "exchange_rate": rate,
            "source": charge["id"],
            "description": charge["description"],
        },
    )
