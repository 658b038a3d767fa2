"""Subscriptions: a price, charged again each period until someone, or the bank, says stop.

Periods are counted from the anchor, so a subscription begun on the 31st renews on the last day of
shorter months and returns to the 31st. Here is what a subscription is, and how it ends; it is begun
in `subscribing`, carried on in `renewals`, paid for in `collecting`, changed in `amending` and
`pausing`.
"""

from datetime import timedelta
from typing import Final

from payments.sandbox import billing_periods, catalog, listing, payment_methods
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.errors import invalid_request, missing_param, not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_retrieve_route, route

ENDED_STATUSES: Final = ("canceled", "incomplete_expired")
TRIAL_END_NOTICE: Final = timedelta(days=3)  # how long before a trial's end it is told of


def _status_matches(row: JsonObject, wanted: object) -> bool:
    if wanted == "all":
        return True
    return bool(row["status"] in ENDED_STATUSES if wanted == "ended" else row["status"] == wanted)


_FILTERS: Final = {"customer": listing.equals("customer"), "status": _status_matches}

add_retrieve_route("subscription", "/v1/subscriptions")


@route("GET", "/v1/subscriptions")
def list_all(call: Call) -> JsonObject:
    filters, params = dict(_FILTERS), dict(call.params)
    if "status" not in params:
        params["status"] = "running"
        filters["status"] = lambda row, wanted: row["status"] not in ENDED_STATUSES  # noqa: ARG005 - Stripe's default
    return listing.page(call.account.store, "subscription", call.path, params, filters)


def make(
    account: StripeAccount, customer: JsonObject, price: JsonObject, quantity: int
) -> JsonObject:
    """A subscription whose first period begins now; not yet paid, not yet told of."""
    now = account.clock.timestamp()
    end = billing_periods.period_start(now, price["recurring"], 1)
    subscription = account.create_object(
        "sub", "subscription", _default_fields(customer, price, now)
    )
    item: JsonObject = {
        "id": account.store.new_id("si", 14),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": now,
        "current_period_end": end,
        "current_period_start": now,
        "discounts": [],
        "metadata": {},
        **price_fields(price, quantity),
        "subscription": subscription["id"],
        "tax_rates": [],
    }
    url = f"/v1/subscription_items?subscription={subscription['id']}"
    subscription["items"] = listing.list_object([item], url)
    account.store.private(subscription["id"])["cycle"] = 0
    account.store.link("subscription", "customer", customer["id"], subscription["id"])
    schedule_period_tasks(account, subscription)
    return subscription


def price_fields(price: JsonObject, quantity: int) -> JsonObject:
    """What an item says of its price."""
    return {"plan": catalog.plan_of(price), "price": dict(price), "quantity": quantity}


def item_of(subscription: JsonObject) -> JsonObject:
    """What is subscribed to; here it is one thing."""
    item: JsonObject = subscription["items"]["data"][0]
    return item


def items_with(subscription: JsonObject, /, **fields: object) -> JsonObject:
    """The `items` of a subscription with its item changed."""
    return {**subscription["items"], "data": [{**item_of(subscription), **fields}]}


def reset_cycle_number(
    account: StripeAccount, subscription: JsonObject, *, cycle_number: int
) -> None:
    """Count periods anew from the anchor: the present one is number 0, or -1 when it is a trial."""
    private = account.store.private(subscription["id"])
    private["cycle"] = cycle_number
    private["period_before"] = item_of(subscription)["current_period_start"]


def schedule_period_tasks(account: StripeAccount, subscription: JsonObject) -> None:
    """Put what the present period leads to on the agenda: its announcement and its end."""
    item = item_of(subscription)
    start, end = item["current_period_start"], item["current_period_end"]
    early = end - account.billing.upcoming_days * 86400
    account.schedule_at(max(start, early), "announce_renewal", subscription["id"])
    if subscription["trial_end"] == end:
        warned = end - int(TRIAL_END_NOTICE.total_seconds())
        account.schedule_at(
            max(account.clock.timestamp(), warned), "warn_of_trial_end", subscription["id"]
        )
    account.schedule_at(end, "renew", subscription["id"])


def end(account: StripeAccount, subscription: JsonObject, *, reason: str) -> None:
    """Stop for good; open invoices are no longer collected by themselves."""
    now = account.clock.timestamp()
    account.set_fields(
        subscription,
        status="canceled",
        canceled_at=subscription["canceled_at"] or now,
        ended_at=now,
        cancellation_details={**subscription["cancellation_details"], "reason": reason},
    )
    stop_collection(account, subscription)
    account.emit("customer.subscription.deleted", subscription)


def stop_collection(account: StripeAccount, subscription: JsonObject) -> None:
    """Collect no invoice of this subscription by itself any more."""
    ids = account.store.linked("invoice", "subscription", subscription["id"])
    for invoice in account.store.existing(ids):
        if invoice["status"] in ("draft", "open") and invoice["auto_advance"]:
            fields = {"auto_advance": False, "next_payment_attempt": None}
            fields["automatically_finalizes_at"] = None
            account.update_and_emit(invoice, "invoice.updated", **fields)


def pause(account: StripeAccount, subscription: JsonObject, kind: str) -> None:
    """No more periods and no more invoices until someone resumes it."""
    details = {
        "paused": {
            "subscription": {"type": kind},
            "transitioned_at": account.clock.timestamp(),
            "type": "subscription",
        }
    }
    account.set_fields(subscription, status="paused", status_details=details)
    account.emit("customer.subscription.paused", subscription)


def price_in(account: StripeAccount, item: JsonObject, param: str) -> JsonObject:
    """The recurring price that an item of a request names or brings."""
    if "price_data" in item:
        price = catalog.make_price(account, item["price_data"], param=f"{param}[price_data]")
    else:
        price_id = read.required(item, "price")
        found = account.store.get("price", price_id)
        if found is None:
            raise not_found("price", price_id, f"{param}[price]")
        price = found
    if price["recurring"] is None:
        message = "The price specified is set to `type=one_time` but this field only accepts "
        raise invalid_request(message + "prices with `type=recurring`.", f"{param}[price]")
    return price


def item_in(params: JsonObject) -> JsonObject:
    """The one item of a request."""
    given = read.array(params, "items")
    if len(given) != 1:
        raise (
            missing_param("items")
            if not given
            else invalid_request("The sandbox sells one thing.", "items")
        )
    item: JsonObject = given[0]
    return item


def default_payment_method_in(
    account: StripeAccount, customer_id: str, params: JsonObject
) -> str | None:
    """The `default_payment_method` a request names; it must be the customer's own."""
    wanted = read.text(params, "default_payment_method")
    if wanted is None:
        return None
    method = payment_methods.find_or_create(account, wanted, param="default_payment_method")
    if method["customer"] != customer_id:
        message = "The customer does not have a payment method with the ID " + method["id"]
        raise invalid_request(message, "default_payment_method", "resource_missing")
    return str(method["id"])


def cancellation_details_in(subscription: JsonObject, params: JsonObject) -> JsonObject:
    """What `cancellation_details` become by what the donor said."""
    given = read.nested_object(params, "cancellation_details")
    said = {name: read.text(given, name) for name in ("comment", "feedback") if name in given}
    return {**subscription["cancellation_details"], **said}


def _default_fields(customer: JsonObject, price: JsonObject, now: int) -> JsonObject:
    return {
        **dict.fromkeys(_NULL_FIELDS),
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": now,
        "billing_schedules": [],
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible"},
        "cancel_at_period_end": False,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "currency": price["currency"],
        "customer": customer["id"],
        "default_tax_rates": [],
        "discounts": [],
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "metadata": {},
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "start_date": now,
        "status": "incomplete",
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
    }


_NULL_FIELDS: Final = (
    "application", "application_fee_percent", "billing_cycle_anchor_config", "billing_thresholds",
    "cancel_at", "canceled_at", "customer_account", "days_until_due", "default_payment_method",
    "default_source", "description", "ended_at", "latest_invoice", "managed_payments",
    "next_pending_invoice_item_invoice", "on_behalf_of", "pause_collection",
    "pending_invoice_item_interval", "pending_setup_intent", "pending_update", "schedule",
    "status_details", "test_clock", "transfer_data", "trial_end", "trial_start",
)  # fmt: skip
