"""Payouts: what is available goes to the bank, every midnight or once a week, in each currency.

An automatic payout is the transactions it pays out: their sum is its amount, and each is in one
payout at most. It arrives two days later; then its list is final, at once or after a while. Made
by hand, at the usual pace or within half an hour for a fee, it names no transactions. Any payout
may fail, even after it was paid; one that is pending can be cancelled.
"""

from datetime import UTC, timedelta
from typing import Final

from payments.sandbox import balance, currencies, listing
from payments.sandbox import params as read
from payments.sandbox.account import Account, when_due
from payments.sandbox.catalog import currency_of
from payments.sandbox.errors import invalid, missing
from payments.sandbox.routes import Call, resource, route
from payments.sandbox.wire import Obj

UNDER_WAY_AFTER: Final = timedelta(hours=1)
ARRIVES_AFTER: Final = timedelta(days=2)
INSTANTLY: Final = timedelta(minutes=30)
_MINIMUM: Final = "payout_minimum_balance"

resource("payout", "/v1/payouts", {"status": listing.same("status")})


@when_due("close_day")
def close_day(account: Account, midnight: str) -> None:
    """Make due funds available and pay them out."""
    account.facts["days"].pop(midnight, None)
    now = account.clock.stamp()
    days = _days_to_go(account)
    if days:
        balance.close_day_on(account, now + days * 86400)
    for currency in list(account.facts.get("waiting", {})):
        due = _due(account, currency, now)
        if days:
            continue
        amount = sum(row["net"] for row in due)
        keep = account.facts.get("minimum_balance", {}).get(currency, 0)
        if 0 < amount <= keep:
            continue
        if keep and amount > keep:
            fields = {"currency": currency, "reporting_category": "risk_reserved_funds"}
            balance.record(account, {**fields, "type": f"{_MINIMUM}_hold", "amount": -keep})
            due = _due(account, currency, now)
            balance.record(account, {**fields, "type": f"{_MINIMUM}_release", "amount": keep})
            amount -= keep
        if amount > 0 or (amount < 0 and account.facts.get("debits_bank")):
            _pay_out(account, due, amount, currency)


def _days_to_go(account: Account) -> int:
    """How many days until money goes to the bank; none on any day, unless it goes weekly."""
    weekday: int | None = account.facts.get("pays_out_on")
    if weekday is None:
        return 0
    return (weekday - account.clock.now().astimezone(UTC).weekday()) % 7


def _due(account: Account, currency: str, now: int) -> list[Obj]:
    """What can be paid out now, made available."""
    rows = [account.store.objects[i] for i in balance.waiting(account, currency)]
    due = [row for row in rows if row["available_on"] <= now]
    for row in due:
        row["status"] = "available"
    return due


def _pay_out(account: Account, due: list[Obj], amount: int, currency: str) -> None:
    """One payout of these transactions; the bank is debited when they are less than nothing."""
    waiting = balance.waiting(account, currency)
    gone = {row["id"] for row in due}
    waiting[:] = [id_ for id_ in waiting if id_ not in gone]
    payout = make(account, amount, currency)
    for row in due:
        account.store.link("balance_transaction", "payout", payout["id"], row["id"])


def make(
    account: Account,
    amount: int,
    currency: str,
    *,
    automatic: bool = True,
    instant: bool = False,
) -> Obj:
    """Send an amount to the bank, or take it from there when it is negative."""
    arrives_after = INSTANTLY if instant else ARRIVES_AFTER
    arrival = account.clock.now() + arrives_after
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
            "method": "instant" if instant else "standard",
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
    fields["fee"] = currencies.instant_fee(amount) if instant else 0
    own = balance.record(account, {**fields, "description": payout["description"]})
    payout["balance_transaction"] = own["id"]
    if automatic:
        balance.waiting(account, currency).remove(own["id"])
        account.store.link("balance_transaction", "payout", payout["id"], own["id"])
    account.emit("payout.created", payout)
    account.later(min(UNDER_WAY_AFTER, arrives_after / 2), "send_payout", payout["id"])
    account.later(arrives_after, "pay_payout", payout["id"])
    return payout


@when_due("send_payout")
def send(account: Account, payout_id: str) -> None:
    payout = account.store.objects[payout_id]
    if payout["status"] == "pending":
        account.update(payout, "payout.updated", status="in_transit")


@when_due("pay_payout")
def pay(account: Account, payout_id: str) -> None:
    """The bank has it, and the list of what it holds is final, or will be in a while."""
    payout = account.store.objects[payout_id]
    if payout["status"] not in ("pending", "in_transit"):
        return
    account.change(payout, status="paid", trace_id={"status": "pending", "value": None})
    account.emit("payout.paid", payout)
    _finish_list_later(account, payout)


def _finish_list_later(account: Account, payout: Obj) -> None:
    pause = account.facts.get("reconciles_after", 0)
    if not pause:
        finish_list(account, payout["id"])
        return
    account.later(timedelta(seconds=pause), "finish_list", payout["id"])


@when_due("finish_list")
def finish_list(account: Account, payout_id: str) -> None:
    payout = account.store.objects[payout_id]
    if payout["reconciliation_status"] == "in_progress":
        payout["reconciliation_status"] = "completed"
        account.emit("payout.reconciliation_completed", payout)


def fail(account: Account, payout_id: str, code: str = "account_closed") -> None:
    """The bank does not take it, or sends it back days after it was paid."""
    payout = account.store.objects[payout_id]
    if payout["status"] in ("failed", "canceled"):
        raise invalid(f"This payout is {payout['status']} already.")
    _give_back(account, payout, "payout_failure")
    message = "The bank account has been closed."
    account.change(payout, status="failed", failure_code=code, failure_message=message)
    account.emit("payout.failed", payout)
    _finish_list_later(account, payout)


def _give_back(account: Account, payout: Obj, type_: str) -> None:
    row = balance.record(
        account,
        {
            "type": type_,
            "reporting_category": "payout_reversal",
            "amount": payout["amount"],
            "currency": payout["currency"],
            "source": payout["id"],
            "description": "PAYOUT REVERSAL",
        },
    )
    payout["failure_balance_transaction"] = row["id"]


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
    instant = read.one_of(params, "method", ("standard", "instant"), "standard") == "instant"
    payout = make(account, amount, currency, automatic=False, instant=instant)
    payout["metadata"] = read.metadata(params)
    payout["description"] = read.text(params, "description")
    return payout


@route("POST", "/v1/payouts/{}")
def update(call: Call) -> Obj:
    payout = call.subject("payout")
    metadata = read.merge_metadata(payout["metadata"], call.params)
    call.account.update(payout, "payout.updated", metadata=metadata)
    return payout


@route("POST", "/v1/payouts/{}/cancel")
def cancel(call: Call) -> Obj:
    payout = call.subject("payout")
    if payout["status"] != "pending":
        raise invalid(f"Payouts that are {payout['status']} can't be canceled.")
    _give_back(call.account, payout, "payout_cancel")
    call.account.change(payout, status="canceled")
    call.account.emit("payout.canceled", payout)
    _finish_list_later(call.account, payout)
    return payout
