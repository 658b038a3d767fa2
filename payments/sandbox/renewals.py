"""Renewals: what a period's end leads to.

The next period begins, its invoice is drafted and an hour later is final and charged; or a trial
is over; or the subscription ends. Some days before, the renewal is announced.
"""

from datetime import timedelta
from typing import Final

from payments.sandbox import collecting, invoices, outbox, periods, subscriptions
from payments.sandbox.account import Account, when_due
from payments.sandbox.subscriptions import item_of
from payments.sandbox.wire import Obj

PATIENCE: Final = 72 * 60 * 60  # how long a draft waits for its webhook to be answered
INCOMPLETE_FOR: Final = timedelta(hours=23)
_CARRIED_ON: Final = ("active", "past_due", "trialing", "unpaid")


@when_due("renew")
def renew(account: Account, subscription_id: str) -> None:
    """A period is over: begin the next and invoice it, or stop."""
    subscription = account.store.objects[subscription_id]
    end = item_of(subscription)["current_period_end"]
    if subscription["status"] not in _CARRIED_ON or account.clock.stamp() < end:
        return
    if _is_leaving(subscription, end):
        subscriptions.end(account, subscription, reason="cancellation_requested")
    elif subscription["status"] != "trialing" or not ends_without_card(account, subscription):
        begin_period(account, subscription)


def begin_period(account: Account, subscription: Obj) -> None:
    """Begin the next period, and draft what it costs."""
    item, private = item_of(subscription), account.store.private(subscription["id"])
    private["cycle"] += 1
    private["period_before"] = item["current_period_start"]
    anchor, recurring = subscription["billing_cycle_anchor"], item["price"]["recurring"]
    start = item["current_period_end"]
    stop = periods.nth(anchor, recurring, private["cycle"] + 1)
    items = subscriptions.with_item(
        subscription, current_period_start=start, current_period_end=stop
    )
    status = "active" if subscription["status"] == "trialing" else subscription["status"]
    previous = account.change(subscription, items=items, status=status)
    invoice = invoices.draft(account, subscription, "subscription_cycle")
    previous |= account.change(subscription, latest_invoice=invoice["id"])
    account.emit("customer.subscription.updated", subscription, previous)
    if collecting.is_held(subscription):
        collecting.hold(account, subscription, invoice)
    else:
        account.later(invoices.DRAFT_FOR, "finalize_invoice", invoice["id"])
    subscriptions.schedule(account, subscription)


def bill_now(account: Account, subscription: Obj, previous: Obj) -> Obj:
    """Invoice the present period at once and tell of the change that led to it; not yet charged."""
    invoice = invoices.draft(account, subscription, "subscription_update")
    previous |= account.change(subscription, latest_invoice=invoice["id"])
    account.emit("customer.subscription.updated", subscription, previous)
    invoices.finalize(account, invoice)
    return invoice


def ends_without_card(account: Account, subscription: Obj) -> bool:
    """At a trial's end without a card: pause or stop, if that is what was agreed."""
    behavior = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    if behavior == "create_invoice" or _has_card(account, subscription):
        return False
    if behavior == "pause":
        subscriptions.pause(account, subscription, "trial_end_without_payment_method")
    else:
        subscriptions.end(account, subscription, reason="cancellation_requested")
    return True


@when_due("cancel_at")
def cancel_at(account: Account, subscription_id: str) -> None:
    """The day has come that was agreed as the last."""
    subscription = account.store.objects[subscription_id]
    if subscription["status"] not in subscriptions.ENDED and _is_leaving(
        subscription, account.clock.stamp()
    ):
        subscriptions.end(account, subscription, reason="cancellation_requested")


@when_due("finalize_invoice")
def finalize_invoice(account: Account, invoice_id: str) -> None:
    """The draft's hour is over: make it final and charge it."""
    invoice = account.store.objects[invoice_id]
    if invoice["status"] != "draft" or not invoice["auto_advance"]:
        return
    if _is_waited_for(account, invoice):
        account.later(invoices.DRAFT_FOR, "finalize_invoice", invoice_id)
        return
    invoices.finalize(account, invoice)
    invoices.make_intent(account, invoice)
    collecting.attempt(account, invoice)


@when_due("announce_renewal")
def announce(account: Account, subscription_id: str) -> None:
    """`invoice.upcoming`: a preview, of an invoice that does not exist yet."""
    subscription = account.store.objects[subscription_id]
    end, now = item_of(subscription)["current_period_end"], account.clock.stamp()
    early = end - account.billing.upcoming_days * 86400
    is_due = subscription["status"] in ("active", "past_due", "trialing") and now >= early
    if not is_due or _is_leaving(subscription, end) or subscription["pause_collection"]:
        return
    if _was_told(account, subscription, "announced", end):
        return
    account.emit("invoice.upcoming", _preview(account, subscription))


@when_due("warn_of_trial_end")
def warn_of_trial_end(account: Account, subscription_id: str) -> None:
    """Three days before a trial ends, or at once when it is shorter."""
    subscription = account.store.objects[subscription_id]
    warned = (subscription["trial_end"] or 0) - int(subscriptions.WARNED_BEFORE.total_seconds())
    is_due = subscription["status"] == "trialing" and account.clock.stamp() >= warned
    if is_due and not _was_told(account, subscription, "warned", subscription["trial_end"]):
        account.emit("customer.subscription.trial_will_end", subscription)


@when_due("expire_incomplete")
def expire_incomplete(account: Account, subscription_id: str) -> None:
    """A first payment that was not made within 23 hours: there is no subscription."""
    subscription = account.store.objects[subscription_id]
    if subscription["status"] != "incomplete":
        return
    invoice = account.store.objects[subscription["latest_invoice"]]
    if invoice["status"] == "open":
        invoices.void(account, invoice)
    now = account.clock.stamp()
    fields = {"status": "incomplete_expired", "ended_at": now}
    account.update(subscription, "customer.subscription.updated", **fields)


def _preview(account: Account, subscription: Obj) -> Obj:
    """The invoice of the next period, as it would be if nothing changed, and kept nowhere."""
    item, store = item_of(subscription), account.store
    start = item["current_period_end"]
    anchor, recurring = subscription["billing_cycle_anchor"], item["price"]["recurring"]
    stop = periods.nth(anchor, recurring, store.private(subscription["id"])["cycle"] + 2)
    items = subscriptions.with_item(
        subscription, current_period_start=start, current_period_end=stop
    )
    status = "active" if subscription["status"] == "trialing" else subscription["status"]
    next_one = {**subscription, "items": items, "status": status}
    preview = invoices.for_subscription(account, next_one, "upcoming")
    shown = {**preview, "id": f"upcoming_{preview['id']}", "created": start}
    shown |= {"next_payment_attempt": start + int(invoices.DRAFT_FOR.total_seconds())}
    store.remove(preview["id"])
    return shown


def _was_told(account: Account, subscription: Obj, what: str, moment: int) -> bool:
    """Whether this was told of this moment before; from now on it was."""
    private = account.store.private(subscription["id"])
    before, private[what] = private.get(what), moment
    return bool(before == moment)


def _is_leaving(subscription: Obj, moment: int) -> bool:
    last = subscription["cancel_at"]
    return bool(subscription["cancel_at_period_end"] or (last is not None and last <= moment))


def _has_card(account: Account, subscription: Obj) -> bool:
    customer = account.store.find("customer", subscription["customer"])
    settings = (customer or {}).get("invoice_settings", {})
    return bool(subscription["default_payment_method"] or settings.get("default_payment_method"))


def _is_waited_for(account: Account, invoice: Obj) -> bool:
    """Whether whoever asked for `invoice.created` has not answered yet, and may still."""
    told_by = account.store.private(invoice["id"]).get("told_by", "")
    waiting = account.billing.waits_for_webhooks and outbox.waiting_for(account, told_by)
    return bool(waiting and account.clock.stamp() < invoice["created"] + PATIENCE)
