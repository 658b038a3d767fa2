"""Updates of subscriptions.

A new amount applies from the next renewal. A new interval, or `billing_cycle_anchor=now`, begins
and bills a period at once. A trial postpones the next charge. The sandbox does not prorate: a
request that changes a paid period must say `proration_behavior=none`.
https://docs.stripe.com/billing/subscriptions/change
"""

from dataclasses import dataclass
from typing import Final

from payments.sandbox import (
    billing_periods,
    customer_balance,
    invoice_collection,
    invoices,
    legacy_sources,
    payment_intents,
    pricing,
    renewals,
    subscription_pauses,
    subscriptions,
)
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.declared_params import within
from payments.sandbox.errors import invalid_request, not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.payment_intents import CustomerPresence, PaymentAttempt
from payments.sandbox.routes import Call, route
from payments.sandbox.subscriptions import ENDED_STATUSES, item_of

_EDITABLE_AFTER_END: Final = {"metadata", "cancellation_details", "expand"}
_IMMUTABLE_PARAMS_BY_STATUS: Final = {
    "incomplete": ("items", "trial_end", "billing_cycle_anchor"),
    "paused": ("trial_end", "billing_cycle_anchor"),
}
_MAX_PERIODS_AHEAD: Final = 1200  # how many periods are searched for one that begins at cancel_at


@dataclass
class _PlannedUpdate:
    """The new fields of a subscription, its new items, and what the update entails."""

    fields: JsonObject
    items: list[JsonObject]
    cycle_number: int | None = None  # the present period's number, when the anchor moves
    bills_now: bool = False
    starts_trial: bool = False
    needs_proration: bool = False  # Stripe would prorate

    @property
    def recurring(self) -> JsonObject:
        """The interval that all items have."""
        recurring: JsonObject = self.items[0]["price"]["recurring"]
        return recurring

    def set_period(self, start: int, end: int) -> None:
        """Plan the period of all items, between two Unix times."""
        for item in self.items:
            item |= {"current_period_start": start, "current_period_end": end}


@route(
    "POST",
    "/v1/subscriptions/{}",
    reads=(
        *within("items[]", names=(*subscriptions.ITEM_PARAMS, "deleted", "id")),
        *subscriptions.CANCELLATION_DETAILS, *subscription_pauses.PAUSE_COLLECTION,
        "billing_cycle_anchor", "billing_cycle_anchor.type", "cancel_at", "cancel_at_period_end",
        "collection_method", "default_payment_method", "default_source", "description", "metadata",
        "payment_behavior", "proration_behavior", "trial_end",
    ),
)  # fmt: skip
def update(call: Call) -> JsonObject:
    """Update a subscription."""
    account, subscription, params = call.account, call.get_object("subscription"), call.params
    _validate(subscription, params)
    fields = _unbilled_changes(account, subscription, params)
    planned = _PlannedUpdate(fields, [dict(item) for item in subscription["items"]["data"]])
    if read.array(params, "items"):
        _apply_items(account, subscription, params, planned)
    if "trial_end" in params:
        _apply_trial_end(account, subscription, params, planned)
    elif _resets_anchor(subscription, params, planned):
        _reset_anchor(account, subscription, planned)
    _apply_cancellation(account, subscription, params, planned)
    if read.text(params, "proration_behavior") != "none" and planned.needs_proration:
        message = "The sandbox does not prorate yet; send proration_behavior=none."
        raise invalid_request(message, "proration_behavior", "sandbox_unsupported")
    behavior = read.supported(params, "payment_behavior", subscriptions.PAYMENT_BEHAVIORS)
    return _apply(account, subscription, planned, behavior)


def _validate(subscription: JsonObject, params: JsonObject) -> None:
    if subscription["status"] in ENDED_STATUSES and set(params) - _EDITABLE_AFTER_END:
        message = "A canceled subscription can only update its cancellation_details and metadata."
        raise invalid_request(message)
    read.supported(params, "collection_method", ("charge_automatically",))
    status = subscription["status"]
    for name in _IMMUTABLE_PARAMS_BY_STATUS.get(status, ()):
        if name in params:
            raise invalid_request(
                f"You cannot change {name} of a subscription that is {status}.", name
            )


def _unbilled_changes(
    account: StripeAccount, subscription: JsonObject, params: JsonObject
) -> JsonObject:
    """Return the changed fields that have no effect on billing."""
    fields: JsonObject = {
        "metadata": read.merge_metadata(subscription["metadata"], params),
        "cancellation_details": subscriptions.cancellation_details_in(subscription, params),
    }
    if "description" in params:
        fields["description"] = read.text(params, "description")
    if "default_payment_method" in params:
        customer_id = subscription["customer"]
        fields["default_payment_method"] = subscriptions.default_payment_method_in(
            account, customer_id, params, subscription["currency"]
        )
    fields["default_source"] = legacy_sources.default_source_in(
        account, subscription["customer"], params, subscription["default_source"]
    )
    if "pause_collection" in params:
        fields["pause_collection"] = subscription_pauses.pause_collection_in(
            account, subscription, params
        )
    return fields


def _apply_items(
    account: StripeAccount, subscription: JsonObject, params: JsonObject, planned: _PlannedUpdate
) -> None:
    """Plan changed, deleted and, where the request names no item, added items."""
    for index, item_params in enumerate(read.array(params, "items")):
        _apply_item(account, subscription, item_params, f"items[{index}]", planned)
    if not planned.items:
        message = "A subscription must have at least one active plan. To cancel a subscription, "
        raise invalid_request(message + "please use the cancel API endpoint on the subscription.")
    subscriptions.check_sold_together([item["price"] for item in planned.items])
    currency, expected = planned.items[0]["price"]["currency"], subscription["currency"]
    if currency != expected:
        message = f"The price specified only supports `{currency}`. This doesn't match the "
        raise invalid_request(message + f"expected currency: `{expected}`.")
    planned.needs_proration = subscription["status"] not in ("trialing", "paused")


def _apply_item(
    account: StripeAccount,
    subscription: JsonObject,
    params: JsonObject,
    param: str,
    planned: _PlannedUpdate,
) -> None:
    item_id, quantity = read.text(params, "id"), subscriptions.quantity_in(params, param)
    if item_id is None:
        price = subscriptions.price_in(account, params, param)
        first = planned.items[0]
        start, end = first["current_period_start"], first["current_period_end"]
        count = 1 if quantity is None else quantity
        planned.items.append(
            subscriptions.new_item(account, subscription, start, end, price, count)
        )
        return
    item = next((each for each in planned.items if each["id"] == item_id), None)
    if item is None:
        raise not_found("subscription_item", item_id, f"{param}[id]")
    if read.flag(params, "deleted"):
        planned.items.remove(item)
        return
    price = item["price"]
    if "price" in params or "price_data" in params:
        price = subscriptions.price_in(account, params, param)
        quantity = 1 if quantity is None else quantity
    item |= subscriptions.price_fields(price, item["quantity"] if quantity is None else quantity)


def _resets_anchor(subscription: JsonObject, params: JsonObject, planned: _PlannedUpdate) -> bool:
    """Return whether the update resets the anchor: on request, or because the interval changes."""
    anchor = params.get("billing_cycle_anchor")
    kind = anchor.get("type") if isinstance(anchor, dict) else anchor
    if kind not in (None, "now", "unchanged"):
        raise invalid_request("Invalid billing_cycle_anchor: must be now or unchanged.")
    before, after = item_of(subscription)["price"]["recurring"], planned.recurring
    if subscription["status"] == "trialing":  # a trial's end stays, whatever the next interval
        return False
    if subscription["status"] == "paused" and before != after:
        raise invalid_request(
            "The sandbox does not change the interval of what is paused.", "items"
        )
    return kind == "now" or before != after


def _reset_anchor(
    account: StripeAccount, subscription: JsonObject, planned: _PlannedUpdate
) -> None:
    """Plan a period that begins and is billed now."""
    now = account.clock.timestamp()
    planned.set_period(now, billing_periods.period_start(now, planned.recurring, 1))
    planned.fields["billing_cycle_anchor"] = now
    planned.cycle_number, planned.bills_now = 0, True
    planned.needs_proration = subscription["status"] != "trialing"


def _apply_trial_end(
    account: StripeAccount, subscription: JsonObject, params: JsonObject, planned: _PlannedUpdate
) -> None:
    """Plan a trial until a moment, or with `now` the end of the present trial."""
    now, is_trialing = account.clock.timestamp(), subscription["status"] == "trialing"
    if params["trial_end"] == "now":
        if is_trialing:
            planned.fields |= {"trial_end": now, "status": "active"}
            _reset_anchor(account, subscription, planned)
        return
    trial_end = read.future_timestamp(params, "trial_end", now)
    if trial_end > now + subscriptions.MAX_TRIAL_SECONDS:
        raise invalid_request(
            "Invalid timestamp: can be no more than two years ahead.", "trial_end"
        )
    trial_start = subscription["trial_start"] if is_trialing else now
    planned.fields |= {
        "billing_cycle_anchor": trial_end,
        "status": "trialing",
        "trial_end": trial_end,
        "trial_start": trial_start,
    }
    planned.set_period(trial_start, trial_end)
    planned.cycle_number = -1
    planned.starts_trial = planned.needs_proration = not is_trialing


def _apply_cancellation(
    account: StripeAccount, subscription: JsonObject, params: JsonObject, planned: _PlannedUpdate
) -> None:
    """Plan a cancellation, or undo one; at the period's end it moves with the period."""
    end, fields = planned.items[0]["current_period_end"], planned.fields
    at_end = subscription["cancel_at_period_end"]
    if read.text(params, "cancel_at") and read.flag(params, "cancel_at_period_end"):
        raise invalid_request("You may only specify one of cancel_at and cancel_at_period_end.")
    if "cancel_at_period_end" in params:
        at_end = read.flag(params, "cancel_at_period_end")
        is_new = at_end != subscription["cancel_at_period_end"]
        _set_cancel_at(account, planned, end if at_end else None, is_new=is_new)
    if "cancel_at" in params:
        at_end, cancel_at = False, _requested_cancel_at(account, subscription, params, planned)
        _set_cancel_at(account, planned, cancel_at, is_new=cancel_at != subscription["cancel_at"])
        if cancel_at is not None:
            account.schedule_at(cancel_at, "cancel_subscription", subscription["id"])
    fields["cancel_at_period_end"] = at_end
    if at_end:
        fields["cancel_at"] = end


def _set_cancel_at(
    account: StripeAccount, planned: _PlannedUpdate, cancel_at: int | None, *, is_new: bool
) -> None:
    if is_new:
        reason = None if cancel_at is None else "cancellation_requested"
        planned.fields |= {
            "cancel_at": cancel_at,
            "canceled_at": None if cancel_at is None else account.clock.timestamp(),
            "cancellation_details": {**planned.fields["cancellation_details"], "reason": reason},
        }


def _requested_cancel_at(
    account: StripeAccount, subscription: JsonObject, params: JsonObject, planned: _PlannedUpdate
) -> int | None:
    """Return the requested `cancel_at`, a Unix time; in the middle of a period Stripe prorates."""
    if params["cancel_at"] == "":
        return None
    end = planned.items[0]["current_period_end"]
    if params["cancel_at"] in ("min_period_end", "max_period_end"):
        return int(end)
    cancel_at = read.future_timestamp(params, "cancel_at", account.clock.timestamp())
    counted_from = {**subscription, **planned.fields}
    anchor = int(counted_from["billing_cycle_anchor"])
    starts = (
        billing_periods.period_start(anchor, planned.recurring, n)
        for n in range(_MAX_PERIODS_AHEAD)
    )
    planned.needs_proration |= cancel_at != end and cancel_at not in starts
    return cancel_at


def _apply(
    account: StripeAccount, subscription: JsonObject, planned: _PlannedUpdate, behavior: str | None
) -> JsonObject:
    if planned.fields.get("status") == "active" and renewals.apply_missing_payment_method(
        account, subscription
    ):
        return subscription
    intent = None
    if planned.bills_now and behavior == "error_if_incomplete":
        intent = _pay_before_update(account, subscription, planned)
    if planned.cycle_number is not None:
        subscriptions.reset_cycle_number(account, subscription, cycle_number=planned.cycle_number)
    items = {**subscription["items"], "data": planned.items}
    previous = account.set_fields(subscription, items=items, **planned.fields)
    if planned.bills_now:
        invoice = renewals.invoice_now(account, subscription, previous)
        _bill_update(account, subscription, invoice, intent, behavior)
    elif planned.starts_trial:
        renewals.invoice_now(account, subscription, previous)
    elif previous:
        account.emit("customer.subscription.updated", subscription, previous)
    if planned.cycle_number is not None:
        subscriptions.schedule_period_tasks(account, subscription)
    return subscription


def _pay_before_update(
    account: StripeAccount, subscription: JsonObject, planned: _PlannedUpdate
) -> JsonObject | None:
    """Charge the planned period, unless it costs nothing, before the update.

    Returns the intent. Raises ApiError when it cannot be paid.
    """
    customer_id, currency = subscription["customer"], subscription["currency"]
    amount = pricing.items_amount(account, planned.items) + sum(
        item["amount"] for item in invoices.pending_items(account, customer_id, currency)
    )
    customer = account.store.objects[customer_id]
    due = customer_balance.draft_amounts(account, customer, currency, amount)["amount_due"]
    if due == 0:
        return None
    method_id = (
        planned.fields.get("default_payment_method")
        or subscription["default_payment_method"]
        or planned.fields["default_source"]
    )
    method = invoices.default_payment_method(account, customer_id, method_id, currency)
    if method is None:
        raise invalid_request(invoices.NO_PAYMENT_METHOD.message)
    fields = {"customer": customer_id, "description": "Subscription update"}
    intent = payment_intents.make(account, due, currency, fields)
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
    elif behavior == "default_incomplete" and invoice["status"] != "paid":
        invoices.create_intent(account, invoice)
        account.update_and_emit(subscription, "customer.subscription.updated", status="past_due")
    else:
        invoices.create_intent(account, invoice)
        invoice_collection.attempt_payment(account, invoice)
