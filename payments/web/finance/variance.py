"""Variance: why net differs between two months, as a sentence, a waterfall and a table."""

from datetime import date

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.accounting.reports import period, variance
from payments.accounting.reports.variance import NetVariance, VarianceCause
from payments.core.calendar import months_before, next_month
from payments.core.errors import InvalidField
from payments.core.money import MINUS
from payments.infra import charts
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import filters, layout
from payments.web.finance.formats import (
    chart_value,
    format_count,
    format_money,
    format_month,
    format_signed,
)
from payments.web.finance.overview import month_choices
from payments.web.finance.tables import EMPTY_CELL, Cell, Table, table
from payments.web.forms import AnyRequest, query_string

CAUSE_LABELS = {
    VarianceCause.NEW: "New recurring contributions",
    VarianceCause.REACTIVATION: "Reactivated",
    VarianceCause.EXPANSION: "Raised",
    VarianceCause.CONTRACTION: "Lowered",
    VarianceCause.CHURN: "Cancelled",
    VarianceCause.MISSED_PAYMENT: "Missed payments: failed, paused, skipped or not due yet",
    VarianceCause.TIMING: "More or fewer payments in the month",
    VarianceCause.ANNUAL: "Annual renewals",
    VarianceCause.PERIODIC: "Renewals at other intervals",
    VarianceCause.ONCE: "One-off gifts",
    VarianceCause.FX: "Exchange rates",
    VarianceCause.FEES: "Fees",
    VarianceCause.REFUNDS: "Refunds",
    VarianceCause.DISPUTES: "Disputes",
    VarianceCause.OTHER: "Other",
}
# The filters of the later month's transactions that a cause is among.
MONTHLY_CHARGES = {"type": "charge", "frequency": "monthly"}
FILTERS_OF_CAUSE = {
    VarianceCause.NEW: MONTHLY_CHARGES,
    VarianceCause.REACTIVATION: MONTHLY_CHARGES,
    VarianceCause.EXPANSION: MONTHLY_CHARGES,
    VarianceCause.CONTRACTION: MONTHLY_CHARGES,
    VarianceCause.TIMING: MONTHLY_CHARGES,
    VarianceCause.ANNUAL: {"type": "charge", "frequency": "annual"},
    VarianceCause.PERIODIC: {"type": "charge", "frequency": "periodic"},
    VarianceCause.ONCE: {"type": "charge", "frequency": "once"},
    VarianceCause.REFUNDS: {"type": "refund"},
    VarianceCause.DISPUTES: {"type": "dispute"},
}
SHORT_CAUSE_LABELS = {
    VarianceCause.MISSED_PAYMENT: "Missed",
    VarianceCause.TIMING: "Timing",
    VarianceCause.REACTIVATION: "Paid again",
}


class VariancePages(Controller):
    """The page of the variance between two months."""

    path = "/finance"
    include_in_schema = False

    @get("/why")
    async def show(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Two months to the cent; the last that are over unless asked."""
        today, query = filters.today(ctx), request.query_params
        later = period.parse_month(
            query.get("later") or f"{months_before(today, 1):%Y-%m}", name="later", today=today
        )
        earlier = period.parse_month(
            query.get("earlier") or f"{months_before(later, 1):%Y-%m}",
            name="earlier",
            today=today,
        )
        if earlier >= later:
            raise InvalidField(
                f"earlier: a month before {later:%Y-%m}. {earlier:%Y-%m} is not.", field="earlier"
            )
        currency = filters.filter_value(query, "currency") or ctx.settings.default_currency
        async with ctx.sessions() as session:
            net_variance = await variance.net_variance(
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
            earlier=filters.select_options(month_choices(today), f"{earlier:%Y-%m}"),
            later=filters.select_options(month_choices(today), f"{later:%Y-%m}"),
            currencies=filters.currency_options(currency, every=""),
            sentence=_variance_sentence(net_variance, currency, later),
            waterfall=await _waterfall_chart(net_variance, currency, earlier, later),
            table=_causes_table(net_variance, currency, earlier, later),
        )


def _variance_sentence(net_variance: NetVariance, currency: str, later: date) -> str:
    after = format_money(net_variance.after, currency)
    change = net_variance.after - net_variance.before
    if change == 0:
        return f"Net was {after} in both months."
    largest = max(net_variance.components, key=lambda component: abs(component.amount))
    # Within a sentence a line must not break after the minus.
    amount = format_signed(largest.amount, currency).replace(MINUS, f"{MINUS}\N{WORD JOINER}")
    return (
        f"Net {'rose' if change > 0 else 'fell'} by {format_money(abs(change), currency)}"
        f" to {after} in {format_month(later)};"
        f" the largest part was “{CAUSE_LABELS[largest.cause]}” with {amount}."
    )


async def _waterfall_chart(
    net_variance: NetVariance, currency: str, earlier: date, later: date
) -> str | None:
    """From net of the earlier month to net of the later, a step for each cause."""
    steps = [_total_step(f"{earlier:%b %Y}", net_variance.before, currency)]
    level = net_variance.before
    for component in net_variance.components:
        label = SHORT_CAUSE_LABELS.get(component.cause, CAUSE_LABELS[component.cause])
        steps.append(_change_step(label, level, component.amount, currency))
        level += component.amount
    steps.append(_total_step(f"{later:%b %Y}", net_variance.after, currency))
    return await charts.render_svg(
        charts.waterfall_chart(steps, unit=currency.upper()),
        title=f"From net of {format_month(earlier)} to net of {format_month(later)}",
        description=_variance_sentence(net_variance, currency, later),
    )


def _total_step(label: str, net: int, currency: str) -> dict[str, str | int | float]:
    return {
        "label": label,
        "low": chart_value(0, currency),
        "high": chart_value(net, currency),
        "text_at": chart_value(max(0, net), currency),
        "amount_text": format_money(net, currency),
        "series": "total",
    }


def _change_step(
    label: str, level: int, amount: int, currency: str
) -> dict[str, str | int | float]:
    return {
        "label": label,
        "low": chart_value(level, currency),
        "high": chart_value(level + amount, currency),
        "text_at": chart_value(max(level, level + amount), currency),
        "amount_text": format_signed(amount, currency),
        "series": "more" if amount >= 0 else "less",
    }


def _causes_table(net_variance: NetVariance, currency: str, earlier: date, later: date) -> Table:
    def net_cell(month: date) -> Cell:
        return Cell(f"Net in {format_month(month)}", _lines_url(month, currency))

    rows: list[list[str | Cell]] = [
        [net_cell(earlier), "", format_money(net_variance.before, currency)]
    ]
    for component in net_variance.components:
        url = ""
        if component.cause in FILTERS_OF_CAUSE:
            url = _lines_url(later, currency, **FILTERS_OF_CAUSE[component.cause])
        rows.append(
            [
                Cell(CAUSE_LABELS[component.cause], url),
                EMPTY_CELL if component.count is None else format_count(component.count),
                format_signed(component.amount, currency),
            ]
        )
    change = format_signed(net_variance.after - net_variance.before, currency)
    return table(
        "causes",
        f"From {format_month(earlier)} to {format_month(later)}, {currency.upper()}",
        ["Cause", "#Contributions", "#Change of net"],
        rows,
        footer=[
            [net_cell(later), "", format_money(net_variance.after, currency)],
            ["Difference", "", change],
        ],
    )


def _lines_url(month: date, currency: str, **chosen: str) -> str:
    query = query_string(period=f"{month:%Y-%m}", currency=currency, **chosen)
    return f"/finance/transactions{query}"
