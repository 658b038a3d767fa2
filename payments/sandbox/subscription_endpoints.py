"""Creating and cancelling subscriptions through the API; Checkout creates them in its own way."""

from payments.sandbox import (
    customers,
    invoice_collection,
    invoices,
    legacy_sources,
    payment_intents,
    pricing,
    renewals,
    subscriptions,
)
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.cards import Decline
from payments.sandbox.declared_params import within
from payments.sandbox.errors import (
    ApiError,
    card_error,
    invalid_request,
    missing_param,
    not_found,
    unsupported,
)
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, route


@route(
    "POST",
    "/v1/subscriptions",
    reads=(
        *within("items[]", names=subscriptions.ITEM_PARAMS), "collection_method", "customer",
        "default_payment_method", "default_source", "description", "metadata", "payment_behavior",
        "trial_end", "trial_period_days", "trial_settings.end_behavior.missing_payment_method",
    ),
)  # fmt: skip
def create(call: Call) -> JsonObject:
    """Create a subscription, and charge its first period unless it begins with a trial."""
    account, params = call.account, call.params
    read.supported(params, "collection_method", ("charge_automatically",))
    customer = customers.customer_in(account, params)
    if customer is None:
        raise missing_param("customer")
    sold = subscriptions.sold_in(account, params)
    method_id = subscriptions.default_payment_method_in(
        account, customer["id"], params, sold[0][0]["currency"]
    )
    behavior = read.supported(params, "payment_behavior", subscriptions.PAYMENT_BEHAVIORS)
    trial_end = _trial_end(account, params)
    source_id = legacy_sources.default_source_in(account, customer["id"], params, None)
    if trial_end is None and behavior != "default_incomplete":
        _check_chargeable(account, customer["id"], method_id or source_id, sold)
    subscription = subscriptions.make(account, customer, sold)
    subscription |= {
        "default_payment_method": method_id,
        "default_source": source_id,
        "description": read.text(params, "description"),
        "metadata": read.metadata(params),
        "trial_settings": _trial_settings(params),
    }
    if trial_end is not None:
        _start_trial(account, subscription, trial_end)
        return subscription
    decline = start(account, subscription, behavior)
    account.emit("customer.subscription.created", subscription)
    if decline is not None and behavior == "error_if_incomplete":
        raise payment_error(account, account.store.objects[subscription["latest_invoice"]], decline)
    return subscription


@route(
    "DELETE",
    "/v1/subscriptions/{}",
    reads=(*subscriptions.CANCELLATION_DETAILS, "invoice_now", "prorate"),
)
def cancel(call: Call) -> JsonObject:
    """Cancel a subscription at once."""
    subscription = call.get_object("subscription")
    if subscription["status"] in subscriptions.ENDED_STATUSES:
        raise not_found("subscription", subscription["id"])
    for name in ("invoice_now", "prorate"):
        if read.flag(call.params, name):
            raise unsupported(name)
    subscription["cancellation_details"] = subscriptions.cancellation_details_in(
        subscription, call.params
    )
    subscriptions.end(call.account, subscription, reason="cancellation_requested")
    return subscription


@when_due("end_customer_subscriptions")
def end_customer_subscriptions(account: StripeAccount, customer_id: str) -> None:
    """End the subscriptions of a customer who is deleted."""
    for subscription_id in account.store.linked("subscription", "customer", customer_id):
        subscription = account.store.objects[subscription_id]
        if subscription["status"] not in subscriptions.ENDED_STATUSES:
            subscriptions.end(account, subscription, reason="cancellation_requested")


def payment_error(account: StripeAccount, invoice: JsonObject, decline: Decline) -> ApiError:
    """Return the error of a request whose invoice was not paid."""
    if decline is invoices.NO_PAYMENT_METHOD:
        return invalid_request(f"{decline.message} Add one to the customer or the invoice.")
    intent = invoices.intent_of(account, invoice)
    if decline is invoices.ACTION_REQUIRED:
        error = {"code": decline.code, "message": decline.message, "payment_intent": dict(intent)}
        return card_error(error)
    return payment_intents.payment_error(intent)


def start(account: StripeAccount, subscription: JsonObject, behavior: str | None) -> Decline | None:
    """Invoice and charge the first period."""
    invoice = invoices.draft(account, subscription, "subscription_create")
    subscription["latest_invoice"] = invoice["id"]
    invoices.finalize(account, invoice)
    if invoice["status"] == "paid":
        subscription["status"] = "active"
        return None
    invoices.create_intent(account, invoice)
    account.schedule_in(renewals.INCOMPLETE_PERIOD, "expire_incomplete", subscription["id"])
    if behavior == "default_incomplete":
        return None
    decline = invoices.collect(account, invoice, invoices.payment_method_for(account, invoice))
    if decline is None:
        subscription["status"] = "active"
    else:
        invoice_collection.record_first_payment_failure(account, invoice, decline)
    return decline


def _start_trial(account: StripeAccount, subscription: JsonObject, trial_end: int) -> None:
    """Start a trial, with a paid invoice over nothing."""
    now = account.clock.timestamp()
    items = subscriptions.items_with(subscription, current_period_end=trial_end)
    account.set_fields(
        subscription,
        billing_cycle_anchor=trial_end,
        items=items,
        status="trialing",
        trial_end=trial_end,
        trial_start=now,
    )
    subscriptions.reset_cycle_number(account, subscription, cycle_number=-1)
    invoice = invoices.draft(account, subscription, "subscription_create")
    subscription["latest_invoice"] = invoice["id"]
    invoices.finalize(account, invoice)
    account.emit("customer.subscription.created", subscription)
    subscriptions.schedule_period_tasks(account, subscription)
    renewals.emit_trial_will_end(account, subscription["id"])


def _trial_end(account: StripeAccount, params: JsonObject) -> int | None:
    days = read.integer(params, "trial_period_days")
    if days is not None and "trial_end" in params:
        raise invalid_request("You may only specify one of trial_end and trial_period_days.")
    if days is not None:
        if not 0 < days <= 730:
            raise invalid_request(
                "trial_period_days must be between 1 and 730.", "trial_period_days"
            )
        return account.clock.timestamp() + days * 86400
    if params.get("trial_end") in (None, "", "now"):
        return None
    now = account.clock.timestamp()
    trial_end = read.future_timestamp(params, "trial_end", now)
    if trial_end > now + subscriptions.MAX_TRIAL_SECONDS:
        message = "Invalid timestamp: can be no more than two years ahead."
        raise invalid_request(message, "trial_end")
    return trial_end


def _check_chargeable(
    account: StripeAccount,
    customer_id: str,
    method_id: str | None,
    sold: list[tuple[JsonObject, int]],
) -> None:
    """Refuse a subscription that would be charged at once and has nothing to charge."""
    currency = sold[0][0]["currency"]
    is_free = not any(pricing.amount(account, price, quantity) for price, quantity in sold)
    if is_free or invoices.default_payment_method(account, customer_id, method_id, currency):
        return
    message = "This customer has no attached payment source or default payment method. Please "
    raise invalid_request(
        message + "consider adding a default payment method.", None, "resource_missing"
    )


def _trial_settings(params: JsonObject) -> JsonObject:
    behavior = read.nested_object(read.nested_object(params, "trial_settings"), "end_behavior")
    allowed = ("cancel", "create_invoice", "pause")
    value = read.one_of(behavior, "missing_payment_method", allowed, "create_invoice")
    return {"end_behavior": {"missing_payment_method": value}}
