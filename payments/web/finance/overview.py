"""The overview: a period in figures beside the same a year before, two years of net in bars, and
this year beside the last.
"""

import itertools
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.accounting import integrity, late_entries
from payments.accounting.reports import monthly, period_totals
from payments.accounting.reports.monthly import MonthlyTotal
from payments.accounting.reports.period import Period
from payments.core.calendar import first_of_month, months_before, next_month
from payments.infra import charts
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import filters, layout
from payments.web.finance.formats import (
    BOOKED_FREQUENCY_LABELS,
    NO_CONTRIBUTION_LABEL,
    chart_value,
    format_count,
    format_datetime,
    format_deduction,
    format_money,
    format_month,
    format_signed,
    frequency_label,
)
from payments.web.finance.tables import EMPTY_CELL, Cell, Table, table
from payments.web.forms import AnyRequest, query_string

MONTHS_SHOWN = 24


class OverviewPages(Controller):
    """The first page of finance."""

    path = "/finance"
    include_in_schema = False

    @get()
    async def overview(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Show a period by currency, this month unless asked, and two years of one currency."""
        today, query = filters.today(ctx), request.query_params
        currency = filters.filter_value(query, "currency")
        params, of_period = filters.period_or_default(ctx, query, f"{today:%Y-%m}")
        since, month = months_shown(of_period, today)
        zone = ctx.settings.accounting_zoneinfo
        year_before = of_period.up_to(today).year_before()
        async with ctx.sessions() as session:
            totals = await monthly.by_month(session, zone, since=since, until=next_month(month))
            of_days = await period_totals.by_currency(session, zone, of_period)
            of_year_before = (
                await period_totals.by_currency(session, zone, year_before) if year_before else {}
            )
            late = await late_entries.count_booked_in(session, of_period.since, of_period.until)
            elsewhere = await filters.settled_elsewhere(ctx, session, of_period, currency)
            checks = await integrity.latest_results(session)
        drawn_currency = currency or _main_currency(totals, ctx.settings.default_currency)
        drawn = [total for total in totals if total.currency == drawn_currency]
        transactions_query = query_string(**params, currency=currency)
        variance_query = query_string(**params, currency=drawn_currency)
        return await layout.render(
            ctx,
            "finance_overview.html",
            colleague,
            request=request,
            title=f"Overview: {of_period.words}",
            active_url="/finance",
            until=of_period.until,
            picker=filters.period_picker(ctx, params),
            currencies=filters.currency_options(currency, every="All, drawn in the largest"),
            elsewhere=elsewhere,
            cards=[
                _totals_card(total, of_year_before.get(code), params)
                for code, total in of_days.items()
                if currency in (None, code)
            ],
            late=format_count(late) if late else "",
            year_before=year_before.words if year_before else "",
            transactions_url=f"/finance/transactions{transactions_query}",
            variance_url=f"/finance/why{variance_query}" if year_before else "",
            charts=[
                await _net_by_month_chart(drawn, drawn_currency, month),
                await _two_years_chart(drawn, drawn_currency, month),
            ]
            if drawn
            else [],
            integrity_checks=[
                {
                    "description": check.description,
                    "passed": not check.failures,
                    "detail": "; ".join(check.failures),
                }
                for check in checks
            ],
            checked_at=format_datetime(ctx, checks[0].checked_at) if checks else "",
        )


def months_shown(of_period: Period, today: date) -> tuple[date, date]:
    """Return the first and the last month that are shown with a period: the last is its last one
    that has begun.
    """
    last = min(today, (of_period.until or next_month(today)) - timedelta(days=1))
    month = first_of_month(last)
    return min(months_before(month, MONTHS_SHOWN - 1), date(month.year - 1, 1, 1)), month


def _main_currency(totals: Sequence[MonthlyTotal], default_currency: str) -> str:
    """Return the currency with the most payments."""
    payments: dict[str, int] = {}
    for total in totals:
        payments[total.currency] = payments.get(total.currency, 0) + total.payments
    return max(sorted(payments), key=lambda code: payments[code], default=default_currency)


def _totals_card(
    total: MonthlyTotal, before: MonthlyTotal | None, params: Mapping[str, str]
) -> dict[str, Any]:
    """Return the figures of a currency, each beside the same of the year before."""
    currency = total.currency
    figures = (
        ("Gross", "gross", format_money),
        ("Fees", "fees", format_deduction),
        ("Refunds", "refunds", format_deduction),
        ("Disputes", "disputes", format_deduction),
        ("Net", "net", format_money),
    )
    counts = (
        ("Payments", "payments"),
        ("Contributions that paid", "payers"),
        ("first-time donors among them", "first_time_payers"),
    )
    lines = [
        (label, name, print_(getattr(total, name), currency),
         EMPTY_CELL if before is None else print_(getattr(before, name), currency))
        for label, name, print_ in figures
    ] + [
        (label, name, format_count(getattr(total, name)),
         EMPTY_CELL if before is None else format_count(getattr(before, name)))
        for label, name in counts
    ]  # fmt: skip
    return {
        "currency": currency.upper(),
        "url": f"/finance/transactions{query_string(**{**params, 'currency': currency})}",
        "lines": [
            {"label": label, "name": name, "now": now, "before": then}
            for label, name, now, then in lines
        ],
    }


# --- net by month ---------------------------------------------------------------------------------


async def _net_by_month_chart(
    totals: Sequence[MonthlyTotal], currency: str, last: date
) -> dict[str, Any]:
    """Net by month and frequency, in bars and in a table."""
    used = {frequency_label(total.frequency) for total in totals}
    series = [
        label
        for label in (*BOOKED_FREQUENCY_LABELS.values(), NO_CONTRIBUTION_LABEL)
        if label in used
    ]
    earliest = min(total.month for total in totals)
    months = [months_before(last, back) for back in range(MONTHS_SHOWN - 1, -1, -1)]
    # The chart begins with the first month that has anything to draw.
    months = [month for month in months if month >= earliest] or [last]
    nets = {(total.month, frequency_label(total.frequency)): total.net for total in totals}
    points: list[charts.DataPoint] = [
        {
            "month": f"{month:%b %y}",
            "series": label,
            "place": place,
            "value": chart_value(nets.get((month, label), 0), currency),
        }
        for month in months
        for place, label in enumerate(series)
    ]
    sums = {month: sum(nets.get((month, label), 0) for label in series) for month in months}
    best = max(months, key=lambda month: sums[month])
    title = f"Net by month and frequency, {currency.upper()}"
    description = (
        f"Net was {format_money(sums[last], currency)} in {format_month(last)};"
        f" the best of {len(months)} months was {format_month(best)}"
        f" with {format_money(sums[best], currency)}."
    )
    spec = charts.stacked_bars(points, series=series, unit=currency.upper())
    rows: list[list[str | Cell]] = []
    for month in reversed(months):
        query = query_string(period=f"{month:%Y-%m}", currency=currency)
        of_series = [format_money(nets.get((month, label), 0), currency) for label in series]
        month_cell = Cell(format_month(month), f"/finance{query}")
        rows.append([month_cell, *of_series, format_money(sums[month], currency)])
    columns = ["Month", *(f"#{label}" for label in series), "#Net"]
    return {
        "id": "by-month",
        "description": description,
        "svg": await charts.render_svg(spec, title=title, description=description),
        "table": table("t-by-month", title, columns, rows),
    }


# --- two years ------------------------------------------------------------------------------------


async def _two_years_chart(
    totals: Sequence[MonthlyTotal], currency: str, last: date
) -> dict[str, Any]:
    """Net added up since January: this year beside the last."""
    earliest = min(total.month for total in totals)
    years = (last.year, last.year - 1)
    sums = {year: _net_since_january(totals, year, earliest, last) for year in years}
    months = [f"{date(2026, number, 1):%b}" for number in range(1, 13)]
    points: list[charts.DataPoint] = [
        {"month": months[place], "series": str(year), "value": chart_value(net, currency)}
        for year in years
        for place, net in enumerate(sums[year])
        if net is not None
    ]
    title = f"Net since January, {currency.upper()}: {last.year} and {last.year - 1}"
    description = _two_years_sentence(sums, currency, earliest, last)
    spec = charts.line_chart(
        points, series=[str(year) for year in years], unit=currency.upper(), months=months
    )
    return {
        "id": "two-years",
        "description": description,
        "svg": await charts.render_svg(spec, title=title, description=description),
        "table": _two_years_table(title, sums, currency, months),
    }


def _net_since_january(
    totals: Sequence[MonthlyTotal], year: int, earliest: date, last: date
) -> list[int | None]:
    """Net of a year added up month by month; None for a month outside the figures there are."""
    nets: dict[date, int] = {}
    for total in totals:
        nets[total.month] = nets.get(total.month, 0) + total.net
    months = [date(year, number, 1) for number in range(1, 13)]
    sums = itertools.accumulate(nets.get(month, 0) for month in months)
    return [
        net if earliest <= month <= last else None for month, net in zip(months, sums, strict=True)
    ]


def _two_years_sentence(
    sums: dict[int, list[int | None]], currency: str, earliest: date, last: date
) -> str:
    now, then = sums[last.year][last.month - 1], sums[last.year - 1][last.month - 1]
    sentence = (
        f"From January to {last:%B}, net came to {_total_or_empty(now, currency)} in {last.year}"
    )
    if then is None:
        return (
            f"{sentence}; there is nothing to compare,"
            f" as the first transaction is of {format_month(earliest)}."
        )
    sentence += f" and to {format_money(then, currency)} in {last.year - 1}"
    is_partial = earliest > date(last.year - 1, 1, 1)
    return (
        f"{sentence}, whose first transaction is of {earliest:%B}."
        if is_partial
        else f"{sentence}."
    )


def _two_years_table(
    title: str, sums: dict[int, list[int | None]], currency: str, months: Sequence[str]
) -> Table:
    (year, this_year), (year_before, last_year) = sums.items()
    rows = []
    for month, now, then in zip(months, this_year, last_year, strict=True):
        difference = EMPTY_CELL
        if now is not None and then is not None:
            difference = format_signed(now - then, currency)
        rows.append(
            [month, _total_or_empty(now, currency), _total_or_empty(then, currency), difference]
        )
    columns = ["Since January", f"#{year}", f"#{year_before}", "#Difference"]
    return table("t-two-years", title, columns, rows, is_sortable=False)


def _total_or_empty(total: int | None, currency: str) -> str:
    return EMPTY_CELL if total is None else format_money(total, currency)
