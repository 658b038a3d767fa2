"""The books, for finance: figures from the roll-up and the rows, their proof, and the files that
hold what the screen shows. Nothing here is about a person.
"""

from litestar.types import ControllerRouterHandler

from payments.web.finance.downloads import DownloadPages
from payments.web.finance.funnel import FunnelPage
from payments.web.finance.lines import LinePages
from payments.web.finance.months import MonthPages
from payments.web.finance.movements import MovementPages
from payments.web.finance.overview import OverviewPages
from payments.web.finance.payouts import PayoutPages
from payments.web.finance.periods import PeriodPages
from payments.web.finance.recurring import RecurringPages
from payments.web.finance.sources import SourcePages


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
