"""The first page of the books: a month in figures, two years in bars, this year against the last,
and why net changed.
"""

import itertools
from collections.abc import Sequence
from datetime import date
from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.accounting import integrity
from payments.accounting.reports import monthly, period, variance
from payments.accounting.reports.monthly import MonthLine
from payments.accounting.reports.variance import Cause, NetChange
from payments.core import money
from payments.core.errors import InvalidField
from payments.core.money import Money
from payments.infra import charts
from payments.infra.context import Runtime
from payments.staff.accounts import Staff
from payments.web.donate.form import LABELS
from payments.web.finance import layout
from payments.web.finance.layout import Cell, Table, show, table, taken
from payments.web.forms import AnyRequest

MONTHS = 24
CAUSES = {
    Cause.NEW: "New promises",
    Cause.RETURNED: "Promises that paid again",
    Cause.RAISED: "Raised",
    Cause.LOWERED: "Lowered",
    Cause.STOPPED: "Stopped",
    Cause.MISSED: "Did not pay: failed, paused, skipped or not due yet",
    Cause.TIMING: "More or fewer payments in the month",
    Cause.ANNUAL: "Annual renewals",
    Cause.ONCE: "One-off gifts",
    Cause.FX: "Exchange rates",
    Cause.FEES: "Fees",
    Cause.REFUNDS: "Refunds",
    Cause.DISPUTES: "Disputes",
    Cause.OTHER: "Other",
}
# The rows of the later month that a cause is among, as the ledger lines are asked for.
MONTHLY = {"type": "charge", "frequency": "monthly"}
BEHIND = {
    Cause.NEW: MONTHLY,
    Cause.RETURNED: MONTHLY,
    Cause.RAISED: MONTHLY,
    Cause.LOWERED: MONTHLY,
    Cause.TIMING: MONTHLY,
    Cause.ANNUAL: {"type": "charge", "frequency": "annual"},
    Cause.ONCE: {"type": "charge", "frequency": "once"},
    Cause.REFUNDS: {"type": "refund"},
    Cause.DISPUTES: {"type": "dispute"},
}
SHORT = {Cause.MISSED: "Did not pay", Cause.TIMING: "Timing", Cause.RETURNED: "Paid again"}


class OverviewPages(Controller):
    path = "/finance"
    include_in_schema = False

    @get()
    async def overview(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """A month by currency, and two years of one currency."""
        today = layout.today(rt)
        asked, chosen = request.query_params, layout.word(request.query_params, "currency")
        newest = today.replace(day=1)
        first = period.month(asked["month"], name="month", today=today) if asked.get(
            "month") else newest  # fmt: skip
        since = min(period.months_before(first, MONTHS - 1), date(first.year - 1, 1, 1))
        async with rt.sessions() as session:
            lines = await monthly.monthly(
                session, rt.settings.zone, since=since, until=period.next_month(first)
            )
            proofs = await integrity.last_proof(session)
        shown = chosen or _main(lines, rt.settings.currency)
        drawn = [line for line in lines if line.currency == shown]
        return await layout.page(
            rt,
            "finance.html",
            colleague,
            title=f"Overview: {layout.month(first)}",
            here="/finance",
            until=period.next_month(first),
            months=layout.select(_months(today), f"{first:%Y-%m}"),
            currencies=layout.currencies(chosen, every="All, drawn in the largest"),
            cards=[
                _card(sums)
                for sums in monthly.totals([one for one in lines if one.month == first]).values()
                if chosen in (None, sums.currency)
            ],
            lines_url=f"/finance/lines{layout.query(period=f'{first:%Y-%m}', currency=chosen)}",
            why_url="/finance/why" + layout.query(
                earlier=f"{period.months_before(first, 1):%Y-%m}",
                later=f"{first:%Y-%m}", currency=shown),
            pictures=[
                await _by_month(drawn, shown, first), await _two_years(drawn, shown, first)
            ] if drawn else [],
            proof=[
                {"label": p.says, "ok": not p.rows, "detail": "; ".join(p.rows)} for p in proofs
            ],
            proved_at=layout.moment(rt, proofs[0].checked_at) if proofs else "",
        )  # fmt: skip

    @get("/why")
    async def why(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Why net differs between two months, to the cent; the last that are over unless asked."""
        today, asked = layout.today(rt), request.query_params
        over = period.months_before(today, 1)
        later = period.month(asked.get("later") or f"{over:%Y-%m}", name="later", today=today)
        earlier = period.month(
            asked.get("earlier") or f"{period.months_before(later, 1):%Y-%m}",
            name="earlier",
            today=today,
        )
        if earlier >= later:
            raise InvalidField(
                f"earlier: a month before {later:%Y-%m}. {earlier:%Y-%m} is not.", field="earlier"
            )
        currency = layout.word(asked, "currency") or rt.settings.currency
        async with rt.sessions() as session:
            found = await variance.of_net(
                session, rt.settings.zone, currency=currency, earlier=earlier, later=later
            )
        return await layout.page(
            rt,
            "finance_why.html",
            colleague,
            title="Why did net change?",
            here="/finance",
            until=period.next_month(later),
            earlier=layout.select(_months(today), f"{earlier:%Y-%m}"),
            later=layout.select(_months(today), f"{later:%Y-%m}"),
            currencies=layout.currencies(currency, every=""),
            sentence=_sentence(found, currency, later),
            steps=await _waterfall(found, currency, earlier, later),
            table=_causes(found, currency, earlier, later),
        )


def _main(lines: Sequence[MonthLine], ours: str) -> str:
    """The currency with the most payments."""
    counts: dict[str, int] = {}
    for line in lines:
        counts[line.currency] = counts.get(line.currency, 0) + line.gifts
    return max(sorted(counts), key=lambda code: counts[code], default=ours)


def _months(today: date) -> list[tuple[str, str]]:
    firsts = [period.months_before(today, back) for back in range(MONTHS)]
    return [(f"{first:%Y-%m}", layout.month(first)) for first in firsts]


def _card(sums: MonthLine) -> dict[str, str]:
    code = sums.currency
    return {
        "currency": code.upper(),
        "gross": show(sums.gross, code),
        "fees": taken(sums.fees, code),
        "refunds": taken(sums.refunds, code),
        "disputes": taken(sums.disputes, code),
        "net": show(sums.net, code),
        "payments": layout.whole(sums.gifts),
        "givers": layout.whole(sums.givers),
        "newcomers": layout.whole(sums.newcomers),
    }


def _value(minor: int, currency: str) -> float:
    """For a drawing only: nothing is reckoned with it."""
    return float(money.plain(Money(minor, currency)))


async def _by_month(lines: Sequence[MonthLine], currency: str, last: date) -> dict[str, Any]:
    """Net by month and frequency, in bars and in a table."""
    told = {layout.frequency(line.frequency) for line in lines}
    series = [one for one in (*LABELS.values(), layout.NOT_A_GIFT) if one in told]
    months = [period.months_before(last, back) for back in range(MONTHS - 1, -1, -1)]
    # A drawing begins with the first month that has anything to draw.
    months = [month for month in months if month >= min(line.month for line in lines)] or [last]
    nets = {(line.month, layout.frequency(line.frequency)): line.net for line in lines}
    points: list[charts.Point] = [
        {"month": f"{month:%b %y}", "series": name, "place": place,
         "value": _value(nets.get((month, name), 0), currency)}
        for month in months for place, name in enumerate(series)
    ]  # fmt: skip
    sums = {month: sum(nets.get((month, name), 0) for name in series) for month in months}
    best = max(months, key=lambda month: sums[month])
    says = (
        f"Net was {show(sums[last], currency)} in {layout.month(last)}; the best of {len(months)} "
        f"months was {layout.month(best)} with {show(sums[best], currency)}."
    )
    name = f"Net by month and frequency, {currency.upper()}"
    rows: list[list[str | Cell]] = [
        [
            Cell(layout.month(month), "/finance" + layout.query(month=f"{month:%Y-%m}")),
            *(show(nets.get((month, one), 0), currency) for one in series),
            show(sums[month], currency),
        ]
        for month in reversed(months)
    ]
    columns = ["Month", *(f"#{one}" for one in series), "#Net"]
    return {
        "id": "by-month",
        "says": says,
        "svg": await charts.svg(
            charts.stacked(points, series=series, unit=currency.upper()), name=name, says=says
        ),
        "table": table("t-by-month", name, columns, rows),
    }


async def _two_years(lines: Sequence[MonthLine], currency: str, last: date) -> dict[str, Any]:
    """Net added up since January: this year beside the last, from the first line there is on."""
    years = (last.year, last.year - 1)
    begins = min(line.month for line in lines)
    nets: dict[date, int] = {}
    for line in lines:
        nets[line.month] = nets.get(line.month, 0) + line.net
    sums: dict[int, list[int | None]] = {}
    for year in years:
        firsts = [date(year, number, 1) for number in range(1, 13)]
        added = itertools.accumulate(nets.get(first, 0) for first in firsts)
        sums[year] = [
            total if begins <= first <= last else None
            for first, total in zip(firsts, added, strict=True)
        ]
    names = [f"{date(2026, number, 1):%b}" for number in range(1, 13)]
    points: list[charts.Point] = [
        {"month": names[place], "series": str(year), "value": _value(total, currency)}
        for year in years
        for place, total in enumerate(sums[year])
        if total is not None
    ]
    now, then = sums[last.year][last.month - 1], sums[last.year - 1][last.month - 1]
    says = f"From January to {last:%B}, net came to {_told(now, currency)} in {last.year}"
    if then is None:
        says += f"; there is nothing to compare, as the first line is of {layout.month(begins)}."
    else:
        says += f" and to {show(then, currency)} in {last.year - 1}"
        partial = begins > date(last.year - 1, 1, 1)
        says += f", whose first line is of {begins:%B}." if partial else "."
    name = f"Net since January, {currency.upper()}: {last.year} and {last.year - 1}"
    rows = [
        [
            names[place],
            _told(this, currency),
            _told(before, currency),
            layout.NOTHING
            if this is None or before is None
            else layout.signed(this - before, currency),
        ]
        for place, (this, before) in enumerate(zip(*(sums[year] for year in years), strict=True))
    ]
    spec = charts.lines(
        points, series=[str(year) for year in years], unit=currency.upper(), months=names
    )
    columns = ["Since January", f"#{last.year}", f"#{last.year - 1}", "#Difference"]
    return {
        "id": "two-years",
        "says": says,
        "svg": await charts.svg(spec, name=name, says=says),
        "table": table("t-two-years", name, columns, rows),
    }


def _told(total: int | None, currency: str) -> str:
    return layout.NOTHING if total is None else show(total, currency)


def _sentence(found: NetChange, currency: str, later: date) -> str:
    by = found.after - found.before
    if by == 0:
        return f"Net was {show(found.after, currency)} in both months."
    told = (
        f"Net {'rose' if by > 0 else 'fell'} by {show(abs(by), currency)} to "
        f"{show(found.after, currency)} in {layout.month(later)}"
    )
    most = max(found.components, key=lambda part: abs(part.amount))
    # Within a sentence a line must not end after the minus.
    joined = f"{layout.MINUS}\N{WORD JOINER}"
    changed = layout.signed(most.amount, currency).replace(layout.MINUS, joined)
    return f"{told}; the largest part was “{CAUSES[most.cause]}” with {changed}."


async def _waterfall(found: NetChange, currency: str, earlier: date, later: date) -> str | None:
    steps: list[dict[str, str | int | float]] = []
    level = found.before

    def step(label: str, low: int, high: int, series: str) -> None:
        whole = series == "total"
        steps.append(
            {
                "label": label,
                "low": _value(low, currency),
                "high": _value(high, currency),
                "top": _value(max(low, high), currency),
                "said": show(high, currency) if whole else layout.signed(high - low, currency),
                "series": series,
            }
        )

    step(f"{earlier:%b %Y}", 0, found.before, "total")
    for part in found.components:
        label = SHORT.get(part.cause, CAUSES[part.cause])
        step(label, level, level + part.amount, "more" if part.amount >= 0 else "less")
        level += part.amount
    step(f"{later:%b %Y}", 0, found.after, "total")
    says = _sentence(found, currency, later)
    name = f"From net of {layout.month(earlier)} to net of {layout.month(later)}"
    return await charts.svg(charts.waterfall(steps, unit=currency.upper()), name=name, says=says)


def _causes(found: NetChange, currency: str, earlier: date, later: date) -> Table:
    def behind(of: date, **filters: str) -> str:
        return "/finance/lines" + layout.query(period=f"{of:%Y-%m}", currency=currency, **filters)

    rows: list[list[str | Cell]] = [
        [
            Cell(CAUSES[part.cause], behind(later, **BEHIND[part.cause]))
            if part.cause in BEHIND
            else CAUSES[part.cause],
            layout.NOTHING if part.count is None else layout.whole(part.count),
            layout.signed(part.amount, currency),
        ]
        for part in found.components
    ]
    return table(
        "causes",
        f"From {layout.month(earlier)} to {layout.month(later)}, {currency.upper()}",
        ["Cause", "#Contributions", "#Change of net"],
        [
            [
                Cell(f"Net in {layout.month(earlier)}", behind(earlier)),
                "",
                show(found.before, currency),
            ],
            *rows,
        ],
        foot=[
            [
                Cell(f"Net in {layout.month(later)}", behind(later)),
                "",
                show(found.after, currency),
            ],
            ["Difference", "", layout.signed(found.after - found.before, currency)],
        ],
    )
