"""The pages of finance: figures from the ledger, the integrity checks, and files of the same.

account_map           what accounts are called in accounting programs
audit_log             who did what, when and why
approvals             what waits for a second colleague
definitions           what each word above figures means
corrections           what colleagues moved between accounts; the forms
deferred              cash beside accrual, what is still to be earned
disputes              the rate, deadlines, and the answer to one
event_endpoints       where our events go, and their log
exports               the transactions as CSV or XLSX, journals
filters               a page's address is its state
formats               how money, counts and dates are printed
layout                navigation, freshness, alerts
months                gross, fees, refunds and net by month
overview              a month in figures, two years in bars
payouts               each reconciled with its transactions
period_close          closing a month, and the packs
record_files          refunds, disputes and the audit log as files
recurring             MRR, retention, recovery, what is at risk
refund_form           of one payment
refunds_and_disputes  what went back, and deadlines
refusals              what is wrong, with what was typed
reminder_stats        asked for, sent, opened, gave
report                the contribution report of a period, also as PDF
report_content        what that report says
sorting               the order of the tables of a page, by links on their headings
sources               net by campaign
tables                tables, ready to print
transactions          found by anything in them; one contribution
variance              why net differs between two months

Nothing on them is about a person.
"""

from litestar import Router
from litestar.types import ControllerRouterHandler, Guard

from payments.core.errors import PaymentsError
from payments.web.csrf import require_same_origin
from payments.web.finance import refusals
from payments.web.finance.account_map import AccountMapPages
from payments.web.finance.approvals import ApprovalPage
from payments.web.finance.audit_log import AuditLogPage
from payments.web.finance.corrections import CorrectionPages
from payments.web.finance.deferred import DeferredPages
from payments.web.finance.disputes import DisputePages
from payments.web.finance.event_endpoints import EventEndpointPages
from payments.web.finance.exports import ExportPages
from payments.web.finance.months import MonthPages
from payments.web.finance.overview import OverviewPages
from payments.web.finance.payouts import PayoutPages
from payments.web.finance.period_close import PeriodClosePages
from payments.web.finance.record_files import RecordFilePages
from payments.web.finance.recurring import RecurringPages
from payments.web.finance.refund_form import RefundPages
from payments.web.finance.refunds_and_disputes import RefundAndDisputePages
from payments.web.finance.reminder_stats import ReminderStatsPage
from payments.web.finance.report import ReportFile, ReportPages
from payments.web.finance.sources import SourcePages
from payments.web.finance.transactions import TransactionPages
from payments.web.finance.variance import VariancePages
from payments.web.staff.guards import BOOKS, same_zone_as_books


def routes() -> list[ControllerRouterHandler]:
    """Return the handlers of finance; an auditor reads them and sends no form."""
    pages = [
        OverviewPages,
        VariancePages,
        MonthPages,
        ReportPages,
        ReportFile,
        TransactionPages,
        RecurringPages,
        PayoutPages,
        RefundAndDisputePages,
        DisputePages,
        SourcePages,
        DeferredPages,
        ExportPages,
        RecordFilePages,
        AccountMapPages,
        PeriodClosePages,
        CorrectionPages,
        EventEndpointPages,
        ApprovalPage,
        AuditLogPage,
        ReminderStatsPage,
        RefundPages,
    ]
    guards: list[Guard] = [require_same_origin, BOOKS, same_zone_as_books]
    return [
        Router(
            path="/",
            route_handlers=pages,
            guards=guards,
            exception_handlers={PaymentsError: refusals.on_payments_error},
        )
    ]
