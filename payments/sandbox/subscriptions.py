"""Subscriptions: a recurring price, charged each period until the subscription ends.

Periods are counted from the anchor: a subscription begun on the 31st renews on the last day of
shorter months and returns to the 31st. All items of a subscription have one interval. See also
subscription_endpoints, subscription_updates, subscription_pauses, renewals and invoice_collection.
"""

from datetime import timedelta
from typing import Final

from payments.sandbox import billing_periods, catalog, listing, payment_methods
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.declared_params import within
from payments.sandbox.errors import invalid_request, missing_param
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_retrieve_route, route

ITEM_PARAMS: Final = (
    "price", "quantity", *within("price_data", names=catalog.PRICE_DATA)
)  # fmt: skip
CANCELLATION_DETAILS: Final = ("cancellation_details.comment", "cancellation_details.feedback")
PAYMENT_BEHAVIORS: Final = ("allow_incomplete", "default_incomplete", "error_if_incomplete")
MAX_TRIAL_SECONDS: Final = 2 * 366 * 86400
MAX_ITEMS: Final = 20
ENDED_STATUSES: Final = ("canceled", "incomplete_expired")
TRIAL_END_NOTICE: Final = timedelta(days=3)  # how long before a trial's end its event is emitted


def _status_matches(row: JsonObject, status: object) -> bool:
    if status == "all":
        return True
    return bool(row["status"] in ENDED_STATUSES if status == "ended" else row["status"] == status)


_FILTERS: Final[listing.Filters] = {
    "customer": listing.equals("customer"),
    "status": _status_matches,
}

add_retrieve_route("subscription", "/v1/subscriptions")


@route("GET", "/v1/subscriptions", reads=listing.reads(_FILTERS))
def list_all(call: Call) -> JsonObject:
    """List subscriptions; without `status`, those that have not ended."""
    filters, params = dict(_FILTERS), call.params
    if "status" not in params:
        params = params | {"status": "running"}
        filters["status"] = lambda row, status: row["status"] not in ENDED_STATUSES  # noqa: ARG005 - Stripe's default
    return listing.page(call.account.store, "subscription", call.path, params, filters)


def make(
    account: StripeAccount, customer: JsonObject, sold: list[tuple[JsonObject, int]]
) -> JsonObject:
    """Create an incomplete subscription whose first period begins now, emitting nothing.

    `sold` are prices and their quantities; the first price gives currency and interval.
    """
    now, (price, _) = account.clock.timestamp(), sold[0]
    end = billing_periods.period_start(now, price["recurring"], 1)
    subscription = account.create_object(
        "sub", "subscription", _default_fields(customer, price, now)
    )
    items = [new_item(account, subscription, now, end, each, count) for each, count in sold]
    url = f"/v1/subscription_items?subscription={subscription['id']}"
    subscription["items"] = listing.list_object(items, url)
    account.store.private(subscription["id"])["cycle_number"] = 0
    account.store.link("subscription", "customer", customer["id"], subscription["id"])
    schedule_period_tasks(account, subscription)
    return subscription


def new_item(
    account: StripeAccount,
    subscription: JsonObject,
    start: int,
    end: int,
    price: JsonObject,
    quantity: int,
) -> JsonObject:
    """Return a new item of a subscription, for a period between two Unix times."""
    return {
        "id": account.store.new_id("si", 14),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": account.clock.timestamp(),
        "current_period_end": end,
        "current_period_start": start,
        "discounts": [],
        "metadata": {},
        **price_fields(price, quantity),
        "subscription": subscription["id"],
        "tax_rates": [],
    }


def price_fields(price: JsonObject, quantity: int) -> JsonObject:
    """Return the item fields that hold a price and a quantity."""
    return {"plan": catalog.plan_of(price), "price": dict(price), "quantity": quantity}


def item_of(subscription: JsonObject) -> JsonObject:
    """Return a subscription's first item; the others have the same period."""
    item: JsonObject = subscription["items"]["data"][0]
    return item


def items_with(subscription: JsonObject, /, **fields: object) -> JsonObject:
    """Return a subscription's `items` with fields of all of them changed."""
    items = subscription["items"]
    return {**items, "data": [{**item, **fields} for item in items["data"]]}


def reset_cycle_number(
    account: StripeAccount, subscription: JsonObject, *, cycle_number: int
) -> None:
    """Number the present period: 0 when it begins at the anchor, -1 when it is a trial."""
    private = account.store.private(subscription["id"])
    private["cycle_number"] = cycle_number
    private["previous_period_start"] = item_of(subscription)["current_period_start"]


def schedule_period_tasks(account: StripeAccount, subscription: JsonObject) -> None:
    """Schedule the renewal, the notice before it, and the notice of a trial's end."""
    item = item_of(subscription)
    start, end = item["current_period_start"], item["current_period_end"]
    notice_at = end - account.billing.upcoming_days * 86400
    account.schedule_at(max(start, notice_at), "emit_upcoming_invoice", subscription["id"])
    if subscription["trial_end"] == end:
        trial_notice_at = end - int(TRIAL_END_NOTICE.total_seconds())
        due_at = max(account.clock.timestamp(), trial_notice_at)
        account.schedule_at(due_at, "emit_trial_will_end", subscription["id"])
    account.schedule_at(end, "renew_subscription", subscription["id"])


def end(account: StripeAccount, subscription: JsonObject, *, reason: str) -> None:
    """Cancel a subscription at once; its open invoices are no longer collected automatically."""
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
    """Stop automatic collection of a subscription's unpaid invoices."""
    ids = account.store.linked("invoice", "subscription", subscription["id"])
    for invoice in account.store.existing(ids):
        if invoice["status"] in ("draft", "open") and invoice["auto_advance"]:
            fields = {
                "auto_advance": False,
                "automatically_finalizes_at": None,
                "next_payment_attempt": None,
            }
            account.update_and_emit(invoice, "invoice.updated", **fields)


def pause(account: StripeAccount, subscription: JsonObject, reason: str) -> None:
    """Pause a subscription: it has no periods and no invoices until it is resumed."""
    details = {
        "paused": {
            "subscription": {"type": reason},
            "transitioned_at": account.clock.timestamp(),
            "type": "subscription",
        }
    }
    account.set_fields(subscription, status="paused", status_details=details)
    account.emit("customer.subscription.paused", subscription)


def price_in(account: StripeAccount, item: JsonObject, param: str) -> JsonObject:
    """Return the recurring price that an item of a request names or defines.

    Raises ApiError for a one-time price.
    """
    price = catalog.price_in(account, item, param)
    if price["recurring"] is None:
        message = "The price specified is set to `type=one_time` but this field only accepts "
        raise invalid_request(message + "prices with `type=recurring`.", f"{param}[price]")
    return price


def sold_in(account: StripeAccount, params: JsonObject) -> list[tuple[JsonObject, int]]:
    """Return the prices and quantities that a request subscribes to."""
    items = read.array(params, "items")
    if not items:
        raise missing_param("items")
    if len(items) > MAX_ITEMS:
        raise invalid_request(f"A subscription has at most {MAX_ITEMS} items.", "items")
    sold = []
    for index, item in enumerate(items):
        quantity = quantity_in(item, f"items[{index}]")
        price = price_in(account, item, f"items[{index}]")
        sold.append((price, 1 if quantity is None else quantity))
    check_sold_together([price for price, _ in sold])
    return sold


def quantity_in(params: JsonObject, param: str) -> int | None:
    """Return the quantity of an item, which may be 0; None when it is absent."""
    quantity = read.integer(params, "quantity")
    if quantity is not None and not 0 <= quantity <= catalog.MAX_QUANTITY:
        message = f"The quantity must be between 0 and {catalog.MAX_QUANTITY}."
        raise invalid_request(message, f"{param}[quantity]", "parameter_invalid_integer")
    return quantity


def check_sold_together(prices: list[JsonObject]) -> None:
    """Refuse prices that one subscription cannot have. Raises ApiError."""
    ids = [price["id"] for price in prices]
    if len(set(ids)) < len(ids):
        message = "Cannot add multiple subscription items with the same plan: "
        raise invalid_request(message + max(ids, key=ids.count), "items")
    if len({price["currency"] for price in prices}) > 1:
        raise invalid_request("All prices on a subscription must have one currency.", "items")
    intervals = {(p["recurring"]["interval"], p["recurring"]["interval_count"]) for p in prices}
    if len(intervals) > 1:
        message = "The sandbox does not do items with different intervals yet."
        raise invalid_request(message, "items", "sandbox_unsupported")


def default_payment_method_in(
    account: StripeAccount, customer_id: str, params: JsonObject, currency: str
) -> str | None:
    """Return the id of the requested default payment method.

    Raises ApiError when it is not the customer's own or cannot be charged in the currency.
    """
    method = payment_methods.of_customer_in(
        account, customer_id, params, currency=currency, param="default_payment_method"
    )
    return str(method["id"]) if method else None


def cancellation_details_in(subscription: JsonObject, params: JsonObject) -> JsonObject:
    """Return the `cancellation_details` with the request's comment and feedback."""
    details = read.nested_object(params, "cancellation_details")
    changes = {
        name: read.text(details, name) for name in ("comment", "feedback") if name in details
    }
    return {**subscription["cancellation_details"], **changes}


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
