"""Collecting: an open invoice is charged, tried again some days later, and in the end given up.

The account's owner sets when it is tried again and what becomes of the subscription at the end.
What the bank refused for good is not tried again with the same card: the days pass and nothing is
charged, until there is another card or an end.
"""

from typing import Final

from payments.sandbox import invoices, subscriptions
from payments.sandbox.account import Account, when_due
from payments.sandbox.cards import Decline
from payments.sandbox.wire import Obj

_BEHIND: Final = ("past_due", "incomplete", "unpaid")
_COUNTED: Final = ("attempt_count", "attempted", "next_payment_attempt")


def attempt(account: Account, invoice: Obj) -> None:
    """Charge an open invoice by itself, and draw the consequence."""
    before = {name: invoice[name] for name in _COUNTED}
    method = invoices.card_for(account, invoice)
    if _is_pointless(account, invoice, method):
        invoice["attempt_count"] += 1
        _wait(account, invoice, before, None)
        return
    decline = invoices.collect(account, invoice, method)
    if invoice["status"] == "paid":
        recovered(account, invoice)
    elif decline is not None:
        _remember(account, invoice, method, decline)
        _wait(account, invoice, before, decline)


@when_due("retry_invoice")
def retry_invoice(account: Account, invoice_id: str) -> None:
    """Try again, if this is still the next attempt."""
    invoice = account.store.objects[invoice_id]
    due = invoice["next_payment_attempt"]
    if invoice["status"] == "open" and due is not None and due <= account.clock.stamp():
        attempt(account, invoice)


def by_hand(account: Account, invoice: Obj, method: Obj | None) -> Decline | None:
    """Charge an invoice because someone asks for it; the schedule of retries goes on."""
    method = method or invoices.card_for(account, invoice)
    decline = invoices.collect(account, invoice, method, counts=False)
    if invoice["status"] == "paid":
        recovered(account, invoice)
    elif decline is not None:
        _remember(account, invoice, method, decline)
        _tell_of_failure(account, invoice, decline)
    return decline


def first_payment_failed(account: Account, invoice: Obj, decline: Decline) -> None:
    """A subscription that the API began could not be paid for: it is not tried again."""
    _tell_of_failure(account, invoice, decline)


def failed_late(account: Account, invoice: Obj, decline: Decline) -> None:
    """A debit that was under way came to nothing."""
    before = {name: invoice[name] for name in _COUNTED}
    _wait(account, invoice, before, decline)


def recovered(account: Account, invoice: Obj) -> None:
    """The latest invoice is paid or written off: a subscription that was behind is active again."""
    _delinquent(account, invoice, behind=False)
    subscription = invoices.subscription_of(account, invoice)
    if subscription is None or subscription["latest_invoice"] != invoice["id"]:
        return
    if subscription["status"] in _BEHIND:
        account.update(subscription, "customer.subscription.updated", status="active")
    elif subscription["status"] == "paused" and is_resuming(account, subscription):
        resumed(account, subscription)


def resumed(account: Account, subscription: Obj) -> None:
    """A paused subscription is active again."""
    account.store.private(subscription["id"]).pop("resuming", None)
    account.change(subscription, status="active", status_details=None)
    subscriptions.schedule(account, subscription)
    account.emit("customer.subscription.resumed", subscription)


def is_resuming(account: Account, subscription: Obj) -> bool:
    """Whether a paused subscription waits for its latest invoice to be paid."""
    waits_for = account.store.private(subscription["id"]).get("resuming")
    return bool(waits_for == subscription["latest_invoice"])


def is_held(subscription: Obj) -> bool:
    """Whether new invoices are not to be collected for now."""
    return bool(subscription["pause_collection"] or subscription["status"] == "unpaid")


def hold(account: Account, subscription: Obj, invoice: Obj) -> None:
    """Do with a new draft what is done while collection is paused."""
    behavior = (subscription["pause_collection"] or {}).get("behavior", "keep_as_draft")
    if behavior == "keep_as_draft":
        fields = {"auto_advance": False, "automatically_finalizes_at": None}
        account.update(invoice, "invoice.updated", **fields)
        return
    invoices.finalize(account, invoice)
    if behavior == "void":
        invoices.void(account, invoice)
    else:
        invoices.write_off(account, invoice, "subscription_paused")


# -- helpers ----------------------------------------------------------------------------------


def _is_pointless(account: Account, invoice: Obj, method: Obj | None) -> bool:
    last = account.store.private(invoice["id"]).get("hard")
    return bool(invoice["attempted"] and (method is None or method["id"] == last))


def _remember(account: Account, invoice: Obj, method: Obj | None, decline: Decline) -> None:
    private = account.store.private(invoice["id"])
    private["hard"] = method["id"] if method and decline.is_hard else None


def _wait(account: Account, invoice: Obj, before: Obj, decline: Decline | None) -> None:
    """Fix the next attempt, or, when there is none left, the end. None: nothing was charged."""
    private, retries = account.store.private(invoice["id"]), account.billing.retry_days
    first = private.setdefault("first_failed_at", account.clock.stamp())
    number = invoice["attempt_count"]
    due = first + retries[number - 1] * 86400 if number <= len(retries) else None
    invoice["next_payment_attempt"] = due
    if due is not None:
        account.at(due, "retry_invoice", invoice["id"])
    if decline is not None:
        _tell_of_failure(account, invoice, decline)
    previous = {name: value for name, value in before.items() if invoice[name] != value}
    account.emit("invoice.updated", invoice, previous)
    subscription = invoices.subscription_of(account, invoice)
    if subscription is not None and subscription["status"] not in subscriptions.ENDED:
        _fall_behind(account, subscription, is_last=due is None)


def _tell_of_failure(account: Account, invoice: Obj, decline: Decline) -> None:
    if decline is invoices.ACTION_NEEDED:
        account.emit("invoice.payment_action_required", invoice)
    account.emit("invoice.payment_failed", invoice)
    _delinquent(account, invoice, behind=True)


def _fall_behind(account: Account, subscription: Obj, *, is_last: bool) -> None:
    end_state = account.billing.after_retries if is_last else "past_due"
    if end_state == "canceled":
        subscriptions.end(account, subscription, reason="payment_failed")
    elif end_state == "paused" and subscription["status"] != "paused":
        kind = "final_payment_failure" if account.billing.retry_days else "first_payment_failure"
        subscriptions.rest(account, subscription)
        subscriptions.pause(account, subscription, kind)
    elif subscription["status"] in ("active", "past_due", "trialing"):
        if end_state == "unpaid":
            subscriptions.rest(account, subscription)
        account.update(subscription, "customer.subscription.updated", status=end_state)


def _delinquent(account: Account, invoice: Obj, *, behind: bool) -> None:
    customer = account.store.find("customer", invoice["customer"])
    if customer is not None:
        account.update(customer, "customer.updated", delinquent=behind)
