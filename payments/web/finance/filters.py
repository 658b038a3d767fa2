"""The filters of a finance page: its address is its state.

A filter that makes no sense is refused with a sentence (InvalidField).
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time

from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.reports import period, period_totals
from payments.accounting.reports.period import QUARTERS, WORD_FOR_ALL, Period
from payments.accounting.reports.transaction_filters import as_typed, check_filter
from payments.core import money
from payments.core.calendar import months_before
from payments.core.frequency import NO_FREQUENCY, Frequency
from payments.infra.context import Context
from payments.web import forms
from payments.web.finance.formats import (
    BOOKED_FREQUENCY_LABELS,
    NO_CONTRIBUTION_LABEL,
    format_count,
    format_money,
)

PERIOD_NAMES = ("period", "from", "to")
MONTHS_OFFERED = 24
QUARTERS_OFFERED = 8
YEARS_OFFERED = 6


def today(ctx: Context) -> date:
    """Return the day it is in the accounting zone."""
    return ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date()


def filter_value(params: Mapping[str, str], name: str) -> str | None:
    """Return one filter of an address. Raises InvalidField for one that makes no sense."""
    value = as_typed(name, params.get(name, ""))
    if not value:
        return None
    check_filter(name, value)
    return value


def pick(params: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return these parameters of an address, empty where it does not have them."""
    return {name: params.get(name, "") for name in names}


def period_or_default(
    ctx: Context, params: Mapping[str, str], default: str = WORD_FOR_ALL
) -> tuple[dict[str, str], Period]:
    """Return the parameters of the period and the period itself; without any, the default's.

    Raises InvalidField.
    """
    chosen = pick(params, PERIOD_NAMES)
    if chosen["from"] or chosen["to"]:
        chosen["period"] = chosen["period"].removeprefix(WORD_FOR_ALL)  # the days are a part of it
    elif not chosen["period"]:
        chosen["period"] = default
    return chosen, period.parse_period(
        chosen, today=today(ctx), fiscal_year_start=ctx.settings.fiscal_year_start
    )


def moments(ctx: Context, of: Period) -> tuple[datetime | None, datetime | None]:
    """Return when a period begins and ends in the accounting zone, None where it is open."""
    zone = ctx.settings.accounting_zoneinfo
    since, until = (
        None if day is None else datetime.combine(day, time(), zone) for day in (of.since, of.until)
    )
    return since, until


def period_picker(
    ctx: Context, chosen: Mapping[str, str], *, named: Sequence[tuple[str, str]] = ()
) -> dict[str, object]:
    """Return the fields of a form's period: months, quarters and years by name, or any days.

    `chosen` are the parameters of the period, as they were typed; `named` are values and labels
    that this page offers besides.
    """
    picked = chosen.get("period", "")
    groups = _periods_offered(today(ctx), ctx.settings.fiscal_year_start)
    if named:
        groups = [("", list(named)), *groups]
    offered = {value for _, choices in groups for value, _ in choices}
    if picked and picked not in offered:
        words = period.parse_period(
            {"period": picked},
            today=today(ctx),
            fiscal_year_start=ctx.settings.fiscal_year_start,
        ).words
        groups = [("", [(picked, words[:1].upper() + words[1:])]), *groups]
    return {
        "groups": [
            {"label": label, "options": forms.select_options(choices, picked)}
            for label, choices in groups
        ],
        "from": chosen.get("from", ""),
        "to": chosen.get("to", ""),
    }


def _periods_offered(day: date, fiscal_year_start: int) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return groups of periods as values and labels, the newest first."""
    months = [months_before(day, back) for back in range(MONTHS_OFFERED)]
    groups = [
        ("", [(WORD_FOR_ALL, "All time"), ("", "Days: from, up to")]),
        ("Months", [(f"{month:%Y-%m}", f"{month:%B %Y}") for month in months]),
        ("Quarters", _quarters_offered(day, fiscal_year_start)),
    ]
    if fiscal_year_start > 1:
        newest = period.fiscal_year_of(day, fiscal_year_start)
        fiscal_years = [
            (
                f"FY{year}",
                f"Fiscal year {year}: "
                + period.year_period(year, first_month=fiscal_year_start).words,
            )
            for year in range(newest, newest - YEARS_OFFERED, -1)
        ]
        groups.append(("Fiscal years", fiscal_years))
    years = [str(year) for year in range(day.year, day.year - YEARS_OFFERED, -1)]
    return [*groups, ("Years", [(year, year) for year in years])]


def _quarters_offered(day: date, first_month: int) -> list[tuple[str, str]]:
    """Return the last quarters, of the fiscal year where it is not the calendar's."""
    prefix = "FY" if first_month > 1 else ""
    newest = period.fiscal_year_of(day, first_month)
    quarters = [
        (year, quarter, period.quarter_period(year, quarter, first_month=first_month))
        for year in range(newest, newest - YEARS_OFFERED, -1)
        for quarter in range(QUARTERS, 0, -1)
    ]
    begun = [one for one in quarters if one[2].since is not None and one[2].since <= day]
    return [
        (f"{prefix}{year}-Q{quarter}", f"Q{quarter} {prefix}{year}: {of.words}")
        for year, quarter, of in begun[:QUARTERS_OFFERED]
    ]


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


async def settled_elsewhere(
    ctx: Context, session: AsyncSession, of_period: Period, currency: str | None
) -> list[str]:
    """Return sentences on payments in the chosen currency that Stripe settled in others."""
    if currency is None:
        return []
    found = await period_totals.list_settled_elsewhere(
        session, ctx.settings.accounting_zoneinfo, of_period, currency
    )
    return [
        f"{format_count(one.payments)} {'payment' if one.payments == 1 else 'payments'} in"
        f" {currency.upper()}, together {format_money(one.amount, currency)}, were settled in"
        f" {one.settled_in.upper()} and are among its figures."
        for one in found
    ]
