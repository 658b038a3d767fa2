"""Reminders: how many were asked for, sent and opened, and how many gave. Nobody is known."""

from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.core import money
from payments.core.calendar import months_before
from payments.infra.context import Context
from payments.signups import reminder_stats
from payments.signups.reminder_stats import ReminderMonth, ReminderStep
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import Table, table

MONTHS_SHOWN = 24
STEP_COLUMNS = {
    ReminderStep.SIGNED_UP: "#Asked for",
    ReminderStep.CONFIRMED: "#Confirmed",
    ReminderStep.SENT: "#Sent",
    ReminderStep.OPENED: "#Link opened",
    ReminderStep.MISSED: "#Dropped as too late",
    ReminderStep.CALENDAR: "#Calendar files",
}


class ReminderStatsPage(Controller):
    path = "/finance/funnel"
    include_in_schema = False

    @get()
    async def show(
        self, ctx: NamedDependency[Context], colleague: NamedDependency[Staff]
    ) -> Response[Any]:
        """The last two years by month, small numbers left out."""
        since = months_before(layout.today(ctx).replace(day=1), MONTHS_SHOWN - 1)
        async with ctx.sessions() as session:
            found = await reminder_stats.monthly_stats(session, ctx.settings, since=since)
        return await layout.render(
            ctx,
            "finance_reminder_stats.html",
            colleague,
            title="Reminders",
            active_url="/finance/funnel",
            table=_stats_table(found),
            fewest=reminder_stats.MIN_GROUP_SIZE,
        )


def _stats_table(found: list[ReminderMonth]) -> Table:
    rows = [
        [
            layout.format_month(one.month),
            *(_count_or_few(one.steps[step]) for step in STEP_COLUMNS),
            _count_or_few(one.donated),
            _amounts(one),
        ]
        for one in found
    ]
    columns = ["Month", *STEP_COLUMNS.values(), "#Gave", "#Given"]
    return table("funnel", "Reminders by month, the newest first", columns, rows,
                 empty="Nobody has asked to be reminded yet.")  # fmt: skip


def _count_or_few(number: int | None) -> str:
    return (
        f"under {reminder_stats.MIN_GROUP_SIZE}" if number is None else layout.format_count(number)
    )


def _amounts(row: ReminderMonth) -> str:
    if row.donated == 0:
        return layout.EMPTY_CELL
    if not row.amounts:
        return "too few to tell"
    return ", ".join(money.format(amount) for amount in row.amounts)
