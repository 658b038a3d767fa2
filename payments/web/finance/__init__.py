"""The books, for finance: figures from the roll-up and the rows, their proof, and the files that
hold what the screen shows. Nothing here is about a person.
"""

from litestar.types import ControllerRouterHandler

from payments.web.finance.exports import ExportPages
from payments.web.finance.months import MonthPages
from payments.web.finance.overview import OverviewPages
from payments.web.finance.payouts import PayoutPages
from payments.web.finance.period_close import PeriodClosePages
from payments.web.finance.recurring import RecurringPages
from payments.web.finance.refunds_and_disputes import RefundAndDisputePages
from payments.web.finance.reminder_stats import ReminderStatsPage
from payments.web.finance.sources import SourcePages
from payments.web.finance.transactions import TransactionPages


def routes() -> list[ControllerRouterHandler]:
    return [
        OverviewPages,
        MonthPages,
        TransactionPages,
        RecurringPages,
        PayoutPages,
        RefundAndDisputePages,
        SourcePages,
        ExportPages,
        PeriodClosePages,
        ReminderStatsPage,
    ]
