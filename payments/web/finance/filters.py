"""The filters of a finance page: its address is its state.

A filter that makes no sense is refused with a sentence (InvalidField).
"""

from collections.abc import Mapping, Sequence
from datetime import date

from payments.accounting.reports import period
from payments.accounting.reports.period import Period
from payments.accounting.reports.transaction_filters import check_filter
from payments.core import money
from payments.core.frequency import NO_FREQUENCY, Frequency
from payments.infra.context import Context
from payments.web import forms
from payments.web.finance.formats import BOOKED_FREQUENCY_LABELS, NO_CONTRIBUTION_LABEL

PERIOD_NAMES = ("period", "from", "to")


def today(ctx: Context) -> date:
    """Return the day it is in the accounting zone."""
    return ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date()


def filter_value(params: Mapping[str, str], name: str) -> str | None:
    """Return one filter of an address. Raises InvalidField for one that makes no sense."""
    value = params.get(name, "")
    if not value:
        return None
    check_filter(name, value)
    return value


def pick(params: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return these parameters of an address, empty where it does not have them."""
    return {name: params.get(name, "") for name in names}


def period_or_default(
    ctx: Context, params: Mapping[str, str], default: str
) -> tuple[dict[str, str], Period]:
    """Return the parameters of the period and the period itself; without any, the default's."""
    chosen = pick(params, PERIOD_NAMES)
    if not any(chosen.values()):
        chosen["period"] = default
    return chosen, period.parse_period(chosen, today=today(ctx))


def select_options(choices: Sequence[tuple[str, str]], chosen: str) -> list[dict[str, object]]:
    """Return the options of a select; a chosen value that is not among them is added."""
    if chosen not in dict(choices):
        choices = [*choices, (chosen, chosen.upper())]
    return forms.select_options(choices, chosen)


def currency_options(
    chosen: str | None, *, every: str = "All currencies"
) -> list[dict[str, object]]:
    """Return the currencies as options; `every` labels the one for all, "" leaves it out."""
    currencies = [(code, code.upper()) for code in money.GIFT_LIMITS]
    return select_options([("", every), *currencies] if every else currencies, chosen or "")


def frequency_options(chosen: str | None) -> list[dict[str, object]]:
    """Return the frequencies as options, and what belongs to no contribution."""
    frequencies = [(frequency.value, BOOKED_FREQUENCY_LABELS[frequency]) for frequency in Frequency]
    return select_options(
        [("", "All"), *frequencies, (NO_FREQUENCY, NO_CONTRIBUTION_LABEL)], chosen or ""
    )
