"""What a quantity of a price costs: per unit, in tiers, by packages.

Amounts are minor units; fractions are rounded half up once, for the whole quantity.
https://docs.stripe.com/products-prices/pricing-models
"""

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Final

from payments.sandbox import currencies, custom_amounts
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.declared_params import within
from payments.sandbox.errors import invalid_request, missing_param
from payments.sandbox.form_encoding import JsonObject

_TIER: Final = (
    "flat_amount", "flat_amount_decimal", "unit_amount", "unit_amount_decimal", "up_to",
)  # fmt: skip
PARAMS: Final = (  # of a price, beside its unit amount
    "billing_scheme", "tiers_mode", "transform_quantity.divide_by", "transform_quantity.round",
    *within("tiers[]", names=_TIER), *custom_amounts.PARAMS,
)  # fmt: skip
_NO_AMOUNT: Final = dict.fromkeys(
    ("tiers_mode", "transform_quantity", "unit_amount", "unit_amount_decimal")
)
MAX_DECIMAL_PLACES: Final = 12
TIERS_MODES: Final = ("graduated", "volume")


def amount(account: StripeAccount, price: JsonObject, quantity: int) -> int:
    """Return what a quantity of a price costs, in minor units.

    Where the payer chooses the amount, it is the suggested one, or 0.
    """
    if price["custom_unit_amount"]:
        return int(price["custom_unit_amount"]["preset"] or 0)
    if price["billing_scheme"] == "tiered":
        exact = _tiered_amount(account, price, quantity)
    else:
        units = Decimal(_packages(price["transform_quantity"], quantity))
        exact = Decimal(price["unit_amount_decimal"]) * units
    return int(exact.quantize(Decimal(1), ROUND_HALF_UP))


def items_amount(account: StripeAccount, items: list[JsonObject]) -> int:
    """Return what subscription items cost each period, in minor units."""
    return sum(amount(account, item["price"], item["quantity"]) for item in items)


def amount_fields(params: JsonObject, param: str) -> JsonObject:
    """Return the fields of a price that say what it costs, from a request.

    `param` is the path of the price in the request. Raises ApiError for what Stripe refuses.
    """
    scheme = read.one_of(params, "billing_scheme", ("per_unit", "tiered"), "per_unit")
    custom = custom_amounts.custom_unit_amount_in(params, param)
    if custom is not None:
        return {"billing_scheme": scheme, "custom_unit_amount": custom, **_NO_AMOUNT}
    if scheme == "tiered":
        if params.keys() & {"unit_amount", "unit_amount_decimal"}:
            message = "You cannot specify unit_amount when the billing scheme is tiered."
            raise invalid_request(message, _path(param, "unit_amount"))
        mode = read.one_of(params, "tiers_mode", TIERS_MODES, None)
        if mode is None:
            raise missing_param(_path(param, "tiers_mode"))
        no_amount = {**_NO_AMOUNT, "tiers_mode": mode}
        return {"billing_scheme": scheme, "custom_unit_amount": None, **no_amount}
    exact = _unit_amount(params, "unit_amount", param)
    if exact is None:
        raise missing_param(_path(param, "unit_amount"))
    return {
        "billing_scheme": scheme,
        "custom_unit_amount": None,
        "tiers_mode": None,
        "transform_quantity": _transform_quantity(params),
        **_unit_amount_fields("unit_amount", exact),
    }


def tiers(params: JsonObject, param: str) -> list[JsonObject]:
    """Return the tiers of a request, lowest first; the last has no upper bound.

    Raises ApiError when their bounds do not rise to `inf`, or one costs nothing said.
    """
    rows: list[JsonObject] = []
    for index, tier in enumerate(read.array(params, "tiers")):
        path = f"{_path(param, 'tiers')}[{index}]"
        flat, unit = (_unit_amount(tier, n, path) for n in ("flat_amount", "unit_amount"))
        if flat is None and unit is None:
            raise missing_param(f"{path}[unit_amount]")
        up_to = None if tier.get("up_to") == "inf" else read.integer(tier, "up_to")
        rows.append(
            {
                **_unit_amount_fields("flat_amount", flat),
                **_unit_amount_fields("unit_amount", unit),
                "up_to": up_to,
            }
        )
    bounds = [row["up_to"] for row in rows]
    rises = None not in bounds[:-1] and bounds[:-1] == sorted(set(bounds[:-1]))
    if not bounds or bounds[-1] is not None or not rises:
        message = "Tiers must rise, and the last tier's up_to must be inf."
        raise invalid_request(message, _path(param, "tiers"))
    return rows


def _tiered_amount(account: StripeAccount, price: JsonObject, quantity: int) -> Decimal:
    rows = account.store.private(price["id"])["tiers"]
    if price["tiers_mode"] == "volume":
        tier = next(row for row in rows if row["up_to"] is None or quantity <= row["up_to"])
        return _tier_amount(tier, quantity)
    total, counted = Decimal(0), 0
    for tier in rows:
        upper = quantity if tier["up_to"] is None else min(quantity, tier["up_to"])
        if upper > counted or (quantity == 0 and counted == 0):
            total += _tier_amount(tier, upper - counted)
        counted = max(counted, upper)
        if counted >= quantity:
            break
    return total


def _tier_amount(tier: JsonObject, quantity: int) -> Decimal:
    flat = Decimal(tier["flat_amount_decimal"] or 0)
    return flat + Decimal(tier["unit_amount_decimal"] or 0) * quantity


def _packages(transform: JsonObject | None, quantity: int) -> int:
    if transform is None:
        return quantity
    whole, rest = divmod(quantity, transform["divide_by"])
    return int(whole + (1 if rest and transform["round"] == "up" else 0))


def _transform_quantity(params: JsonObject) -> JsonObject | None:
    transform = read.nested_object(params, "transform_quantity")
    if not transform:
        return None
    divide_by = read.positive_integer(transform, "divide_by")
    rounding = read.one_of(transform, "round", ("up", "down"), None)
    if divide_by is None or rounding is None:
        raise missing_param(f"transform_quantity[{'round' if divide_by else 'divide_by'}]")
    return {"divide_by": divide_by, "round": rounding}


def _unit_amount(params: JsonObject, name: str, param: str) -> Decimal | None:
    """Return `unit_amount` or `unit_amount_decimal`, of which a request may have one."""
    whole, fraction = read.integer(params, name), read.text(params, f"{name}_decimal")
    if whole is not None and fraction is not None:
        message = f"You may only specify one of these parameters: {name}, {name}_decimal."
        raise invalid_request(message, _path(param, name))
    if fraction is None:
        exact = None if whole is None else Decimal(whole)
    else:
        exact = _decimal(fraction, _path(param, f"{name}_decimal"))
    if exact is not None and exact < 0:
        raise invalid_request("Invalid non-negative integer", _path(param, name))
    if exact is not None and exact > currencies.MAX_CHARGE:
        message = f"The unit amount must be at most {currencies.MAX_CHARGE}."
        raise invalid_request(message, _path(param, name), "amount_too_large")
    return exact


def _decimal(text: str, param: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise invalid_request(f"Invalid decimal: {text}", param) from None
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or -exponent > MAX_DECIMAL_PLACES:
        raise invalid_request(f"Invalid decimal: {text}; 12 places at most.", param)
    return value


def _unit_amount_fields(name: str, exact: Decimal | None) -> JsonObject:
    """Return an amount and its exact form; the amount is null unless it is whole."""
    if exact is None:
        return {name: None, f"{name}_decimal": None}
    is_whole = exact == exact.to_integral_value()
    return {name: int(exact) if is_whole else None, f"{name}_decimal": f"{exact.normalize():f}"}


def _path(param: str, name: str) -> str:
    return f"{param}[{name}]" if param else name
