"""The finance API: every figure of the finance pages as JSON, for programs with a token.

access                who may call, and how often
approvals             what waits for a second colleague
answers               what every answer has: how fresh it is
audit                 the audit log
books                 periods, packs, late entries, corrections
cursors               where the next page of a list begins
deferred              what was received and what was earned
description           the OpenAPI document, for those with a token
journals              accounts, sums of the journals, their files
movements             transactions, one contribution, payouts
parameters            the filters, as on the pages
recurring             MRR, cohorts, recovery, what is at risk
refunds_and_disputes  what went back
report                the contribution report of a period
reports               sums: overview, months, reminders
sources               net by campaign, articles, sponsors, goals
variance              why net differs between two periods

It reads the functions that the pages read and computes nothing. Nothing in it is about a person,
and nothing changes anything. A program shows a token; a cookie counts for nothing here, and a
token for nothing on a page.
"""

from litestar import Router
from litestar.types import ControllerRouterHandler

from payments.web.finance_api.approvals import ApprovalsApi
from payments.web.finance_api.audit import AuditApi
from payments.web.finance_api.books import BooksApi
from payments.web.finance_api.deferred import DeferredApi
from payments.web.finance_api.description import make_handler
from payments.web.finance_api.journals import JournalsApi
from payments.web.finance_api.movements import MovementsApi
from payments.web.finance_api.recurring import RecurringApi
from payments.web.finance_api.refunds_and_disputes import RefundsAndDisputesApi
from payments.web.finance_api.report import ReportApi
from payments.web.finance_api.reports import ReportsApi
from payments.web.finance_api.sources import SourcesApi
from payments.web.finance_api.variance import VarianceApi

HANDLERS: tuple[ControllerRouterHandler, ...] = (
    ReportsApi,
    ReportApi,
    SourcesApi,
    VarianceApi,
    RecurringApi,
    DeferredApi,
    MovementsApi,
    RefundsAndDisputesApi,
    BooksApi,
    ApprovalsApi,
    JournalsApi,
    AuditApi,
)


def routes() -> list[ControllerRouterHandler]:
    """Return the operations of the API, which the public description does not name."""
    handlers = [*HANDLERS, make_handler(HANDLERS)]
    return [Router("/", route_handlers=handlers, include_in_schema=False)]
