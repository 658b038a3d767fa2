"""Reminder statistics: how many were asked for, sent and opened, and how many then gave."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.accounting.reports.period import Period, whole_months_of
from payments.core import money
from payments.core.calendar import months_before, next_month
from payments.infra.context import Context
from payments.signups import reminder_stats
from payments.signups.reminder_stats import ReminderMonth, ReminderStep
from payments.staff.accounts import Staff
from payments.web.finance import filters, layout
from payments.web.finance.formats import format_count, format_month
from payments.web.finance.tables import EMPTY_CELL, Table, table
from payments.web.forms import AnyRequest

MONTHS_SHOWN = 24
EARLIEST = date(2000, 1, 1)
STEP_COLUMNS = {
    ReminderStep.SIGNED_UP: "#Asked for",
    ReminderStep.CONFIRMED: "#Confirmed",
    ReminderStep.SENT: "#Sent",
    ReminderStep.OPENED: "#Link opened",
    ReminderStep.MISSED: "#Dropped as too late",
    ReminderStep.CALENDAR: "#Calendar files",
}


class ReminderStatsPage(Controller):
    """The page of reminder statistics."""

    path = "/finance/reminders"
    include_in_schema = False

    @get()
    async def show(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[Any]:
        """Show the months of a period, the last two years unless another is chosen; small numbers
        are left out.
        """
        params, since, until = chosen_months(ctx, request.query_params)
        async with ctx.sessions() as session:
            months = await reminder_stats.monthly_stats(
                session, ctx.settings, since=since, until=until
            )
        return await layout.render(
            ctx,
            "finance_reminder_stats.html",
            colleague,
            request=request,
            title="Reminders",
            active_url="/finance/reminders",
            picker=filters.period_picker(
                ctx, params, named=[(_two_years(filters.today(ctx)).label, "Last 2 years")]
            ),
            table=_stats_table(months),
            min_group_size=reminder_stats.MIN_GROUP_SIZE,
        )


def chosen_months(ctx: Context, params: Mapping[str, str]) -> tuple[dict[str, str], date, date]:
    """Return the parameters of the period, and the months that it touches: two years without any.

    Raises InvalidField.
    """
    today = filters.today(ctx)
    chosen, of = filters.period_or_default(ctx, params, _two_years(today).label)
    return chosen, *whole_months_of(of, first=EARLIEST, last=today)


def _two_years(today: date) -> Period:
    return Period(months_before(today, MONTHS_SHOWN - 1), next_month(today))


def _stats_table(months: list[ReminderMonth]) -> Table:
    rows = [
        [
            format_month(month.month),
            *(_count_or_few(month.steps[step]) for step in STEP_COLUMNS),
            _count_or_few(month.donated),
            _amounts(month),
        ]
        for month in months
    ]
    columns = ["Month", *STEP_COLUMNS.values(), "#Gave", "#Given"]
    return table("reminders", "Reminders by month, the newest first", columns, rows,
                 empty="Nobody asked to be reminded in this time.")  # fmt: skip


def _count_or_few(count: int | None) -> str:
    return f"under {reminder_stats.MIN_GROUP_SIZE}" if count is None else format_count(count)


def _amounts(month: ReminderMonth) -> str:
    if month.donated == 0:
        return EMPTY_CELL
    if not month.amounts:
        return "too few to tell"
    return ", ".join(money.format(amount) for amount in month.amounts)
