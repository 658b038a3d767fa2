"""Expansion: in a response, ids replaced by their objects, and what is hidden by default shown.

What can be expanded follows from the SDK's types. Expansion works on copies: stored objects refer
to each other by id only. https://docs.stripe.com/expand
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Final

from payments.sandbox.catalog import plan_of
from payments.sandbox.errors import ApiError, invalid_request
from payments.sandbox.form_encoding import JsonObject, JsonValue
from payments.sandbox.legacy_sources import source_object, sources_of
from payments.sandbox.listing import list_object
from payments.sandbox.store import Store

MAX_EXPAND_DEPTH: Final = 4
EMBEDDED_LIST_LIMIT: Final = 10

# Lists that an object shows only when asked to: (object, field) -> (listed, linking field, url)
EMBEDDED_LISTS: Final = {
    ("charge", "refunds"): ("refund", "charge", "/v1/charges/{}/refunds"),
    ("checkout.session", "line_items"): ("item", "session", "/v1/checkout/sessions/{}/line_items"),
    ("customer", "subscriptions"): ("subscription", "customer", "/v1/customers/{}/subscriptions"),
    ("customer", "tax_ids"): ("tax_id", "customer", "/v1/customers/{}/tax_ids"),
    ("payment_link", "line_items"): ("item", "payment_link", "/v1/payment_links/{}/line_items"),
    ("invoice", "payments"): ("invoice_payment", "invoice", "/v1/invoice_payments?invoice={}"),
}


def _currency_options(_store: Store, price: JsonObject) -> JsonObject:
    names = ("custom_unit_amount", "tax_behavior", "unit_amount", "unit_amount_decimal")
    return {price["currency"]: {name: price[name] for name in names}}


def _tiers(store: Store, price: JsonObject) -> JsonValue:
    return store.facts.get(price["id"], {}).get("tiers")


def _breakdown(_store: Store, _totals: JsonObject) -> JsonObject:
    return {"discounts": [], "taxes": []}


def _none(_store: Store, _node: JsonObject) -> list[JsonValue]:
    return []


# Other properties that an object, or a part of one, shows only when asked to.
_HIDDEN_PROPERTIES: Final[dict[tuple[str, str], Callable[[Store, JsonObject], JsonValue]]] = {
    ("", "breakdown"): _breakdown,  # of a session's totals
    ("customer", "sources"): sources_of,
    ("item", "discounts"): _none,
    ("item", "taxes"): _none,
    ("price", "currency_options"): _currency_options,
    ("price", "tiers"): _tiers,
}


def _plan(store: Store, price_id: str) -> JsonValue:
    price = store.get("price", price_id)
    return price_id if price is None else plan_of(price)


# Properties whose ids are also those of objects of another kind
_SECOND_KINDS: Final[dict[str, Callable[[Store, str], JsonValue]]] = {
    "default_source": source_object,
    "plan": _plan,
}


def check_paths(method: str, path: str, paths: list[JsonValue]) -> None:
    """Refuse what no response to this request could have expanded.

    Raises ApiError for a property that cannot be.
    """
    if not paths:
        return
    contract, expansions = _import("contract"), _import("contract_expansion")
    endpoint = contract.find_endpoint(method, path)

    def can_expand(*names: str) -> bool:
        if endpoint is None:
            return True  # not in the SDK: the object itself shows what it has
        return bool(expansions.can_expand(endpoint.returns, endpoint.module, names))

    for property_path in paths:
        if not isinstance(property_path, str):
            raise invalid_request("Invalid string", "expand")
        steps = property_path.split(".")
        if len(steps) > MAX_EXPAND_DEPTH:  # `data` counts, in a list and on the way
            message = f"You cannot expand more than {MAX_EXPAND_DEPTH} levels of a property."
            raise invalid_request(message, "expand", "property_expansion_max_depth")
        if not can_expand(*steps):
            raise _cannot_be_expanded(property_path, hint=can_expand("data", *steps))


def expand(store: Store, payload: JsonObject, paths: list[JsonValue]) -> JsonObject:
    """Return a copy of a response with these properties expanded, which `check_paths` accepted.

    Raises ApiError for a property of an object that was deleted.
    """
    for property_path in paths:
        payload = _expanded(store, payload, property_path.split("."), property_path)
    return payload


def _import(name: str) -> ModuleType:
    """Import a module late: both read the whole SDK."""
    return import_module(f"payments.sandbox.{name}")


def _cannot_be_expanded(property_path: str, *, hint: bool = False) -> ApiError:
    message = f"This property cannot be expanded ({property_path})."
    if hint:
        message += f" You may want to try expanding 'data.{property_path}' instead."
    return invalid_request(message, "expand")


def _expanded(store: Store, node: JsonObject, steps: list[str], property_path: str) -> JsonObject:
    name, rest = steps[0], steps[1:]
    if node.get("deleted"):
        raise _cannot_be_expanded(property_path)
    value = node[name] if name in node else _hidden(store, node, name)
    if name in _SECOND_KINDS and isinstance(value, str):
        value = _SECOND_KINDS[name](store, value)
    if value is None and name not in node:
        return node  # another kind of object in this place has it
    return {**node, name: _expanded_value(store, value, rest, property_path)}


def _expanded_value(
    store: Store, value: JsonValue, rest: list[str], property_path: str
) -> JsonValue:
    if isinstance(value, list):
        return [_expanded_value(store, each, rest, property_path) for each in value]
    if isinstance(value, str):
        value = store.objects.get(value, value)
    if isinstance(value, dict) and rest:
        return _expanded(store, value, rest, property_path)
    return value


def _hidden(store: Store, node: JsonObject, name: str) -> JsonValue:
    """Return a property that an object shows only when asked to, or None when there is none."""
    key = (node.get("object", ""), name)
    if key in _HIDDEN_PROPERTIES:
        return _HIDDEN_PROPERTIES[key](store, node)
    entry = EMBEDDED_LISTS.get(key)
    if entry is None:
        return None
    kind, field, url = entry
    rows = list(store.existing(store.linked(kind, field, node["id"])))
    if kind != "item":
        rows.reverse()
    has_more = len(rows) > EMBEDDED_LIST_LIMIT
    return list_object(rows[:EMBEDDED_LIST_LIMIT], url.format(node["id"]), has_more=has_more)
