"""Older API versions: events as an endpoint pinned to one receives them.

Covers the fields that 2025-03-31.basil moved and that a payments service is likely to read.
https://docs.stripe.com/changelog/basil
"""

from typing import Final

import msgspec

from payments.sandbox.account import API_VERSION
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.store import Store

BASIL_VERSION: Final = "2025-03-31"


def render_event(store: Store, event: JsonObject, version: str) -> JsonObject:
    """Return the event as this API version, such as `2024-06-20`, renders it."""
    if version == API_VERSION:
        return event
    rendered = {**event, "api_version": version}
    if version >= BASIL_VERSION:
        return rendered
    row: JsonObject = msgspec.json.decode(msgspec.json.encode(event["data"]["object"]))
    return {
        **rendered,
        "data": {**event["data"], "object": {**row, **_pre_basil_fields(store, row)}},
    }


def _pre_basil_fields(store: Store, row: JsonObject) -> JsonObject:
    """Return the fields that basil moved, in their former places."""
    if row["object"] == "subscription":
        item = row["items"]["data"][0]
        names = ("current_period_end", "current_period_start", "plan", "quantity")
        return {name: item[name] for name in names}
    if row["object"] == "invoice":
        parent = row["parent"] or {}
        intent_id = _intent_of(store, row["id"])
        charge_id = (store.get("payment_intent", intent_id) or {}).get("latest_charge")
        subscription = parent.get("subscription_details", {}).get("subscription")
        return {"charge": charge_id, "paid": row["status"] == "paid", "payment_intent": intent_id,
                "subscription": subscription}  # fmt: skip
    if row["object"] in ("charge", "payment_intent"):
        intent_id = row["id"] if row["object"] == "payment_intent" else row["payment_intent"]
        return {"invoice": store.facts.get(intent_id, {}).get("invoice")}
    return {}


def _intent_of(store: Store, invoice_id: str) -> str | None:
    payment = store.objects.get(store.facts.get(invoice_id, {}).get("payment", ""))
    return str(payment["payment"]["payment_intent"]) if payment else None
