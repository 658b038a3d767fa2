"""Months: gross, fees, refunds and net by month, frequency and currency, and the same as a file."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.reports import monthly, other_income
from payments.accounting.reports.monthly import MonthlyTotal
from payments.core.errors import InvalidField
from payments.core.frequency import Frequency
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import filters, layout
from payments.web.finance.formats import (
    format_count,
    format_deduction,
    format_money,
    format_month,
    frequency_label,
)
from payments.web.finance.tables import Cell, Table, table
from payments.web.forms import AnyRequest, query_string
from payments.web.staff.downloads import attachment
from payments.web.staff.guards import EXPORT, ExportGrant

FILTER_NAMES = ("year", "currency", "frequency")
YEARS_OFFERED = 6


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
        """Every month there is, newest first."""
        chosen = _parse_filters(request.query_params)
        async with ctx.sessions() as session:
            totals = await monthly.by_month(session, ctx.settings.accounting_zoneinfo, **chosen)
            others = await _other_income(ctx, session, chosen)
        query = query_string(**filters.pick(request.query_params, FILTER_NAMES))
        return await layout.render(
            ctx,
            "finance_months.html",
            colleague,
            title="Contributions by month",
            active_url="/finance/months",
            filters=_filter_options(ctx, chosen),
            totals=[_amount_view(total) for total in monthly.sum_by_currency(totals).values()],
            rows=[_row_view(total) for total in totals],
            other_income=_other_income_table(others) if others else None,
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
        chosen = _parse_filters(request.query_params)
        async with ctx.sessions() as session:
            lines = await other_income.beside_contributions(
                session, ctx.settings.accounting_zoneinfo, **chosen
            )
        zone = ctx.settings.accounting_zone.replace("/", "-")
        values = filters.pick(request.query_params, FILTER_NAMES).values()
        name = "_".join(["monthly", *(value for value in values if value), zone])
        return await attachment(
            export_grant, monthly.as_csv(lines).encode(), f"{name}.csv", media_type="text/csv"
        )


async def _other_income(
    ctx: Context, session: AsyncSession, chosen: Mapping[str, Any]
) -> list[MonthlyTotal]:
    """Return what is no contribution, unless another frequency is asked for."""
    if chosen.get("frequency", Frequency.OTHER) != Frequency.OTHER:
        return []
    period = {name: value for name, value in chosen.items() if name != "frequency"}
    return await other_income.by_month(session, ctx.settings.accounting_zoneinfo, **period)


def _other_income_table(months: Sequence[MonthlyTotal]) -> Table:
    rows: list[list[str | Cell]] = [
        [
            Cell(
                format_month(one.month),
                "/finance/transactions"
                + query_string(
                    period=f"{one.month:%Y-%m}", frequency="other", currency=one.currency
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


def _parse_filters(params: Mapping[str, str]) -> dict[str, Any]:  # monthly's own arguments
    """Read the filters of an address. Raises InvalidField for one that makes no sense."""
    chosen: dict[str, Any] = {}
    if year := params.get("year", ""):
        if not re.fullmatch(r"20[0-9]{2}", year):
            raise InvalidField("year: a year from 2000 to 2099, such as 2026.", field="year")
        chosen |= {"since": date(int(year), 1, 1), "until": date(int(year) + 1, 1, 1)}
    for name in ("currency", "frequency"):
        if (value := filters.filter_value(params, name)) is not None:
            chosen[name] = value
    return chosen


def _filter_options(ctx: Context, chosen: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the selects of the filter form."""
    this_year = filters.today(ctx).year
    since = chosen.get("since")
    years = [str(year) for year in range(this_year, this_year - YEARS_OFFERED, -1)]
    return {
        "year": filters.select_options(
            [("", "All years"), *((year, year) for year in years)],
            str(since.year) if since else "",
        ),
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


def _row_view(total: MonthlyTotal) -> dict[str, Any]:
    query = query_string(
        period=f"{total.month:%Y-%m}", frequency=total.frequency, currency=total.currency
    )
    return {
        "month": format_month(total.month),
        "frequency": frequency_label(total.frequency),
        "url": f"/finance/transactions{query}",
        "count": format_count(total.payments),
        **_amount_view(total),
    }
