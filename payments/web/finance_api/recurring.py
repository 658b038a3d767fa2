"""Recurring revenue for programs: MRR by month, cohorts, recovery, and what is at risk."""

from collections.abc import Sequence
from datetime import date, datetime

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.accounting import cohort_retention, mrr_rollforward, payment_recovery
from payments.accounting.reports import recurring, recurring_figures
from payments.accounting.reports.period import Period
from payments.infra.context import Context
from payments.staff.api_tokens import TokenScope
from payments.web.finance import filters
from payments.web.finance import recurring as recurring_page
from payments.web.finance_api.access import API_PREFIX, TokenOnly
from payments.web.finance_api.answers import (
    About,
    Days,
    about,
    days,
    month,
    month_of,
    refusals,
    shape_all,
)
from payments.web.finance_api.cursors import next_cursor, read_count
from payments.web.finance_api.parameters import PAGE_PARAMETERS, PERIOD_PARAMETERS, page_size
from payments.web.forms import AnyRequest


class MrrLine(msgspec.Struct, frozen=True):
    """One month of one currency: `closing` is `opening` and every movement. `contributions` are
    what `closing` is made of, and `supporters` the people who gave them, each counted once; `lost`
    are the contributions that were cancelled or lost to failed payments.
    """

    month: str
    currency: str
    opening: int
    new: int
    reactivation: int
    expansion: int
    contraction: int
    paused: int
    churn_voluntary: int
    churn_involuntary: int
    fx: int
    closing: int
    contributions: int
    supporters: int
    lost: int


class FiguresLine(msgspec.Struct, frozen=True):
    """The newest month of a currency: `arr` is twelve times `mrr`, `churned` what was cancelled or
    lost to failed payments of `opening`. A `lifetime_value` is null where there are too few.
    """

    month: str
    currency: str
    mrr: int
    arr: int
    supporters: int
    contributions: int
    average_contribution: int | None
    churned: int
    opening: int
    lifetime_value: int | None


class CommittedLine(msgspec.Struct, frozen=True):
    """What live contributions of a currency are worth a month: `unknown` of them in no sum,
    `ending` of them set to end.
    """

    currency: str
    subscriptions: int
    amount: int
    unknown: int
    ending: int
    ending_amount: int


class CohortLine(msgspec.Struct, frozen=True):
    """The monthly contributions first paid in a month: how many then, a month later and so on."""

    first_paid_month: str
    payers_by_age: Sequence[int]


class RecoveryLine(msgspec.Struct, frozen=True):
    """Renewals that first failed in a month, and those of them that were paid later."""

    month: str
    currency: str
    failed: int
    recovered: int
    amount: int
    recovered_amount: int


class Recurring(msgspec.Struct, frozen=True):
    """The months of a period that are over, and what is live now. Of donors only how many have
    several contributions, and for how many of those one fails.
    """

    about: About
    period: Days
    figures: Sequence[FiguresLine]
    months: Sequence[MrrLine]
    committed: Sequence[CommittedLine]
    cohorts: Sequence[CohortLine]
    recoveries: Sequence[RecoveryLine]
    donors_with_several: int
    donors_with_several_failing: int


class AtRiskLine(msgspec.Struct, frozen=True):
    """A contribution that may not pay again: past_due, unpaid, needs_card or card_expires."""

    contribution_id: str
    interval_unit: str
    interval_count: int
    amount: int | None
    currency: str
    current_period_end: datetime | None
    reason: str
    card_expires_on: date | None


class AtRisk(msgspec.Struct, frozen=True):
    """A page of what is at risk now, the most urgent first."""

    about: About
    items: Sequence[AtRiskLine]
    next_cursor: str | None


class MovedLine(msgspec.Struct, frozen=True):
    """A contribution that moved in a month, and by how much a month of it, in minor units."""

    contribution_id: str
    movement: str
    amount: int


class Moved(msgspec.Struct, frozen=True):
    """A page of what moved in a month, the largest first; each amount is rounded for itself."""

    about: About
    items: Sequence[MovedLine]
    next_cursor: str | None


class RecurringApi(Controller):
    """As on the page “Recurring”."""

    path = f"{API_PREFIX}/recurring"
    tags = ("Recurring",)
    guards = [TokenOnly(TokenScope.REPORTS)]  # noqa: RUF012 - litestar's own

    @get(
        operation_id="getRecurring",
        summary="Monthly recurring revenue, cohorts and recovery",
        parameters=(*PERIOD_PARAMETERS, "currency"),
        responses=refusals(),
    )
    async def show(self, ctx: NamedDependency[Context], request: AnyRequest) -> Recurring:
        """As on the page “Recurring”: the last thirteen months, unless a period is asked for."""
        currency = filters.filter_value(request.query_params, "currency")
        zone, today = ctx.settings.accounting_zoneinfo, filters.today(ctx)
        _, of = recurring_page.chosen_period(ctx, request.query_params)
        async with ctx.sessions() as session:
            since, until = await recurring.months_over(session, zone, of, today=today)
            months = await recurring.mrr_by_month(
                session, zone, since=since, until=until, currency=currency
            )
            cohorts = await cohort_retention.list_cohorts(
                session, zone, since=since, until=until, currency=currency
            )
            recoveries = await payment_recovery.by_month(session, zone, since=since, until=until)
            committed = await recurring.committed_mrr(session)
            several, failing = await recurring.donors_with_several(session)
            said = await about(ctx, session)
        return Recurring(
            about=said,
            period=days(Period(since, until)),
            figures=shape_all(FiguresLine, recurring_figures.newest(months), month=month_of),
            months=shape_all(MrrLine, months, month=month_of),
            committed=shape_all(CommittedLine, committed),
            cohorts=[
                CohortLine(month(one.first_paid_month), list(one.payers_by_age)) for one in cohorts
            ],
            recoveries=shape_all(RecoveryLine, recoveries, month=month_of),
            donors_with_several=several,
            donors_with_several_failing=failing,
        )

    @get(
        "/at-risk",
        operation_id="listAtRisk",
        summary="Recurring contributions at risk",
        parameters=PAGE_PARAMETERS,
        responses=refusals(),
    )
    async def at_risk(self, ctx: NamedDependency[Context], request: AnyRequest) -> AtRisk:
        """Those of the page “Recurring”. It is how things stand, which changes between pages."""
        after, size = read_count(ctx, request), page_size(request)
        async with ctx.sessions() as session:
            found, more = await recurring.at_risk(
                session, today=filters.today(ctx), offset=after, size=size
            )
            said = await about(ctx, session)
        items = shape_all(
            AtRiskLine,
            found,
            interval_unit=lambda one: one.interval.unit,
            interval_count=lambda one: one.interval.count,
        )
        return AtRisk(said, items, next_cursor(ctx, request, more))

    @get(
        "/{of_month:str}/moved",
        operation_id="listMovedContributions",
        summary="Contributions behind the movements of a month in one currency",
        parameters=("currency", *PAGE_PARAMETERS),
        responses=refusals(404),
    )
    async def moved(
        self, ctx: NamedDependency[Context], request: AnyRequest, of_month: FromPath[str]
    ) -> Moved:
        """As behind a month of the page “Recurring”. The currency is usd where none is given."""
        first = recurring_page.parse_moved_month(ctx, of_month)
        currency = filters.filter_value(request.query_params, "currency") or "usd"
        after, size = read_count(ctx, request), page_size(request)
        async with ctx.sessions() as session:
            found, more = await mrr_rollforward.list_moved(
                session,
                ctx.settings.accounting_zoneinfo,
                first,
                currency,
                offset=after,
                size=size,
            )
            said = await about(ctx, session)
        return Moved(said, shape_all(MovedLine, found), next_cursor(ctx, request, more))
