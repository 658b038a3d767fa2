"""The books, for finance: months, frequencies and currencies from ledger rows, and their proof.

The address is the state of the page: every filter is in it, and the file holds what the screen
shows.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from urllib.parse import urlencode

from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency

from payments import alarms, books, money, reports
from payments.contributions import Frequency
from payments.errors import InvalidField
from payments.money import Money
from payments.reports import MonthLine
from payments.runtime import Runtime
from payments.staff import Staff
from payments.web import pages
from payments.web.donate import LABELS

FILTERS = ("year", "currency", "frequency")
NOT_A_GIFT = "Stripe's own fees"  # lines that belong to no contribution


class FinancePage(Controller):
    path = "/finance"
    include_in_schema = False

    @get()
    async def overview(
        self,
        rt: NamedDependency[Runtime],
        request: Request[Any, Any, Any],
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Gross, fees, refunds and net by month, with the proof of the books below."""
        assert colleague.role
        chosen = _filters(request.query_params)
        async with rt.sessions() as session:
            lines = await reports.monthly(session, rt.settings.zone, **chosen)
            open_alarms = await alarms.unattended(session)
            proofs = await books.last_proof(session)
        return pages.page(
            rt,
            "finance.html",
            title="Contributions by month",
            zone=f"All months in {rt.settings.accounting_zone}",
            generated_at=_moment(rt, rt.now()),
            stale=None,
            filters=_choices(rt, chosen),
            totals=[_amounts(total) for total in reports.totals(lines).values()],
            rows=[_row(line) for line in lines],
            problems=[f"{alarms.SENTENCES[alarm.kind]} ({alarm.subject})" for alarm in open_alarms],
            proof=[
                {"label": p.says, "ok": not p.rows, "detail": "; ".join(p.rows)} for p in proofs
            ],
            proved_at=_moment(rt, proofs[0].checked_at) if proofs else "",
            export_url="/finance/monthly.csv?" + _query(request.query_params),
        )

    @get("/monthly.csv")
    async def export(
        self,
        rt: NamedDependency[Runtime],
        request: Request[Any, Any, Any],
        colleague: NamedDependency[Staff],
    ) -> Response[bytes]:
        """The same lines as a file."""
        assert colleague.role
        chosen = _filters(request.query_params)
        async with rt.sessions() as session:
            lines = await reports.monthly(session, rt.settings.zone, **chosen)
        zone = rt.settings.accounting_zone.replace("/", "-")
        return Response(
            reports.as_csv(lines).encode(),
            media_type="text/csv",
            headers={"content-disposition": f'attachment; filename="monthly_{zone}.csv"'},
        )


def _moment(rt: Runtime, at: datetime) -> str:
    return at.astimezone(rt.settings.zone).strftime("%d %B %Y, %H:%M")


def _filters(asked: Mapping[str, str]) -> dict[str, Any]:  # monthly's own arguments
    """The filters of an address. Raises InvalidField for one that makes no sense."""
    chosen: dict[str, Any] = {}
    if year := asked.get("year", ""):
        if not re.fullmatch(r"20[0-9]{2}", year):
            raise InvalidField("year: a year from 2000 to 2099, such as 2026.", field="year")
        chosen |= {"since": date(int(year), 1, 1), "until": date(int(year) + 1, 1, 1)}
    if currency := asked.get("currency", ""):
        if not re.fullmatch(r"[a-z]{3}", currency):
            raise InvalidField("currency: three letters, such as usd.", field="currency")
        chosen["currency"] = currency
    if frequency := asked.get("frequency", ""):
        if frequency not in (*Frequency, reports.NO_FREQUENCY):
            raise InvalidField("frequency: once, monthly, annual or none.", field="frequency")
        chosen["frequency"] = frequency
    return chosen


def _query(asked: Mapping[str, str]) -> str:
    return urlencode({name: asked[name] for name in FILTERS if asked.get(name)})


def _choices(rt: Runtime, chosen: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The selects of the filter form, ready to print."""
    this_year = rt.now().astimezone(rt.settings.zone).year
    since = chosen.get("since")
    years = [("", "All years")] + [(str(y), str(y)) for y in range(this_year, this_year - 6, -1)]
    currencies = [("", "All currencies")] + [(code, code.upper()) for code in money.BOUNDS]
    frequencies = [("", "All"), *[(f.value, LABELS[f]) for f in Frequency]]
    frequencies.append((reports.NO_FREQUENCY, NOT_A_GIFT))
    return {
        "year": _select(years, str(since.year) if since else ""),
        "currency": _select(currencies, chosen.get("currency", "")),
        "frequency": _select(frequencies, chosen.get("frequency", "")),
    }


def _select(options: Sequence[tuple[str, str]], chosen: str) -> list[dict[str, Any]]:
    if chosen not in dict(options):
        options = [*options, (chosen, chosen.upper())]
    return [{"value": v, "label": label, "selected": v == chosen} for v, label in options]


def _amounts(line: MonthLine) -> dict[str, str]:
    def show(minor: int) -> str:
        return money.format(Money(minor, line.currency))

    return {
        "currency": line.currency.upper(),
        "gross": show(line.gross),
        "fees": show(line.fees),
        "refunds": show(line.refunds + line.disputes),
        "net": show(line.net),
    }


def _row(line: MonthLine) -> dict[str, Any]:
    label = NOT_A_GIFT
    if line.frequency != reports.NO_FREQUENCY:
        label = LABELS[Frequency(line.frequency)]
    return {
        "month": line.month.strftime("%B %Y"),
        "frequency": label,
        "count": line.gifts,
        **_amounts(line),
    }
