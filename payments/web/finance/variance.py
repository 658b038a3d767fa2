"""Variance: why net differs between two periods, as a sentence, a waterfall and a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.reports import variance
from payments.accounting.reports.period import Period
from payments.accounting.reports.variance import (
    ContributionChange,
    NetVariance,
    VarianceCause,
)
from payments.core.calendar import months_before
from payments.core.errors import InvalidField
from payments.core.money import MINUS
from payments.infra import charts
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import filters, layout
from payments.web.finance.formats import (
    chart_value,
    format_count,
    format_deduction,
    format_money,
    format_signed,
)
from payments.web.finance.tables import EMPTY_CELL, Cell, Table, contribution_cell, table
from payments.web.forms import AnyRequest, query_string

CAUSE_LABELS = {
    VarianceCause.NEW: "New recurring contributions",
    VarianceCause.REACTIVATION: "Reactivated",
    VarianceCause.EXPANSION: "Raised",
    VarianceCause.CONTRACTION: "Lowered",
    VarianceCause.CHURN: "Cancelled",
    VarianceCause.MISSED_PAYMENT: "Missed payments: failed, paused, skipped or not due yet",
    VarianceCause.TIMING: "More or fewer payments in the period",
    VarianceCause.ANNUAL: "Annual renewals",
    VarianceCause.PERIODIC: "Renewals at other intervals",
    VarianceCause.ONCE: "One-off gifts",
    VarianceCause.FX: "Exchange rates",
    VarianceCause.FEES: "Fees",
    VarianceCause.REFUNDS: "Refunds",
    VarianceCause.DISPUTES: "Disputes",
    VarianceCause.OTHER: "Other",
}
# The causes that are figures of both periods; behind every other there are contributions.
FIGURE_OF_CAUSE = {
    VarianceCause.FEES: ("fees", "Fees"),
    VarianceCause.REFUNDS: ("refunds", "Refunds"),
    VarianceCause.DISPUTES: ("disputes", "Disputes"),
}
SHORT_CAUSE_LABELS = {
    VarianceCause.MISSED_PAYMENT: "Missed",
    VarianceCause.TIMING: "Timing",
    VarianceCause.REACTIVATION: "Paid again",
}


JUST_BEFORE, YEAR_BEFORE = "before", "year"
AGAINST_LABELS = {JUST_BEFORE: "The period just before", YEAR_BEFORE: "The same a year before"}


class VariancePages(Controller):
    """The page of the variance between two periods."""

    path = "/finance"
    include_in_schema = False

    @get("/why")
    async def show(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Two periods to the cent: the last month that is over and the one before unless asked."""
        asked = parse_question(ctx, request.query_params)
        earlier, later, currency = asked.earlier, asked.later, asked.currency
        cause = parse_cause(request.query_params)
        address = query_string(**asked.params, against=asked.against, currency=currency)
        async with ctx.sessions() as session:
            net_variance = await variance.net_variance(
                session,
                ctx.settings.accounting_zoneinfo,
                currency=currency,
                earlier=earlier,
                later=later,
            )
            changes = await list_behind(session, ctx.settings.accounting_zoneinfo, asked, cause)
        return await layout.render(
            ctx,
            "finance_variance.html",
            colleague,
            request=request,
            title="Why did net change?",
            active_url="/finance",
            until=later.until,
            picker=filters.period_picker(ctx, asked.params),
            against=filters.select_options(tuple(AGAINST_LABELS.items()), asked.against),
            currencies=filters.currency_options(currency, every=""),
            sentence=_variance_sentence(net_variance, currency, later),
            waterfall=await _waterfall_chart(net_variance, currency, earlier, later),
            nets=_nets_table(net_variance, currency, earlier, later),
            table=_causes_table(net_variance, currency, earlier, later, address),
            behind=_behind_table(net_variance, cause, changes, currency, earlier, later),
        )


@dataclass(frozen=True, slots=True)
class Question:
    """Two periods of one currency, as an address has them. `params` are those of its period."""

    params: Mapping[str, str]
    against: str
    earlier: Period
    later: Period
    currency: str


def parse_question(ctx: Context, query: Mapping[str, str]) -> Question:
    """Return what an address asks; the last month that is over and the one before unless it says
    more. Raises InvalidField.
    """
    last_month = f"{months_before(filters.today(ctx), 1):%Y-%m}"
    params, later = filters.period_or_default(ctx, query, last_month)
    against = query.get("against") or JUST_BEFORE
    if against not in AGAINST_LABELS:
        raise InvalidField(f"against: one of {', '.join(AGAINST_LABELS)}.", field="against")
    earlier = later.year_before() if against == YEAR_BEFORE else later.just_before()
    if earlier is None:
        raise InvalidField(
            "to: this page compares two periods of one length. Choose a period, or give both days.",
            field="to",
        )
    if later.since and earlier.until and earlier.until > later.since:
        raise InvalidField(
            "against: the period is longer than a year, so the one a year before is not over"
            " when it begins. Choose a shorter one.",
            field="against",
        )
    currency = filters.filter_value(query, "currency") or ctx.settings.default_currency
    return Question(params, against, earlier, later, currency)


def parse_cause(query: Mapping[str, str]) -> VarianceCause | None:
    """Return the cause to look behind, if one is asked for. Raises InvalidField."""
    if not query.get("cause"):
        return None
    try:
        return VarianceCause(query["cause"])
    except ValueError:
        raise InvalidField(
            "cause: follow the link of a cause; this is none of ours.", field="cause"
        ) from None


async def list_behind(
    session: AsyncSession, zone: ZoneInfo, asked: Question, cause: VarianceCause | None
) -> list[ContributionChange]:
    """Return the contributions behind a cause; none without one, and none of a figure."""
    if cause is None or cause in FIGURE_OF_CAUSE:
        return []
    return await variance.list_contributions(
        session, zone, cause, currency=asked.currency, earlier=asked.earlier, later=asked.later
    )


def _variance_sentence(net_variance: NetVariance, currency: str, later: Period) -> str:
    after = format_money(net_variance.after, currency)
    change = net_variance.after - net_variance.before
    if change == 0:
        return f"Net was {after} in both periods."
    largest = max(net_variance.components, key=lambda component: abs(component.amount))
    # Within a sentence a line must not break after the minus.
    amount = format_signed(largest.amount, currency).replace(MINUS, f"{MINUS}\N{WORD JOINER}")
    return (
        f"Net {'rose' if change > 0 else 'fell'} by {format_money(abs(change), currency)}"
        f" to {after} in {later.words};"
        f" the largest part was “{CAUSE_LABELS[largest.cause]}” with {amount}."
    )


async def _waterfall_chart(
    net_variance: NetVariance, currency: str, earlier: Period, later: Period
) -> str | None:
    """From net of the earlier period to net of the later, a step for each cause."""
    steps = [_total_step(_short_label(earlier), net_variance.before, currency)]
    level = net_variance.before
    for component in net_variance.components:
        label = SHORT_CAUSE_LABELS.get(component.cause, CAUSE_LABELS[component.cause])
        steps.append(_change_step(label, level, component.amount, currency))
        level += component.amount
    steps.append(_total_step(_short_label(later), net_variance.after, currency))
    return await charts.render_svg(
        charts.waterfall_chart(steps, unit=currency.upper()),
        title=f"From net of {earlier.words} to net of {later.words}",
        description=_variance_sentence(net_variance, currency, later),
    )


def _short_label(one: Period) -> str:
    if one.whole_months == 1:
        return f"{one.since:%b %Y}"
    return f"{one.since:%Y}" if one.words == f"{one.since:%Y}" else f"From {one.since:%-d %b %Y}"


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


def _causes_table(
    net_variance: NetVariance, currency: str, earlier: Period, later: Period, address: str
) -> Table:
    rows: list[list[str | Cell]] = []
    for component in net_variance.components:
        has_lines = component.cause is not VarianceCause.OTHER
        url = f"/finance/why{address}&cause={component.cause}#behind" if has_lines else ""
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
        f"From {earlier.words} to {later.words}, {currency.upper()}",
        ["Cause", "#Contributions of this cause", "#Change of net"],
        rows,
        footer=[["Difference", "", change]],
        empty="Net was the same in both.",
        is_sortable=False,
    )


def _nets_table(net_variance: NetVariance, currency: str, earlier: Period, later: Period) -> Table:
    rows: list[list[str | Cell]] = [
        [Cell(one.words, _lines_url(one, currency)), format_money(figures.net, currency)]
        for one, figures in ((earlier, net_variance.earlier), (later, net_variance.later))
    ]
    return table("nets", f"The two periods, {currency.upper()}", ["Period", "#Net"], rows,
                 is_sortable=False)  # fmt: skip


def _behind_table(
    net_variance: NetVariance,
    cause: VarianceCause | None,
    changes: Sequence[ContributionChange],
    currency: str,
    earlier: Period,
    later: Period,
) -> Table | None:
    """Return what a cause is made of: its contributions, or a figure of both periods."""
    component = next((one for one in net_variance.components if one.cause is cause), None)
    if cause is None or component is None:
        return None
    caption = f"Behind “{CAUSE_LABELS[cause]}”"
    total = format_signed(component.amount, currency)
    if cause in FIGURE_OF_CAUSE:
        name, label = FIGURE_OF_CAUSE[cause]
        rows: list[list[str | Cell]] = [
            [
                Cell(one.words, _lines_url(one, currency)),
                format_deduction(getattr(figures, name), currency),
            ]
            for one, figures in (
                (earlier, net_variance.earlier),
                (later, net_variance.later),
            )
        ]
        return table("behind", caption, ["Period", f"#{label}"], rows,
                     footer=[["Change", total]], is_sortable=False)  # fmt: skip
    rows = [
        [
            contribution_cell(one.contribution_id),
            format_money(one.paid_before, currency),
            format_money(one.paid_after, currency),
            format_signed(one.amount, currency),
        ]
        for one in changes
    ]
    if rest := component.amount - sum(one.amount for one in changes):
        rows.append(["All others, each of less", "", "", format_signed(rest, currency)])
    columns = ["Gift", "#Paid before", "#Paid after", "#Change of net"]
    return table("behind", caption, columns, rows, footer=[["Sum", "", "", total]],
                 is_sortable=not rest)  # fmt: skip


def _lines_url(one: Period, currency: str, **chosen: str) -> str:
    query = query_string(period=one.label, currency=currency, **chosen)
    return f"/finance/transactions{query}"
