"""Pauses, of which Stripe has two.

A paused subscription has no periods and no invoices: its status is `paused` until it is resumed.
With its collection paused, a subscription keeps its status and its periods, and their invoices are
voided, left as drafts or marked uncollectible.
https://docs.stripe.com/billing/subscriptions/pause-payment
"""

from datetime import timedelta
from typing import Final

from payments.sandbox import billing_periods, invoice_collection, invoices, renewals, subscriptions
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.errors import invalid_request, missing_param
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, route
from payments.sandbox.subscriptions import item_of

PAUSE_COLLECTION: Final = (
    "pause_collection", "pause_collection.behavior", "pause_collection.resumes_at"
)  # fmt: skip
PAUSE_COLLECTION_BEHAVIORS: Final = ("keep_as_draft", "mark_uncollectible", "void")
RESUMPTION_PERIOD: Final = timedelta(hours=23)
_PAUSABLE_STATUSES: Final = ("active", "past_due", "trialing", "unpaid")


@route("POST", "/v1/subscriptions/{}/pause", reads=("bill_for.unused_time_from.type", "type"))
def pause(call: Call) -> JsonObject:
    """Pause a subscription."""
    account, subscription, params = call.account, call.get_object("subscription"), call.params
    if subscription["status"] not in _PAUSABLE_STATUSES:
        raise invalid_request(f"You cannot pause a subscription that is {subscription['status']}.")
    read.supported(params, "type", ("subscription",))
    credit = read.nested_object(read.nested_object(params, "bill_for"), "unused_time_from")
    if credit.get("type") != "none":
        message = "Stripe credits the time left unless asked not to, and the sandbox does not "
        message += "prorate yet; send bill_for[unused_time_from][type]=none."
        raise invalid_request(message, "bill_for[unused_time_from][type]", "sandbox_unsupported")
    subscriptions.pause(account, subscription, "pause_requested")
    return subscription


@route(
    "POST",
    "/v1/subscriptions/{}/resume",
    reads=(
        "billing_cycle_anchor", "billing_cycle_anchor.type", "payment_behavior",
        "proration_behavior",
    ),
)  # fmt: skip
def resume(call: Call) -> JsonObject:
    """Resume a paused subscription, with a new period from now or in its old periods."""
    account, subscription, params = call.account, call.get_object("subscription"), call.params
    if subscription["status"] != "paused":
        raise invalid_request("Only a paused subscription can be resumed.")
    anchor = params.get("billing_cycle_anchor") or "now"
    kind = anchor.get("type") if isinstance(anchor, dict) else anchor
    behaviors = ("resume_on_payment_attempt", "resume_on_payment_success")
    behavior = read.one_of(params, "payment_behavior", behaviors, behaviors[0])
    if kind == "now":
        _resume_with_new_anchor(account, subscription, behavior)
    elif kind != "unchanged":
        raise invalid_request("Invalid billing_cycle_anchor: must be now or unchanged.")
    elif params.get("proration_behavior") != "none":
        message = "The sandbox does not prorate yet; send proration_behavior=none."
        raise invalid_request(message, "proration_behavior", "sandbox_unsupported")
    else:
        _resume_with_old_anchor(account, subscription)
    return subscription


def pause_collection_in(
    account: StripeAccount, subscription: JsonObject, params: JsonObject
) -> JsonObject | None:
    """Return the `pause_collection` that a request sets, and schedule its end; None unsets it."""
    pause_params = read.nested_object(params, "pause_collection")
    if not pause_params:
        return None
    behavior = read.one_of(pause_params, "behavior", PAUSE_COLLECTION_BEHAVIORS, None)
    if behavior is None:
        raise missing_param("pause_collection[behavior]")
    if read.text(pause_params, "resumes_at") is None:
        return {"behavior": behavior, "resumes_at": None}
    now, param = account.clock.timestamp(), "pause_collection[resumes_at]"
    resumes_at = read.future_timestamp(pause_params, "resumes_at", now, param=param)
    account.schedule_at(resumes_at, "resume_collection", subscription["id"])
    return {"behavior": behavior, "resumes_at": resumes_at}


@when_due("resume_collection")
def resume_collection(account: StripeAccount, subscription_id: str) -> None:
    """Resume collection at its `resumes_at`, unless that has changed since or it has ended."""
    subscription = account.store.objects[subscription_id]
    if subscription["status"] in subscriptions.ENDED_STATUSES:
        return
    resumes_at = (subscription["pause_collection"] or {}).get("resumes_at")
    if resumes_at is not None and resumes_at <= account.clock.timestamp():
        account.update_and_emit(
            subscription, "customer.subscription.updated", pause_collection=None
        )


@when_due("void_resumption_invoice")
def void_resumption_invoice(account: StripeAccount, invoice_id: str) -> None:
    """Void a resumption invoice that was not paid in time; the subscription stays paused."""
    invoice = account.store.objects[invoice_id]
    subscription = invoices.subscription_of(account, invoice)
    if invoice["status"] == "open" and subscription and subscription["status"] == "paused":
        account.store.private(subscription["id"]).pop("resumption_invoice", None)
        invoices.void(account, invoice)


def _resume_with_new_anchor(
    account: StripeAccount, subscription: JsonObject, behavior: str | None
) -> None:
    """Begin a period now, and charge its invoice.

    It is active at once, or with `resume_on_payment_success` when the invoice is paid.
    """
    now = account.clock.timestamp()
    end = billing_periods.period_start(now, item_of(subscription)["price"]["recurring"], 1)
    subscriptions.reset_cycle_number(account, subscription, cycle_number=0)
    items = subscriptions.items_with(subscription, current_period_start=now, current_period_end=end)
    previous = account.set_fields(subscription, items=items, billing_cycle_anchor=now)
    invoice = renewals.invoice_now(account, subscription, previous)
    invoices.create_intent(account, invoice)
    account.store.private(subscription["id"])["resumption_invoice"] = invoice["id"]
    if behavior == "resume_on_payment_attempt":
        invoice_collection.activate_resumed(account, subscription)
        invoice_collection.attempt_payment(account, invoice)
        return
    invoice_collection.pay_on_request(account, invoice, None)
    if subscription["status"] == "paused":
        account.schedule_in(RESUMPTION_PERIOD, "void_resumption_invoice", invoice["id"])


def _resume_with_old_anchor(account: StripeAccount, subscription: JsonObject) -> None:
    """Continue in the period that would be the present one; it is not invoiced."""
    item, private = item_of(subscription), account.store.private(subscription["id"])
    anchor, recurring = subscription["billing_cycle_anchor"], item["price"]["recurring"]
    now = account.clock.timestamp()
    while billing_periods.period_start(anchor, recurring, private["cycle_number"] + 1) <= now:
        private["cycle_number"] += 1
    start = billing_periods.period_start(anchor, recurring, max(private["cycle_number"], 0))
    end = billing_periods.period_start(anchor, recurring, private["cycle_number"] + 1)
    items = subscriptions.items_with(
        subscription, current_period_start=start, current_period_end=end
    )
    subscription["items"] = items
    invoice_collection.activate_resumed(account, subscription)
