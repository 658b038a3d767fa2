"""Sums for programs: the overview, months and reminders."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency

from payments.accounting import integrity
from payments.accounting.reports import monthly, period_totals
from payments.accounting.reports.monthly import MonthlyTotal
from payments.core.calendar import next_month
from payments.infra.context import Context
from payments.signups import reminder_stats
from payments.staff.api_tokens import TokenScope
from payments.web.finance import filters
from payments.web.finance import months as month_pages
from payments.web.finance import overview as overview_page
from payments.web.finance import reminder_stats as reminder_page
from payments.web.finance_api.access import API_PREFIX, TokenOnly
from payments.web.finance_api.answers import (
    About,
    CurrencySum,
    Days,
    about,
    days,
    month,
    month_of,
    refusals,
    shape,
    shape_all,
)
from payments.web.finance_api.parameters import PERIOD_PARAMETERS
from payments.web.forms import AnyRequest

READ_REPORTS = TokenOnly(TokenScope.REPORTS)


class MonthLine(msgspec.Struct, frozen=True):
    """Sums of one month, frequency and currency. The frequency `none` is what belongs to no
    contribution, `other` is other income.
    """

    month: str
    frequency: str
    currency: str
    payments: int
    payers: int
    first_time_payers: int
    gross: int
    fees: int
    refunds: int
    disputes: int
    net: int


class Check(msgspec.Struct, frozen=True):
    """A statement about the books, and what breaks it."""

    name: str
    description: str
    passed: bool
    failures: Sequence[str]
    checked_at: datetime


class Overview(msgspec.Struct, frozen=True):
    """A period by currency, the same a year before, the months that lead to it, and whether the
    books agree with themselves.
    """

    about: About
    period: Days
    year_before: Days | None
    totals: Sequence[CurrencySum]
    totals_year_before: Sequence[CurrencySum]
    by_month: Sequence[MonthLine]
    integrity_checks: Sequence[Check]


class Months(msgspec.Struct, frozen=True):
    """The months of a period, newest first. Other income is in no total."""

    about: About
    period: Days
    totals: Sequence[CurrencySum]
    lines: Sequence[MonthLine]
    other_income: Sequence[MonthLine]


class CurrencyAmount(msgspec.Struct, frozen=True):
    """An amount of minor units."""

    amount: int
    currency: str


class ReminderLine(msgspec.Struct, frozen=True):
    """A month of reminders. A count is null where it is of few; `given` is empty unless each of its
    amounts is of enough.
    """

    month: str
    signed_up: int | None
    confirmed: int | None
    sent: int | None
    opened: int | None
    missed: int | None
    calendar_files: int | None
    gave: int | None
    given: Sequence[CurrencyAmount]


class Reminders(msgspec.Struct, frozen=True):
    """The reminders of the months of a period. A count below `min_group_size` is null."""

    about: About
    min_group_size: int
    months: Sequence[ReminderLine]


class ReportsApi(Controller):
    """Sums, each as on its page."""

    path = API_PREFIX
    tags = ("Reports",)
    guards = [READ_REPORTS]  # noqa: RUF012 - litestar's own

    @get(
        "/overview",
        operation_id="getOverview",
        summary="A period by currency, and the months that lead to it",
        parameters=(*PERIOD_PARAMETERS, "currency"),
        responses=refusals(),
    )
    async def overview(self, ctx: NamedDependency[Context], request: AnyRequest) -> Overview:
        """As on the page “Overview”: of this month, unless another period is asked for, beside the
        same a year before where it has one, and of 24 months or from January of the year before.
        """
        currency = filters.filter_value(request.query_params, "currency")
        today, zone = filters.today(ctx), ctx.settings.accounting_zoneinfo
        _, of = filters.period_or_default(ctx, request.query_params, f"{today:%Y-%m}")
        before = of.up_to(today).year_before()
        since, last = overview_page.months_shown(of, today)
        async with ctx.sessions() as session:
            totals = await period_totals.by_currency(session, zone, of)
            earlier = await period_totals.by_currency(session, zone, before) if before else {}
            lines = await monthly.by_month(
                session, zone, since=since, until=next_month(last), currency=currency
            )
            checks = await integrity.latest_results(session)
            said = await about(ctx, session)
        return Overview(
            about=said,
            period=days(of),
            year_before=days(before) if before else None,
            totals=_currency_sums(totals, currency),
            totals_year_before=_currency_sums(earlier, currency),
            by_month=_month_lines(lines),
            integrity_checks=shape_all(
                Check,
                checks,
                name=lambda check: check.check_name,
                passed=lambda check: not check.failures,
            ),
        )

    @get(
        "/months",
        operation_id="listMonths",
        summary="Gross, fees, refunds and net by month",
        parameters=(*PERIOD_PARAMETERS, "currency", "frequency"),
        responses=refusals(),
    )
    async def months(self, ctx: NamedDependency[Context], request: AnyRequest) -> Months:
        """As on the page “Months”: all there are, unless a period is asked for."""
        _, of = filters.period_or_default(ctx, request.query_params)
        chosen = month_pages.parse_filters(request.query_params)
        within = month_pages.days_of(of)
        async with ctx.sessions() as session:
            lines = await monthly.by_month(
                session, ctx.settings.accounting_zoneinfo, **within, **chosen
            )
            others = await month_pages.list_other_income(ctx, session, within, chosen)
            said = await about(ctx, session)
        return Months(
            about=said,
            period=days(of),
            totals=_currency_sums(monthly.sum_by_currency(lines)),
            lines=_month_lines(lines),
            other_income=_month_lines(others),
        )

    @get(
        "/reminders",
        operation_id="listReminders",
        summary="Reminders by month",
        parameters=PERIOD_PARAMETERS,
        responses=refusals(),
    )
    async def reminders(self, ctx: NamedDependency[Context], request: AnyRequest) -> Reminders:
        """As on the page “Reminders”: of two years, unless another period is asked for."""
        _, since, until = reminder_page.chosen_months(ctx, request.query_params)
        async with ctx.sessions() as session:
            found = await reminder_stats.monthly_stats(
                session, ctx.settings, since=since, until=until
            )
            said = await about(ctx, session)
        steps = reminder_stats.ReminderStep
        return Reminders(
            about=said,
            min_group_size=reminder_stats.MIN_GROUP_SIZE,
            months=[
                ReminderLine(
                    month(one.month),
                    signed_up=one.steps[steps.SIGNED_UP],
                    confirmed=one.steps[steps.CONFIRMED],
                    sent=one.steps[steps.SENT],
                    opened=one.steps[steps.OPENED],
                    missed=one.steps[steps.MISSED],
                    calendar_files=one.steps[steps.CALENDAR],
                    gave=one.donated,
                    given=[CurrencyAmount(sum_.amount, sum_.currency) for sum_ in one.amounts],
                )
                for one in found
            ],
        )


def _currency_sums(
    totals: Mapping[str, MonthlyTotal], currency: str | None = None
) -> list[CurrencySum]:
    return [shape(CurrencySum, total) for code, total in totals.items() if currency in (None, code)]


def _month_lines(lines: Sequence[MonthlyTotal]) -> list[MonthLine]:
    return shape_all(MonthLine, lines, month=month_of)
