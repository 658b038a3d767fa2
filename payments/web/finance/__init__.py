"""The books, for finance: figures from the roll-up and the rows, their proof, and the files that
hold what the screen shows. Nothing here is about a person.
"""

from litestar.types import ControllerRouterHandler

from payments.web.finance.exports import DownloadPages
from payments.web.finance.months import MonthPages
from payments.web.finance.overview import OverviewPages
from payments.web.finance.payouts import PayoutPages
from payments.web.finance.period_close import PeriodPages
from payments.web.finance.recurring import RecurringPages
from payments.web.finance.refunds_and_disputes import MovementPages
from payments.web.finance.reminder_stats import FunnelPage
from payments.web.finance.sources import SourcePages
from payments.web.finance.transactions import LinePages


def routes() -> list[ControllerRouterHandler]:
    return [
        OverviewPages,
        MonthPages,
        LinePages,
        RecurringPages,
        PayoutPages,
        MovementPages,
        SourcePages,
        DownloadPages,
        PeriodPages,
        FunnelPage,
    ]
