"""Recurring revenue: the MRR roll-forward, cohort retention, payment recovery, and what is at risk.

Ids only.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import cohort_retention, mrr_rollforward, payment_recovery
from payments.accounting.cohort_retention import Cohort
from payments.accounting.exports import csv_tables
from payments.accounting.exports.files import export_filename
from payments.accounting.mrr_rollforward import MRR_MOVEMENTS, MovedContribution, MrrMonth
from payments.accounting.payment_recovery import RecoveryMonth
from payments.accounting.reports import recurring, recurring_figures
from payments.accounting.reports.period import Period, parse_month
from payments.accounting.reports.recurring import AtRiskSubscription, CommittedMrr
from payments.accounting.reports.recurring_figures import RecurringFigures
from payments.core import i18n
from payments.core.calendar import first_of_month
from payments.core.errors import InvalidField
from payments.core.frequency import VARYING_AMOUNT, label
from payments.infra import charts
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import filters, layout
from payments.web.finance.formats import (
    chart_value,
    format_count,
    format_money,
    format_month,
    format_share,
    format_signed,
)
from payments.web.finance.tables import EMPTY_CELL, Cell, Table, contribution_cell, table
from payments.web.forms import AnyRequest, count_parameter, query_string
from payments.web.staff.downloads import attachment
from payments.web.staff.guards import EXPORT, ExportGrant

COHORT_AGES = 12
HEAT_SHADES = 5
MOVEMENT_LABELS = {
    "new": "New",
    "reactivation": "Reactivated",
    "expansion": "Raised",
    "contraction": "Lowered",
    "paused": "Paused",
    "churn_voluntary": "Cancelled",
    "churn_involuntary": "Lost to failed payments",
    "fx": "Currency",
}
RISK_LABELS = {
    "past_due": "A payment failed and will be retried",
    "unpaid": "Payments failed and are no longer retried",
    "needs_card": "No card to charge",
    "card_expires": "The card expires",
}


class RecurringPages(Controller):
    """The page of recurring revenue, and the roll-forward as a file."""

    path = "/finance"
    include_in_schema = False

    @get("/recurring")
    async def show(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Show the months of a period that are over, the last thirteen without one."""
        currency = filters.filter_value(request.query_params, "currency")
        params, of = chosen_period(ctx, request.query_params)
        zone, today = ctx.settings.accounting_zoneinfo, filters.today(ctx)
        async with ctx.sessions() as session:
            since, until = await recurring.months_over(session, zone, of, today=today)
            mrr_months = await recurring.mrr_by_month(
                session, zone, since=since, until=until, currency=currency
            )
            cohorts = await cohort_retention.list_cohorts(
                session, zone, since=since, until=until, currency=currency
            )
            recoveries = await payment_recovery.by_month(session, zone, since=since, until=until)
            at_risk, more_at_risk = await recurring.at_risk(
                session,
                today=today,
                offset=count_parameter(request, "at_risk_after"),
            )
            committed = await recurring.committed_mrr(session)
            several, failing = await recurring.donors_with_several(session)
            moved, moved_url = await _moved(ctx, session, request, currency)
        currencies = sorted({month.currency for month in mrr_months})
        return await layout.render(
            ctx,
            "finance_recurring.html",
            colleague,
            request=request,
            title="Recurring",
            active_url="/finance/recurring",
            picker=filters.period_picker(
                ctx, params, named=[(recurring.last_months(today).label, "Last 13 months")]
            ),
            currencies=filters.currency_options(currency),
            committed=_committed_table(committed),
            figures=_figures_table(recurring_figures.newest(mrr_months)),
            several=format_count(several),
            several_failing=format_count(failing),
            rollforwards=[
                await _rollforward_chart([month for month in mrr_months if month.currency == code])
                for code in currencies
            ],
            cohorts=_cohorts_table(cohorts),
            recoveries=_recoveries_table(recoveries),
            at_risk=_at_risk_table(
                at_risk, is_whole=not (more_at_risk or request.query_params.get("at_risk_after"))
            ),
            moved=moved,
            next_moved_url=moved_url,
            next_at_risk_url=_at_risk_url(params, currency, more_at_risk),
            export_url=f"/finance/recurring.csv{query_string(**params, currency=currency)}",
        )

    @get("/recurring.csv", guards=[EXPORT])
    async def recurring_csv(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        export_grant: NamedDependency[ExportGrant],
    ) -> Response[bytes]:
        """Return the roll-forward as a file."""
        currency = filters.filter_value(request.query_params, "currency")
        _, of = chosen_period(ctx, request.query_params)
        zone, today = ctx.settings.accounting_zoneinfo, filters.today(ctx)
        async with ctx.sessions() as session:
            since, until = await recurring.months_over(session, zone, of, today=today)
            if since == until:
                raise InvalidField("period: no month of it is over.", field="period")
            mrr_months = await recurring.mrr_by_month(
                session, zone, since=since, until=until, currency=currency
            )
        description = f"period={since}..{until}" + (f" currency={currency}" if currency else "")
        name = export_filename("recurring", description, zone, ".csv")
        exported_in = f"recurring {description} zone={zone.key}"
        content = csv_tables.recurring_csv(mrr_months, exported_in=exported_in)
        return await attachment(export_grant, content, name, media_type="text/csv")


def chosen_period(ctx: Context, params: Mapping[str, str]) -> tuple[dict[str, str], Period]:
    """Return the parameters of the period and the period itself: thirteen months without any.

    Raises InvalidField.
    """
    return filters.period_or_default(ctx, params, recurring.last_months(filters.today(ctx)).label)


def parse_moved_month(ctx: Context, value: str) -> date:
    """Return the first day of a month that is over. Raises InvalidField."""
    last_day = first_of_month(filters.today(ctx)) - timedelta(days=1)
    return parse_month(value, name="month", today=last_day)


async def _moved(
    ctx: Context, session: AsyncSession, request: AnyRequest, currency: str | None
) -> tuple[Table | None, str]:
    """Return the contributions behind the movements of the month that was chosen, if one was, and
    where more of them are.
    """
    chosen = request.query_params.get("month", "")
    if not chosen or currency is None:
        return None, ""
    month = parse_moved_month(ctx, chosen)
    found, more = await mrr_rollforward.list_moved(
        session,
        ctx.settings.accounting_zoneinfo,
        month,
        currency,
        offset=count_parameter(request, "after"),
    )
    query = query_string(currency=currency, month=chosen, after=more)
    is_whole = not (more or request.query_params.get("after"))
    table_of_month = _moved_table(found, month, currency, is_whole=is_whole)
    return table_of_month, f"/finance/recurring{query}#moved" if more else ""


def _moved_table(
    moved: Sequence[MovedContribution], month: date, currency: str, *, is_whole: bool
) -> Table:
    rows: list[list[str | Cell]] = [
        [
            contribution_cell(one.contribution_id),
            MOVEMENT_LABELS[one.movement],
            format_signed(one.amount, currency),
        ]
        for one in moved
    ]
    caption = f"What moved in {format_month(month)}, {currency.upper()}, the largest first"
    return table("moved", caption, ["Gift", "Why", "#Each month"], rows,
                 empty="Nothing moved.", is_sortable=is_whole)  # fmt: skip


def _committed_table(committed: Sequence[CommittedMrr]) -> Table:
    rows = [
        [
            one.currency.upper(),
            format_count(one.subscriptions),
            format_count(one.unknown) if one.unknown else EMPTY_CELL,
            format_money(one.amount, one.currency),
            format_count(one.ending) if one.ending else EMPTY_CELL,
            format_money(one.ending_amount, one.currency) if one.ending else EMPTY_CELL,
        ]
        for one in committed
    ]
    columns = [
        "Currency donors chose", "#Active", "#Of a varying amount, not counted",
        "#Each month", "#Of these set to end", "#Less each month then",
    ]  # fmt: skip
    caption = "Active recurring contributions, now"
    return table("committed", caption, columns, rows, empty="There is none.")


def _figures_table(figures: Sequence[RecurringFigures]) -> Table:
    rows = [
        [
            one.currency.upper(),
            format_money(one.mrr, one.currency),
            format_money(one.arr, one.currency),
            format_count(one.supporters),
            format_count(one.contributions),
            _money_or(one.average_contribution, one.currency, EMPTY_CELL),
            format_share(one.churned, one.opening),
            _money_or(one.lifetime_value, one.currency, "too few to say"),
        ]
        for one in figures
    ]
    columns = ["Currency", "#MRR", "#ARR", "#Supporters", "#Contributions",
               "#Average contribution", "#Churn", "#Lifetime value"]  # fmt: skip
    month = f", {format_month(figures[0].month)}" if figures else ""
    caption = f"Recurring revenue at the end of the last month{month}"
    return table("figures", caption, columns, rows, empty="No month of this time is over.")


def _money_or(minor: int | None, currency: str, otherwise: str) -> str:
    return otherwise if minor is None else format_money(minor, currency)


async def _rollforward_chart(months: Sequence[MrrMonth]) -> dict[str, Any]:
    """Return the roll-forward of one currency, newest month first, and its closing in bars."""
    currency, newest = months[0].currency, months[0]
    title = f"Monthly recurring revenue, {currency.upper()}"
    change = newest.closing - newest.opening
    changed = format_signed(change, currency) if change else "unchanged"
    closing = format_money(newest.closing, currency)
    description = f"{closing} at the end of {format_month(newest.month)}, {changed} in that month."
    points: list[charts.DataPoint] = [
        {
            "month": f"{month.month:%b %y}",
            "series": "Closing",
            "place": 0,
            "value": chart_value(month.closing, currency),
        }
        for month in reversed(months)
    ]
    spec = charts.stacked_bars(points, series=["Closing"], unit=currency.upper())
    return {
        "id": f"mrr-{currency}",
        "title": title,
        "description": description,
        "svg": await charts.render_svg(spec, title=title, description=description),
        "table": _rollforward_table(months, currency),
    }


def _rollforward_table(months: Sequence[MrrMonth], currency: str) -> Table:
    rows: list[list[str | Cell]] = []
    for month in months:
        query = query_string(currency=currency, month=f"{month.month:%Y-%m}")
        movements = [getattr(month, name) for name in MRR_MOVEMENTS]
        rows.append(
            [
                Cell(format_month(month.month), f"/finance/recurring{query}#moved"),
                format_money(month.opening, currency),
                *(_change_or_empty(amount, currency) for amount in movements),
                format_money(month.closing, currency),
                format_count(month.contributions),
                format_count(month.supporters),
            ]
        )
    labels = [f"#{MOVEMENT_LABELS[name]}" for name in MRR_MOVEMENTS]
    columns = ["Month", "#Opening", *labels, "#Closing", "#Contributions", "#Supporters"]
    return table(f"t-mrr-{currency}", f"How it moved, {currency.upper()}", columns, rows)


def _change_or_empty(amount: int, currency: str) -> str:
    return format_signed(amount, currency) if amount else EMPTY_CELL


def _cohorts_table(cohorts: Sequence[Cohort]) -> Table:
    """Shaded by class and said in numbers: the shade is never the only sign."""
    columns = ["First paid in", "#Started", *(f"#+{age}" for age in range(1, COHORT_AGES + 1))]
    return table(
        "cohorts",
        "Monthly contributions still paid so many months later",
        columns,
        [_cohort_row(cohort) for cohort in cohorts],
        empty="No monthly contribution was first paid in a month that is over.",
    )


def _cohort_row(cohort: Cohort) -> list[str | Cell]:
    size, *later = cohort.payers_by_age
    shares: list[str | Cell] = [
        Cell(format_share(payers, size), tone=f"heat heat-{-(-payers * HEAT_SHADES // size)}")
        for payers in later[:COHORT_AGES]
    ]
    missing = [""] * (COHORT_AGES - len(shares))
    return [format_month(cohort.first_paid_month), format_count(size), *shares, *missing]


def _recoveries_table(recoveries: Sequence[RecoveryMonth]) -> Table:
    rows = [
        [
            format_month(month.month),
            month.currency.upper(),
            format_count(month.failed),
            format_count(month.recovered),
            format_share(month.recovered, month.failed),
            format_money(month.recovered_amount, month.currency),
            format_money(month.amount - month.recovered_amount, month.currency),
        ]
        for month in recoveries
    ]
    columns = ["First failed in", "Currency", "#Failed", "#Paid later", "#Share",
               "#Amount paid later", "#Amount not paid"]  # fmt: skip
    caption = "Renewals that failed, and were paid later"
    return table("recoveries", caption, columns, rows, empty="No renewal has failed.")


def _at_risk_table(at_risk: Sequence[AtRiskSubscription], *, is_whole: bool) -> Table:
    rows = [_at_risk_row(one) for one in at_risk]
    columns = ["Gift", "Why", "Frequency", "Next charge", "Card until", "Currency", "#Amount"]
    caption = "Recurring contributions at risk, now"
    return table("at-risk", caption, columns, rows, empty="None is at risk.", is_sortable=is_whole)


def _at_risk_url(params: Mapping[str, str], currency: str | None, after: int | None) -> str:
    query = query_string(**params, currency=currency, at_risk_after=after)
    return f"/finance/recurring{query}#at-risk" if after else ""


def _at_risk_row(subscription: AtRiskSubscription) -> list[str | Cell]:
    renews_at, expires_on = subscription.current_period_end, subscription.card_expires_on
    is_late = subscription.reason != "card_expires"
    return [
        contribution_cell(subscription.contribution_id),
        Cell(RISK_LABELS[subscription.reason], tone="bad" if is_late else ""),
        label(subscription.interval, i18n.DEFAULT_LOCALE),
        EMPTY_CELL if renews_at is None else f"{renews_at:%Y-%m-%d}",
        EMPTY_CELL if expires_on is None else f"{expires_on:%Y-%m}",
        subscription.currency.upper(),
        VARYING_AMOUNT
        if subscription.amount is None
        else format_money(subscription.amount, subscription.currency),
    ]
