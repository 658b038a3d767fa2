"""Renewals: what happens at and before the end of a billing period.

The next period begins with a draft invoice, which is finalized and charged an hour later; or the
subscription ends. `invoice.upcoming` is emitted some days before, and `create_preview` answers what
it would be now.
https://docs.stripe.com/billing/invoices/subscription
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
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.errors import invalid_request, not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, route
from payments.sandbox.subscriptions import item_of

WEBHOOK_WAIT_SECONDS: Final = 72 * 60 * 60  # how long a draft waits for invoice.created's delivery
INCOMPLETE_PERIOD: Final = timedelta(hours=23)
_RENEWABLE_STATUSES: Final = ("active", "past_due", "trialing", "unpaid")


@route("POST", "/v1/invoices/create_preview", reads=("subscription",))
def create_preview(call: Call) -> JsonObject:
    """Answer a subscription's next invoice as it would be now. Nothing is stored."""
    subscription_id = read.required(call.params, "subscription")
    subscription = call.account.store.get("subscription", subscription_id)
    if subscription is None:
        raise not_found("subscription", subscription_id, "subscription")
    end = item_of(subscription)["current_period_end"]
    if subscription["status"] not in _RENEWABLE_STATUSES or _ends_by(subscription, end):
        message = f"No upcoming invoices for subscription: {subscription_id}"
        refusal = invalid_request(message, code="invoice_upcoming_none")
        refusal.status = 404
        raise refusal
    return _preview(call.account, subscription)


@when_due("renew_subscription")
def renew(account: StripeAccount, subscription_id: str) -> None:
    """At the end of a period begin the next one, or end the subscription."""
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
    """Begin the next period, and draft its invoice."""
    item, private = item_of(subscription), account.store.private(subscription["id"])
    private["cycle_number"] += 1
    private["previous_period_start"] = item["current_period_start"]
    anchor, recurring = subscription["billing_cycle_anchor"], item["price"]["recurring"]
    start = item["current_period_end"]
    end = billing_periods.period_start(anchor, recurring, private["cycle_number"] + 1)
    items = subscriptions.items_with(
        subscription, current_period_start=start, current_period_end=end
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
    """Invoice the present period, finalized and not yet charged, and emit the update behind it.

    `previous` holds the previous attributes of the update.
    """
    invoice = invoices.draft(account, subscription, "subscription_update")
    previous |= account.set_fields(subscription, latest_invoice=invoice["id"])
    account.emit("customer.subscription.updated", subscription, previous)
    invoices.finalize(account, invoice)
    return invoice


def apply_missing_payment_method(account: StripeAccount, subscription: JsonObject) -> bool:
    """Pause or end a subscription whose trial ends without a payment method, as its settings say.

    Returns whether it did either.
    """
    behavior = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    if behavior == "create_invoice" or _has_payment_method(account, subscription):
        return False
    if behavior == "pause":
        subscriptions.pause(account, subscription, "trial_end_without_payment_method")
    else:
        subscriptions.end(account, subscription, reason="cancellation_requested")
    return True


@when_due("cancel_subscription")
def cancel_when_due(account: StripeAccount, subscription_id: str) -> None:
    """End a subscription at its `cancel_at`, unless that has changed since."""
    subscription = account.store.objects[subscription_id]
    if subscription["status"] not in subscriptions.ENDED_STATUSES and _ends_by(
        subscription, account.clock.timestamp()
    ):
        subscriptions.end(account, subscription, reason="cancellation_requested")


@when_due("finalize_invoice")
def finalize_invoice(account: StripeAccount, invoice_id: str) -> None:
    """Finalize and charge a draft, unless it still waits for its webhook."""
    invoice = account.store.objects[invoice_id]
    if invoice["status"] != "draft" or not invoice["auto_advance"]:
        return
    if _awaits_webhook(account, invoice):
        account.schedule_in(invoices.DRAFT_PERIOD, "finalize_invoice", invoice_id)
        return
    invoices.finalize(account, invoice)
    invoices.create_intent(account, invoice)
    if invoice["collection_method"] == "charge_automatically":
        invoice_collection.attempt_payment(account, invoice)
    else:
        account.emit("invoice.sent", invoice)


@when_due("emit_upcoming_invoice")
def emit_upcoming_invoice(account: StripeAccount, subscription_id: str) -> None:
    """Emit `invoice.upcoming` with a preview of the next invoice, once for each period."""
    subscription = account.store.objects[subscription_id]
    end, now = item_of(subscription)["current_period_end"], account.clock.timestamp()
    notice_at = end - account.billing.upcoming_days * 86400
    is_due = subscription["status"] in ("active", "past_due", "trialing") and now >= notice_at
    if not is_due or _ends_by(subscription, end) or subscription["pause_collection"]:
        return
    if _already_emitted(account, subscription, "upcoming_emitted_for", end):
        return
    account.emit("invoice.upcoming", _preview(account, subscription))


@when_due("emit_trial_will_end")
def emit_trial_will_end(account: StripeAccount, subscription_id: str) -> None:
    """Emit `trial_will_end` three days before a trial ends, or at once when it is shorter."""
    subscription = account.store.objects[subscription_id]
    trial_end = subscription["trial_end"] or 0
    notice_at = trial_end - int(subscriptions.TRIAL_END_NOTICE.total_seconds())
    is_due = subscription["status"] == "trialing" and account.clock.timestamp() >= notice_at
    if is_due and not _already_emitted(
        account, subscription, "trial_will_end_emitted_for", trial_end
    ):
        account.emit("customer.subscription.trial_will_end", subscription)


@when_due("expire_incomplete")
def expire_incomplete(account: StripeAccount, subscription_id: str) -> None:
    """Expire a subscription whose first payment was not made within 23 hours."""
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
    """Return the next period's invoice as it is now; it is not stored."""
    item, store = item_of(subscription), account.store
    start = item["current_period_end"]
    anchor, recurring = subscription["billing_cycle_anchor"], item["price"]["recurring"]
    end = billing_periods.period_start(
        anchor, recurring, store.private(subscription["id"])["cycle_number"] + 2
    )
    items = subscriptions.items_with(
        subscription, current_period_start=start, current_period_end=end
    )
    status = "active" if subscription["status"] == "trialing" else subscription["status"]
    renewed = {**subscription, "items": items, "status": status}
    invoice = invoices.for_subscription(account, renewed, "upcoming")
    store.remove(invoice["id"])
    return {
        **invoice,
        "id": f"upcoming_{invoice['id']}",
        "created": start,
        "next_payment_attempt": start + int(invoices.DRAFT_PERIOD.total_seconds()),
    }


def _already_emitted(
    account: StripeAccount, subscription: JsonObject, key: str, timestamp: int
) -> bool:
    """Return whether a notice was emitted for this Unix time before, and record that it was."""
    private = account.store.private(subscription["id"])
    before, private[key] = private.get(key), timestamp
    return bool(before == timestamp)


def _ends_by(subscription: JsonObject, timestamp: int) -> bool:
    cancel_at = subscription["cancel_at"]
    is_due = cancel_at is not None and cancel_at <= timestamp
    return bool(subscription["cancel_at_period_end"] or is_due)


def _has_payment_method(account: StripeAccount, subscription: JsonObject) -> bool:
    method_id = subscription["default_payment_method"] or subscription["default_source"]
    customer_id, currency = subscription["customer"], subscription["currency"]
    method = invoices.default_payment_method(account, customer_id, method_id, currency)
    return method is not None


def _awaits_webhook(account: StripeAccount, invoice: JsonObject) -> bool:
    """Return whether an endpoint has not acknowledged `invoice.created` and still has time to."""
    if not account.billing.waits_for_webhooks:
        return False
    event_id = account.store.private(invoice["id"]).get("created_event", "")
    unacknowledged = webhook_deliveries.unacknowledged_endpoints(account, event_id)
    waits_until = invoice["created"] + WEBHOOK_WAIT_SECONDS
    return bool(unacknowledged and account.clock.timestamp() < waits_until)
