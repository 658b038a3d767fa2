"""Payouts: what is available goes to the bank, every midnight, in each currency.

A payout is the transactions it pays out: their sum is its amount, and each is in one payout at
most. It arrives two days later; then its list is final.
"""

from datetime import timedelta
from typing import Final

from payments.sandbox import balance, listing
from payments.sandbox import params as read
from payments.sandbox.account import Account, when_due
from payments.sandbox.catalog import currency_of
from payments.sandbox.errors import invalid, missing
from payments.sandbox.routes import Call, resource, route
from payments.sandbox.wire import Obj

UNDER_WAY_AFTER: Final = timedelta(hours=1)
ARRIVES_AFTER: Final = timedelta(days=2)

resource("payout", "/v1/payouts", {"status": listing.same("status")})


@when_due("close_day")
def close_day(account: Account, midnight: str) -> None:
    """Make due funds available and pay them out."""
    account.facts["days"].pop(midnight, None)
    now = account.clock.stamp()
    for currency in list(account.facts.get("waiting", {})):
        waiting = balance.waiting(account, currency)
        rows = [account.store.objects[i] for i in waiting]
        due = [row for row in rows if row["available_on"] <= now]
        for row in due:
            row["status"] = "available"
        amount = sum(row["net"] for row in due)
        if amount > 0:
            waiting[:] = [row["id"] for row in rows if row["available_on"] > now]
            payout = make(account, amount, currency)
            for row in due:
                account.store.link("balance_transaction", "payout", payout["id"], row["id"])


def make(account: Account, amount: int, currency: str, *, automatic: bool = True) -> Obj:
    """Send an amount to the bank."""
    arrival = account.clock.now() + ARRIVES_AFTER
    payout = account.make(
        "po",
        "payout",
        {
            "amount": amount,
            "application_fee": None,
            "application_fee_amount": None,
            "arrival_date": int(arrival.timestamp()),
            "automatic": automatic,
            "balance_transaction": None,
            "currency": currency,
            "description": "STRIPE PAYOUT",
            "destination": "ba_" + "0" * 24,
            "failure_balance_transaction": None,
            "failure_code": None,
            "failure_message": None,
            "metadata": {},
            "method": "standard",
            "original_payout": None,
            "payout_method": None,
            "reconciliation_status": "in_progress" if automatic else "not_applicable",
            "reversed_by": None,
            "source_type": "card",
            "statement_descriptor": None,
            "status": "pending",
            "trace_id": None,
            "type": "bank_account",
        },
    )
    fields = {"type": "payout", "amount": -amount, "currency": currency, "source": payout["id"]}
    own = balance.record(account, {**fields, "description": payout["description"]})
    payout["balance_transaction"] = own["id"]
    if automatic:
        balance.waiting(account, currency).remove(own["id"])
        account.store.link("balance_transaction", "payout", payout["id"], own["id"])
    account.emit("payout.created", payout)
    account.later(UNDER_WAY_AFTER, "send_payout", payout["id"])
    account.later(ARRIVES_AFTER, "pay_payout", payout["id"])
    return payout


@when_due("send_payout")
def send(account: Account, payout_id: str) -> None:
    account.update(account.store.objects[payout_id], "payout.updated", status="in_transit")


@when_due("pay_payout")
def pay(account: Account, payout_id: str) -> None:
    """The bank has it, and the list of what it holds is final."""
    payout = account.store.objects[payout_id]
    account.change(payout, status="paid", trace_id={"status": "pending", "value": None})
    account.emit("payout.paid", payout)
    if payout["automatic"]:
        payout["reconciliation_status"] = "completed"
        account.emit("payout.reconciliation_completed", payout)


@route("POST", "/v1/payouts")
def create(call: Call) -> Obj:
    account, params = call.account, call.params
    amount = read.integer(params, "amount")
    if amount is None:
        raise missing("amount")
    currency = currency_of(params)
    if amount < 1:
        raise invalid("Invalid positive integer", "amount", "parameter_invalid_integer")
    if amount > balance.available(account, currency):
        message = "You have insufficient funds in your Stripe account for this transfer."
        raise invalid(message, "amount", "balance_insufficient")
    payout = make(account, amount, currency, automatic=False)
    payout["metadata"] = read.metadata(params)
    payout["description"] = read.text(params, "description")
    return payout


@route("POST", "/v1/payouts/{}")
def update(call: Call) -> Obj:
    payout = call.subject("payout")
    metadata = read.merge_metadata(payout["metadata"], call.params)
    call.account.update(payout, "payout.updated", metadata=metadata)
    return payout
