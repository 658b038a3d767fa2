"""Money: a whole number of minor units with its currency, the limits of a gift, and formatting.

An amount is never a float and never without its currency. Minor units are Stripe's, which differ
from ISO 4217 (https://docs.stripe.com/currencies): ISK and UGX have two decimals but must be whole,
and amounts of three-decimal currencies must be multiples of ten.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from babel import Locale
from babel.numbers import format_currency, get_currency_symbol

from payments.core.errors import PaymentsError

ZERO_DECIMAL = frozenset(
    {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga"}
    | {"pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"}
)
THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
WHOLE_UNITS_ONLY = frozenset({"isk", "ugx"})

CURRENCY_REGEX = "[a-z]{3}"  # Stripe writes ISO 4217 codes in lower case
MINUS = "\N{MINUS SIGN}"  # of figures that a person reads
STRIPE_MAX_AMOUNT = 99_999_999  # minor units of any currency: eight digits


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units of one currency. Two currencies are never added or compared.

    Raises TypeError for an amount that is no int, UnknownCurrency for a code that is not three
    lower-case letters, and CurrencyMismatch where two currencies meet.
    """

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.amount) is not int:  # to Python a bool is an int
            raise TypeError(f"an amount is an int of minor units, not {self.amount!r}")
        if not re.fullmatch(CURRENCY_REGEX, self.currency):
            raise UnknownCurrency

    def __add__(self, other: "Money") -> "Money":
        self._require_currency_of(other)
        return Money(self.amount + other.amount, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        self._require_currency_of(other)
        return Money(self.amount - other.amount, self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.amount, self.currency)

    def __lt__(self, other: "Money") -> bool:
        self._require_currency_of(other)
        return self.amount < other.amount

    def __str__(self) -> str:
        return f"{to_decimal_string(self)} {self.currency.upper()}"

    def _require_currency_of(self, other: "Money") -> None:
        if self.currency != other.currency:
            raise CurrencyMismatch(self, other)


# --- errors ---------------------------------------------------------------------------------------


class InvalidAmount(PaymentsError):
    """The amount cannot be given. Its kinds say why."""

    status = 422
    code = "invalid-amount"
    title = "The amount is not valid"

    def __init__(
        self, message: str, *, field: str | None = "amount", **message_params: object
    ) -> None:
        super().__init__(message, field=field, **message_params)


class AmountTooPrecise(InvalidAmount):
    """The amount is no multiple of the currency's smallest unit."""

    code = "amount-too-precise"

    def __init__(self, currency: str) -> None:
        self.smallest_unit = Money(smallest_unit(currency), currency)
        super().__init__(
            "The amount must be a multiple of %(step)s. Nothing was charged.",
            step=self.smallest_unit,
        )


class AmountTooSmall(InvalidAmount):
    """The amount is below the minimum amount of a gift."""

    code = "amount-too-small"

    def __init__(self, limit: Money) -> None:
        super().__init__("The smallest amount is %(limit)s. Nothing was charged.", limit=limit)
        self.limit = limit


class AmountTooLarge(InvalidAmount):
    """The amount is above the maximum amount of one gift."""

    code = "amount-too-large"

    def __init__(self, limit: Money) -> None:
        super().__init__("The largest amount is %(limit)s. Nothing was charged.", limit=limit)
        self.limit = limit


class UnknownCurrency(InvalidAmount):
    """The currency is not one of those in GIFT_LIMITS."""

    code = "unknown-currency"
    title = "The currency is not one of ours"

    def __init__(self) -> None:
        super().__init__(
            "The currency must be one of %(ours)s. Nothing was charged.",
            field="currency",
            ours=", ".join(GIFT_LIMITS).upper(),
        )


class CurrencyMismatch(InvalidAmount):
    """Two amounts in different currencies cannot be added or compared."""

    code = "currency-mismatch"
    title = "The currencies differ"

    def __init__(self, one: Money, other: Money) -> None:
        super().__init__(
            "%(one)s and %(other)s are in different currencies. Nothing was charged.",
            field="currency",
            one=one,
            other=other,
        )


# --- limits and suggestions -----------------------------------------------------------------------


# Minimum amount and maximum amount of a gift, in minor units: about $2, well above Stripe's own
# minimum, and about $10,000.
GIFT_LIMITS: Mapping[str, tuple[int, int]] = {
    "usd": (200, 1_000_000),
    "eur": (200, 1_000_000),
    "gbp": (200, 800_000),
    "cad": (300, 1_400_000),
    "aud": (300, 1_500_000),
    "chf": (200, 900_000),
    "sek": (2000, 10_000_000),
    "nok": (2000, 10_000_000),
    "dkk": (1500, 7_000_000),
    "pln": (800, 4_000_000),
    "jpy": (300, 1_500_000),
    "kwd": (600, 3_000_000),
}

TWO_DECIMAL_MAJORS, NORDIC_CURRENCIES = (
    ("usd", "eur", "gbp", "chf", "cad", "aud"),
    ("sek", "nok", "dkk"),
)

# Minor units, by frequency and currency.
SUGGESTED_AMOUNTS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "once": {
        **dict.fromkeys(TWO_DECIMAL_MAJORS, (500, 1000, 2500, 5000)),
        **dict.fromkeys(NORDIC_CURRENCIES, (5000, 10000, 25000, 50000)),
        "pln": (2000, 5000, 10000, 20000),
        "jpy": (500, 1000, 3000, 5000),
        "kwd": (1500, 3000, 7500, 15000),
    },
    "monthly": {
        **dict.fromkeys(TWO_DECIMAL_MAJORS, (200, 500, 1000, 2500)),
        **dict.fromkeys(("cad", "aud"), (300, 500, 1000, 2500)),
        **dict.fromkeys(NORDIC_CURRENCIES, (2000, 5000, 10000, 25000)),
        "pln": (1000, 2000, 5000, 10000),
        "jpy": (300, 500, 1000, 3000),
        "kwd": (600, 1500, 3000, 7500),
    },
    "annual": {
        **dict.fromkeys(TWO_DECIMAL_MAJORS, (2500, 5000, 10000, 25000)),
        **dict.fromkeys(NORDIC_CURRENCIES, (25000, 50000, 100000, 250000)),
        "pln": (10000, 20000, 50000, 100000),
        "jpy": (3000, 5000, 10000, 30000),
        "kwd": (7500, 15000, 30000, 75000),
    },
}


def validate_gift(
    amount: int, currency: str, *, overrides: Mapping[str, int] | None = None
) -> Money:
    """Return an amount in minor units as money, if it may be given at once. Raises InvalidAmount.

    It must be in a currency of GIFT_LIMITS, between `min_gift` and `max_gift`, and a multiple of
    the smallest unit. `Settings.validate_gift` passes the newsroom's own limits as `overrides`.
    """
    lowest, highest = min_gift(currency), max_gift(currency, overrides)
    gift = Money(amount, currency)
    if gift < lowest:
        raise AmountTooSmall(lowest)
    if gift > highest:
        raise AmountTooLarge(highest)
    if amount % smallest_unit(currency):
        raise AmountTooPrecise(currency)
    return gift


def min_gift(currency: str) -> Money:
    """Return the minimum amount of a gift. Raises UnknownCurrency."""
    return Money(_gift_limits(currency)[0], currency)


def max_gift(currency: str, overrides: Mapping[str, int] | None = None) -> Money:
    """Return the maximum amount of one gift. Raises UnknownCurrency.

    `overrides` are a newsroom's own limits, in minor units by currency; Stripe's maximum always
    holds. `Settings.max_gift_for` passes them.
    """
    most = (overrides or {}).get(currency, _gift_limits(currency)[1])
    return Money(min(most, STRIPE_MAX_AMOUNT), currency)


def suggested_amounts(currency: str, frequency: str) -> tuple[Money, ...]:
    """Return the suggested amounts of a frequency, ascending. Raises UnknownCurrency."""
    _gift_limits(currency)
    return tuple(Money(amount, currency) for amount in SUGGESTED_AMOUNTS[frequency][currency])


def exponent(currency: str) -> int:
    """Return how many decimals of the major unit Stripe's minor unit is."""
    if currency in THREE_DECIMAL:
        return 3
    return 0 if currency in ZERO_DECIMAL else 2


def smallest_unit(currency: str) -> int:
    """Return the smallest step between two amounts, in minor units."""
    if currency in THREE_DECIMAL:
        return 10
    return 100 if currency in WHOLE_UNITS_ONLY else 1


def _gift_limits(currency: str) -> tuple[int, int]:
    if currency not in GIFT_LIMITS:
        raise UnknownCurrency
    return GIFT_LIMITS[currency]


# --- formatting -----------------------------------------------------------------------------------


def to_decimal_string(money: Money) -> str:
    """Return the amount in major units for files and form values: "1250.00" in every locale."""
    decimals = exponent(money.currency)
    digits = f"{abs(money.amount):0{decimals + 1}}"
    sign = "-" if money.amount < 0 else ""
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else sign + digits


def format(  # noqa: A001 - called as money.format(...)
    money: Money, locale: str = "en", *, short: bool = False
) -> str:
    """Return the amount as readers of this locale write it.

    It has all its decimals; if `short`, none where they are zero. Digits are 0 to 9 in every
    language, as on the bank's statement and Stripe's page. Where one writes from the right, the
    amount is isolated from the sentence around it (Unicode TR9), and its currency within it: or a
    number that follows would come between them, and "US$" end as "$US".
    """
    code, babel = money.currency.upper(), babel_locale(locale)
    symbol = get_currency_symbol(code, babel)
    pattern = str(babel.currency_formats["standard"].pattern)
    # Babel goes by ISO's decimals, not Stripe's, and leaves out the space CLDR wants in "CHF 5".
    pattern = re.sub(r"0(\.0+)?(?![0#.,])", "0" + _decimal_pattern(money, short), pattern)
    if symbol[-1].isalpha():
        pattern = re.sub(r"¤(?=[#0])", "¤\N{NO-BREAK SPACE}", pattern)
    if symbol[0].isalpha():
        pattern = re.sub(r"(?<=0)¤", "\N{NO-BREAK SPACE}¤", pattern)
    text = format_currency(to_decimal_string(money), code, pattern, babel, currency_digits=False)
    if babel.text_direction == "ltr":
        return text
    return isolate(text.replace(symbol, isolate(symbol)))


def isolate(text: str) -> str:
    """Return a text that takes its own direction, and has none to the text around it."""
    return f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"


def _decimal_pattern(money: Money, short: bool) -> str:
    """Return the decimals of a CLDR number pattern; none where they are always zero."""
    if (short or money.currency in WHOLE_UNITS_ONLY) and (
        money.amount % 10 ** exponent(money.currency) == 0
    ):
        return ""
    return "." + "0" * exponent(money.currency) if exponent(money.currency) else ""


@functools.lru_cache
def babel_locale(name: str) -> Locale:
    """Return Babel's locale of a name such as `ru`, `pt-BR` or `pt_BR`."""
    return Locale.parse(name.replace("-", "_"))
