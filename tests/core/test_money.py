"""What readers type, what they are shown, and what is never mistaken for something else."""

# ruff: noqa: RUF001 - characters that look like others are what this is about

import ast
import inspect
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payments.core import amount_input, money
from payments.core.amount_input import AmountNotANumber
from payments.core.errors import PaymentsError
from payments.core.money import Money

LOCALES = ["en", "de", "fr", "ru", "ar", "fa", "hi", "de-CH", "sv", "ja"]
CURRENCIES = list(money.GIFT_LIMITS)
FREQUENCIES = ["once", "monthly", "annual"]

currencies = st.sampled_from(CURRENCIES)
locales = st.sampled_from(LOCALES)
quickly = settings(max_examples=150)


@st.composite
def gifts(draw: st.DrawFn) -> Money:
    """An amount a reader could give, from one coin to more than we take."""
    currency = draw(currencies)
    return Money(draw(st.integers(1, 9_999_999)) * money.smallest_unit(currency), currency)


# ------------------------------------------------------------------ arithmetic


def test_amounts_of_one_currency_add_subtract_and_compare() -> None:
    assert Money(500, "usd") + Money(250, "usd") == Money(750, "usd")
    assert Money(500, "usd") - Money(750, "usd") == -Money(250, "usd")
    assert Money(499, "usd") < Money(500, "usd") <= Money(500, "usd")
    assert sum([Money(1, "usd"), Money(2, "usd")], Money(0, "usd")) == Money(3, "usd")


@pytest.mark.parametrize("verb", ["__add__", "__sub__", "__lt__", "__ge__"])
def test_two_currencies_do_not_mix(verb: str) -> None:
    with pytest.raises(money.CurrencyMismatch, match=r"5\.00 USD and 5\.00 EUR"):
        getattr(Money(500, "usd"), verb)(Money(500, "eur"))


def test_the_same_number_of_another_currency_is_another_amount() -> None:
    assert Money(500, "usd") != Money(500, "eur")


@pytest.mark.parametrize("amount", [5.0, True, "500", None])
def test_an_amount_is_a_whole_number_and_nothing_else(amount: object) -> None:
    with pytest.raises(TypeError):
        Money(amount, "usd")  # type: ignore[arg-type]  # what the type forbids, JSON may bring


@pytest.mark.parametrize("currency", ["USD", "us", "usdt", "", "u$d", "usd\n"])
def test_a_currency_is_three_small_letters(currency: str) -> None:
    with pytest.raises(money.UnknownCurrency):
        Money(500, currency)


def test_an_amount_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Money(500, "usd").amount = 5  # type: ignore[misc]  # the assignment is what is tested


def test_money_has_no_fractions_anywhere() -> None:
    for node in ast.walk(ast.parse(inspect.getsource(money))):
        assert not isinstance(node, ast.Div)
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float | complex))
        assert not (isinstance(node, ast.Name) and node.id in {"float", "round", "Decimal"})


# ------------------------------------------------------------------ what a gift may be


@pytest.mark.parametrize("currency", CURRENCIES)
def test_every_suggested_amount_is_one_we_take(currency: str) -> None:
    for frequency in FREQUENCIES:
        suggested = money.suggested_amounts(currency, frequency)
        assert 3 <= len(suggested) <= 4
        assert list(suggested) == sorted(suggested)
        for gift in suggested:
            assert money.validate_gift(gift.amount, currency) == gift


@pytest.mark.parametrize("currency", CURRENCIES)
def test_the_bounds_themselves_are_taken_and_what_is_beyond_is_not(currency: str) -> None:
    least, most = money.min_gift(currency), money.max_gift(currency)
    assert money.validate_gift(least.amount, currency) == least
    assert money.validate_gift(most.amount, currency) == most
    assert most.amount <= 99_999_999
    with pytest.raises(money.AmountTooSmall):
        money.validate_gift(least.amount - money.smallest_unit(currency), currency)
    with pytest.raises(money.AmountTooLarge):
        money.validate_gift(most.amount + money.smallest_unit(currency), currency)


def test_a_refusal_names_the_limit_and_says_nothing_was_charged() -> None:
    with pytest.raises(money.AmountTooSmall) as refused:
        money.validate_gift(199, "usd")
    assert refused.value.detail == "The smallest amount is 2.00 USD. Nothing was charged."
    assert (refused.value.status, refused.value.field) == (422, "amount")


def test_a_newsroom_may_set_its_own_maximum_but_not_above_stripes() -> None:
    assert money.validate_gift(2_000_000, "usd", overrides={"usd": 5_000_000}) == Money(
        2_000_000, "usd"
    )
    assert money.max_gift("usd", {"usd": 5_000_000}) == Money(5_000_000, "usd")
    assert money.max_gift("eur", {"usd": 5_000_000}) == Money(1_000_000, "eur")
    with pytest.raises(money.AmountTooLarge, match=r"999999\.99 USD"):
        money.validate_gift(100_000_000, "usd", overrides={"usd": 10**12})


def test_there_is_no_coin_for_the_last_fils() -> None:
    with pytest.raises(money.AmountTooPrecise, match=r"0\.010 KWD"):
        money.validate_gift(1505, "kwd")


@pytest.mark.parametrize("currency", ["brl", "USD", "", "dollars"])
def test_a_currency_we_do_not_take_is_refused(currency: str) -> None:
    for ask in (money.min_gift, money.max_gift, lambda c: money.suggested_amounts(c, "once")):
        with pytest.raises(money.UnknownCurrency) as refused:
            ask(currency)
        assert refused.value.field == "currency"
    with pytest.raises(money.UnknownCurrency):
        money.validate_gift(500, currency)


@pytest.mark.parametrize(
    ("currency", "digits", "coin"),
    [("usd", 2, 1), ("jpy", 0, 1), ("xof", 0, 1), ("kwd", 3, 10), ("isk", 2, 100), ("huf", 2, 1)],
)
def test_minor_units_are_stripes(currency: str, digits: int, coin: int) -> None:
    assert (money.exponent(currency), money.smallest_unit(currency)) == (digits, coin)


# ------------------------------------------------------------------ how it is written


@pytest.mark.parametrize(
    ("gift", "written"),
    [
        (Money(1250, "usd"), "12.50"),
        (Money(5, "usd"), "0.05"),
        (Money(-5, "usd"), "-0.05"),
        (Money(500, "jpy"), "500"),
        (Money(1500, "kwd"), "1.500"),
        (Money(123456789, "eur"), "1234567.89"),
    ],
)
def test_files_get_plain_numbers(gift: Money, written: str) -> None:
    assert money.to_decimal_string(gift) == written
    assert str(gift) == f"{written} {gift.currency.upper()}"


@pytest.mark.parametrize(
    ("gift", "locale", "written"),
    [
        (Money(123450, "usd"), "en", "$1,234.50"),
        (Money(123450, "usd"), "de", "1.234,50\N{NO-BREAK SPACE}$"),
        (Money(123450, "eur"), "fr-FR", "1\N{NARROW NO-BREAK SPACE}234,50\N{NO-BREAK SPACE}€"),
        (Money(12345000, "usd"), "hi", "$1,23,450.00"),
        (Money(500, "jpy"), "en", "¥500"),
        (Money(1500, "kwd"), "en", "KWD\N{NO-BREAK SPACE}1.500"),
        (Money(1250, "chf"), "en", "CHF\N{NO-BREAK SPACE}12.50"),
        (Money(1250, "dkk"), "da", "12,50\N{NO-BREAK SPACE}kr."),
        (Money(50000, "isk"), "en", "ISK\N{NO-BREAK SPACE}500"),
        (Money(50050, "isk"), "en", "ISK\N{NO-BREAK SPACE}500.50"),
        (Money(-500, "usd"), "en", "-$5.00"),
        (Money(123450, "usd"), "ar", "\u2068\u200f1,234.50\u00a0\u2068US$\u2069\u2069"),
        # ISO gives the lek no decimals; Stripe counts two, and none may be lost on the way.
        (Money(1250, "all"), "en", "ALL\N{NO-BREAK SPACE}12.50"),
    ],
)
def test_readers_see_money_as_they_write_it(gift: Money, locale: str, written: str) -> None:
    assert money.format(gift, locale) == written


# ------------------------------------------------------------------ how it is read


@given(gift=gifts(), locale=locales)
@quickly
def test_what_is_shown_can_be_typed_back(gift: Money, locale: str) -> None:
    assert amount_input.parse_amount(money.format(gift, locale), gift.currency, locale) == gift


@given(gift=gifts(), locale=locales)
@quickly
def test_what_is_in_a_form_can_be_sent_back(gift: Money, locale: str) -> None:
    try:
        readings: tuple[Money, ...] = (
            amount_input.parse_amount(money.to_decimal_string(gift), gift.currency, locale),
        )
    except (
        amount_input.AmountAmbiguous
    ) as question:  # "1.500" dinars, where a dot parts the thousands
        readings = question.candidates
    assert gift in readings
    assert len(readings) == (2 if len(readings) > 1 and gift.currency == "kwd" else 1)


@given(
    whole=st.integers(1, 999_999).map(str),
    mark=st.sampled_from([".", ",", "٫"]),
    cents=st.from_regex("[0-9]{1,2}", fullmatch=True),
    locale=locales,
)
@quickly
def test_cents_are_never_taken_for_thousands(
    whole: str, mark: str, cents: str, locale: str
) -> None:
    expected = Money(int(whole) * 100 + int(cents.ljust(2, "0")), "usd")
    assert amount_input.parse_amount(f"{whole}{mark}{cents}", "usd", locale) == expected


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("typed", ["12,50", "12.50", "12٫50", "１２．５０", "12,5", " 12.5 "])
def test_twelve_fifty_is_twelve_fifty_everywhere(typed: str, locale: str) -> None:
    assert amount_input.parse_amount(typed, "usd", locale) == Money(1250, "usd")


@given(amount=st.integers(1, 99_999), data=st.data())
@quickly
def test_digits_of_any_script_are_digits(amount: int, data: st.DataObject) -> None:
    digits = st.characters(categories=["Nd"])
    typed = ""
    for digit in str(amount):
        zero_based = data.draw(digits)
        typed += chr(ord(zero_based) - unicodedata.decimal(zero_based) + int(digit))
    assert amount_input.parse_amount(typed, "usd") == Money(amount * 100, "usd")


@pytest.mark.parametrize(
    ("typed", "currency", "locale", "amount"),
    [
        ("1,250", "usd", "en", 125000),
        ("1.250", "usd", "de", 125000),
        ("1,250.00", "usd", "de", 125000),
        ("1.250,00", "usd", "en", 125000),
        ("1 250,50", "usd", "ru", 125050),
        ("1\N{NO-BREAK SPACE}250", "usd", "en", 125000),
        ("1\N{NARROW NO-BREAK SPACE}250", "usd", "fr", 125000),
        ("1’250.50", "chf", "de-CH", 125050),
        ("1'250", "chf", "en", 125000),
        ("1٬250٫50", "usd", "ar", 125050),
        ("12,50,000", "usd", "hi", 125000000),
        ("1.250.000", "usd", "en", 125000000),
        ("0.500", "kwd", "de", 500),
        ("1,500", "kwd", "de", 1500),
        ("1.250", "jpy", "en", 1250),
        ("500.00", "jpy", "en", 500),
        ("۵۰۰", "jpy", "fa", 500),
        (".50", "usd", "en", 50),
        ("$5", "usd", "en", 500),
        ("US$ 5", "usd", "ar", 500),
        ("5 usd", "usd", "en", 500),
        ("5,00\N{NO-BREAK SPACE}€", "eur", "de", 500),
        ("50 kr.", "dkk", "da", 5000),
        ("kr 50", "nok", "en", 5000),
        ("10 zł", "pln", "en", 1000),
        ("￥５００", "jpy", "ja", 500),
        ("Fr. 5.50", "chf", "en", 550),
    ],
)
def test_a_reader_writes_an_amount_in_their_own_way(
    typed: str, currency: str, locale: str, amount: int
) -> None:
    assert amount_input.parse_amount(typed, currency, locale) == Money(amount, currency)


@pytest.mark.parametrize(
    ("typed", "currency", "locale", "candidates"),
    [
        ("1.250", "usd", "en", ["1250.00 USD", "1.25 USD"]),
        ("1,250", "usd", "de", ["1250.00 USD", "1.25 USD"]),
        ("1.250", "usd", "fr", ["1250.00 USD", "1.25 USD"]),
        ("1,250", "chf", "de-CH", ["1250.00 CHF", "1.25 CHF"]),
        ("1,500", "kwd", "en", ["1500.000 KWD", "1.500 KWD"]),
    ],
)
def test_what_has_two_readings_is_asked_about(
    typed: str, currency: str, locale: str, candidates: list[str]
) -> None:
    with pytest.raises(amount_input.AmountAmbiguous) as asked:
        amount_input.parse_amount(typed, currency, locale)
    assert [str(candidate) for candidate in asked.value.candidates] == candidates


@pytest.mark.parametrize(
    ("typed", "currency", "refusal"),
    [
        *((typed, "usd", AmountNotANumber) for typed in ["", " ", "$", "five", "1e3", "NaN"]),
        *((typed, "usd", AmountNotANumber) for typed in ["inf", "-5", "−5", "(5)", "+5"]),
        *((typed, "usd", AmountNotANumber) for typed in ["12 50", "1_000", "1,2,3", "5."]),
        *((typed, "usd", AmountNotANumber) for typed in ["5²", "½", "⑤", "Ⅴ", "0x10", "5%"]),
        *((typed, "usd", AmountNotANumber) for typed in ["€5", "5 eur", "5\x005", "1" * 99]),
        *((typed, "usd", AmountNotANumber) for typed in ["1,,250", "01,250.00", "1,250,00"]),
        ("5.001", "usd", money.AmountTooPrecise),
        ("5.0001", "usd", money.AmountTooPrecise),
        ("1 250,500", "usd", money.AmountTooPrecise),
        ("1,250.500", "usd", money.AmountTooPrecise),
        ("12.5", "jpy", money.AmountTooPrecise),
        ("1.255", "kwd", money.AmountTooPrecise),
        ("0", "usd", money.AmountTooSmall),
        ("0.00", "usd", money.AmountTooSmall),
        ("9" * 13, "usd", money.AmountTooLarge),
        ("5", "brl", money.UnknownCurrency),
    ],
)
def test_what_is_no_amount_is_refused(
    typed: str, currency: str, refusal: type[PaymentsError]
) -> None:
    with pytest.raises(refusal) as refused:
        amount_input.parse_amount(typed, currency)
    assert refused.value.status == 422
    assert refused.value.detail.endswith("Nothing was charged.")


@given(
    typed=st.text(max_size=70) | st.text(alphabet="0123456789.,' -$€eE_٫٬\u200f", max_size=16),
    currency=currencies,
    locale=locales,
)
@quickly
def test_junk_is_refused_and_breaks_nothing(typed: str, currency: str, locale: str) -> None:
    try:
        read = amount_input.parse_amount(typed, currency, locale)
    except PaymentsError:
        return
    assert read.amount > 0
    assert read.amount % money.smallest_unit(currency) == 0
