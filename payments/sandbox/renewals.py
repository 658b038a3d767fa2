"""Renewals: what a period's end leads to.

The next period begins, its invoice is drafted and an hour later is final and charged; or a trial
is over; or the subscription ends. Some days before, the renewal is announced.
"""

from datetime import timedelta
from typing import Final

from payments.sandbox import (
    billing_periods,
    invoice_collection,
    invoices,
    subscriptions,
    webhook_deliveries,
)
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.subscriptions import item_of

WEBHOOK_WAIT_SECONDS: Final = 72 * 60 * 60  # how long a draft waits for its webhook to be answered
INCOMPLETE_PERIOD: Final = timedelta(hours=23)
_RENEWABLE_STATUSES: Final = ("active", "past_due", "trialing", "unpaid")


@when_due("renew")
def renew(account: StripeAccount, subscription_id: str) -> None:
    """A period is over: begin the next and invoice it, or stop."""
    subscription = account.store.objects[subscription_id]
    end = item_of(subscription)["current_period_end"]
    if subscription["status"] not in _RENEWABLE_STATUSES or account.clock.timestamp() < end:
        return
    if _ends_by(subscription, end):
        subscriptions.end(account, subscription, reason="cancellation_requested")
    elif subscription["status"] != "trialing" or not apply_missing_payment_method(
        account, subscription
    ):
        begin_period(account, subscription)


def begin_period(account: StripeAccount, subscription: JsonObject) -> None:
    """Begin the next period, and draft what it costs."""
    item, private = item_of(subscription), account.store.private(subscription["id"])
    private["cycle"] += 1
    private["period_before"] = item["current_period_start"]
    anchor, recurring = subscription["billing_cycle_anchor"], item["price"]["recurring"]
    start = item["current_period_end"]
    stop = billing_periods.period_start(anchor, recurring, private["cycle"] + 1)
    items = subscriptions.items_with(
        subscription, current_period_start=start, current_period_end=stop
    )
    status = "active" if subscription["status"] == "trialing" else subscription["status"]
    previous = account.set_fields(subscription, items=items, status=status)
    invoice = invoices.draft(account, subscription, "subscription_cycle")
    previous |= account.set_fields(subscription, latest_invoice=invoice["id"])
    account.emit("customer.subscription.updated", subscription, previous)
    if invoice_collection.collection_paused(subscription):
        invoice_collection.apply_collection_pause(account, subscription, invoice)
    else:
        account.schedule_in(invoices.DRAFT_PERIOD, "finalize_invoice", invoice["id"])
    subscriptions.schedule_period_tasks(account, subscription)


def invoice_now(
    account: StripeAccount, subscription: JsonObject, previous: JsonObject
) -> JsonObject:
    """Invoice the present period at once and tell of the change that led to it; not yet charged."""
    invoice = invoices.draft(account, subscription, "subscription_update")
    previous |= account.set_fields(subscription, latest_invoice=invoice["id"])
    account.emit("customer.subscription.updated", subscription, previous)
    invoices.finalize(account, invoice)
    return invoice


def apply_missing_payment_method(account: StripeAccount, subscription: JsonObject) -> bool:
    """At a trial's end without a card: pause or stop, if that is what was agreed."""
    behavior = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    if behavior == "create_invoice" or _has_payment_method(account, subscription):
        return False
    if behavior == "pause":
        subscriptions.pause(account, subscription, "trial_end_without_payment_method")
    else:
        subscriptions.end(account, subscription, reason="cancellation_requested")
    return True


@when_due("cancel_at")
def cancel_when_due(account: StripeAccount, subscription_id: str) -> None:
    """The day has come that was agreed as the last."""
    subscription = account.store.objects[subscription_id]
    if subscription["status"] not in subscriptions.ENDED_STATUSES and _ends_by(
        subscription, account.clock.timestamp()
    ):
        subscriptions.end(account, subscription, reason="cancellation_requested")


@when_due("finalize_invoice")
def finalize_invoice(account: StripeAccount, invoice_id: str) -> None:
    """The draft's hour is over: make it final and charge it."""
    invoice = account.store.objects[invoice_id]
    if invoice["status"] != "draft" or not invoice["auto_advance"]:
        return
    if _awaits_webhook(account, invoice):
        account.schedule_in(invoices.DRAFT_PERIOD, "finalize_invoice", invoice_id)
        return
    invoices.finalize(account, invoice)
    invoices.create_intent(account, invoice)
    invoice_collection.attempt_payment(account, invoice)


@when_due("announce_renewal")
def emit_upcoming_invoice(account: StripeAccount, subscription_id: str) -> None:
    """`invoice.upcoming`: a preview, of an invoice that does not exist yet."""
    subscription = account.store.objects[subscription_id]
    end, now = item_of(subscription)["current_period_end"], account.clock.timestamp()
    early = end - account.billing.upcoming_days * 86400
    is_due = subscription["status"] in ("active", "past_due", "trialing") and now >= early
    if not is_due or _ends_by(subscription, end) or subscription["pause_collection"]:
        return
    if _already_emitted(account, subscription, "announced", end):
        return
    account.emit("invoice.upcoming", _preview(account, subscription))


@when_due("warn_of_trial_end")
def emit_trial_will_end(account: StripeAccount, subscription_id: str) -> None:
    """Three days before a trial ends, or at once when it is shorter."""
    subscription = account.store.objects[subscription_id]
    warned = (subscription["trial_end"] or 0) - int(subscriptions.TRIAL_END_NOTICE.total_seconds())
    is_due = subscription["status"] == "trialing" and account.clock.timestamp() >= warned
    if is_due and not _already_emitted(account, subscription, "warned", subscription["trial_end"]):
        account.emit("customer.subscription.trial_will_end", subscription)


@when_due("expire_incomplete")
def expire_incomplete(account: StripeAccount, subscription_id: str) -> None:
    """A first payment that was not made within 23 hours: there is no subscription."""
    subscription = account.store.objects[subscription_id]
    if subscription["status"] != "incomplete":
        return
    invoice = account.store.objects[subscription["latest_invoice"]]
    if invoice["status"] == "open":
        invoices.void(account, invoice)
    now = account.clock.timestamp()
    fields = {"status": "incomplete_expired", "ended_at": now}
    account.update_and_emit(subscription, "customer.subscription.updated", **fields)


def _preview(account: StripeAccount, subscription: JsonObject) -> JsonObject:
    """The invoice of the next period, as it would be if nothing changed, and kept nowhere."""
    item, store = item_of(subscription), account.store
    start = item["current_period_end"]
    anchor, recurring = subscription["billing_cycle_anchor"], item["price"]["recurring"]
    stop = billing_periods.period_start(
        anchor, recurring, store.private(subscription["id"])["cycle"] + 2
    )
    items = subscriptions.items_with(
        subscription, current_period_start=start, current_period_end=stop
    )
    status = "active" if subscription["status"] == "trialing" else subscription["status"]
    next_one = {**subscription, "items": items, "status": status}
    preview = invoices.for_subscription(account, next_one, "upcoming")
    shown = {**preview, "id": f"upcoming_{preview['id']}", "created": start}
    shown |= {"next_payment_attempt": start + int(invoices.DRAFT_PERIOD.total_seconds())}
    store.remove(preview["id"])
    return shown


def _already_emitted(
    account: StripeAccount, subscription: JsonObject, notice: str, moment: int
) -> bool:
    """Whether this was told of this moment before; from now on it was."""
    private = account.store.private(subscription["id"])
    before, private[notice] = private.get(notice), moment
    return bool(before == moment)


def _ends_by(subscription: JsonObject, moment: int) -> bool:
    last = subscription["cancel_at"]
    return bool(subscription["cancel_at_period_end"] or (last is not None and last <= moment))


def _has_payment_method(account: StripeAccount, subscription: JsonObject) -> bool:
    customer = account.store.get("customer", subscription["customer"])
    settings = (customer or {}).get("invoice_settings", {})
    return bool(subscription["default_payment_method"] or settings.get("default_payment_method"))


def _awaits_webhook(account: StripeAccount, invoice: JsonObject) -> bool:
    """Whether whoever asked for `invoice.created` has not answered yet, and may still."""
    told_by = account.store.private(invoice["id"]).get("told_by", "")
    waiting = account.billing.waits_for_webhooks and webhook_deliveries.unacknowledged_endpoints(
        account, told_by
    )
    return bool(waiting and account.clock.timestamp() < invoice["created"] + WEBHOOK_WAIT_SECONDS)
