"""Every month by frequency and currency: gross, fees, refunds and net, and the same as a file."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any
from urllib.parse import urlencode

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.accounting.reports import monthly
from payments.accounting.reports.monthly import MonthlyTotal
from payments.core.errors import InvalidField
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import format_deduction, format_money
from payments.web.forms import AnyRequest
from payments.web.staff.downloads import attachment
from payments.web.staff.guards import EXPORT, ExportGrant

FILTER_NAMES = ("year", "currency", "frequency")


class MonthPages(Controller):
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
            lines = await monthly.by_month(session, ctx.settings.accounting_zoneinfo, **chosen)
        return await layout.render(
            ctx,
            "finance_months.html",
            colleague,
            title="Contributions by month",
            active_url="/finance/months",
            filters=_filter_options(ctx, chosen),
            totals=[_amount_view(total) for total in monthly.sum_by_currency(lines).values()],
            rows=[_row_view(line) for line in lines],
            export_url="/finance/monthly.csv?" + _filter_query(request.query_params),
        )

    @get("/monthly.csv", guards=[EXPORT])
    async def monthly_csv(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Response[bytes]:
        """The same lines as a file."""
        chosen = _parse_filters(request.query_params)
        async with ctx.sessions() as session:
            lines = await monthly.by_month(session, ctx.settings.accounting_zoneinfo, **chosen)
        zone = ctx.settings.accounting_zone.replace("/", "-")
        said = "".join(f"_{request.query_params[name]}" for name in FILTER_NAMES
                       if request.query_params.get(name))  # fmt: skip
        return await attachment(
            export_grant,
            monthly.as_csv(lines).encode(),
            f"monthly{said}_{zone}.csv",
            media_type="text/csv",
        )


def _parse_filters(params: Mapping[str, str]) -> dict[str, Any]:  # monthly's own arguments
    """The filters of an address. Raises InvalidField for one that makes no sense."""
    chosen: dict[str, Any] = {}
    if year := params.get("year", ""):
        if not re.fullmatch(r"20[0-9]{2}", year):
            raise InvalidField("year: a year from 2000 to 2099, such as 2026.", field="year")
        chosen |= {"since": date(int(year), 1, 1), "until": date(int(year) + 1, 1, 1)}
    for name in ("currency", "frequency"):
        if (value := layout.filter_value(params, name)) is not None:
            chosen[name] = value
    return chosen


def _filter_query(params: Mapping[str, str]) -> str:
    return urlencode({name: params[name] for name in FILTER_NAMES if params.get(name)})


def _filter_options(ctx: Context, filters: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The selects of the filter form, ready to print."""
    this_year = layout.today(ctx).year
    since = filters.get("since")
    years = [("", "All years")] + [(str(y), str(y)) for y in range(this_year, this_year - 6, -1)]
    return {
        "year": layout.select_options(years, str(since.year) if since else ""),
        "currency": layout.currency_options(filters.get("currency")),
        "frequency": layout.frequency_options(filters.get("frequency")),
    }


def _amount_view(line: MonthlyTotal) -> dict[str, str]:
    return {
        "currency": line.currency.upper(),
        "gross": format_money(line.gross, line.currency),
        "fees": format_deduction(line.fees, line.currency),
        "refunds": format_deduction(line.refunds + line.disputes, line.currency),
        "net": format_money(line.net, line.currency),
    }


def _row_view(line: MonthlyTotal) -> dict[str, Any]:
    return {
        "month": layout.format_month(line.month),
        "frequency": layout.frequency_label(line.frequency),
        "url": "/finance/lines"
        + layout.query_string(
            period=f"{line.month:%Y-%m}", frequency=line.frequency, currency=line.currency
        ),
        "count": layout.format_count(line.payments),
        **_amount_view(line),
    }
