"""Every month by frequency and currency: gross, fees, refunds and net, and the same as a file."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Any
from urllib.parse import urlencode

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.accounting.reports import monthly
from payments.accounting.reports.monthly import MonthLine
from payments.core.errors import InvalidField
from payments.infra.context import Runtime
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import show, taken
from payments.web.forms import AnyRequest

FILTERS = ("year", "currency", "frequency")


class MonthPages(Controller):
    path = "/finance"
    include_in_schema = False

    @get("/months")
    async def months(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Every month there is, newest first."""
        chosen = _filters(request.query_params)
        async with rt.sessions() as session:
            lines = await monthly.monthly(session, rt.settings.zone, **chosen)
        return await layout.page(
            rt,
            "finance_months.html",
            colleague,
            title="Contributions by month",
            here="/finance/months",
            filters=_choices(rt, chosen),
            totals=[_amounts(total) for total in monthly.totals(lines).values()],
            rows=[_row(line) for line in lines],
            export_url="/finance/monthly.csv?" + _query(request.query_params),
        )

    @get("/monthly.csv")
    async def export(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[bytes]:
        """The same lines as a file."""
        assert colleague.role
        chosen = _filters(request.query_params)
        async with rt.sessions() as session:
            lines = await monthly.monthly(session, rt.settings.zone, **chosen)
        zone = rt.settings.accounting_zone.replace("/", "-")
        said = "".join(f"_{request.query_params[name]}" for name in FILTERS
                       if request.query_params.get(name))  # fmt: skip
        return Response(
            monthly.as_csv(lines).encode(),
            media_type="text/csv",
            headers={"content-disposition": f'attachment; filename="monthly{said}_{zone}.csv"'},
        )


def _filters(asked: Mapping[str, str]) -> dict[str, Any]:  # monthly's own arguments
    """The filters of an address. Raises InvalidField for one that makes no sense."""
    chosen: dict[str, Any] = {}
    if year := asked.get("year", ""):
        if not re.fullmatch(r"20[0-9]{2}", year):
            raise InvalidField("year: a year from 2000 to 2099, such as 2026.", field="year")
        chosen |= {"since": date(int(year), 1, 1), "until": date(int(year) + 1, 1, 1)}
    for name in ("currency", "frequency"):
        if (value := layout.word(asked, name)) is not None:
            chosen[name] = value
    return chosen


def _query(asked: Mapping[str, str]) -> str:
    return urlencode({name: asked[name] for name in FILTERS if asked.get(name)})


def _choices(rt: Runtime, chosen: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The selects of the filter form, ready to print."""
    this_year = layout.today(rt).year
    since = chosen.get("since")
    years = [("", "All years")] + [(str(y), str(y)) for y in range(this_year, this_year - 6, -1)]
    return {
        "year": layout.select(years, str(since.year) if since else ""),
        "currency": layout.currencies(chosen.get("currency")),
        "frequency": layout.frequencies(chosen.get("frequency")),
    }


def _amounts(line: MonthLine) -> dict[str, str]:
    return {
        "currency": line.currency.upper(),
        "gross": show(line.gross, line.currency),
        "fees": taken(line.fees, line.currency),
        "refunds": taken(line.refunds + line.disputes, line.currency),
        "net": show(line.net, line.currency),
    }


def _row(line: MonthLine) -> dict[str, Any]:
    return {
        "month": layout.month(line.month),
        "frequency": layout.frequency(line.frequency),
        "url": "/finance/lines"
        + layout.query(
            period=f"{line.month:%Y-%m}", frequency=line.frequency, currency=line.currency
        ),
        "count": layout.whole(line.gifts),
        **_amounts(line),
    }
