"""Collection of open invoices: the first attempt, retries (dunning), and what follows the last one.

The account owner sets the retry days and the subscription's status after the last retry. After a
hard decline the scheduled attempts pass without a charge until there is another payment method.
https://docs.stripe.com/billing/revenue-recovery/smart-retries
"""

from typing import Final

from payments.sandbox import invoices, subscriptions
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.cards import Decline
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.payment_intents import CustomerPresence

_DELINQUENT_STATUSES: Final = ("past_due", "incomplete", "unpaid")
_ATTEMPT_FIELDS: Final = ("attempt_count", "attempted", "next_payment_attempt")


def attempt_payment(account: StripeAccount, invoice: JsonObject) -> None:
    """Charge an open invoice automatically; schedule the next attempt when it is not paid.

    One over nothing is paid already.
    """
    if invoice["status"] == "paid":
        record_recovery(account, invoice)
        return
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
    """Run a scheduled attempt, unless the schedule has changed since."""
    invoice = account.store.objects[invoice_id]
    due_at = invoice["next_payment_attempt"]
    if invoice["status"] == "open" and due_at is not None and due_at <= account.clock.timestamp():
        attempt_payment(account, invoice)


def pay_on_request(
    account: StripeAccount,
    invoice: JsonObject,
    method: JsonObject | None,
    presence: CustomerPresence = CustomerPresence.OFF_SESSION,
) -> Decline | None:
    """Charge an invoice on request; scheduled retries continue. Returns the decline, if any."""
    method = method or invoices.payment_method_for(account, invoice)
    decline = invoices.collect(account, invoice, method, counts_attempt=False, presence=presence)
    if invoice["status"] == "paid":
        record_recovery(account, invoice)
    elif decline is not None:
        _record_hard_decline(account, invoice, method, decline)
        _emit_payment_failed(account, invoice, decline)
    return decline


def record_first_payment_failure(
    account: StripeAccount, invoice: JsonObject, decline: Decline
) -> None:
    """Record that the first payment of an API subscription failed; it is not retried."""
    _emit_payment_failed(account, invoice, decline)


def record_async_failure(account: StripeAccount, invoice: JsonObject, decline: Decline) -> None:
    """Record that a processing debit failed, and schedule the next attempt."""
    before = {name: invoice[name] for name in _ATTEMPT_FIELDS}
    _schedule_next_attempt(account, invoice, before, decline)


def record_recovery(account: StripeAccount, invoice: JsonObject) -> None:
    """Reactivate a delinquent subscription whose latest invoice is paid, void or written off."""
    _set_delinquent(account, invoice, delinquent=False)
    subscription = invoices.subscription_of(account, invoice)
    if subscription is None or subscription["latest_invoice"] != invoice["id"]:
        return
    if subscription["status"] in _DELINQUENT_STATUSES:
        account.update_and_emit(subscription, "customer.subscription.updated", status="active")
    elif subscription["status"] == "paused" and is_resuming(account, subscription):
        activate_resumed(account, subscription)


def activate_resumed(account: StripeAccount, subscription: JsonObject) -> None:
    """Resume a paused subscription."""
    account.store.private(subscription["id"]).pop("resumption_invoice", None)
    account.set_fields(subscription, status="active", status_details=None)
    subscriptions.schedule_period_tasks(account, subscription)
    account.emit("customer.subscription.resumed", subscription)


def is_resuming(account: StripeAccount, subscription: JsonObject) -> bool:
    """Return whether a paused subscription resumes once its latest invoice is paid."""
    invoice_id = account.store.private(subscription["id"]).get("resumption_invoice")
    return bool(invoice_id == subscription["latest_invoice"])


def collection_paused(subscription: JsonObject) -> bool:
    """Return whether new invoices of a subscription are not collected."""
    return bool(subscription["pause_collection"] or subscription["status"] == "unpaid")


def apply_collection_pause(
    account: StripeAccount, subscription: JsonObject, invoice: JsonObject
) -> None:
    """Apply `pause_collection.behavior` to a new draft: leave it, void it or write it off."""
    behavior = (subscription["pause_collection"] or {}).get("behavior", "keep_as_draft")
    if behavior == "keep_as_draft":
        fields = {"auto_advance": False, "automatically_finalizes_at": None}
        account.update_and_emit(invoice, "invoice.updated", **fields)
        return
    invoices.finalize(account, invoice)
    if invoice["status"] == "paid":
        return
    if behavior == "void":
        invoices.void(account, invoice)
    else:
        invoices.write_off(account, invoice, "subscription_paused")


# -- helpers ----------------------------------------------------------------------------------


def _skips_charge(account: StripeAccount, invoice: JsonObject, method: JsonObject | None) -> bool:
    declined_id = account.store.private(invoice["id"]).get("hard_declined_method")
    return bool(invoice["attempted"] and (method is None or method["id"] == declined_id))


def _record_hard_decline(
    account: StripeAccount, invoice: JsonObject, method: JsonObject | None, decline: Decline
) -> None:
    private = account.store.private(invoice["id"])
    private["hard_declined_method"] = method["id"] if method and decline.is_hard else None


def _schedule_next_attempt(
    account: StripeAccount, invoice: JsonObject, before: JsonObject, decline: Decline | None
) -> None:
    """Schedule the next attempt or apply what follows the last. `decline` is None: no charge."""
    private, retry_days = account.store.private(invoice["id"]), account.billing.retry_days
    first_failed_at = private.setdefault("first_failed_at", account.clock.timestamp())
    number = invoice["attempt_count"]
    is_last = number > len(retry_days)
    due_at = None if is_last else first_failed_at + retry_days[number - 1] * 86400
    invoice["next_payment_attempt"] = due_at
    if due_at is not None:
        account.schedule_at(due_at, "retry_invoice", invoice["id"])
    if decline is not None:
        _emit_payment_failed(account, invoice, decline)
    previous = {name: value for name, value in before.items() if invoice[name] != value}
    account.emit("invoice.updated", invoice, previous)
    subscription = invoices.subscription_of(account, invoice)
    if subscription is not None and subscription["status"] not in subscriptions.ENDED_STATUSES:
        _set_status_after_failure(account, subscription, is_last=is_last)


def _emit_payment_failed(account: StripeAccount, invoice: JsonObject, decline: Decline) -> None:
    if decline is invoices.ACTION_REQUIRED:
        account.emit("invoice.payment_action_required", invoice)
    account.emit("invoice.payment_failed", invoice)
    _set_delinquent(account, invoice, delinquent=True)


def _set_status_after_failure(
    account: StripeAccount, subscription: JsonObject, *, is_last: bool
) -> None:
    status = account.billing.status_after_retries if is_last else "past_due"
    if status == "canceled":
        subscriptions.end(account, subscription, reason="payment_failed")
    elif status == "paused" and subscription["status"] != "paused":
        kind = "final_payment_failure" if account.billing.retry_days else "first_payment_failure"
        subscriptions.stop_collection(account, subscription)
        subscriptions.pause(account, subscription, kind)
    elif subscription["status"] in ("active", "past_due", "trialing"):
        if status == "unpaid":
            subscriptions.stop_collection(account, subscription)
        account.update_and_emit(subscription, "customer.subscription.updated", status=status)


def _set_delinquent(account: StripeAccount, invoice: JsonObject, *, delinquent: bool) -> None:
    customer = account.store.get("customer", invoice["customer"])
    if customer is not None:
        account.update_and_emit(customer, "customer.updated", delinquent=delinquent)
