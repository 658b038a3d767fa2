"""Prices whose amount the payer chooses on the page: `custom_unit_amount`.

A session over such a price has no other line item. Its amount is the suggested one, or nothing,
until the payer has chosen.
"""

import re
from decimal import Decimal
from typing import Final

from payments.sandbox import currencies
from payments.sandbox import request_params as read
from payments.sandbox.errors import invalid_request
from payments.sandbox.form_encoding import JsonObject

PARAMS: Final = tuple(
    f"custom_unit_amount.{name}" for name in ("enabled", "maximum", "minimum", "preset")
)


def custom_unit_amount_in(params: JsonObject, param: str) -> JsonObject | None:
    """Return the `custom_unit_amount` of a new price, or None. Raises ApiError for a wrong one."""
    custom = read.nested_object(params, "custom_unit_amount")
    if not read.flag(custom, "enabled"):
        return None
    if params.keys() & {"unit_amount", "unit_amount_decimal", "recurring", "tiers"}:
        message = "A price with custom_unit_amount has no amount of its own and is not recurring."
        raise invalid_request(message, f"{param}[custom_unit_amount]" if param else "unit_amount")
    return {name: read.integer(custom, name) for name in ("maximum", "minimum", "preset")}


def check_alone(items: list[JsonObject]) -> bool:
    """Return whether the payer chooses the amount of these line items.

    Raises ApiError when such a price is not the only one, or is there more than once.
    """
    custom = [item for item in items if item["price"]["custom_unit_amount"]]
    if custom and (len(items) > 1 or custom[0]["quantity"] != 1):
        message = "A price with custom_unit_amount must be the only line item, with quantity 1."
        raise invalid_request(message, "line_items")
    return bool(custom)


def parse(price: JsonObject, text: str) -> int | str:
    """Return the minor units that a payer has typed, such as `12.50`, or what is wrong with it."""
    currency, custom = price["currency"], price["custom_unit_amount"]
    places = currencies.exponent(currency)
    typed = text.strip().replace(",", ".")
    if not re.fullmatch(r"\d{1,9}" + (rf"(\.\d{{1,{places}}})?" if places else ""), typed):
        return "Enter an amount, such as 12.50." if places else "Enter an amount, such as 12."
    amount = int(Decimal(typed).scaleb(places))
    lowest = max(custom["minimum"] or 0, currencies.min_charge(currency))
    if amount < lowest:
        return f"Enter at least {_units(lowest, places)}."
    highest = custom["maximum"] or currencies.MAX_CHARGE
    if amount > highest:
        return f"Enter at most {_units(highest, places)}."
    return amount


def _units(amount: int, places: int) -> str:
    return f"{Decimal(amount).scaleb(-places):f}"
