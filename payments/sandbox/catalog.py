"""Products and prices.

A price never changes its amount. Checkout and subscriptions may define a price inline
(`price_data`): that creates a price too, one that is not active.
"""

from typing import Final

from payments.sandbox import currencies, listing, pricing
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.declared_params import within
from payments.sandbox.errors import invalid_request, missing_param, not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route

MAX_IMAGES: Final = 8
MAX_QUANTITY: Final = 999_999
INTERVALS: Final = {"day": 1095, "week": 156, "month": 36, "year": 3}  # at most three years

_RECURRING: Final = ("recurring.interval", "recurring.interval_count")
_AMOUNT: Final = ("currency", "tax_behavior", "unit_amount", "unit_amount_decimal", *_RECURRING)
_PRODUCT_TEXTS: Final = ("name", "description", "statement_descriptor", "unit_label", "url")
# What an item's `price_data` may define: Checkout's also a product.
PRICE_DATA: Final = (*_AMOUNT, "product")
CHECKOUT_PRICE_DATA: Final = (
    *PRICE_DATA,
    *within("product_data", names=("description", "images[]", "metadata", "name", "unit_label")),
)

add_list_and_retrieve_routes("product", "/v1/products", {"active": listing.equals("active")})
add_list_and_retrieve_routes(
    "price",
    "/v1/prices",
    {
        "active": listing.equals("active"),
        "currency": listing.equals("currency"),
        "product": listing.equals("product"),
        "type": listing.equals("type"),
        "lookup_keys[]": lambda row, keys: row["lookup_key"] in keys,
    },
)


@route(
    "POST",
    "/v1/products",
    reads=(
        *_PRODUCT_TEXTS, "active", "id", "images[]", "metadata",
        *within("default_price_data", names=(*_AMOUNT, "metadata")),
    ),
)  # fmt: skip
def create_product(call: Call) -> JsonObject:
    """Create a product, with `default_price_data` its default price too."""
    product = make_product(call.account, call.params)
    price_data = read.nested_object(call.params, "default_price_data")
    if price_data:
        params = price_data | {"product": product["id"]}
        product["default_price"] = make_price(call.account, params)["id"]
    call.account.emit("product.created", product)
    return product


def make_product(account: StripeAccount, params: JsonObject) -> JsonObject:
    """Create a product from a product's parameters or from `product_data`."""
    requested_id = read.text(params, "id")
    if requested_id and account.store.get("product", requested_id):
        message = f"Product already exists: {requested_id}"
        raise invalid_request(message, "id", "resource_already_exists")
    product: JsonObject = {
        "id": requested_id or account.store.new_id("prod", 14),
        "object": "product",
        "created": account.clock.timestamp(),
        "livemode": False,
        "active": read.flag(params, "active", default=True),
        "default_price": None,
        "description": read.text(params, "description"),
        "images": _images(params),
        "marketing_features": [],
        "metadata": read.metadata(params),
        "name": read.required(params, "name"),
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": read.statement_descriptor(params, "statement_descriptor", 5),
        "tax_code": None,
        "type": "service",
        "unit_label": read.text(params, "unit_label"),
        "updated": account.clock.timestamp(),
        "url": read.web_address(params, "url"),
    }
    return account.store.add(product)


@route(
    "POST",
    "/v1/products/{}",
    reads=(*_PRODUCT_TEXTS, "active", "default_price", "images[]", "metadata"),
)
def update_product(call: Call) -> JsonObject:
    """Update a product."""
    product, params = call.get_object("product"), call.params
    changes: JsonObject = {"metadata": read.merge_metadata(product["metadata"], params)}
    for name in ("name", "description", "unit_label"):
        if name in params:
            changes[name] = read.text(params, name)
    if "url" in params:
        changes["url"] = read.web_address(params, "url")
    if "statement_descriptor" in params:
        changes["statement_descriptor"] = read.statement_descriptor(
            params, "statement_descriptor", 5
        )
    if "images" in params:
        changes["images"] = _images(params)
    if "active" in params:
        changes["active"] = read.flag(params, "active")
    if "default_price" in params:
        changes["default_price"] = _default_price_in(call.account, product, params)
    changes["updated"] = call.account.clock.timestamp()
    call.account.update_and_emit(product, "product.updated", **changes)
    return product


def _images(params: JsonObject) -> list[str]:
    images: list[str] = read.array(params, "images")
    if len(images) > MAX_IMAGES:
        raise invalid_request(f"A product can have at most {MAX_IMAGES} images.", "images")
    return images


def _default_price_in(
    account: StripeAccount, product: JsonObject, params: JsonObject
) -> str | None:
    price_id = read.text(params, "default_price")
    if price_id is None:
        return None
    price = account.store.get("price", price_id)
    if price is None:
        raise not_found("price", price_id, "default_price")
    if price["product"] != product["id"]:
        message = f"The price {price_id} does not belong to the product {product['id']}."
        raise invalid_request(message, "default_price")
    return price_id


@route("DELETE", "/v1/products/{}")
def delete_product(call: Call) -> JsonObject:
    """Delete a product that has no price."""
    product = call.get_object("product")
    if any(p["product"] == product["id"] for p in call.account.store.of_kind("price")):
        raise invalid_request("This product cannot be deleted because it has one or more prices.")
    call.account.emit("product.deleted", product)
    call.account.store.remove(product["id"])
    return {"id": product["id"], "object": "product", "deleted": True}


@route(
    "POST",
    "/v1/prices",
    reads=(
        *PRICE_DATA, *pricing.PARAMS, "active", "lookup_key", "metadata", "nickname",
        *within("product_data", names=(
            "active", "id", "metadata", "name", "statement_descriptor", "unit_label",
        )),
    ),
)  # fmt: skip
def create_price(call: Call) -> JsonObject:
    """Create a price."""
    lookup_key = _lookup_key_in(call.account, call.params)
    price = make_price(call.account, call.params)
    price["active"] = read.flag(call.params, "active", default=True)
    price["nickname"] = read.text(call.params, "nickname")
    price["lookup_key"] = lookup_key
    call.account.emit("price.created", price)
    return price


@route("POST", "/v1/prices/{}", reads=("active", "lookup_key", "metadata", "nickname"))
def update_price(call: Call) -> JsonObject:
    """Update a price; its amount cannot be changed."""
    price, params = call.get_object("price"), call.params
    changes: JsonObject = {"metadata": read.merge_metadata(price["metadata"], params)}
    if "nickname" in params:
        changes["nickname"] = read.text(params, "nickname")
    if "lookup_key" in params:
        changes["lookup_key"] = _lookup_key_in(call.account, params, price["id"])
    if "active" in params:
        changes["active"] = read.flag(params, "active")
    call.account.update_and_emit(price, "price.updated", **changes)
    return price


def _lookup_key_in(
    account: StripeAccount, params: JsonObject, price_id: str | None = None
) -> str | None:
    """Return the `lookup_key` of a request, which no other price than this one may have."""
    key = read.limited_text(params, "lookup_key", 200)
    for other in account.store.of_kind("price") if key else ():
        if other["lookup_key"] == key and other["id"] != price_id:
            message = f"A price (`{other['id']}`) already uses that lookup key."
            raise invalid_request(message, "lookup_key")
    return key


def make_price(account: StripeAccount, params: JsonObject, *, param: str = "") -> JsonObject:
    """Create a price from a price's parameters or from `price_data`.

    `param` is the path of `price_data` in the request; error messages name it.
    """
    currency = currency_in(params, f"{param}[currency]" if param else "currency")
    amounts = pricing.amount_fields(params, param)
    is_tiered = amounts["billing_scheme"] == "tiered"
    tiers = pricing.tiers(params, param) if is_tiered else None
    recurring = _recurring(read.nested_object(params, "recurring"))
    price = account.create_object(
        "price",
        "price",
        {
            "active": False,
            **amounts,
            "currency": currency,
            "lookup_key": None,
            "metadata": read.metadata(params),
            "nickname": None,
            "product": _product_id_in(account, params, param),
            "recurring": recurring,
            "tax_behavior": read.text(params, "tax_behavior") or "unspecified",
            "type": "recurring" if recurring else "one_time",
        },
    )
    if tiers is not None:
        account.store.private(price["id"])["tiers"] = tiers
    return price


def price_in(
    account: StripeAccount, params: JsonObject, param: str, *, only_active: bool = True
) -> JsonObject:
    """Return the price that an item names by id, or create the one its `price_data` defines.

    `param` is the item's path in the request. Raises ApiError when the price does not exist.
    """
    price_data = read.nested_object(params, "price_data")
    if price_data:
        made = make_price(account, price_data, param=f"{param}[price_data]")
        _check_product_active(account, made, f"{param}[price_data][product]")
        return made
    price_id = read.required(params, "price")
    price = account.store.get("price", price_id)
    if price is None:
        raise not_found("price", price_id, f"{param}[price]")
    if only_active:
        if not price["active"]:
            message = "The price specified is inactive. This field only accepts active prices."
            raise invalid_request(message, f"{param}[price]")
        _check_product_active(account, price, f"{param}[price]")
    return price


def _check_product_active(account: StripeAccount, price: JsonObject, param: str) -> None:
    if not account.store.objects[price["product"]].get("active"):
        message = f"Price `{price['id']}` is not available to be purchased because its product is "
        raise invalid_request(message + "not active.", param)


def plan_of(price: JsonObject) -> JsonObject:
    """Return a recurring price as the legacy plan object that subscription items still carry."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": price["metadata"],
        "meter": None,
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": price["transform_quantity"],
        "trial_period_days": None,
        "usage_type": "licensed",
    }


def currency_in(params: JsonObject, param: str = "currency") -> str:
    """Return the lower-case currency that a request names; `param` is named in errors."""
    currency = (read.text(params, "currency") or "").lower()
    if not currency:
        raise missing_param(param)
    if not currencies.is_known(currency):
        raise invalid_request(f"Invalid currency: {currency}.", param, "invalid_currency")
    return currency


def validate_charge_amount(amount: int, currency: str, param: str) -> None:
    """Refuse minor units that are too few, too many, or not whole where they must be.

    Raises ApiError naming `param`.
    """
    min_amount = currencies.min_charge(currency)
    if amount < min_amount:
        message = f"The amount must be greater than or equal to {min_amount} ({currency})."
        raise invalid_request(message, param, "amount_too_small")
    if amount > currencies.MAX_CHARGE:
        raise invalid_request(
            "The amount must be no more than 8 digits.", param, "amount_too_large"
        )
    # https://docs.stripe.com/currencies#special-cases
    multiple_of = 1
    if currency in currencies.WHOLE_UNITS:
        multiple_of = 100
    elif currency in currencies.THREE_DECIMAL:
        multiple_of = 10
    if amount % multiple_of:
        raise invalid_request(f"Invalid amount for {currency}.", param, "invalid_charge_amount")


def _recurring(params: JsonObject) -> JsonObject | None:
    if not params:
        return None
    interval = read.one_of(params, "interval", tuple(INTERVALS), None)
    if interval is None:
        raise missing_param("recurring[interval]")
    count = read.positive_integer(params, "interval_count") or 1
    if count > INTERVALS[interval]:
        message = "The price's interval can be three years at most."
        raise invalid_request(message, "recurring[interval_count]")
    return {
        "interval": interval,
        "interval_count": count,
        "meter": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


def _product_id_in(account: StripeAccount, params: JsonObject, param: str) -> str:
    product_data = read.nested_object(params, "product_data")
    if product_data:
        return str(make_product(account, product_data)["id"])
    product_id = read.required(params, "product")
    if account.store.get("product", product_id) is None:
        raise not_found("product", product_id, f"{param}[product]" if param else "product")
    return product_id
