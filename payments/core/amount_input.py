"""Amounts as readers type them, parsed by the rules of their locale.

Where a text can be read in two ways, as "1.250" can, the reader is asked: the wrong guess would
charge them a thousand times too much.
"""

import functools
import re
import unicodedata
from collections.abc import Mapping

from babel.numbers import get_currency_symbol, get_decimal_symbol, get_group_symbol

from payments.core import money
from payments.core.money import InvalidAmount, Money

MAX_INPUT_LENGTH = 64
MAX_INPUT_DIGITS = 12


class AmountNotANumber(InvalidAmount):
    """The text is not an amount in this currency."""

    code = "amount-not-a-number"

    def __init__(self, currency: str) -> None:
        super().__init__(
            "Please enter an amount in %(currency)s, in digits. Nothing was charged.",
            currency=currency.upper(),
        )


class AmountAmbiguous(InvalidAmount):
    """The text can be read as two amounts, `candidates`; the reader has to choose one."""

    code = "amount-ambiguous"

    def __init__(self, candidates: tuple[Money, Money]) -> None:
        one, other = candidates
        super().__init__(
            "Did you mean %(one)s or %(other)s? Nothing was charged.", one=one, other=other
        )
        self.candidates = candidates


# The separators that keyboards and CLDR have, and marks of direction, which are dropped.
NORMALISED_CHARACTERS: Mapping[str, str] = {
    **dict.fromkeys("`\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}", "'"),
    **dict.fromkeys("\N{ARABIC COMMA}\N{REVERSED COMMA}", ","),
    **dict.fromkeys(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))), ""),
    **dict.fromkeys("\u200e\u200f\u061c", ""),
    "\N{ARABIC DECIMAL SEPARATOR}": ".",
    "\N{ARABIC THOUSANDS SEPARATOR}": "'",
}

CURRENCY_SYMBOLS: Mapping[str, tuple[str, ...]] = {
    "usd": ("$", "US$"),
    "eur": ("€",),
    "gbp": ("£",),
    "cad": ("$", "CA$", "C$"),
    "aud": ("$", "AU$", "A$"),
    "chf": ("Fr", "Fr.", "SFr."),
    **dict.fromkeys(money.NORDIC_CURRENCIES, ("kr", "kr.")),
    "pln": ("zł", "zl"),
    "jpy": ("¥", "円"),
    "kwd": ("KD", "د.ك"),
}

# 1250, or 1,250,000 with one separator throughout, or 12,50,000 as in India.
GROUPED_DIGITS = re.compile(
    r"[0-9]+"
    r"|[1-9][0-9]{0,2}([.,' ])[0-9]{3}(\1[0-9]{3})*"
    r"|[1-9][0-9]?(,[0-9]{2})+,[0-9]{3}"
)


def parse_amount(text: str, currency: str, locale: str = "en") -> Money:
    """Return the amount that a reader typed in major units.

    Raises UnknownCurrency, AmountNotANumber, AmountAmbiguous, AmountTooPrecise, AmountTooSmall for
    zero, or AmountTooLarge. The limits of a gift are not checked here.
    """
    if currency not in money.GIFT_LIMITS:
        raise money.UnknownCurrency
    typed = _normalise_input(text, currency, locale)
    mark = next((character for character in reversed(typed) if character in ".,"), "")
    head, _, tail = typed.rpartition(mark) if mark else ("", "", "")
    grouped = GROUPED_DIGITS.fullmatch(typed) is not None
    fractional = (
        tail.isdecimal() and mark not in head and bool(GROUPED_DIGITS.fullmatch(head or "0"))
    )
    if grouped and fractional:  # three digits after the only mark
        digits, (point, separator) = money.exponent(currency), _separators(locale)
        grouped = digits < 3 and (mark == separator or digits == 0)
        fractional = mark == point and digits == 3
        if not (grouped or fractional):
            fraction = _to_money(head, tail.rstrip("0"), currency)
            raise AmountAmbiguous((_to_money(head + tail, "", currency), fraction))
    if not (grouped or fractional):
        raise AmountNotANumber(currency)
    return _to_money(typed, "", currency) if grouped else _to_money(head, tail, currency)


def format_for_input(gift: Money, locale: str = "en") -> str:
    """Return an amount as a reader of this locale would type it; `parse_amount` reverses it."""
    return money.to_decimal_string(gift).replace(
        ".", get_decimal_symbol(money.babel_locale(locale))
    )


def _to_money(whole: str, fraction: str, currency: str) -> Money:
    whole = re.sub("[^0-9]", "", whole)
    if len(whole + fraction) > MAX_INPUT_DIGITS:
        raise money.AmountTooLarge(money.max_gift(currency))
    digits = money.exponent(currency)
    amount = int(f"0{whole}{fraction[:digits]:0<{digits}}")
    excess = fraction[digits:]
    # "500.00" yen are clear; three digits where two belong may have been meant as thousands.
    if (
        excess.strip("0")
        or (excess and len(fraction) == 3)
        or amount % money.smallest_unit(currency)
    ):
        raise money.AmountTooPrecise(currency)
    if amount == 0:
        raise money.AmountTooSmall(money.min_gift(currency))
    return Money(amount, currency)


def _normalise_input(text: str, currency: str, locale: str) -> str:
    """Return the text in ASCII digits and separators, without the currency beside it."""
    # NFKC would turn a superscript or a circled two into a digit like any other: "5²" is not 52.
    numerals = any(unicodedata.category(character) in ("No", "Nl") for character in text)
    if numerals or len(text) > MAX_INPUT_LENGTH:
        raise AmountNotANumber(currency)
    point, _ = _separators(locale)
    typed = _normalise_characters(text.replace("\N{ARABIC DECIMAL SEPARATOR}", point)).strip()
    symbols = _spellings_of_currency(currency, locale)
    before = next((symbol for symbol in symbols if typed.startswith(symbol)), "")
    typed = typed.removeprefix(before)
    after = next((symbol for symbol in symbols if typed.endswith(symbol)), "")
    return typed.removesuffix(after).strip()


def _normalise_characters(text: str) -> str:
    return "".join(map(_normalise_character, unicodedata.normalize("NFKC", text).casefold()))


def _normalise_character(character: str) -> str:
    if character.isspace():
        return " "
    digit = unicodedata.decimal(character, None)
    return NORMALISED_CHARACTERS.get(character, character) if digit is None else str(digit)


@functools.lru_cache
def _separators(locale: str) -> tuple[str, str]:
    """Return the decimal point and the group separator of a locale, normalised like input."""
    babel = money.babel_locale(locale)
    point, separator = get_decimal_symbol(babel), get_group_symbol(babel)
    return _normalise_characters(point), _normalise_characters(separator)


@functools.lru_cache
def _spellings_of_currency(currency: str, locale: str) -> tuple[str, ...]:
    """Return how a currency may be written beside an amount, longest first."""
    code = currency.upper()
    names = {
        code,
        get_currency_symbol(code, money.babel_locale(locale)),
        *CURRENCY_SYMBOLS[currency],
    }
    return tuple(sorted(map(_normalise_characters, names), key=len, reverse=True))
