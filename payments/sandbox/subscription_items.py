"""Subscription items, read one by one; they are changed through their subscription."""

from collections.abc import Iterator

from payments.sandbox import listing
from payments.sandbox import request_params as read
from payments.sandbox.declared_params import PAGE
from payments.sandbox.errors import not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, route
from payments.sandbox.store import Store


@route("GET", "/v1/subscription_items", reads=(*PAGE, "subscription"))
def list_items(call: Call) -> JsonObject:
    """List the items of a subscription."""
    subscription_id = read.required(call.params, "subscription")
    subscription = call.account.store.get("subscription", subscription_id)
    if subscription is None:
        raise not_found("subscription", subscription_id, "subscription")
    items: JsonObject = subscription["items"]
    return listing.page_of_rows(items["data"], items["url"], call.params)


@route("GET", "/v1/subscription_items/{}")
def retrieve(call: Call) -> JsonObject:
    """Retrieve an item."""
    for item in _all_items(call.account.store):
        if item["id"] == call.id:
            return item
    raise not_found("subscription_item", call.id)


def _all_items(store: Store) -> Iterator[JsonObject]:
    for subscription in store.of_kind("subscription"):
        yield from subscription["items"]["data"]
