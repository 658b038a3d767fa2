"""The line items of Checkout Sessions and Payment Links."""

from typing import Final

from payments.sandbox import catalog, currencies, custom_amounts, pricing, subscriptions
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.errors import invalid_request, missing_param
from payments.sandbox.form_encoding import JsonObject, JsonValue

MAX_LINE_ITEMS: Final = 100
MAX_RECURRING_ITEMS: Final = 20


def items_in(account: StripeAccount, params: JsonObject, *, only_active: bool) -> list[JsonObject]:
    """Return the line items of a request, not stored yet. Raises ApiError.

    `only_active` refuses prices that are no longer sold.
    """
    items = [
        _create_line_item(account, item_params, index, only_active=only_active)
        for index, item_params in enumerate(_line_items_in(params))
    ]
    if items:
        check_line_items(items, params["mode"])
    return items


def _line_items_in(params: JsonObject) -> list[JsonValue]:
    lines = read.array(params, "line_items")
    if not lines and params["mode"] != "setup":
        raise missing_param("line_items")
    most = MAX_RECURRING_ITEMS if params["mode"] == "subscription" else MAX_LINE_ITEMS
    if len(lines) > most:
        raise invalid_request(f"You can pass at most {most} line items.", "line_items")
    return lines


def _create_line_item(
    account: StripeAccount, params: JsonObject, index: int, *, only_active: bool
) -> JsonObject:
    param = f"line_items[{index}]"
    quantity = read.positive_integer(params, "quantity", param=f"{param}[quantity]")
    if quantity is None:
        raise missing_param(f"{param}[quantity]")
    if quantity > catalog.MAX_QUANTITY:
        message = f"The quantity must be at most {catalog.MAX_QUANTITY}."
        raise invalid_request(message, f"{param}[quantity]", "parameter_invalid_integer")
    price = catalog.price_in(account, params, param, only_active=only_active)
    return line_item(account, price, quantity)


def line_item(account: StripeAccount, price: JsonObject, quantity: int) -> JsonObject:
    """Return a line item for a quantity of a price, not stored yet."""
    total = pricing.amount(account, price, quantity)
    return {
        "id": account.store.new_id("li"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": total,
        "amount_tax": 0,
        "amount_total": total,
        "currency": price["currency"],
        "description": account.store.objects[price["product"]]["name"],
        "metadata": {},
        "price": dict(price),
        "quantity": quantity,
    }


def check_line_items(items: list[JsonObject], mode: str) -> None:
    """Refuse line items that cannot be sold together in a mode. Raises ApiError."""
    recurring = [item for item in items if item["price"]["recurring"]]
    if mode == "payment" and recurring:
        message = "You specified `payment` mode but passed a recurring price."
        raise invalid_request(
            message + " Either switch to `subscription` mode or use only one-time prices."
        )
    if mode == "subscription" and not recurring:
        message = "You must provide at least one recurring price in `subscription` mode."
        raise invalid_request(message, "line_items[0][price_data][recurring]")
    if mode == "subscription" and len(recurring) < len(items):
        message = "The sandbox does not sell one-time prices with a subscription yet."
        raise invalid_request(message, "line_items", "sandbox_unsupported")
    if recurring:
        subscriptions.check_sold_together([item["price"] for item in recurring])
    if len({item["currency"] for item in items}) > 1:
        raise invalid_request("All line items must have the same currency.", "line_items")
    if custom_amounts.check_alone(items):
        return
    total, currency = sum(item["amount_total"] for item in items), items[0]["currency"]
    min_amount = currencies.min_charge(currency)
    if total < min_amount:
        message = "The Checkout Session's total amount due must add up to at least "
        raise invalid_request(f"{message}{min_amount} ({currency}).", code="amount_too_small")
    catalog.validate_charge_amount(total, currency, "line_items")
