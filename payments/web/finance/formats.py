"""How the finance pages print money, counts, shares, dates and frequencies.

Money has its currency's symbol and a real minus. Times are in the accounting zone.
"""

from datetime import date, datetime

from payments.core import i18n, money
from payments.core.frequency import NO_FREQUENCY, Frequency
from payments.core.money import Money
from payments.infra.context import Context
from payments.web.donate.form import FREQUENCY_LABELS
from payments.web.finance.tables import EMPTY_CELL

NO_CONTRIBUTION_LABEL = "Stripe's own fees"  # of what belongs to no contribution
BOOKED_FREQUENCY_LABELS = {
    **FREQUENCY_LABELS,
    Frequency.PERIODIC: "Other intervals",
    Frequency.OTHER: "Other income",
}


def format_money(minor: int, currency: str) -> str:
    """Return an amount of minor units with its symbol."""
    return money.format(Money(minor, currency)).replace("-", money.MINUS)


def format_deduction(minor: int, currency: str) -> str:
    """Return an amount that was taken off, below zero."""
    return format_money(-minor, currency)


def format_signed(minor: int, currency: str) -> str:
    """Return a change of an amount, with its sign."""
    return ("+" if minor > 0 else "") + format_money(minor, currency)


def format_count(number: int) -> str:
    """Return a count with its thousands apart."""
    return f"{number:,}".replace("-", money.MINUS)


def format_share(part: int, of: int) -> str:
    """Return a percentage without decimals, never 100 % or 0 % unless it is."""
    if of == 0:
        return EMPTY_CELL
    return f"{min(max(round(100 * part / of), int(part > 0)), 99 if part < of else 100)} %"


def chart_value(minor: int, currency: str) -> float:
    """Major units for a chart's scale; never to compute with."""
    return float(money.to_decimal_string(Money(minor, currency)))


def frequency_label(frequency: str) -> str:
    """Return a frequency, or what stands for none, in words."""
    if frequency == NO_FREQUENCY:
        return NO_CONTRIBUTION_LABEL
    return BOOKED_FREQUENCY_LABELS[Frequency(frequency)]


def format_datetime(ctx: Context, at: datetime) -> str:
    """Return a time for a sentence."""
    return at.astimezone(ctx.settings.accounting_zoneinfo).strftime("%-d %B %Y, %H:%M")


def format_minute(ctx: Context, at: datetime) -> str:
    """Return a time for a table: it sorts as it reads."""
    return at.astimezone(ctx.settings.accounting_zoneinfo).strftime("%Y-%m-%d %H:%M")


def format_date(day: date) -> str:
    """Return a day for a sentence."""
    return i18n.format_day(day, i18n.DEFAULT_LOCALE)


def format_month(first: date) -> str:
    """Return a month by its name and year."""
    return first.strftime("%B %Y")
