"""Pausing, in Stripe's two ways.

Pausing a subscription stops its periods: no invoices, status `paused`, until it is resumed. Pausing
its collection does not: periods go on, status unchanged, and what they cost is void, kept as a
draft or written off.
"""

from datetime import timedelta
from typing import Final

from payments.sandbox import collecting, invoices, periods, renewals, subscriptions
from payments.sandbox import params as read
from payments.sandbox.account import Account, when_due
from payments.sandbox.errors import invalid, missing
from payments.sandbox.routes import Call, route
from payments.sandbox.subscriptions import item_of
from payments.sandbox.wire import Obj

BEHAVIORS: Final = ("keep_as_draft", "mark_uncollectible", "void")
RESUMING_FOR: Final = timedelta(hours=23)
_PAUSABLE: Final = ("active", "past_due", "trialing", "unpaid")


@route("POST", "/v1/subscriptions/{}/pause")
def pause(call: Call) -> Obj:
    account, subscription, params = call.account, call.subject("subscription"), call.params
    if subscription["status"] not in _PAUSABLE:
        raise invalid(f"You cannot pause a subscription that is {subscription['status']}.")
    credited = read.table(read.table(params, "bill_for"), "unused_time_from")
    if credited.get("type") != "none":
        message = "Stripe credits the time left unless told not to, and the sandbox does not "
        message += "prorate yet; send bill_for[unused_time_from][type]=none."
        raise invalid(message, "bill_for[unused_time_from][type]", "sandbox_unsupported")
    subscriptions.pause(account, subscription, "pause_requested")
    return subscription


@route("POST", "/v1/subscriptions/{}/resume")
def resume(call: Call) -> Obj:
    account, subscription, params = call.account, call.subject("subscription"), call.params
    if subscription["status"] != "paused":
        raise invalid("Only a paused subscription can be resumed.")
    anchor = params.get("billing_cycle_anchor") or "now"
    kind = anchor.get("type") if isinstance(anchor, dict) else anchor
    attempts = ("resume_on_payment_attempt", "resume_on_payment_success")
    behavior = read.one_of(params, "payment_behavior", attempts, attempts[0])
    if kind == "now":
        _resume_anew(account, subscription, behavior)
    elif kind != "unchanged":
        raise invalid("Invalid billing_cycle_anchor: must be now or unchanged.")
    elif params.get("proration_behavior") != "none":
        message = "The sandbox does not prorate yet; send proration_behavior=none."
        raise invalid(message, "proration_behavior", "sandbox_unsupported")
    else:
        _resume_in_step(account, subscription)
    return subscription


def collection_in(account: Account, subscription: Obj, params: Obj) -> Obj | None:
    """What a request makes of `pause_collection`; emptied, collection goes on."""
    given = read.table(params, "pause_collection")
    if not given:
        return None
    behavior = read.one_of(given, "behavior", BEHAVIORS, None)
    if behavior is None:
        raise missing("pause_collection[behavior]")
    resumes_at = read.integer(given, "resumes_at")
    if resumes_at is not None:
        if resumes_at <= account.clock.stamp():
            raise invalid("resumes_at must be in the future.", "pause_collection[resumes_at]")
        account.at(resumes_at, "resume_collection", subscription["id"])
    return {"behavior": behavior, "resumes_at": resumes_at}


@when_due("resume_collection")
def resume_collection(account: Account, subscription_id: str) -> None:
    """The day has come from which invoices are collected again."""
    subscription = account.store.objects[subscription_id]
    due = (subscription["pause_collection"] or {}).get("resumes_at")
    if due is not None and due <= account.clock.stamp():
        account.update(subscription, "customer.subscription.updated", pause_collection=None)


@when_due("give_up_resuming")
def give_up_resuming(account: Account, invoice_id: str) -> None:
    """The resumption invoice found no payment in time: it is void, and the pause goes on."""
    invoice = account.store.objects[invoice_id]
    subscription = invoices.subscription_of(account, invoice)
    if invoice["status"] == "open" and subscription and subscription["status"] == "paused":
        account.store.private(subscription["id"]).pop("resuming", None)
        invoices.void(account, invoice)


def _resume_anew(account: Account, subscription: Obj, behavior: str | None) -> None:
    """A period begins now. Its invoice is final at once, and active is who pays, or tried to."""
    now = account.clock.stamp()
    end = periods.nth(now, item_of(subscription)["price"]["recurring"], 1)
    subscriptions.count_anew(account, subscription, cycle=0)
    items = subscriptions.with_item(subscription, current_period_start=now, current_period_end=end)
    previous = account.change(subscription, items=items, billing_cycle_anchor=now)
    invoice = renewals.bill_now(account, subscription, previous)
    invoices.make_intent(account, invoice)
    account.store.private(subscription["id"])["resuming"] = invoice["id"]
    if behavior == "resume_on_payment_attempt":
        collecting.resumed(account, subscription)
        collecting.attempt(account, invoice)
        return
    collecting.by_hand(account, invoice, None)
    if subscription["status"] == "paused":
        account.later(RESUMING_FOR, "give_up_resuming", invoice["id"])


def _resume_in_step(account: Account, subscription: Obj) -> None:
    """The period that would run by now goes on, unbilled, and the next is renewed as ever."""
    item, private = item_of(subscription), account.store.private(subscription["id"])
    anchor, recurring, now = (
        subscription["billing_cycle_anchor"], item["price"]["recurring"], account.clock.stamp(),
    )  # fmt: skip
    while periods.nth(anchor, recurring, private["cycle"] + 1) <= now:
        private["cycle"] += 1
    start = periods.nth(anchor, recurring, max(private["cycle"], 0))
    end = periods.nth(anchor, recurring, private["cycle"] + 1)
    items = subscriptions.with_item(
        subscription, current_period_start=start, current_period_end=end
    )
    subscription["items"] = items
    collecting.resumed(account, subscription)
