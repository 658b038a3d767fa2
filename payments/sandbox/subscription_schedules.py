"""Subscription schedules: a subscription that begins on a later day.

A schedule here has one phase, and is released at its end: the subscription goes on by itself. It
is charged to the customer's default payment method.
https://docs.stripe.com/billing/subscriptions/subscription-schedules
"""

from typing import Final

from payments.sandbox import (
    billing_periods,
    customers,
    listing,
    subscription_endpoints,
    subscriptions,
)
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.declared_params import within
from payments.sandbox.errors import invalid_request, missing_param
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route

OBJECT_NAME: Final = "subscription_schedule"
_CANCELLABLE_STATUSES: Final = ("not_started", "active")

add_list_and_retrieve_routes(
    OBJECT_NAME, "/v1/subscription_schedules", {"customer": listing.equals("customer")}
)


@route(
    "POST",
    "/v1/subscription_schedules",
    reads=(
        "customer", "end_behavior", "metadata", "start_date",
        *within("phases[].items[]", names=("price", "quantity")),
    ),
)  # fmt: skip
def create(call: Call) -> JsonObject:
    """Create a schedule whose subscription begins at `start_date`."""
    account, params = call.account, call.params
    customer = customers.customer_in(account, params)
    if customer is None:
        raise missing_param("customer")
    read.supported(params, "end_behavior", ("release",))
    phases = read.array(params, "phases")
    if len(phases) != 1:
        raise invalid_request("The sandbox does schedules of one phase.", "phases")
    now = account.clock.timestamp()
    start = read.future_timestamp(params, "start_date", now)
    sold = subscriptions.sold_in(account, phases[0])
    end = billing_periods.period_start(start, sold[0][0]["recurring"], 1)
    schedule = account.create_object("sub_sched", OBJECT_NAME, _default_fields(customer))
    schedule["phases"] = [_phase(sold, start, end)]
    schedule["metadata"] = read.metadata(params)
    account.schedule_at(start, "start_schedule", schedule["id"])
    account.schedule_at(end, "release_schedule", schedule["id"])
    account.emit("subscription_schedule.created", schedule)
    return schedule


@route("POST", "/v1/subscription_schedules/{}/cancel")
def cancel(call: Call) -> JsonObject:
    """Cancel a schedule, and at once the subscription that it began."""
    account, schedule = call.account, call.get_object(OBJECT_NAME)
    if schedule["status"] not in _CANCELLABLE_STATUSES:
        raise invalid_request(f"You cannot cancel a schedule that is {schedule['status']}.")
    subscription = account.store.get("subscription", schedule["subscription"])
    if subscription and subscription["status"] not in subscriptions.ENDED_STATUSES:
        subscriptions.end(account, subscription, reason="cancellation_requested")
    account.set_fields(schedule, status="canceled", canceled_at=account.clock.timestamp())
    account.emit("subscription_schedule.canceled", schedule)
    return schedule


@route("POST", "/v1/subscription_schedules/{}/release")
def release(call: Call) -> JsonObject:
    """Release a schedule: a subscription that it began goes on as it is."""
    schedule = call.get_object(OBJECT_NAME)
    if schedule["status"] not in _CANCELLABLE_STATUSES:
        raise invalid_request(f"You cannot release a schedule that is {schedule['status']}.")
    _release(call.account, schedule)
    return schedule


@when_due("start_schedule")
def start_when_due(account: StripeAccount, schedule_id: str) -> None:
    """Begin the subscription of a schedule that was not cancelled, and charge it."""
    schedule = account.store.objects[schedule_id]
    if schedule["status"] != "not_started":
        return
    customer = account.store.objects[schedule["customer"]]
    phase = schedule["phases"][0]
    sold = [(account.store.objects[item["price"]], item["quantity"]) for item in phase["items"]]
    subscription = subscriptions.make(account, customer, sold)
    subscription["schedule"] = schedule_id
    subscription_endpoints.start(account, subscription, None)
    account.emit("customer.subscription.created", subscription)
    current = {"end_date": phase["end_date"], "start_date": phase["start_date"]}
    account.set_fields(
        schedule, status="active", subscription=subscription["id"], current_phase=current
    )
    account.emit("subscription_schedule.updated", schedule, {"status": "not_started"})


@when_due("release_schedule")
def release_when_due(account: StripeAccount, schedule_id: str) -> None:
    """Release the subscription of a schedule at the end of its phase."""
    schedule = account.store.objects[schedule_id]
    if schedule["status"] == "active":
        _release(account, schedule)


def _release(account: StripeAccount, schedule: JsonObject) -> None:
    subscription_id = schedule["subscription"]
    if subscription_id is not None:
        account.store.objects[subscription_id]["schedule"] = None
    account.set_fields(
        schedule,
        status="released",
        current_phase=None,
        released_at=account.clock.timestamp(),
        released_subscription=subscription_id,
        subscription=None,
    )
    account.emit("subscription_schedule.released", schedule)


def _default_fields(customer: JsonObject) -> JsonObject:
    return {
        **dict.fromkeys(_NULL_FIELDS),
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
        "customer": customer["id"],
        "default_settings": {
            **dict.fromkeys(_NULL_SETTINGS),
            "billing_cycle_anchor": "automatic",
            "collection_method": "charge_automatically",
            "invoice_settings": _INVOICE_SETTINGS,
        },
        "end_behavior": "release",
        "pause_schedules": [],
        "phases": [],
        "status": "not_started",
    }


def _phase(sold: list[tuple[JsonObject, int]], start: int, end: int) -> JsonObject:
    return {
        **dict.fromkeys(_NULL_PHASE_FIELDS),
        "add_invoice_items": [],
        "currency": sold[0][0]["currency"],
        "default_tax_rates": [],
        "discounts": [],
        "end_date": end,
        "items": [
            {
                "billing_thresholds": None,
                "discounts": [],
                "metadata": {},
                "plan": price["id"],
                "price": price["id"],
                "quantity": quantity,
                "tax_rates": [],
            }
            for price, quantity in sold
        ],
        "metadata": {},
        "proration_behavior": "create_prorations",
        "start_date": start,
    }


_INVOICE_SETTINGS: Final = {
    "account_tax_ids": None,
    "days_until_due": None,
    "issuer": {"type": "self"},
}
_NULL_FIELDS: Final = (
    "application", "canceled_at", "completed_at", "current_phase", "customer_account",
    "released_at", "released_subscription", "subscription", "test_clock",
)  # fmt: skip
_NULL_SETTINGS: Final = (
    "application_fee_percent", "automatic_tax", "billing_thresholds", "default_payment_method",
    "description", "on_behalf_of", "transfer_data",
)  # fmt: skip
_NULL_PHASE_FIELDS: Final = (
    "application_fee_percent", "automatic_tax", "billing_cycle_anchor", "billing_thresholds",
    "collection_method", "default_payment_method", "description", "invoice_settings",
    "on_behalf_of", "transfer_data", "trial", "trial_end",
)  # fmt: skip
