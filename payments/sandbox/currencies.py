"""Currencies: exponents, minimum charges, settlement, exchange rates and fees.

Amounts are integers in minor units. Rates are fixed, so that a test can expect the exact amount at
which a charge settles. https://docs.stripe.com/currencies
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

ZERO_DECIMAL: Final = frozenset(
    {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf",
     "xof", "xpf"}
)  # fmt: skip
THREE_DECIMAL: Final = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
WHOLE_UNITS: Final = frozenset({"isk", "ugx"})
SETTLEMENT_CURRENCIES: Final = frozenset({"usd", "eur", "gbp"})
MAX_CHARGE: Final = 99_999_999

_MIN_CHARGE: Final = {
    "gbp": 30, "hkd": 400, "dkk": 250, "nok": 300, "sek": 300, "pln": 200, "ron": 200,
    "aed": 200, "myr": 200, "czk": 1500, "huf": 17500, "mxn": 1000, "thb": 1000,
}  # fmt: skip
DISPUTE_FEE: Final = 1500  # minor units of the settlement currency
_FIXED_PROCESSING_FEE: Final = {"usd": 30, "eur": 25, "gbp": 20}
_USD_RATES: Final = {
    "eur": "1.08", "gbp": "1.27", "aud": "0.66", "cad": "0.73", "chf": "1.13", "nzd": "0.60",
    "sgd": "0.75", "jpy": "0.0066", "brl": "0.19", "inr": "0.0119", "mxn": "0.055",
    "hkd": "0.128", "dkk": "0.145", "nok": "0.094", "sek": "0.096", "pln": "0.25", "ron": "0.217",
    "aed": "0.272", "myr": "0.226", "czk": "0.043", "huf": "0.0027", "thb": "0.029",
    "isk": "0.0072", "uah": "0.024", "gel": "0.36", "try": "0.029", "zar": "0.055",
    "ils": "0.27", "krw": "0.00073", "kwd": "3.25", "bhd": "2.65", "jod": "1.41",
    "kzt": "0.0020", "amd": "0.0026", "mdl": "0.056", "rsd": "0.0092", "ugx": "0.00027",
}  # fmt: skip


def is_known(currency: str) -> bool:
    """Return whether the sandbox takes a currency."""
    return currency == "usd" or currency in _USD_RATES


def known() -> frozenset[str]:
    """Return the currencies that the sandbox takes."""
    return frozenset({"usd", *_USD_RATES})


def exponent(currency: str) -> int:
    """Return how many decimal places a currency's minor unit has."""
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


def min_charge(currency: str) -> int:
    """Return the smallest charge Stripe accepts, in minor units."""
    return _MIN_CHARGE.get(currency, 50)


def settlement_currency(currency: str) -> str:
    """Return the currency in which charges in a currency are settled."""
    return currency if currency in SETTLEMENT_CURRENCIES else "usd"


def to_settlement(
    amount: int, currency: str, rates: Mapping[str, str] | None = None
) -> tuple[int, float | None]:
    """Convert minor units to the settlement currency.

    `rates`, in dollars per unit, override the fixed ones. Returns the amount and the exchange rate;
    the rate is None when nothing was converted.
    """
    target = settlement_currency(currency)
    if target == currency:
        return amount, None
    return convert(amount, currency, target, rates)


def convert(
    amount: int, currency: str, target: str, rates: Mapping[str, str] | None = None
) -> tuple[int, float]:
    """Convert minor units to another currency. Returns the amount and the exchange rate."""
    to_usd = {"usd": "1", **_USD_RATES, **(rates or {})}
    rate = Decimal(to_usd[currency]) / Decimal(to_usd[target])
    rate = rate.scaleb(exponent(target) - exponent(currency))
    return _round_half_up(amount * rate), float(rate)


def processing_fee(amount: int, currency: str) -> int:
    """Return the fee for an amount in its settlement currency: 2.9% and a fixed part."""
    return min(
        amount, _round_half_up(Decimal(amount) * 29 / 1000) + _FIXED_PROCESSING_FEE[currency]
    )


def instant_payout_fee(amount: int) -> int:
    """Return the fee for an instant payout, in minor units: 1%."""
    return _round_half_up(Decimal(amount) / 100)


def billing_fee(volume: int) -> int:
    """Return Stripe Billing's fee for a month's subscription volume, in minor units: 0.7%."""
    return _round_half_up(Decimal(volume) * 7 / 1000)


def _round_half_up(amount: Decimal) -> int:
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP))
