"""Older API versions: what they are called, the parameters they took, the objects they show.

Responses and events are rendered for versions back to 2024-04-10. Covered are the fields that
2025-03-31.basil moved, `ui_mode` before 2026-03-25.dahlia, and the parameters that
2026-09-30.endive removed. Any other version is refused, rather than answered with new objects.
https://docs.stripe.com/changelog
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from payments.sandbox.account import API_VERSION
from payments.sandbox.errors import ApiError, invalid_request, unsupported
from payments.sandbox.form_encoding import JsonObject, JsonValue
from payments.sandbox.store import Store

BASIL: Final = "2025-03-31"
DAHLIA: Final = "2026-03-25"
ENDIVE: Final = "2026-09-30"
_UNNAMED_RELEASES: Final = ("2024-04-10", "2024-06-20")
_NAMED_RELEASES: Final = {  # the first and the last date of each release's versions
    "acacia": ("2024-09-30", "2025-02-24"),
    "basil": (BASIL, "2025-08-27"),
    "clover": ("2025-09-30", "2026-02-25"),
    "dahlia": (DAHLIA, "2026-09-29"),
    "endive": (ENDIVE, API_VERSION[:10]),
}
_VERSION: Final = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\.([a-z]+))?")

# Parameters of older versions that the sandbox still reads, with the version that removed them:
# the official command line client sends them, and no version, in its fixtures.
_REMOVED_PARAMS: Final[Mapping[tuple[str, str], Mapping[str, str]]] = {
    ("POST", "/v1/checkout/sessions"): {"payment_method_types[]": ENDIVE, "ui_mode": DAHLIA},
    ("POST", "/v1/payment_intents"): {"payment_method_types[]": ENDIVE},
    ("POST", "/v1/setup_intents"): {"payment_method_types[]": ENDIVE},
    ("POST", "/v1/subscriptions/{}"): {"billing_cycle_anchor": ENDIVE},
    ("POST", "/v1/subscriptions/{}/resume"): {"billing_cycle_anchor": ENDIVE},
}


@dataclass(frozen=True)
class RequestVersion:
    """The version of a request; without the header it is the account's default."""

    name: str
    is_default: bool = False

    @property
    def is_pinned(self) -> bool:
        """Whether the request names the version that the SDK's types describe."""
        return not self.is_default and self.name == API_VERSION

    def removed_params(self, method: str, template: str) -> frozenset[str]:
        """Return the leaf parameters of a route that only this and older versions take.

        A request that names no version is taken to be of a client older than the default.
        """
        removed = _REMOVED_PARAMS.get((method, template), {})
        return frozenset(
            leaf for leaf, date in removed.items() if self.is_default or self.name < date
        )


def removed_params(method: str, template: str) -> frozenset[str]:
    """Return the leaf parameters of a route that any older version takes."""
    return frozenset(_REMOVED_PARAMS.get((method, template), ()))


def request_version(header: str | None) -> RequestVersion:
    """Return the version that a `Stripe-Version` header names.

    Raises ApiError for one that does not exist or that the sandbox does not render.
    """
    if header is None:
        return RequestVersion(API_VERSION, is_default=True)
    if not is_rendered(header):
        raise unknown_version(header, "Stripe-Version")
    return RequestVersion(header)


def unknown_version(name: str, param: str) -> ApiError:
    """Return a 400: there is no such version, or the sandbox does not render it."""
    match = _VERSION.fullmatch(name)
    is_stripes = match is not None and match[2] in (None, *_NAMED_RELEASES)
    if is_stripes:
        refusal = unsupported(f"API version {name}")
        refusal.error["param"] = param
        return refusal
    return invalid_request(f"Invalid Stripe API version: {name[:40]}", param)


def is_rendered(name: str) -> bool:
    """Return whether the sandbox renders objects at a version such as `2025-09-30.clover`."""
    match = _VERSION.fullmatch(name)
    if match is None or match[2] is None:
        return name in _UNNAMED_RELEASES
    first, last = _NAMED_RELEASES.get(match[2], ("9", "0"))
    return first <= match[1] <= last


def render_event(store: Store, event: JsonObject, version: str) -> JsonObject:
    """Return the event as this API version, such as `2024-06-20`, renders it."""
    if version == API_VERSION:
        return event
    rendered = {**event, "api_version": version}
    row: JsonObject = msgspec.json.decode(msgspec.json.encode(event["data"]["object"]))
    return {**rendered, "data": {**event["data"], "object": render(store, row, version)}}


def render(store: Store, node: JsonValue, version: str) -> JsonValue:
    """Return an object, and those in it, as this API version renders them."""
    if version >= ENDIVE:
        return node
    if isinstance(node, list):
        return [render(store, each, version) for each in node]
    if not isinstance(node, dict):
        return node
    rendered = {name: render(store, each, version) for name, each in node.items()}
    if version < DAHLIA and node.get("ui_mode") == "hosted_page":
        rendered["ui_mode"] = "hosted"
    if version < BASIL and "object" in node:
        rendered |= _pre_basil_fields(store, node)
    return rendered


def _pre_basil_fields(store: Store, row: JsonObject) -> JsonObject:
    """Return the fields that basil moved, in their former places."""
    if row["object"] == "subscription" and "items" in row:
        item = row["items"]["data"][0]
        names = ("current_period_end", "current_period_start", "plan", "quantity")
        return {name: item[name] for name in names}
    if row["object"] == "invoice" and "parent" in row:
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
