"""Cards saved before there were payment methods: `card_…` and `src_…`.

They are charged as payment methods of the same id; what is charged without a payment method falls
back to the `default_source` of the subscription or the customer. Only cards are done.
https://docs.stripe.com/payments/payment-methods/transitioning
"""

from typing import Final

from payments.sandbox import cards, listing, payment_methods
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.declared_params import PAGE
from payments.sandbox.errors import not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, route
from payments.sandbox.store import Store

PREFIXES: Final = ("card", "src")
_BRANDS: Final = {"visa": "Visa", "mastercard": "MasterCard", "amex": "American Express"}


def add_card(
    account: StripeAccount, customer_id: str, token: str, prefix: str = "card"
) -> JsonObject:
    """Save a card on a customer as a legacy source; the first one is the customer's default.

    Returns its payment method. Raises ApiError for an unknown customer or token.
    """
    customer = account.store.get("customer", customer_id)
    if customer is None:
        raise not_found("customer", customer_id, "customer")
    card = cards.card_by_token(token, "tok_")
    if card is None:
        raise not_found("token", token, "source")
    if prefix not in PREFIXES:
        raise ValueError(f"prefix: one of {', '.join(PREFIXES)}")
    method = payment_methods.make(account, card, prefix=prefix)
    method["customer"] = customer_id
    account.store.link("payment_method", "customer", customer_id, method["id"])
    account.emit("customer.source.created", source_object(account.store, method["id"]))
    if customer["default_source"] is None:
        account.update_and_emit(customer, "customer.updated", default_source=method["id"])
    return method


def is_source(object_id: str | None) -> bool:
    """Return whether an id is that of a legacy source."""
    return (object_id or "").startswith(tuple(f"{prefix}_" for prefix in PREFIXES))


def source_object(store: Store, source_id: str) -> JsonObject:
    """Return a legacy source as its own object, a `card` or a `source`."""
    method = store.objects[source_id]
    card = method["card"]
    names = ("country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
    fields = {
        **{name: card[name] for name in names},
        "brand": _BRANDS.get(card["brand"], card["brand"].title()),
    }
    if source_id.startswith("card_"):
        return {
            "id": source_id,
            "object": "card",
            **dict.fromkeys(_CARD_NULL_FIELDS),
            **fields,
            "customer": method["customer"],
            "cvc_check": "pass",
            "metadata": method["metadata"],
        }
    return {
        "id": source_id,
        "object": "source",
        "amount": None,
        "card": {**fields, "three_d_secure": "optional", "tokenization_method": None},
        "client_secret": f"src_client_secret_{source_id[4:]}",
        "created": method["created"],
        "currency": None,
        "customer": method["customer"],
        "flow": "none",
        "livemode": False,
        "metadata": method["metadata"],
        "owner": None,
        "statement_descriptor": None,
        "status": "chargeable",
        "type": "card",
        "usage": "reusable",
    }


def charged_source(account: StripeAccount, method: JsonObject) -> JsonObject | None:
    """Return what a charge of this payment method has as its `source`."""
    return source_object(account.store, method["id"]) if is_source(method["id"]) else None


def sources_of(store: Store, customer: JsonObject) -> JsonObject:
    """Return the list of a customer's legacy sources, newest first."""
    ids = store.linked("payment_method", "customer", customer["id"])
    rows = [row for row in store.existing(ids) if row["customer"] == customer["id"]]
    sources = [source_object(store, row["id"]) for row in rows if is_source(row["id"])]
    return listing.list_object(sources[::-1], f"/v1/customers/{customer['id']}/sources")


def default_source_in(
    account: StripeAccount, customer_id: str, params: JsonObject, before: str | None
) -> str | None:
    """Return the `default_source` that a request sets, or the present one when it sets none.

    Raises ApiError when it is not the customer's own.
    """
    if "default_source" not in params:
        return before
    source_id = read.text(params, "default_source")
    if source_id is None:
        return None
    method = account.store.get("payment_method", source_id) if is_source(source_id) else None
    if method is None or method["customer"] != customer_id:
        raise not_found("source", source_id, "default_source")
    return source_id


@route("POST", "/v1/customers/{}/sources", reads=("source",))
def create(call: Call) -> JsonObject:
    """Save a card token such as `tok_visa` on a customer."""
    customer, token = call.get_object("customer"), read.required(call.params, "source")
    method = add_card(call.account, customer["id"], token)
    return source_object(call.account.store, method["id"])


@route("GET", "/v1/customers/{}/sources", reads=(*PAGE, "object"))
def list_of_customer(call: Call) -> JsonObject:
    """List a customer's legacy sources; `object` may be `card` or `source`."""
    listed = sources_of(call.account.store, call.get_object("customer"))
    wanted = read.text(call.params, "object")
    data = [row for row in listed["data"] if wanted in (None, row["object"])]
    return listing.page_of_rows(data, listed["url"], call.params)


@route("GET", "/v1/customers/{}/sources/{}")
def retrieve(call: Call) -> JsonObject:
    """Return one of a customer's legacy sources."""
    return source_object(call.account.store, _own(call)["id"])


@route("DELETE", "/v1/customers/{}/sources/{}")
def delete(call: Call) -> JsonObject:
    """Delete a legacy source; it is no longer anybody's default."""
    account, method, customer = call.account, _own(call), call.get_object("customer")
    shown = source_object(account.store, method["id"])
    method["customer"] = None
    account.store.private(method["id"])["detached"] = True
    account.emit("customer.source.deleted", shown)
    if customer["default_source"] == method["id"]:
        rest = sources_of(account.store, customer)["data"]
        default_id = rest[0]["id"] if rest else None
        account.update_and_emit(customer, "customer.updated", default_source=default_id)
    return {"id": method["id"], "object": shown["object"], "deleted": True}


def _own(call: Call) -> JsonObject:
    source_id = call.ids[1]
    method = call.account.store.get("payment_method", source_id) if is_source(source_id) else None
    if method is None or method["customer"] != call.get_object("customer")["id"]:
        raise not_found("source", source_id)
    return method


_CARD_NULL_FIELDS: Final = (
    "address_city", "address_country", "address_line1", "address_line1_check", "address_line2",
    "address_state", "address_zip", "address_zip_check", "dynamic_last4", "name",
    "tokenization_method",
)  # fmt: skip
