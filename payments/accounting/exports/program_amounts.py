"""Amounts as accounting programs take them: a point or a comma, and two decimals."""

from payments.accounting.exports.journals import ProgramRefuses
from payments.core import money
from payments.core.money import Money

PROGRAM_DECIMALS = 2  # Xero, QuickBooks Online and DATEV


def two_decimals(minor: int, currency: str) -> str:
    """Return an amount of minor units in major units with two decimals, such as -12.50.

    A yen is 1500.00, a dinar 1.25. Raises ProgramRefuses for an amount with a third decimal.
    """
    exponent = money.exponent(currency)
    hundredths, rest = divmod(minor * 10**PROGRAM_DECIMALS, 10**exponent)
    if rest:
        raise ProgramRefuses(
            f"{Money(minor, currency)} has more decimals than the two that the program takes. "
            "Nothing was written. The plain CSV, beancount and hledger take them all."
        )
    digits = f"{abs(hundredths):03}"
    return f"{'-' if hundredths < 0 else ''}{digits[:-2]}.{digits[-2:]}"


def all_decimals(minor: int, currency: str) -> str:
    """Return an amount of minor units in major units, with all decimals of its currency."""
    return money.to_decimal_string(Money(minor, currency))
