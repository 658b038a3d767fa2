"""Amending: what a subscription's terms become while it runs.

A new amount counts from the next renewal. A new interval, or an anchor of now, begins a period at
once and bills it. A trial puts the next charge off. There are no prorations here: whoever changes
what has been paid for says `proration_behavior=none`.
"""

from dataclasses import dataclass
from typing import Final

from payments.sandbox import (
    billing_periods,
    invoice_collection,
    invoices,
    payment_intents,
    renewals,
    subscription_pauses,
    subscriptions,
)
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.errors import invalid_request, not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.payment_intents import CustomerPresence, PaymentAttempt
from payments.sandbox.routes import Call, route
from payments.sandbox.subscriptions import ENDED_STATUSES, item_of

_PAYMENT_BEHAVIORS: Final = ("allow_incomplete", "default_incomplete", "error_if_incomplete")
_UNSUPPORTED_PARAMS: Final = (
    "add_invoice_items", "application_fee_percent", "automatic_tax", "billing_schedules",
    "billing_thresholds", "days_until_due", "default_source", "default_tax_rates", "discounts",
    "invoice_settings", "on_behalf_of", "payment_settings", "pending_invoice_item_interval",
    "proration_date", "transfer_data", "trial_from_plan", "trial_settings",
)  # fmt: skip
_EDITABLE_AFTER_END: Final = {"metadata", "cancellation_details", "expand"}
_IMMUTABLE_PARAMS_BY_STATUS: Final = {
    "incomplete": ("items", "trial_end", "billing_cycle_anchor"),
    "paused": ("trial_end", "billing_cycle_anchor"),
}
_MAX_PERIODS_AHEAD: Final = 1200  # periods, when asking whether a moment begins one


@dataclass
class _PlannedUpdate:
    """What a subscription will be."""

    fields: JsonObject
    item: JsonObject
    cycle_number: int | None = None  # the number of the present period, when they are counted anew
    bills_now: bool = False
    starts_trial: bool = False  # a trial begins
    needs_proration: bool = False  # so that prorations would be due


@route("POST", "/v1/subscriptions/{}")
def update(call: Call) -> JsonObject:
    account, subscription, params = call.account, call.get_object("subscription"), call.params
    _validate(subscription, params)
    terms = _PlannedUpdate(
        _unbilled_changes(account, subscription, params), dict(item_of(subscription))
    )
    if read.array(params, "items"):
        _apply_price(account, subscription, params, terms)
    if "trial_end" in params:
        _apply_trial_end(account, subscription, params, terms)
    elif _resets_anchor(subscription, params, terms.item):
        _reset_anchor(account, subscription, terms)
    _apply_cancellation(account, subscription, params, terms)
    if terms.needs_proration and params.get("proration_behavior") != "none":
        message = "The sandbox does not prorate yet; send proration_behavior=none."
        raise invalid_request(message, "proration_behavior", "sandbox_unsupported")
    behavior = read.one_of(params, "payment_behavior", _PAYMENT_BEHAVIORS, "allow_incomplete")
    return _apply(account, subscription, terms, behavior)


def _validate(subscription: JsonObject, params: JsonObject) -> None:
    read.refuse_unsupported(params, *_UNSUPPORTED_PARAMS)
    if subscription["status"] in ENDED_STATUSES and set(params) - _EDITABLE_AFTER_END:
        message = "A canceled subscription can only update its cancellation_details and metadata."
        raise invalid_request(message)
    if params.get("collection_method", "charge_automatically") != "charge_automatically":
        raise invalid_request("The sandbox only charges automatically.", "collection_method")
    if params.get("payment_behavior") == "pending_if_incomplete":
        message = "The sandbox does not do pending_if_incomplete yet."
        raise invalid_request(message, "payment_behavior", "sandbox_unsupported")
    fixed = _IMMUTABLE_PARAMS_BY_STATUS.get(subscription["status"], ())
    for name in fixed:
        if name in params:
            status = subscription["status"]
            raise invalid_request(
                f"You cannot change {name} of a subscription that is {status}.", name
            )


def _unbilled_changes(
    account: StripeAccount, subscription: JsonObject, params: JsonObject
) -> JsonObject:
    """What changes without anything being owed for it."""
    fields: JsonObject = {
        "metadata": read.merge_metadata(subscription["metadata"], params),
        "cancellation_details": subscriptions.cancellation_details_in(subscription, params),
    }
    if "description" in params:
        fields["description"] = read.text(params, "description")
    if "default_payment_method" in params:
        customer_id = subscription["customer"]
        fields["default_payment_method"] = subscriptions.default_payment_method_in(
            account, customer_id, params
        )
    if "pause_collection" in params:
        fields["pause_collection"] = subscription_pauses.pause_collection_in(
            account, subscription, params
        )
    return fields


def _apply_price(
    account: StripeAccount, subscription: JsonObject, params: JsonObject, terms: _PlannedUpdate
) -> None:
    """A new price for the item, which the request must name: else there would be two."""
    given, item = subscriptions.item_in(params), item_of(subscription)
    named = read.text(given, "id")
    if named is None:
        message = "Without items[0][id] a second item is added to the subscription, and both are "
        raise invalid_request(message + "charged. The sandbox keeps one.", "items[0][id]")
    if named != item["id"]:
        raise not_found("subscription_item", named, "items[0][id]")
    if read.flag(given, "deleted"):
        message = "A subscription must have at least one active plan. To cancel a subscription, "
        raise invalid_request(message + "please use the cancel API endpoint on the subscription.")
    price, quantity = item["price"], read.integer(given, "quantity")
    if "price" in given or "price_data" in given:
        price = subscriptions.price_in(account, given, "items[0]")
        quantity = 1 if quantity is None else quantity
    if price["currency"] != subscription["currency"]:
        message = f"The price specified only supports `{price['currency']}`. This doesn't match "
        raise invalid_request(message + f"the expected currency: `{subscription['currency']}`.")
    kept = item["quantity"] if quantity is None else quantity
    terms.item |= subscriptions.price_fields(price, kept)
    terms.needs_proration = subscription["status"] not in ("trialing", "paused")


def _resets_anchor(subscription: JsonObject, params: JsonObject, item: JsonObject) -> bool:
    """Whether the request resets the anchor: by asking, or by another interval."""
    anchor = params.get("billing_cycle_anchor")
    kind = anchor.get("type") if isinstance(anchor, dict) else anchor
    if kind not in (None, "now", "unchanged"):
        raise invalid_request("Invalid billing_cycle_anchor: must be now or unchanged.")
    before, after = item_of(subscription)["price"]["recurring"], item["price"]["recurring"]
    if subscription["status"] == "trialing":  # a trial ends when it ends, whatever comes after
        return False
    if subscription["status"] == "paused" and before != after:
        raise invalid_request(
            "The sandbox does not change the interval of what is paused.", "items"
        )
    return kind == "now" or before != after


def _reset_anchor(account: StripeAccount, subscription: JsonObject, terms: _PlannedUpdate) -> None:
    """A period begins now, and is billed now."""
    now = account.clock.timestamp()
    end = billing_periods.period_start(now, terms.item["price"]["recurring"], 1)
    terms.item |= {"current_period_start": now, "current_period_end": end}
    terms.fields["billing_cycle_anchor"] = now
    terms.cycle_number, terms.bills_now = 0, True
    terms.needs_proration = subscription["status"] != "trialing"


def _apply_trial_end(
    account: StripeAccount, subscription: JsonObject, params: JsonObject, terms: _PlannedUpdate
) -> None:
    """Charge nothing until a moment; or, when it is `now`, no longer charge nothing."""
    now, is_trialing = account.clock.timestamp(), subscription["status"] == "trialing"
    if params["trial_end"] == "now":
        if is_trialing:
            terms.fields |= {"trial_end": now, "status": "active"}
            _reset_anchor(account, subscription, terms)
        return
    moment = read.integer(params, "trial_end")
    if moment is None or moment <= now:
        raise invalid_request("Invalid timestamp: must be in the future.", "trial_end")
    if moment > now + 2 * 366 * 86400:
        raise invalid_request(
            "Invalid timestamp: can be no more than two years ahead.", "trial_end"
        )
    began = subscription["trial_start"] if is_trialing else now
    terms.fields |= {
        "billing_cycle_anchor": moment,
        "status": "trialing",
        "trial_end": moment,
        "trial_start": began,
    }
    terms.item |= {"current_period_start": began, "current_period_end": moment}
    terms.cycle_number, terms.starts_trial, terms.needs_proration = (
        -1,
        not is_trialing,
        not is_trialing,
    )


def _apply_cancellation(
    account: StripeAccount, subscription: JsonObject, params: JsonObject, terms: _PlannedUpdate
) -> None:
    """Agree on a last day, or no longer; one at the period's end moves with it."""
    end, fields = terms.item["current_period_end"], terms.fields
    at_end = subscription["cancel_at_period_end"]
    if read.text(params, "cancel_at") and read.flag(params, "cancel_at_period_end"):
        raise invalid_request("You may only specify one of cancel_at and cancel_at_period_end.")
    if "cancel_at_period_end" in params:
        at_end = read.flag(params, "cancel_at_period_end")
        is_new = at_end != subscription["cancel_at_period_end"]
        _set_cancel_at(account, terms, end if at_end else None, is_new=is_new)
    if "cancel_at" in params:
        at_end, last = False, _requested_cancel_at(account, params, terms)
        _set_cancel_at(account, terms, last, is_new=last != subscription["cancel_at"])
        if last is not None:
            account.schedule_at(last, "cancel_at", subscription["id"])
    fields["cancel_at_period_end"] = at_end
    if at_end:
        fields["cancel_at"] = end


def _set_cancel_at(
    account: StripeAccount, terms: _PlannedUpdate, cancel_at: int | None, *, is_new: bool
) -> None:
    if is_new:
        reason = None if cancel_at is None else "cancellation_requested"
        terms.fields |= {
            "cancel_at": cancel_at,
            "canceled_at": None if cancel_at is None else account.clock.timestamp(),
            "cancellation_details": {**terms.fields["cancellation_details"], "reason": reason},
        }


def _requested_cancel_at(
    account: StripeAccount, params: JsonObject, terms: _PlannedUpdate
) -> int | None:
    """The moment `cancel_at` names. In the middle of a period, part of it would be given back."""
    if params["cancel_at"] == "":
        return None
    item, recurring = terms.item, terms.item["price"]["recurring"]
    if params["cancel_at"] in ("min_period_end", "max_period_end"):
        return int(item["current_period_end"])
    moment = read.integer(params, "cancel_at")
    if moment is None or moment <= account.clock.timestamp():
        raise invalid_request("cancel_at must be a timestamp in the future.", "cancel_at")
    starts = (
        billing_periods.period_start(item["current_period_end"], recurring, n)
        for n in range(_MAX_PERIODS_AHEAD)
    )
    terms.needs_proration |= moment not in starts
    return moment


def _apply(
    account: StripeAccount, subscription: JsonObject, terms: _PlannedUpdate, behavior: str | None
) -> JsonObject:
    if terms.fields.get("status") == "active" and renewals.apply_missing_payment_method(
        account, subscription
    ):
        return subscription
    intent = None
    if terms.bills_now and behavior == "error_if_incomplete":
        intent = _pay_before_update(account, subscription, terms)
    if terms.cycle_number is not None:
        subscriptions.reset_cycle_number(account, subscription, cycle_number=terms.cycle_number)
    items = subscriptions.items_with(subscription, **terms.item)
    previous = account.set_fields(subscription, items=items, **terms.fields)
    if terms.bills_now:
        invoice = renewals.invoice_now(account, subscription, previous)
        _bill_update(account, subscription, invoice, intent, behavior)
    elif terms.starts_trial:
        invoice = renewals.invoice_now(account, subscription, previous)
        invoices.mark_paid(account, invoice)
    elif previous:
        account.emit("customer.subscription.updated", subscription, previous)
    if terms.cycle_number is not None:
        subscriptions.schedule_period_tasks(account, subscription)
    return subscription


def _pay_before_update(
    account: StripeAccount, subscription: JsonObject, terms: _PlannedUpdate
) -> JsonObject:
    """The payment without which nothing changes."""
    amount = terms.item["price"]["unit_amount"] * terms.item["quantity"]
    chosen = terms.fields.get("default_payment_method") or subscription["default_payment_method"]
    method = invoices.default_payment_method(account, subscription["customer"], chosen)
    if method is None:
        raise invalid_request(invoices.NO_PAYMENT_METHOD.message)
    fields = {"customer": subscription["customer"], "description": "Subscription update"}
    intent = payment_intents.make(account, amount, subscription["currency"], fields)
    decline = payment_intents.confirm(
        account, intent, PaymentAttempt(method, CustomerPresence.OFF_SESSION)
    )
    if decline is not None:
        refusal = payment_intents.payment_error(intent)
        payment_intents.cancel(account, intent, "void_invoice")
        raise refusal
    return intent


def _bill_update(
    account: StripeAccount,
    subscription: JsonObject,
    invoice: JsonObject,
    intent: JsonObject | None,
    behavior: str | None,
) -> None:
    if intent is not None:
        invoices.link_intent(account, invoice, intent)
        invoice["attempt_count"] = 1
        invoices.mark_paid(account, invoice)
        invoice_collection.record_recovery(account, invoice)
    elif behavior == "default_incomplete":
        invoices.create_intent(account, invoice)
        account.update_and_emit(subscription, "customer.subscription.updated", status="past_due")
    else:
        invoices.create_intent(account, invoice)
        invoice_collection.attempt_payment(account, invoice)
