"""Collecting: an open invoice is charged, tried again some days later, and in the end given up.

The account's owner sets when it is tried again and what becomes of the subscription at the end.
What the bank refused for good is not tried again with the same card: the days pass and nothing is
charged, until there is another card or an end.
"""

from typing import Final

from payments.sandbox import invoices, subscriptions
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.cards import Decline
from payments.sandbox.form_encoding import JsonObject

_DELINQUENT_STATUSES: Final = ("past_due", "incomplete", "unpaid")
_ATTEMPT_FIELDS: Final = ("attempt_count", "attempted", "next_payment_attempt")


def attempt_payment(account: StripeAccount, invoice: JsonObject) -> None:
    """Charge an open invoice by itself, and draw the consequence."""
    before = {name: invoice[name] for name in _ATTEMPT_FIELDS}
    method = invoices.payment_method_for(account, invoice)
    if _skips_charge(account, invoice, method):
        invoice["attempt_count"] += 1
        _schedule_next_attempt(account, invoice, before, None)
        return
    decline = invoices.collect(account, invoice, method)
    if invoice["status"] == "paid":
        record_recovery(account, invoice)
    elif decline is not None:
        _record_hard_decline(account, invoice, method, decline)
        _schedule_next_attempt(account, invoice, before, decline)


@when_due("retry_invoice")
def retry_invoice(account: StripeAccount, invoice_id: str) -> None:
    """Try again, if this is still the next attempt."""
    invoice = account.store.objects[invoice_id]
    due = invoice["next_payment_attempt"]
    if invoice["status"] == "open" and due is not None and due <= account.clock.timestamp():
        attempt_payment(account, invoice)


def pay_on_request(
    account: StripeAccount, invoice: JsonObject, method: JsonObject | None
) -> Decline | None:
    """Charge an invoice because someone asks for it; the schedule of retries goes on."""
    method = method or invoices.payment_method_for(account, invoice)
    decline = invoices.collect(account, invoice, method, counts_attempt=False)
    if invoice["status"] == "paid":
        record_recovery(account, invoice)
    elif decline is not None:
        _record_hard_decline(account, invoice, method, decline)
        _emit_payment_failed(account, invoice, decline)
    return decline


def record_first_payment_failure(
    account: StripeAccount, invoice: JsonObject, decline: Decline
) -> None:
    """A subscription that the API began could not be paid for: it is not tried again."""
    _emit_payment_failed(account, invoice, decline)


def record_async_failure(account: StripeAccount, invoice: JsonObject, decline: Decline) -> None:
    """A debit that was under way came to nothing."""
    before = {name: invoice[name] for name in _ATTEMPT_FIELDS}
    _schedule_next_attempt(account, invoice, before, decline)


def record_recovery(account: StripeAccount, invoice: JsonObject) -> None:
    """The latest invoice is paid or written off: a subscription that was behind is active again."""
    _set_delinquent(account, invoice, behind=False)
    subscription = invoices.subscription_of(account, invoice)
    if subscription is None or subscription["latest_invoice"] != invoice["id"]:
        return
    if subscription["status"] in _DELINQUENT_STATUSES:
        account.update_and_emit(subscription, "customer.subscription.updated", status="active")
    elif subscription["status"] == "paused" and is_resuming(account, subscription):
        activate_resumed(account, subscription)


def activate_resumed(account: StripeAccount, subscription: JsonObject) -> None:
    """A paused subscription is active again."""
    account.store.private(subscription["id"]).pop("resuming", None)
    account.set_fields(subscription, status="active", status_details=None)
    subscriptions.schedule_period_tasks(account, subscription)
    account.emit("customer.subscription.resumed", subscription)


def is_resuming(account: StripeAccount, subscription: JsonObject) -> bool:
    """Whether a paused subscription waits for its latest invoice to be paid."""
    waits_for = account.store.private(subscription["id"]).get("resuming")
    return bool(waits_for == subscription["latest_invoice"])


def collection_paused(subscription: JsonObject) -> bool:
    """Whether new invoices are not to be collected for now."""
    return bool(subscription["pause_collection"] or subscription["status"] == "unpaid")


def apply_collection_pause(
    account: StripeAccount, subscription: JsonObject, invoice: JsonObject
) -> None:
    """Do with a new draft what is done while collection is paused."""
    behavior = (subscription["pause_collection"] or {}).get("behavior", "keep_as_draft")
    if behavior == "keep_as_draft":
        fields = {"auto_advance": False, "automatically_finalizes_at": None}
        account.update_and_emit(invoice, "invoice.updated", **fields)
        return
    invoices.finalize(account, invoice)
    if behavior == "void":
        invoices.void(account, invoice)
    else:
        invoices.write_off(account, invoice, "subscription_paused")


# -- helpers ----------------------------------------------------------------------------------


def _skips_charge(account: StripeAccount, invoice: JsonObject, method: JsonObject | None) -> bool:
    last = account.store.private(invoice["id"]).get("hard")
    return bool(invoice["attempted"] and (method is None or method["id"] == last))


def _record_hard_decline(
    account: StripeAccount, invoice: JsonObject, method: JsonObject | None, decline: Decline
) -> None:
    private = account.store.private(invoice["id"])
    private["hard"] = method["id"] if method and decline.is_hard else None


def _schedule_next_attempt(
    account: StripeAccount, invoice: JsonObject, before: JsonObject, decline: Decline | None
) -> None:
    """Fix the next attempt, or, when there is none left, the end. None: nothing was charged."""
    private, retries = account.store.private(invoice["id"]), account.billing.retry_days
    first = private.setdefault("first_failed_at", account.clock.timestamp())
    number = invoice["attempt_count"]
    due = first + retries[number - 1] * 86400 if number <= len(retries) else None
    invoice["next_payment_attempt"] = due
    if due is not None:
        account.schedule_at(due, "retry_invoice", invoice["id"])
    if decline is not None:
        _emit_payment_failed(account, invoice, decline)
    previous = {name: value for name, value in before.items() if invoice[name] != value}
    account.emit("invoice.updated", invoice, previous)
    subscription = invoices.subscription_of(account, invoice)
    if subscription is not None and subscription["status"] not in subscriptions.ENDED_STATUSES:
        _set_status_after_failure(account, subscription, is_last=due is None)


def _emit_payment_failed(account: StripeAccount, invoice: JsonObject, decline: Decline) -> None:
    if decline is invoices.ACTION_REQUIRED:
        account.emit("invoice.payment_action_required", invoice)
    account.emit("invoice.payment_failed", invoice)
    _set_delinquent(account, invoice, behind=True)


def _set_status_after_failure(
    account: StripeAccount, subscription: JsonObject, *, is_last: bool
) -> None:
    end_state = account.billing.status_after_retries if is_last else "past_due"
    if end_state == "canceled":
        subscriptions.end(account, subscription, reason="payment_failed")
    elif end_state == "paused" and subscription["status"] != "paused":
        kind = "final_payment_failure" if account.billing.retry_days else "first_payment_failure"
        subscriptions.stop_collection(account, subscription)
        subscriptions.pause(account, subscription, kind)
    elif subscription["status"] in ("active", "past_due", "trialing"):
        if end_state == "unpaid":
            subscriptions.stop_collection(account, subscription)
        account.update_and_emit(subscription, "customer.subscription.updated", status=end_state)


def _set_delinquent(account: StripeAccount, invoice: JsonObject, *, behind: bool) -> None:
    customer = account.store.get("customer", invoice["customer"])
    if customer is not None:
        account.update_and_emit(customer, "customer.updated", delinquent=behind)
