"""Subscriptions: a price, charged again each period until someone, or the bank, says stop.

Periods are counted from the anchor, so a subscription begun on the 31st renews on the last day of
shorter months and returns to the 31st. Here is what a subscription is, and how it ends; it is begun
in `subscribing`, carried on in `renewals`, paid for in `collecting`, changed in `amending` and
`pausing`.
"""

from datetime import timedelta
from typing import Final

from payments.sandbox import catalog, listing, payment_methods, periods
from payments.sandbox import params as read
from payments.sandbox.account import Account
from payments.sandbox.errors import invalid, missing, not_found
from payments.sandbox.routes import Call, retrieved, route
from payments.sandbox.wire import Obj

ENDED: Final = ("canceled", "incomplete_expired")
WARNED_BEFORE: Final = timedelta(days=3)  # how long before a trial's end it is told of


def _status(row: Obj, wanted: object) -> bool:
    if wanted == "all":
        return True
    return bool(row["status"] in ENDED if wanted == "ended" else row["status"] == wanted)


_FILTERS: Final = {"customer": listing.same("customer"), "status": _status}

retrieved("subscription", "/v1/subscriptions")


@route("GET", "/v1/subscriptions")
def list_all(call: Call) -> Obj:
    filters, params = dict(_FILTERS), dict(call.params)
    if "status" not in params:
        params["status"] = "running"
        filters["status"] = lambda row, wanted: row["status"] not in ENDED  # noqa: ARG005 - Stripe's default
    return listing.page(call.account.store, "subscription", call.path, params, filters)


def make(account: Account, customer: Obj, price: Obj, quantity: int) -> Obj:
    """A subscription whose first period begins now; not yet paid, not yet told of."""
    now = account.clock.stamp()
    end = periods.nth(now, price["recurring"], 1)
    subscription = account.make("sub", "subscription", _blank(customer, price, now))
    item: Obj = {
        "id": account.store.mint("si", 14),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": now,
        "current_period_end": end,
        "current_period_start": now,
        "discounts": [],
        "metadata": {},
        **priced(price, quantity),
        "subscription": subscription["id"],
        "tax_rates": [],
    }
    url = f"/v1/subscription_items?subscription={subscription['id']}"
    subscription["items"] = listing.of([item], url)
    account.store.private(subscription["id"])["cycle"] = 0
    account.store.link("subscription", "customer", customer["id"], subscription["id"])
    schedule(account, subscription)
    return subscription


def priced(price: Obj, quantity: int) -> Obj:
    """What an item says of its price."""
    return {"plan": catalog.plan_of(price), "price": dict(price), "quantity": quantity}


def item_of(subscription: Obj) -> Obj:
    """What is subscribed to; here it is one thing."""
    item: Obj = subscription["items"]["data"][0]
    return item


def with_item(subscription: Obj, /, **fields: object) -> Obj:
    """The `items` of a subscription with its item changed."""
    return {**subscription["items"], "data": [{**item_of(subscription), **fields}]}


def count_anew(account: Account, subscription: Obj, *, cycle: int) -> None:
    """Count periods anew from the anchor: the present one is number 0, or -1 when it is a trial."""
    private = account.store.private(subscription["id"])
    private["cycle"] = cycle
    private["period_before"] = item_of(subscription)["current_period_start"]


def schedule(account: Account, subscription: Obj) -> None:
    """Put what the present period leads to on the agenda: its announcement and its end."""
    item = item_of(subscription)
    start, end = item["current_period_start"], item["current_period_end"]
    early = end - account.billing.upcoming_days * 86400
    account.at(max(start, early), "announce_renewal", subscription["id"])
    if subscription["trial_end"] == end:
        warned = end - int(WARNED_BEFORE.total_seconds())
        account.at(max(account.clock.stamp(), warned), "warn_of_trial_end", subscription["id"])
    account.at(end, "renew", subscription["id"])


def end(account: Account, subscription: Obj, *, reason: str) -> None:
    """Stop for good; open invoices are no longer collected by themselves."""
    now = account.clock.stamp()
    account.change(
        subscription,
        status="canceled",
        canceled_at=subscription["canceled_at"] or now,
        ended_at=now,
        cancellation_details={**subscription["cancellation_details"], "reason": reason},
    )
    rest(account, subscription)
    account.emit("customer.subscription.deleted", subscription)


def rest(account: Account, subscription: Obj) -> None:
    """Collect no invoice of this subscription by itself any more."""
    ids = account.store.linked("invoice", "subscription", subscription["id"])
    for invoice in account.store.living(ids):
        if invoice["status"] in ("draft", "open") and invoice["auto_advance"]:
            fields = {"auto_advance": False, "next_payment_attempt": None}
            fields["automatically_finalizes_at"] = None
            account.update(invoice, "invoice.updated", **fields)


def pause(account: Account, subscription: Obj, kind: str) -> None:
    """No more periods and no more invoices until someone resumes it."""
    details = {
        "paused": {
            "subscription": {"type": kind},
            "transitioned_at": account.clock.stamp(),
            "type": "subscription",
        }
    }
    account.change(subscription, status="paused", status_details=details)
    account.emit("customer.subscription.paused", subscription)


def price_in(account: Account, item: Obj, param: str) -> Obj:
    """The recurring price that an item of a request names or brings."""
    if "price_data" in item:
        price = catalog.make_price(account, item["price_data"], param=f"{param}[price_data]")
    else:
        price_id = read.required(item, "price")
        found = account.store.find("price", price_id)
        if found is None:
            raise not_found("price", price_id, f"{param}[price]")
        price = found
    if price["recurring"] is None:
        message = "The price specified is set to `type=one_time` but this field only accepts "
        raise invalid(message + "prices with `type=recurring`.", f"{param}[price]")
    return price


def only_item(params: Obj) -> Obj:
    """The one item of a request."""
    given = read.rows(params, "items")
    if len(given) != 1:
        raise missing("items") if not given else invalid("The sandbox sells one thing.", "items")
    item: Obj = given[0]
    return item


def method_in(account: Account, customer_id: str, params: Obj) -> str | None:
    """The `default_payment_method` a request names; it must be the customer's own."""
    wanted = read.text(params, "default_payment_method")
    if wanted is None:
        return None
    method = payment_methods.resolve(account, wanted, param="default_payment_method")
    if method["customer"] != customer_id:
        message = "The customer does not have a payment method with the ID " + method["id"]
        raise invalid(message, "default_payment_method", "resource_missing")
    return str(method["id"])


def feedback(subscription: Obj, params: Obj) -> Obj:
    """What `cancellation_details` become by what the donor said."""
    given = read.table(params, "cancellation_details")
    said = {name: read.text(given, name) for name in ("comment", "feedback") if name in given}
    return {**subscription["cancellation_details"], **said}


def _blank(customer: Obj, price: Obj, now: int) -> Obj:
    return {
        **dict.fromkeys(_ABSENT),
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


_ABSENT: Final = (
    "application", "application_fee_percent", "billing_cycle_anchor_config", "billing_thresholds",
    "cancel_at", "canceled_at", "customer_account", "days_until_due", "default_payment_method",
    "default_source", "description", "ended_at", "latest_invoice", "managed_payments",
    "next_pending_invoice_item_invoice", "on_behalf_of", "pause_collection",
    "pending_invoice_item_interval", "pending_setup_intent", "pending_update", "schedule",
    "status_details", "test_clock", "transfer_data", "trial_end", "trial_start",
)  # fmt: skip
