"""Payouts: what is available goes to the bank, every midnight or once a week, in each currency.

An automatic payout is the transactions it pays out: their sum is its amount, and each is in one
payout at most. It arrives two days later; then its list is final, at once or after a while. Made
by hand, at the usual pace or within half an hour for a fee, it names no transactions. Any payout
may fail, even after it was paid; one that is pending can be cancelled.
"""

from datetime import UTC, timedelta
from typing import Final

from payments.sandbox import balance, currencies, listing
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.catalog import currency_in
from payments.sandbox.errors import invalid_request, missing_param
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route

IN_TRANSIT_AFTER: Final = timedelta(hours=1)
ARRIVAL_DELAY: Final = timedelta(days=2)
INSTANT_ARRIVAL_DELAY: Final = timedelta(minutes=30)
_MINIMUM_BALANCE_TYPE: Final = "payout_minimum_balance"

add_list_and_retrieve_routes("payout", "/v1/payouts", {"status": listing.equals("status")})


@when_due("close_day")
def run_payouts(account: StripeAccount, midnight: str) -> None:
    """Make due funds available and pay them out."""
    account.state["days"].pop(midnight, None)
    now = account.clock.timestamp()
    days = _days_until_payout(account)
    if days:
        balance.schedule_payout_run(account, now + days * 86400)
    for currency in list(account.state.get("waiting", {})):
        due = _release_due_funds(account, currency, now)
        if days:
            continue
        amount = sum(row["net"] for row in due)
        keep = account.state.get("minimum_balance", {}).get(currency, 0)
        if 0 < amount <= keep:
            continue
        if keep and amount > keep:
            fields = {"currency": currency, "reporting_category": "risk_reserved_funds"}
            balance.create_transaction(
                account, {**fields, "type": f"{_MINIMUM_BALANCE_TYPE}_hold", "amount": -keep}
            )
            due = _release_due_funds(account, currency, now)
            balance.create_transaction(
                account, {**fields, "type": f"{_MINIMUM_BALANCE_TYPE}_release", "amount": keep}
            )
            amount -= keep
        if amount > 0 or (amount < 0 and account.state.get("debits_bank")):
            _create_automatic(account, due, amount, currency)


def _days_until_payout(account: StripeAccount) -> int:
    """How many days until money goes to the bank; none on any day, unless it goes weekly."""
    weekday: int | None = account.state.get("pays_out_on")
    if weekday is None:
        return 0
    return (weekday - account.clock.now().astimezone(UTC).weekday()) % 7


def _release_due_funds(account: StripeAccount, currency: str, now: int) -> list[JsonObject]:
    """What can be paid out now, made available."""
    rows = [account.store.objects[i] for i in balance.not_paid_out(account, currency)]
    due = [row for row in rows if row["available_on"] <= now]
    for row in due:
        row["status"] = "available"
    return due


def _create_automatic(
    account: StripeAccount, due: list[JsonObject], amount: int, currency: str
) -> None:
    """One payout of these transactions; the bank is debited when they are less than nothing."""
    waiting = balance.not_paid_out(account, currency)
    gone = {row["id"] for row in due}
    waiting[:] = [id_ for id_ in waiting if id_ not in gone]
    payout = make(account, amount, currency)
    for row in due:
        account.store.link("balance_transaction", "payout", payout["id"], row["id"])


def make(
    account: StripeAccount,
    amount: int,
    currency: str,
    *,
    automatic: bool = True,
    instant: bool = False,
) -> JsonObject:
    """Send an amount to the bank, or take it from there when it is negative."""
    arrives_after = INSTANT_ARRIVAL_DELAY if instant else ARRIVAL_DELAY
    arrival = account.clock.now() + arrives_after
    payout = account.create_object(
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
    fields["fee"] = currencies.instant_payout_fee(amount) if instant else 0
    own = balance.create_transaction(account, {**fields, "description": payout["description"]})
    payout["balance_transaction"] = own["id"]
    if automatic:
        balance.not_paid_out(account, currency).remove(own["id"])
        account.store.link("balance_transaction", "payout", payout["id"], own["id"])
    account.emit("payout.created", payout)
    account.schedule_in(min(IN_TRANSIT_AFTER, arrives_after / 2), "send_payout", payout["id"])
    account.schedule_in(arrives_after, "pay_payout", payout["id"])
    return payout


@when_due("send_payout")
def mark_in_transit(account: StripeAccount, payout_id: str) -> None:
    payout = account.store.objects[payout_id]
    if payout["status"] == "pending":
        account.update_and_emit(payout, "payout.updated", status="in_transit")


@when_due("pay_payout")
def mark_paid(account: StripeAccount, payout_id: str) -> None:
    """The bank has it, and the list of what it holds is final, or will be in a while."""
    payout = account.store.objects[payout_id]
    if payout["status"] not in ("pending", "in_transit"):
        return
    account.set_fields(payout, status="paid", trace_id={"status": "pending", "value": None})
    account.emit("payout.paid", payout)
    _schedule_reconciliation(account, payout)


def _schedule_reconciliation(account: StripeAccount, payout: JsonObject) -> None:
    pause = account.state.get("reconciles_after", 0)
    if not pause:
        complete_reconciliation(account, payout["id"])
        return
    account.schedule_in(timedelta(seconds=pause), "finish_list", payout["id"])


@when_due("finish_list")
def complete_reconciliation(account: StripeAccount, payout_id: str) -> None:
    payout = account.store.objects[payout_id]
    if payout["reconciliation_status"] == "in_progress":
        payout["reconciliation_status"] = "completed"
        account.emit("payout.reconciliation_completed", payout)


def fail(account: StripeAccount, payout_id: str, code: str = "account_closed") -> None:
    """The bank does not take it, or sends it back days after it was paid."""
    payout = account.store.objects[payout_id]
    if payout["status"] in ("failed", "canceled"):
        raise invalid_request(f"This payout is {payout['status']} already.")
    _reverse(account, payout, "payout_failure")
    message = "The bank account has been closed."
    account.set_fields(payout, status="failed", failure_code=code, failure_message=message)
    account.emit("payout.failed", payout)
    _schedule_reconciliation(account, payout)


def _reverse(account: StripeAccount, payout: JsonObject, type_: str) -> None:
    row = balance.create_transaction(
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
def create(call: Call) -> JsonObject:
    account, params = call.account, call.params
    amount = read.integer(params, "amount")
    if amount is None:
        raise missing_param("amount")
    currency = currency_in(params)
    if amount < 1:
        raise invalid_request("Invalid positive integer", "amount", "parameter_invalid_integer")
    if amount > balance.available_amount(account, currency):
        message = "You have insufficient funds in your Stripe account for this transfer."
        raise invalid_request(message, "amount", "balance_insufficient")
    instant = read.one_of(params, "method", ("standard", "instant"), "standard") == "instant"
    payout = make(account, amount, currency, automatic=False, instant=instant)
    payout["metadata"] = read.metadata(params)
    payout["description"] = read.text(params, "description")
    return payout


@route("POST", "/v1/payouts/{}")
def update(call: Call) -> JsonObject:
    payout = call.get_object("payout")
    metadata = read.merge_metadata(payout["metadata"], call.params)
    call.account.update_and_emit(payout, "payout.updated", metadata=metadata)
    return payout


@route("POST", "/v1/payouts/{}/cancel")
def cancel(call: Call) -> JsonObject:
    payout = call.get_object("payout")
    if payout["status"] != "pending":
        raise invalid_request(f"Payouts that are {payout['status']} can't be canceled.")
    _reverse(call.account, payout, "payout_cancel")
    call.account.set_fields(payout, status="canceled")
    call.account.emit("payout.canceled", payout)
    _schedule_reconciliation(call.account, payout)
    return payout
