"""The contribution report of a period for programs: the figures of its page and of its PDF."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency

from payments.infra.context import Context
from payments.staff.api_tokens import TokenScope
from payments.web.finance import report as report_page
from payments.web.finance_api.access import API_PREFIX, TokenOnly
from payments.web.finance_api.answers import About, StripeBalance, about, refusals
from payments.web.finance_api.parameters import PERIOD_PARAMETERS
from payments.web.forms import AnyRequest


class ReportSums(msgspec.Struct, frozen=True):
    """Sums: `net` = `gross` - `fees` - `refunds` - `disputes`."""

    payments: int
    gross: int
    fees: int
    refunds: int
    disputes: int
    net: int


class ReportFrequency(ReportSums, frozen=True):
    """The sums of one frequency."""

    frequency: str


class ReportTotal(ReportSums, frozen=True):
    """The sums of all, and how many contributions paid, and of them for the first time."""

    payers: int
    first_time_payers: int


class ReportCounts(msgspec.Struct, frozen=True):
    """How many refunds, disputes and payouts there were, and how many came back."""

    refunds: int
    refunds_failed: int
    disputes: int
    disputes_reversed: int
    payouts: int
    payouts_amount: int
    payouts_failed: int
    payouts_failed_amount: int


class ReportCurrency(msgspec.Struct, frozen=True):
    """One currency. `corrected` is by how much a figure differs from what moved in the balance."""

    currency: str
    by_frequency: Sequence[ReportFrequency]
    total: ReportTotal
    same_period_last_year: ReportSums
    other_income: ReportSums | None
    stripe_balance: StripeBalance
    corrected: Mapping[str, int]
    counts: ReportCounts


class ReportClosing(msgspec.Struct, frozen=True):
    """A closed month of the period."""

    month: str
    at: datetime
    by: str


class ReportFigures(msgspec.Struct, frozen=True):
    """The report of days from `since` up to and without `until`. It is provisional until each month
    that it touches is closed.
    """

    since: date
    until: date
    zone: str
    is_provisional: bool
    closed: Sequence[ReportClosing]
    late_entries: int
    last_entry: int | None
    last_entry_hash: str | None
    currencies: Sequence[ReportCurrency]


class Report(msgspec.Struct, frozen=True):
    """The report, and how fresh its figures are."""

    about: About
    report: ReportFigures


class ReportApi(Controller):
    """The report of a period."""

    path = f"{API_PREFIX}/report"
    tags = ("Reports",)
    guards = [TokenOnly(TokenScope.REPORTS)]  # noqa: RUF012 - litestar's own

    @get(
        operation_id="getReport",
        summary="The contribution report of a period",
        parameters=PERIOD_PARAMETERS,
        responses=refusals(),
    )
    async def show(self, ctx: NamedDependency[Context], request: AnyRequest) -> Report:
        """As on the page “Report”: of last month, unless another period is asked for."""
        chosen = report_page.chosen_period(ctx, request)[1]
        found = await report_page.load(ctx, chosen)
        async with ctx.sessions() as session:
            said = await about(ctx, session)
        return Report(said, msgspec.convert(found.to_plain(), ReportFigures))
