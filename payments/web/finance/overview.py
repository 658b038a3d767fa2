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
from payments.accounting.reports.monthly import MonthlyTotal
from payments.accounting.reports.variance import NetVariance, VarianceCause
from payments.core import money
from payments.core.calendar import months_before, next_month
from payments.core.errors import InvalidField
from payments.core.money import Money
from payments.infra import charts
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.donate.form import FREQUENCY_LABELS
from payments.web.finance import layout
from payments.web.finance.layout import Cell, Table, format_deduction, format_money, table
from payments.web.forms import AnyRequest

MONTHS_SHOWN = 24
CAUSE_LABELS = {
    VarianceCause.NEW: "New promises",
    VarianceCause.REACTIVATION: "Promises that paid again",
    VarianceCause.EXPANSION: "Raised",
    VarianceCause.CONTRACTION: "Lowered",
    VarianceCause.CHURN: "Stopped",
    VarianceCause.MISSED_PAYMENT: "Did not pay: failed, paused, skipped or not due yet",
    VarianceCause.TIMING: "More or fewer payments in the month",
    VarianceCause.ANNUAL: "Annual renewals",
    VarianceCause.ONCE: "One-off gifts",
    VarianceCause.FX: "Exchange rates",
    VarianceCause.FEES: "Fees",
    VarianceCause.REFUNDS: "Refunds",
    VarianceCause.DISPUTES: "Disputes",
    VarianceCause.OTHER: "Other",
}
# The rows of the later month that a cause is among, as the ledger lines are asked for.
MONTHLY_CHARGES = {"type": "charge", "frequency": "monthly"}
FILTERS_OF_CAUSE = {
    VarianceCause.NEW: MONTHLY_CHARGES,
    VarianceCause.REACTIVATION: MONTHLY_CHARGES,
    VarianceCause.EXPANSION: MONTHLY_CHARGES,
    VarianceCause.CONTRACTION: MONTHLY_CHARGES,
    VarianceCause.TIMING: MONTHLY_CHARGES,
    VarianceCause.ANNUAL: {"type": "charge", "frequency": "annual"},
    VarianceCause.ONCE: {"type": "charge", "frequency": "once"},
    VarianceCause.REFUNDS: {"type": "refund"},
    VarianceCause.DISPUTES: {"type": "dispute"},
}
SHORT_CAUSE_LABELS = {
    VarianceCause.MISSED_PAYMENT: "Did not pay",
    VarianceCause.TIMING: "Timing",
    VarianceCause.REACTIVATION: "Paid again",
}


class OverviewPages(Controller):
    path = "/finance"
    include_in_schema = False

    @get()
    async def overview(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """A month by currency, and two years of one currency."""
        today = layout.today(ctx)
        asked, chosen = request.query_params, layout.filter_value(request.query_params, "currency")
        newest = today.replace(day=1)
        first = period.parse_month(asked["month"], name="month", today=today) if asked.get(
            "month") else newest  # fmt: skip
        since = min(months_before(first, MONTHS_SHOWN - 1), date(first.year - 1, 1, 1))
        async with ctx.sessions() as session:
            lines = await monthly.by_month(
                session,
                ctx.settings.accounting_zoneinfo,
                since=since,
                until=next_month(first),
            )
            proofs = await integrity.latest_results(session)
        shown = chosen or _main_currency(lines, ctx.settings.default_currency)
        drawn = [line for line in lines if line.currency == shown]
        return await layout.render(
            ctx,
            "finance_overview.html",
            colleague,
            title=f"Overview: {layout.format_month(first)}",
            active_url="/finance",
            until=next_month(first),
            months=layout.select_options(_month_choices(today), f"{first:%Y-%m}"),
            currencies=layout.currency_options(chosen, every="All, drawn in the largest"),
            cards=[
                _month_card(sums)
                for sums in monthly.sum_by_currency([one for one in lines if one.month == first]).values()
                if chosen in (None, sums.currency)
            ],
            lines_url=f"/finance/lines{layout.query_string(period=f'{first:%Y-%m}', currency=chosen)}",
            why_url="/finance/why" + layout.query_string(
                earlier=f"{months_before(first, 1):%Y-%m}",
                later=f"{first:%Y-%m}", currency=shown),
            pictures=[
                await _net_by_month_chart(drawn, shown, first), await _two_years_chart(drawn, shown, first)
            ] if drawn else [],
            proof=[
                {"label": p.description, "ok": not p.failures, "detail": "; ".join(p.failures)} for p in proofs
            ],
            proved_at=layout.format_datetime(ctx, proofs[0].checked_at) if proofs else "",
        )  # fmt: skip

    @get("/why")
    async def net_variance(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Why net differs between two months, to the cent; the last that are over unless asked."""
        today, asked = layout.today(ctx), request.query_params
        over = months_before(today, 1)
        later = period.parse_month(asked.get("later") or f"{over:%Y-%m}", name="later", today=today)
        earlier = period.parse_month(
            asked.get("earlier") or f"{months_before(later, 1):%Y-%m}",
            name="earlier",
            today=today,
        )
        if earlier >= later:
            raise InvalidField(
                f"earlier: a month before {later:%Y-%m}. {earlier:%Y-%m} is not.", field="earlier"
            )
        currency = layout.filter_value(asked, "currency") or ctx.settings.default_currency
        async with ctx.sessions() as session:
            found = await variance.net_variance(
                session,
                ctx.settings.accounting_zoneinfo,
                currency=currency,
                earlier=earlier,
                later=later,
            )
        return await layout.render(
            ctx,
            "finance_variance.html",
            colleague,
            title="Why did net change?",
            active_url="/finance",
            until=next_month(later),
            earlier=layout.select_options(_month_choices(today), f"{earlier:%Y-%m}"),
            later=layout.select_options(_month_choices(today), f"{later:%Y-%m}"),
            currencies=layout.currency_options(currency, every=""),
            sentence=_variance_sentence(found, currency, later),
            steps=await _waterfall_chart(found, currency, earlier, later),
            table=_causes_table(found, currency, earlier, later),
        )


def _main_currency(lines: Sequence[MonthlyTotal], default_currency: str) -> str:
    """The currency with the most payments."""
    counts: dict[str, int] = {}
    for line in lines:
        counts[line.currency] = counts.get(line.currency, 0) + line.payments
    return max(sorted(counts), key=lambda code: counts[code], default=default_currency)


def _month_choices(today: date) -> list[tuple[str, str]]:
    firsts = [months_before(today, back) for back in range(MONTHS_SHOWN)]
    return [(f"{first:%Y-%m}", layout.format_month(first)) for first in firsts]


def _month_card(sums: MonthlyTotal) -> dict[str, str]:
    code = sums.currency
    return {
        "currency": code.upper(),
        "gross": format_money(sums.gross, code),
        "fees": format_deduction(sums.fees, code),
        "refunds": format_deduction(sums.refunds, code),
        "disputes": format_deduction(sums.disputes, code),
        "net": format_money(sums.net, code),
        "payments": layout.format_count(sums.payments),
        "payers": layout.format_count(sums.payers),
        "first_time_payers": layout.format_count(sums.first_time_payers),
    }


def _chart_value(minor: int, currency: str) -> float:
    """For a drawing only: nothing is reckoned with it."""
    return float(money.to_decimal_string(Money(minor, currency)))


async def _net_by_month_chart(
    lines: Sequence[MonthlyTotal], currency: str, last: date
) -> dict[str, Any]:
    """Net by month and frequency, in bars and in a table."""
    told = {layout.frequency_label(line.frequency) for line in lines}
    series = [one for one in (*FREQUENCY_LABELS.values(), layout.NOT_A_GIFT) if one in told]
    months = [months_before(last, back) for back in range(MONTHS_SHOWN - 1, -1, -1)]
    # A drawing begins with the first month that has anything to draw.
    months = [month for month in months if month >= min(line.month for line in lines)] or [last]
    nets = {(line.month, layout.frequency_label(line.frequency)): line.net for line in lines}
    points: list[charts.DataPoint] = [
        {"month": f"{month:%b %y}", "series": name, "place": place,
         "value": _chart_value(nets.get((month, name), 0), currency)}
        for month in months for place, name in enumerate(series)
    ]  # fmt: skip
    sums = {month: sum(nets.get((month, name), 0) for name in series) for month in months}
    best = max(months, key=lambda month: sums[month])
    says = (
        f"Net was {format_money(sums[last], currency)} in {layout.format_month(last)}; the best of {len(months)} "
        f"months was {layout.format_month(best)} with {format_money(sums[best], currency)}."
    )
    name = f"Net by month and frequency, {currency.upper()}"
    rows: list[list[str | Cell]] = [
        [
            Cell(
                layout.format_month(month), "/finance" + layout.query_string(month=f"{month:%Y-%m}")
            ),
            *(format_money(nets.get((month, one), 0), currency) for one in series),
            format_money(sums[month], currency),
        ]
        for month in reversed(months)
    ]
    columns = ["Month", *(f"#{one}" for one in series), "#Net"]
    return {
        "id": "by-month",
        "says": says,
        "svg": await charts.render_svg(
            charts.stacked_bars(points, series=series, unit=currency.upper()),
            title=name,
            description=says,
        ),
        "table": table("t-by-month", name, columns, rows),
    }


async def _two_years_chart(
    lines: Sequence[MonthlyTotal], currency: str, last: date
) -> dict[str, Any]:
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
    points: list[charts.DataPoint] = [
        {"month": names[place], "series": str(year), "value": _chart_value(total, currency)}
        for year in years
        for place, total in enumerate(sums[year])
        if total is not None
    ]
    now, then = sums[last.year][last.month - 1], sums[last.year - 1][last.month - 1]
    says = f"From January to {last:%B}, net came to {_total_or_empty(now, currency)} in {last.year}"
    if then is None:
        says += (
            f"; there is nothing to compare, as the first line is of {layout.format_month(begins)}."
        )
    else:
        says += f" and to {format_money(then, currency)} in {last.year - 1}"
        partial = begins > date(last.year - 1, 1, 1)
        says += f", whose first line is of {begins:%B}." if partial else "."
    name = f"Net since January, {currency.upper()}: {last.year} and {last.year - 1}"
    rows = [
        [
            names[place],
            _total_or_empty(this, currency),
            _total_or_empty(before, currency),
            layout.EMPTY_CELL
            if this is None or before is None
            else layout.format_signed(this - before, currency),
        ]
        for place, (this, before) in enumerate(zip(*(sums[year] for year in years), strict=True))
    ]
    spec = charts.line_chart(
        points, series=[str(year) for year in years], unit=currency.upper(), months=names
    )
    columns = ["Since January", f"#{last.year}", f"#{last.year - 1}", "#Difference"]
    return {
        "id": "two-years",
        "says": says,
        "svg": await charts.render_svg(spec, title=name, description=says),
        "table": table("t-two-years", name, columns, rows),
    }


def _total_or_empty(total: int | None, currency: str) -> str:
    return layout.EMPTY_CELL if total is None else format_money(total, currency)


def _variance_sentence(net_change: NetVariance, currency: str, later: date) -> str:
    by = net_change.after - net_change.before
    if by == 0:
        return f"Net was {format_money(net_change.after, currency)} in both months."
    told = (
        f"Net {'rose' if by > 0 else 'fell'} by {format_money(abs(by), currency)} to "
        f"{format_money(net_change.after, currency)} in {layout.format_month(later)}"
    )
    most = max(net_change.components, key=lambda part: abs(part.amount))
    # Within a sentence a line must not end after the minus.
    joined = f"{layout.MINUS}\N{WORD JOINER}"
    changed = layout.format_signed(most.amount, currency).replace(layout.MINUS, joined)
    return f"{told}; the largest part was “{CAUSE_LABELS[most.cause]}” with {changed}."


async def _waterfall_chart(
    net_change: NetVariance, currency: str, earlier: date, later: date
) -> str | None:
    steps: list[dict[str, str | int | float]] = []
    level = net_change.before

    def step(label: str, low: int, high: int, series: str) -> None:
        whole = series == "total"
        steps.append(
            {
                "label": label,
                "low": _chart_value(low, currency),
                "high": _chart_value(high, currency),
                "text_at": _chart_value(max(low, high), currency),
                "amount_text": format_money(high, currency)
                if whole
                else layout.format_signed(high - low, currency),
                "series": series,
            }
        )

    step(f"{earlier:%b %Y}", 0, net_change.before, "total")
    for part in net_change.components:
        label = SHORT_CAUSE_LABELS.get(part.cause, CAUSE_LABELS[part.cause])
        step(label, level, level + part.amount, "more" if part.amount >= 0 else "less")
        level += part.amount
    step(f"{later:%b %Y}", 0, net_change.after, "total")
    says = _variance_sentence(net_change, currency, later)
    name = f"From net of {layout.format_month(earlier)} to net of {layout.format_month(later)}"
    return await charts.render_svg(
        charts.waterfall_chart(steps, unit=currency.upper()), title=name, description=says
    )


def _causes_table(net_change: NetVariance, currency: str, earlier: date, later: date) -> Table:
    def behind(of: date, **filters: str) -> str:
        return "/finance/lines" + layout.query_string(
            period=f"{of:%Y-%m}", currency=currency, **filters
        )

    rows: list[list[str | Cell]] = [
        [
            Cell(CAUSE_LABELS[part.cause], behind(later, **FILTERS_OF_CAUSE[part.cause]))
            if part.cause in FILTERS_OF_CAUSE
            else CAUSE_LABELS[part.cause],
            layout.EMPTY_CELL if part.count is None else layout.format_count(part.count),
            layout.format_signed(part.amount, currency),
        ]
        for part in net_change.components
    ]
    return table(
        "causes",
        f"From {layout.format_month(earlier)} to {layout.format_month(later)}, {currency.upper()}",
        ["Cause", "#Contributions", "#Change of net"],
        [
            [
                Cell(f"Net in {layout.format_month(earlier)}", behind(earlier)),
                "",
                format_money(net_change.before, currency),
            ],
            *rows,
        ],
        footer=[
            [
                Cell(f"Net in {layout.format_month(later)}", behind(later)),
                "",
                format_money(net_change.after, currency),
            ],
            [
                "Difference",
                "",
                layout.format_signed(net_change.after - net_change.before, currency),
            ],
        ],
    )
