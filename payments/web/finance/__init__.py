"""The pages of finance: figures from the ledger, the integrity checks, and files of the same.

Nothing on them is about a person.
"""

from litestar import Router
from litestar.types import ControllerRouterHandler, Guard

from payments.web.csrf import require_same_origin
from payments.web.finance.exports import ExportPages
from payments.web.finance.months import MonthPages
from payments.web.finance.overview import OverviewPages
from payments.web.finance.payouts import PayoutPages
from payments.web.finance.period_close import PeriodClosePages
from payments.web.finance.recurring import RecurringPages
from payments.web.finance.refund_form import RefundPages
from payments.web.finance.refunds_and_disputes import RefundAndDisputePages
from payments.web.finance.reminder_stats import ReminderStatsPage
from payments.web.finance.sources import SourcePages
from payments.web.finance.transactions import TransactionPages
from payments.web.finance.variance import VariancePages
from payments.web.staff.guards import FINANCE_ROLES, StaffOnly


def routes() -> list[ControllerRouterHandler]:
    """Return the handlers of finance, open to finance and administrators."""
    pages = [
        OverviewPages,
        VariancePages,
        MonthPages,
        TransactionPages,
        RecurringPages,
        PayoutPages,
        RefundAndDisputePages,
        SourcePages,
        ExportPages,
        PeriodClosePages,
        ReminderStatsPage,
        RefundPages,
    ]
    guards: list[Guard] = [require_same_origin, StaffOnly(FINANCE_ROLES)]
    return [Router(path="/", route_handlers=pages, guards=guards)]
