"""Money: a whole number of minor units and its currency, and how readers write and see it.

An amount is never a float and never without its currency. Minor units are Stripe's, which are not
everywhere those of ISO 4217 (https://docs.stripe.com/currencies): ISK and UGX are sent in hundredths
yet only in whole units, and the last digit of a three-decimal currency is always 0.

What a reader typed is read as their locale writes it. Where that leaves two readings, as with "1.250",
we ask: a comma taken for a thousand costs a reader a hundredfold.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from babel import Locale
from babel.numbers import get_currency_symbol, get_decimal_symbol, get_group_symbol, parse_pattern

from payments.errors import PaymentsError

ZERO_DECIMAL = frozenset(
    "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split()  # fmt: skip
)
THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
WHOLE_UNITS_ONLY = frozenset({"isk", "ugx"})

STRIPE_MAXIMUM = 99_999_999
TYPED_LENGTH_MAX = 64
TYPED_DIGITS_MAX = 12


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Money:
    """So many minor units of one currency. Two currencies are never added, subtracted or ordered."""

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.amount) is not int:  # a bool is an int to Python, not to a bank
            raise TypeError(f"an amount is an int of minor units, not {self.amount!r}")
        if not re.fullmatch("[a-z]{3}", self.currency):
            raise UnknownCurrency

    def __add__(self, other: "Money") -> "Money":
        self._check_same_currency(other)
        return Money(self.amount + other.amount, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return self + -other

    def __neg__(self) -> "Money":
        return Money(-self.amount, self.currency)

    def __lt__(self, other: "Money") -> bool:
        self._check_same_currency(other)
        return self.amount < other.amount

    def __str__(self) -> str:
        return f"{plain(self)} {self.currency.upper()}"

    def _check_same_currency(self, other: "Money") -> None:
        if self.currency != other.currency:
            raise CurrencyMismatch(self, other)


# ------------------------------------------------------------------ what a gift may be


@dataclass(frozen=True, slots=True)
class Gifts:
    """What we ask for in one currency, in minor units: the bounds and the amounts suggested."""

    minimum: int
    maximum: int
    once: tuple[int, ...]
    monthly: tuple[int, ...]
    annual: tuple[int, ...]


_SMALL, _MIDDLE, _LARGE = (200, 500, 1000, 2500), (500, 1000, 2500, 5000), (2500, 5000, 10000, 25000)
_KRONOR = (5000, 10000, 25000, 50000), (2000, 5000, 10000, 25000), (25000, 50000, 100000, 250000)

# The minimum is about $2, well above Stripe's own; the maximum is about $10,000.
GIFTS: Mapping[str, Gifts] = {
    "usd": Gifts(200, 1_000_000, _MIDDLE, _SMALL, _LARGE),
    "eur": Gifts(200, 1_000_000, _MIDDLE, _SMALL, _LARGE),
    "gbp": Gifts(200, 800_000, _MIDDLE, _SMALL, _LARGE),
    "cad": Gifts(300, 1_400_000, _MIDDLE, (300, 500, 1000, 2500), _LARGE),
    "aud": Gifts(300, 1_500_000, _MIDDLE, (300, 500, 1000, 2500), _LARGE),
    "chf": Gifts(200, 900_000, _MIDDLE, _SMALL, _LARGE),
    "sek": Gifts(2000, 10_000_000, *_KRONOR),
    "nok": Gifts(2000, 10_000_000, *_KRONOR),
    "dkk": Gifts(
        minimum=1500,
        maximum=7_000_000,
        once=(2500, 5000, 10000, 25000),
        monthly=(1500, 2500, 5000, 15000),
        annual=(15000, 30000, 60000, 150000),
    ),
    "pln": Gifts(
        minimum=800,
        maximum=4_000_000,
        once=(2000, 5000, 10000, 20000),
        monthly=(1000, 2000, 5000, 10000),
        annual=(10000, 20000, 50000, 100000),
    ),
    "jpy": Gifts(
        minimum=300,
        maximum=1_500_000,
        once=(500, 1000, 3000, 5000),
        monthly=(300, 500, 1000, 3000),
        annual=(3000, 5000, 10000, 30000),
    ),
    "kwd": Gifts(
        minimum=600,
        maximum=3_000_000,
        once=(1500, 3000, 7500, 15000),
        monthly=(600, 1500, 3000, 7500),
        annual=(7500, 15000, 30000, 75000),
    ),
}


def check_gift(amount: int, currency: str, *, maximum: int | None = None) -> Money:
    """The gift, when it is one we take: a known currency, an amount Stripe accepts, in our bounds."""
    lowest = minimum(currency)
    highest = lowest_of_maxima(currency, maximum)
    gift = Money(amount, currency)
    if gift < lowest:
        raise AmountTooSmall(lowest)
    if gift > highest:
        raise AmountTooLarge(highest)
    if gift.amount % step(currency):
        raise AmountTooPrecise(currency)
    return gift
