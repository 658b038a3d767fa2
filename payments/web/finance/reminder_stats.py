"""Reminders: how many were asked for, sent and opened, and how many gave. Nobody is known."""

from typing import Any

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.accounting.reports import period
from payments.core import money
from payments.infra.context import Runtime
from payments.signups import reminder_stats
from payments.signups.reminder_stats import Row, Step
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import Table, table

MONTHS = 24
STEPS = {
    Step.ASKED: "#Asked for",
    Step.CONFIRMED: "#Confirmed",
    Step.SENT: "#Sent",
    Step.OPENED: "#Link opened",
    Step.LATE: "#Dropped as too late",
    Step.CALENDAR: "#Calendar files",
}


class FunnelPage(Controller):
    path = "/finance/funnel"
    include_in_schema = False

    @get()
    async def page(
        self, rt: NamedDependency[Runtime], colleague: NamedDependency[Staff]
    ) -> Response[Any]:
        """The last two years by month, small numbers left out."""
        since = period.months_before(layout.today(rt).replace(day=1), MONTHS - 1)
        async with rt.sessions() as session:
            found = await reminder_stats.rows(session, rt.settings, since=since)
        return await layout.page(
            rt,
            "finance_funnel.html",
            colleague,
            title="Reminders",
            here="/finance/funnel",
            table=_funnel(found),
            fewest=reminder_stats.FEWEST,
        )


def _funnel(found: list[Row]) -> Table:
    rows = [
        [
            layout.month(one.month),
            *(_told(one.steps[step]) for step in STEPS),
            _told(one.gave),
            _amounts(one),
        ]
        for one in found
    ]
    columns = ["Month", *STEPS.values(), "#Gave", "#Given"]
    return table("funnel", "Reminders by month, the newest first", columns, rows,
                 empty="Nobody has asked to be reminded yet.")  # fmt: skip


def _told(number: int | None) -> str:
    return f"under {reminder_stats.FEWEST}" if number is None else layout.whole(number)


def _amounts(row: Row) -> str:
    if row.gave == 0:
        return layout.NOTHING
    if not row.amounts:
        return "too few to tell"
    return ", ".join(money.format(amount) for amount in row.amounts)
