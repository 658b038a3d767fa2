"""Payouts: available funds go to the bank at midnight, daily or weekly, in each currency.

An automatic payout pays out balance transactions: their sum is its amount, and each belongs to at
most one payout. It arrives two days later and is reconciled then, at once or after a delay. A
manual payout, standard or instant, has no such transactions. Any payout may fail, even after it was
paid; a pending one can be cancelled.
https://docs.stripe.com/payouts
"""

from datetime import UTC, timedelta
from typing import Final

from payments.sandbox import balance, currencies, external_accounts, listing
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


@when_due("run_payouts")
def run_payouts(account: StripeAccount, midnight: str) -> None:
    """Make due funds available and, on a payout day, pay them out. `midnight` is a Unix time."""
    account.state["scheduled_payout_runs"].pop(midnight, None)
    now = account.clock.timestamp()
    days = _days_until_payout(account)
    if days:
        balance.schedule_payout_run(account, now + days * 86400)
    for currency in list(account.state.get("not_paid_out", {})):
        rows = _release_due_funds(account, currency, now)
        if not days:
            _pay_out(account, currency, rows)


def _pay_out(account: StripeAccount, currency: str, rows: list[JsonObject]) -> None:
    """Pay out due transactions, less the account's minimum balance."""
    amount = sum(row["net"] for row in rows)
    minimum = account.state.get("minimum_balance", {}).get(currency, 0)
    if 0 < amount <= minimum:
        return
    if minimum and amount > minimum:
        # The minimum is held in this payout and released after it.
        fields = {"currency": currency, "reporting_category": "risk_reserved_funds"}
        balance.create_transaction(
            account, {**fields, "type": f"{_MINIMUM_BALANCE_TYPE}_hold", "amount": -minimum}
        )
        rows = _release_due_funds(account, currency, account.clock.timestamp())
        balance.create_transaction(
            account, {**fields, "type": f"{_MINIMUM_BALANCE_TYPE}_release", "amount": minimum}
        )
        amount -= minimum
    if amount > 0 or (amount < 0 and account.state.get("allows_negative_payouts")):
        _create_automatic(account, rows, amount, currency)


def _days_until_payout(account: StripeAccount) -> int:
    """Return the days until the next payout day: 0 unless payouts are weekly."""
    weekday: int | None = account.state.get("payout_weekday")
    if weekday is None:
        return 0
    return (weekday - account.clock.now().astimezone(UTC).weekday()) % 7


def _release_due_funds(account: StripeAccount, currency: str, now: int) -> list[JsonObject]:
    """Mark the transactions available by `now`, a Unix time, and return them."""
    rows = [account.store.objects[i] for i in balance.not_paid_out(account, currency)]
    due = [row for row in rows if row["available_on"] <= now]
    for row in due:
        row["status"] = "available"
    return due


def _create_automatic(
    account: StripeAccount, rows: list[JsonObject], amount: int, currency: str
) -> None:
    """Create the payout of these transactions; a negative amount debits the bank."""
    not_paid_out = balance.not_paid_out(account, currency)
    paid_out = {row["id"] for row in rows}
    not_paid_out[:] = [row_id for row_id in not_paid_out if row_id not in paid_out]
    payout = make(account, amount, currency)
    for row in rows:
        account.store.link("balance_transaction", "payout", payout["id"], row["id"])


def make(
    account: StripeAccount,
    amount: int,
    currency: str,
    *,
    automatic: bool = True,
    instant: bool = False,
) -> JsonObject:
    """Create a payout of an amount in minor units; a negative one debits the bank."""
    delay = INSTANT_ARRIVAL_DELAY if instant else ARRIVAL_DELAY
    arrival = account.clock.now() + delay
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
            "destination": external_accounts.bank_account_of(account, currency)["id"],
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
    row = balance.create_transaction(account, {**fields, "description": payout["description"]})
    payout["balance_transaction"] = row["id"]
    if automatic:
        balance.not_paid_out(account, currency).remove(row["id"])
        account.store.link("balance_transaction", "payout", payout["id"], row["id"])
    account.emit("payout.created", payout)
    account.schedule_in(min(IN_TRANSIT_AFTER, delay / 2), "mark_payout_in_transit", payout["id"])
    account.schedule_in(delay, "mark_payout_paid", payout["id"])
    return payout


@when_due("mark_payout_in_transit")
def mark_in_transit(account: StripeAccount, payout_id: str) -> None:
    """Mark a pending payout as in transit."""
    payout = account.store.objects[payout_id]
    if payout["status"] == "pending":
        account.update_and_emit(payout, "payout.updated", status="in_transit")


@when_due("mark_payout_paid")
def mark_paid(account: StripeAccount, payout_id: str) -> None:
    """Mark a payout as paid, and reconcile it now or after the account's delay."""
    payout = account.store.objects[payout_id]
    if payout["status"] not in ("pending", "in_transit"):
        return
    account.set_fields(payout, status="paid", trace_id={"status": "pending", "value": None})
    account.emit("payout.paid", payout)
    _schedule_reconciliation(account, payout)


def _schedule_reconciliation(account: StripeAccount, payout: JsonObject) -> None:
    delay_seconds = account.state.get("reconciliation_delay_seconds", 0)
    if not delay_seconds:
        complete_reconciliation(account, payout["id"])
        return
    account.schedule_in(timedelta(seconds=delay_seconds), "complete_reconciliation", payout["id"])


@when_due("complete_reconciliation")
def complete_reconciliation(account: StripeAccount, payout_id: str) -> None:
    """Mark the list of a payout's transactions as complete."""
    payout = account.store.objects[payout_id]
    if payout["reconciliation_status"] == "in_progress":
        payout["reconciliation_status"] = "completed"
        account.emit("payout.reconciliation_completed", payout)


def fail(account: StripeAccount, payout_id: str, code: str = "account_closed") -> None:
    """Fail a payout, paid or not; its amount returns to the balance."""
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


@route("POST", "/v1/payouts", reads=("amount", "currency", "description", "metadata", "method"))
def create(call: Call) -> JsonObject:
    """Create a manual payout."""
    account, params = call.account, call.params
    amount = read.positive_integer(params, "amount")
    if amount is None:
        raise missing_param("amount")
    currency = currency_in(params)
    if amount > balance.available_amount(account, currency):
        message = "You have insufficient funds in your Stripe account for this transfer."
        raise invalid_request(message, "amount", "balance_insufficient")
    instant = read.one_of(params, "method", ("standard", "instant"), "standard") == "instant"
    payout = make(account, amount, currency, automatic=False, instant=instant)
    payout["metadata"] = read.metadata(params)
    payout["description"] = read.text(params, "description")
    return payout


@route("POST", "/v1/payouts/{}", reads=("metadata",))
def update(call: Call) -> JsonObject:
    """Update a payout's metadata."""
    payout = call.get_object("payout")
    metadata = read.merge_metadata(payout["metadata"], call.params)
    call.account.update_and_emit(payout, "payout.updated", metadata=metadata)
    return payout


@route("POST", "/v1/payouts/{}/cancel")
def cancel(call: Call) -> JsonObject:
    """Cancel a pending payout; its amount returns to the balance."""
    payout = call.get_object("payout")
    if payout["status"] != "pending":
        raise invalid_request(f"Payouts that are {payout['status']} can't be canceled.")
    _reverse(call.account, payout, "payout_cancel")
    call.account.set_fields(payout, status="canceled")
    call.account.emit("payout.canceled", payout)
    _schedule_reconciliation(call.account, payout)
    return payout
