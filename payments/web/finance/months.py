"""Months: gross, fees, refunds and net by month, frequency and currency, and the same as a file."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.reports import monthly, other_income, period
from payments.accounting.reports.monthly import MonthlyTotal
from payments.accounting.reports.period import Period
from payments.core.calendar import months_before
from payments.core.frequency import Frequency
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import filters, layout
from payments.web.finance.formats import (
    format_count,
    format_deduction,
    format_money,
    format_month,
    format_signed,
    frequency_label,
)
from payments.web.finance.tables import EMPTY_CELL, Cell, Table, table
from payments.web.forms import AnyRequest, query_string
from payments.web.staff.downloads import attachment
from payments.web.staff.guards import EXPORT, ExportGrant

FILTER_NAMES = ("currency", "frequency")


class MonthPages(Controller):
    """The page of months, and its file."""

    path = "/finance"
    include_in_schema = False

    @get("/months")
    async def list_months(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Every month of a period, newest first, each beside the same month a year before."""
        params, of_period = filters.period_or_default(ctx, request.query_params)
        chosen = parse_filters(request.query_params)
        zone = ctx.settings.accounting_zoneinfo
        async with ctx.sessions() as session:
            totals = await monthly.by_month(session, zone, **days_of(of_period), **chosen)
            elsewhere = await filters.settled_elsewhere(
                ctx, session, of_period, chosen.get("currency")
            )
            before = await _nets_a_year_before(session, zone, of_period, chosen)
            others = await list_other_income(ctx, session, days_of(of_period), chosen)
        query = query_string(**params, **filters.pick(request.query_params, FILTER_NAMES))
        return await layout.render(
            ctx,
            "finance_months.html",
            colleague,
            request=request,
            title="Contributions by month",
            active_url="/finance/months",
            until=of_period.until,
            picker=filters.period_picker(ctx, params),
            filters=_filter_options(chosen),
            totals=[
                _amount_view(total) | {"url": _lines_url(params, chosen, total.currency)}
                for total in monthly.sum_by_currency(totals).values()
            ],
            rows=[_row_view(total, of_period, before) for total in totals],
            elsewhere=elsewhere,
            years=_years_table(totals, of_period, chosen),
            other_income=_other_income_table(others, of_period) if others else None,
            export_url=f"/finance/monthly.csv{query}",
        )

    @get("/monthly.csv", guards=[EXPORT])
    async def monthly_csv(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Response[bytes]:
        """Return the same totals as a file, those of other income among them."""
        _, of_period = filters.period_or_default(ctx, request.query_params)
        chosen = parse_filters(request.query_params)
        async with ctx.sessions() as session:
            lines = await other_income.beside_contributions(
                session, ctx.settings.accounting_zoneinfo, **days_of(of_period), **chosen
            )
        zone = ctx.settings.accounting_zone.replace("/", "-")
        name = "_".join(["monthly", of_period.label, *chosen.values(), zone])
        return await attachment(
            export_grant, monthly.as_csv(lines).encode(), f"{name}.csv", media_type="text/csv"
        )


def _lines_url(params: Mapping[str, str], chosen: Mapping[str, Any], currency: str) -> str:
    return "/finance/transactions" + query_string(**{**params, **chosen, "currency": currency})


def days_of(of_period: Period) -> dict[str, Any]:
    """Return a period as the arguments of a report."""
    return {"since": of_period.since, "until": of_period.until}


async def _nets_a_year_before(
    session: AsyncSession, zone: ZoneInfo, of_period: Period, chosen: Mapping[str, Any]
) -> dict[tuple[date, str, str], int]:
    """Return net of the same days a year before, by the first day of the later month."""
    earlier = of_period.year_before() or period.ALL_TIME
    lines = await monthly.by_month(session, zone, **days_of(earlier), **chosen)
    return {
        (months_before(line.month, -period.MONTHS_OF_YEAR), line.frequency, line.currency): line.net
        for line in lines
    }


async def list_other_income(
    ctx: Context,
    session: AsyncSession,
    days: Mapping[str, Any],
    chosen: Mapping[str, Any],
) -> list[MonthlyTotal]:
    """Return what is no contribution, unless another frequency is asked for."""
    if chosen.get("frequency", Frequency.OTHER) != Frequency.OTHER:
        return []
    return await other_income.by_month(
        session, ctx.settings.accounting_zoneinfo, currency=chosen.get("currency"), **days
    )


def _years_table(
    totals: Sequence[MonthlyTotal], of_period: Period, chosen: Mapping[str, Any]
) -> Table:
    """Return the months added up by year and currency, the newest year first."""
    rows: list[list[str | Cell]] = []
    for year in sorted({one.month.year for one in totals}, reverse=True):
        of_year = [one for one in totals if one.month.year == year]
        days = of_period.part_within(period.year_period(year))
        for code, total in sorted(monthly.sum_by_currency(of_year).items()):
            url = _lines_url({"period": days.label}, chosen, code)
            rows.append(
                [
                    Cell(str(year), url),
                    code.upper(),
                    format_count(total.payments),
                    format_money(total.gross, code),
                    format_deduction(total.fees, code),
                    format_deduction(total.refunds + total.disputes, code),
                    format_money(total.net, code),
                ]
            )
    columns = ["Year", "Currency", "#Payments", "#Gross", "#Fees", "#Returned", "#Net"]
    return table("by-year", "By year", columns, rows)


def _other_income_table(months: Sequence[MonthlyTotal], of_period: Period) -> Table:
    rows: list[list[str | Cell]] = [
        [
            Cell(
                format_month(one.month),
                "/finance/transactions"
                + query_string(
                    period=of_period.part_within(period.month_period(one.month)).label,
                    frequency="other",
                    currency=one.currency,
                ),
            ),
            one.currency.upper(),
            format_money(one.gross, one.currency),
            format_deduction(one.fees, one.currency),
            format_deduction(one.refunds + one.disputes, one.currency),
            format_money(one.net, one.currency),
        ]
        for one in months
    ]
    columns = ["Month", "Currency", "#Gross", "#Fees", "#Returned", "#Net"]
    return table("other-income", "Other income: in no total above", columns, rows)


def parse_filters(params: Mapping[str, str]) -> dict[str, Any]:  # monthly's own arguments
    """Read the filters of an address. Raises InvalidField for one that makes no sense."""
    chosen = {name: filters.filter_value(params, name) for name in FILTER_NAMES}
    return {name: value for name, value in chosen.items() if value is not None}


def _filter_options(chosen: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the selects of the filter form."""
    return {
        "currency": filters.currency_options(chosen.get("currency")),
        "frequency": filters.frequency_options(chosen.get("frequency")),
    }


def _amount_view(total: MonthlyTotal) -> dict[str, str]:
    return {
        "currency": total.currency.upper(),
        "gross": format_money(total.gross, total.currency),
        "fees": format_deduction(total.fees, total.currency),
        "refunds": format_deduction(total.refunds + total.disputes, total.currency),
        "net": format_money(total.net, total.currency),
    }


def _row_view(
    total: MonthlyTotal, of_period: Period, nets_before: Mapping[tuple[date, str, str], int]
) -> dict[str, Any]:
    days = of_period.part_within(period.month_period(total.month))
    query = query_string(period=days.label, frequency=total.frequency, currency=total.currency)
    before = nets_before.get((total.month, total.frequency, total.currency))
    return {
        "month": format_month(total.month),
        "frequency": frequency_label(total.frequency),
        "url": f"/finance/transactions{query}",
        "count": format_count(total.payments),
        "before": EMPTY_CELL if before is None else format_money(before, total.currency),
        "change": EMPTY_CELL
        if before is None
        else format_signed(total.net - before, total.currency),
        **_amount_view(total),
    }
