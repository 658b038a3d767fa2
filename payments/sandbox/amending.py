"""Amending: what a subscription's terms become while it runs.

A new amount counts from the next renewal. A new interval, or an anchor of now, begins a period at
once and bills it. A trial puts the next charge off. There are no prorations here: whoever changes
what has been paid for says `proration_behavior=none`.
"""

from dataclasses import dataclass
from typing import Final

from payments.sandbox import (
    collecting,
    invoices,
    pausing,
    payment_intents,
    periods,
    renewals,
    subscriptions,
)
from payments.sandbox import params as read
from payments.sandbox.account import Account
from payments.sandbox.errors import invalid, not_found
from payments.sandbox.payment_intents import Attempt, Presence
from payments.sandbox.routes import Call, route
from payments.sandbox.subscriptions import ENDED, item_of
from payments.sandbox.wire import Obj

_BEHAVIORS: Final = ("allow_incomplete", "default_incomplete", "error_if_incomplete")
_NOT_YET: Final = (
    "add_invoice_items", "application_fee_percent", "automatic_tax", "billing_schedules",
    "billing_thresholds", "days_until_due", "default_source", "default_tax_rates", "discounts",
    "invoice_settings", "on_behalf_of", "payment_settings", "pending_invoice_item_interval",
    "proration_date", "transfer_data", "trial_from_plan", "trial_settings",
)  # fmt: skip
_ALWAYS_OPEN: Final = {"metadata", "cancellation_details", "expand"}
_FIXED_WHILE: Final = {
    "incomplete": ("items", "trial_end", "billing_cycle_anchor"),
    "paused": ("trial_end", "billing_cycle_anchor"),
}
_LONGEST_BACK: Final = 1200  # periods, when asking whether a moment begins one


@dataclass
class _Terms:
    """What a subscription will be."""

    fields: Obj
    item: Obj
    cycle: int | None = None  # the number of the present period, when they are counted anew
    bills: bool = False
    tries: bool = False  # a trial begins
    moves_paid_time: bool = False  # so that prorations would be due


@route("POST", "/v1/subscriptions/{}")
def update(call: Call) -> Obj:
    account, subscription, params = call.account, call.subject("subscription"), call.params
    _refuse(subscription, params)
    terms = _Terms(_said(account, subscription, params), dict(item_of(subscription)))
    if read.rows(params, "items"):
        _reprice(account, subscription, params, terms)
    if "trial_end" in params:
        _try_out(account, subscription, params, terms)
    elif _begins_anew(subscription, params, terms.item):
        _restart(account, subscription, terms)
    _leave(account, subscription, params, terms)
    if terms.moves_paid_time and params.get("proration_behavior") != "none":
        message = "The sandbox does not prorate yet; send proration_behavior=none."
        raise invalid(message, "proration_behavior", "sandbox_unsupported")
    behavior = read.one_of(params, "payment_behavior", _BEHAVIORS, "allow_incomplete")
    return _carry_out(account, subscription, terms, behavior)


def _refuse(subscription: Obj, params: Obj) -> None:
    read.refuse(params, *_NOT_YET)
    if subscription["status"] in ENDED and set(params) - _ALWAYS_OPEN:
        message = "A canceled subscription can only update its cancellation_details and metadata."
        raise invalid(message)
    if params.get("collection_method", "charge_automatically") != "charge_automatically":
        raise invalid("The sandbox only charges automatically.", "collection_method")
    if params.get("payment_behavior") == "pending_if_incomplete":
        message = "The sandbox does not do pending_if_incomplete yet."
        raise invalid(message, "payment_behavior", "sandbox_unsupported")
    fixed = _FIXED_WHILE.get(subscription["status"], ())
    for name in fixed:
        if name in params:
            status = subscription["status"]
            raise invalid(f"You cannot change {name} of a subscription that is {status}.", name)


def _said(account: Account, subscription: Obj, params: Obj) -> Obj:
    """What changes without anything being owed for it."""
    fields: Obj = {
        "metadata": read.merge_metadata(subscription["metadata"], params),
        "cancellation_details": subscriptions.feedback(subscription, params),
    }
    if "description" in params:
        fields["description"] = read.text(params, "description")
    if "default_payment_method" in params:
        customer_id = subscription["customer"]
        fields["default_payment_method"] = subscriptions.method_in(account, customer_id, params)
    if "pause_collection" in params:
        fields["pause_collection"] = pausing.collection_in(account, subscription, params)
    return fields


def _reprice(account: Account, subscription: Obj, params: Obj, terms: _Terms) -> None:
    """A new price for the item, which the request must name: else there would be two."""
    given, item = subscriptions.only_item(params), item_of(subscription)
    named = read.text(given, "id")
    if named is None:
        message = "Without items[0][id] a second item is added to the subscription, and both are "
        raise invalid(message + "charged. The sandbox keeps one.", "items[0][id]")
    if named != item["id"]:
        raise not_found("subscription_item", named, "items[0][id]")
    if read.flag(given, "deleted"):
        message = "A subscription must have at least one active plan. To cancel a subscription, "
        raise invalid(message + "please use the cancel API endpoint on the subscription.")
    price, quantity = item["price"], read.integer(given, "quantity")
    if "price" in given or "price_data" in given:
        price = subscriptions.price_in(account, given, "items[0]")
        quantity = 1 if quantity is None else quantity
    if price["currency"] != subscription["currency"]:
        message = f"The price specified only supports `{price['currency']}`. This doesn't match "
        raise invalid(message + f"the expected currency: `{subscription['currency']}`.")
    kept = item["quantity"] if quantity is None else quantity
    terms.item |= subscriptions.priced(price, kept)
    terms.moves_paid_time = subscription["status"] not in ("trialing", "paused")


def _begins_anew(subscription: Obj, params: Obj, item: Obj) -> bool:
    """Whether the request resets the anchor: by asking, or by another interval."""
    anchor = params.get("billing_cycle_anchor")
    kind = anchor.get("type") if isinstance(anchor, dict) else anchor
    if kind not in (None, "now", "unchanged"):
        raise invalid("Invalid billing_cycle_anchor: must be now or unchanged.")
    before, after = item_of(subscription)["price"]["recurring"], item["price"]["recurring"]
    if subscription["status"] == "trialing":  # a trial ends when it ends, whatever comes after
        return False
    if subscription["status"] == "paused" and before != after:
        raise invalid("The sandbox does not change the interval of what is paused.", "items")
    return kind == "now" or before != after


def _restart(account: Account, subscription: Obj, terms: _Terms) -> None:
    """A period begins now, and is billed now."""
    now = account.clock.stamp()
    end = periods.nth(now, terms.item["price"]["recurring"], 1)
    terms.item |= {"current_period_start": now, "current_period_end": end}
    terms.fields["billing_cycle_anchor"] = now
    terms.cycle, terms.bills = 0, True
    terms.moves_paid_time = subscription["status"] != "trialing"


def _try_out(account: Account, subscription: Obj, params: Obj, terms: _Terms) -> None:
    """Charge nothing until a moment; or, when it is `now`, no longer charge nothing."""
    now, is_trialing = account.clock.stamp(), subscription["status"] == "trialing"
    if params["trial_end"] == "now":
        if is_trialing:
            terms.fields |= {"trial_end": now, "status": "active"}
            _restart(account, subscription, terms)
        return
    moment = read.integer(params, "trial_end")
    if moment is None or moment <= now:
        raise invalid("Invalid timestamp: must be in the future.", "trial_end")
    if moment > now + 2 * 366 * 86400:
        raise invalid("Invalid timestamp: can be no more than two years ahead.", "trial_end")
    began = subscription["trial_start"] if is_trialing else now
    terms.fields |= {
        "billing_cycle_anchor": moment,
        "status": "trialing",
        "trial_end": moment,
        "trial_start": began,
    }
    terms.item |= {"current_period_start": began, "current_period_end": moment}
    terms.cycle, terms.tries, terms.moves_paid_time = -1, not is_trialing, not is_trialing


def _leave(account: Account, subscription: Obj, params: Obj, terms: _Terms) -> None:
    """Agree on a last day, or no longer; one at the period's end moves with it."""
    end, fields = terms.item["current_period_end"], terms.fields
    at_end = subscription["cancel_at_period_end"]
    if read.text(params, "cancel_at") and read.flag(params, "cancel_at_period_end"):
        raise invalid("You may only specify one of cancel_at and cancel_at_period_end.")
    if "cancel_at_period_end" in params:
        at_end = read.flag(params, "cancel_at_period_end")
        is_new = at_end != subscription["cancel_at_period_end"]
        _agree(account, terms, end if at_end else None, is_new=is_new)
    if "cancel_at" in params:
        at_end, last = False, _last_day(account, params, terms)
        _agree(account, terms, last, is_new=last != subscription["cancel_at"])
        if last is not None:
            account.at(last, "cancel_at", subscription["id"])
    fields["cancel_at_period_end"] = at_end
    if at_end:
        fields["cancel_at"] = end


def _agree(account: Account, terms: _Terms, last: int | None, *, is_new: bool) -> None:
    if is_new:
        reason = None if last is None else "cancellation_requested"
        terms.fields |= {
            "cancel_at": last,
            "canceled_at": None if last is None else account.clock.stamp(),
            "cancellation_details": {**terms.fields["cancellation_details"], "reason": reason},
        }


def _last_day(account: Account, params: Obj, terms: _Terms) -> int | None:
    """The moment `cancel_at` names. In the middle of a period, part of it would be given back."""
    if params["cancel_at"] == "":
        return None
    item, recurring = terms.item, terms.item["price"]["recurring"]
    if params["cancel_at"] in ("min_period_end", "max_period_end"):
        return int(item["current_period_end"])
    moment = read.integer(params, "cancel_at")
    if moment is None or moment <= account.clock.stamp():
        raise invalid("cancel_at must be a timestamp in the future.", "cancel_at")
    starts = (periods.nth(item["current_period_end"], recurring, n) for n in range(_LONGEST_BACK))
    terms.moves_paid_time |= moment not in starts
    return moment


def _carry_out(account: Account, subscription: Obj, terms: _Terms, behavior: str | None) -> Obj:
    if terms.fields.get("status") == "active" and renewals.ends_without_card(account, subscription):
        return subscription
    intent = None
    if terms.bills and behavior == "error_if_incomplete":
        intent = _paid_first(account, subscription, terms)
    if terms.cycle is not None:
        subscriptions.count_anew(account, subscription, cycle=terms.cycle)
    items = subscriptions.with_item(subscription, **terms.item)
    previous = account.change(subscription, items=items, **terms.fields)
    if terms.bills:
        invoice = renewals.bill_now(account, subscription, previous)
        _charge(account, subscription, invoice, intent, behavior)
    elif terms.tries:
        invoice = renewals.bill_now(account, subscription, previous)
        invoices.settle(account, invoice)
    elif previous:
        account.emit("customer.subscription.updated", subscription, previous)
    if terms.cycle is not None:
        subscriptions.schedule(account, subscription)
    return subscription


def _paid_first(account: Account, subscription: Obj, terms: _Terms) -> Obj:
    """The payment without which nothing changes."""
    amount = terms.item["price"]["unit_amount"] * terms.item["quantity"]
    chosen = terms.fields.get("default_payment_method") or subscription["default_payment_method"]
    method = invoices.usual_card(account, subscription["customer"], chosen)
    if method is None:
        raise invalid(invoices.NO_CARD.message)
    fields = {"customer": subscription["customer"], "description": "Subscription update"}
    intent = payment_intents.make(account, amount, subscription["currency"], fields)
    decline = payment_intents.confirm(account, intent, Attempt(method, Presence.AWAY))
    if decline is not None:
        refusal = payment_intents.refused(intent)
        payment_intents.cancel(account, intent, "void_invoice")
        raise refusal
    return intent


def _charge(
    account: Account, subscription: Obj, invoice: Obj, intent: Obj | None, behavior: str | None
) -> None:
    if intent is not None:
        invoices.join(account, invoice, intent)
        invoice["attempt_count"] = 1
        invoices.settle(account, invoice)
        collecting.recovered(account, invoice)
    elif behavior == "default_incomplete":
        invoices.make_intent(account, invoice)
        account.update(subscription, "customer.subscription.updated", status="past_due")
    else:
        invoices.make_intent(account, invoice)
        collecting.attempt(account, invoice)
