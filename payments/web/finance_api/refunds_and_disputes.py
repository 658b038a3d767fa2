"""Refunds and disputes for programs, newest first. Ids only: nothing in them is about a person."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency

from payments.accounting.reports import dispute_rates, refunds_and_disputes
from payments.accounting.reports.dispute_rates import DisputeMonth
from payments.infra.context import Context
from payments.staff.api_tokens import TokenScope
from payments.web.finance import disputes as disputes_page
from payments.web.finance import filters
from payments.web.finance_api.access import API_PREFIX, TokenOnly
from payments.web.finance_api.answers import About, about, month_of, refusals, shape_all
from payments.web.finance_api.cursors import next_cursor, read_cursor
from payments.web.finance_api.parameters import PAGE_PARAMETERS, PERIOD_PARAMETERS, page_size
from payments.web.forms import AnyRequest


class RefundLine(msgspec.Struct, frozen=True):
    """A refund, in the currency the donor was charged in. `requested_by` is a colleague; null when
    it was made at Stripe.
    """

    id: str
    requested_at: datetime
    status: str
    amount: int
    currency: str
    reason: str | None
    requested_by: str | None
    stripe_refund_id: str | None
    failure_reason: str | None
    contribution_id: str | None


class Refunds(msgspec.Struct, frozen=True):
    """A page of refunds, newest first."""

    about: About
    items: Sequence[RefundLine]
    next_cursor: str | None


class DisputeLine(msgspec.Struct, frozen=True):
    """A dispute, in the currency the donor was charged in. `is_open`: it needs a response."""

    id: str
    opened_at: datetime
    status: str
    is_open: bool
    amount: int
    currency: str
    reason: str
    evidence_due_at: datetime | None
    evidence_submitted: bool
    contribution_id: str | None


class Disputes(msgspec.Struct, frozen=True):
    """A page of disputes, newest first."""

    about: About
    items: Sequence[DisputeLine]
    next_cursor: str | None


class NetworkRate(msgspec.Struct, frozen=True):
    """What a card network counts in a month, over what, and whether its threshold is reached: at
    least `min_count`, and `basis_points` of the divisor (150 is 1.5 %).
    """

    network: str
    count: int
    divisor: int
    min_count: int
    basis_points: int
    is_reached: bool


class DisputeRateLine(msgspec.Struct, frozen=True):
    """The disputes of one month. An inquiry moves no money and is no dispute."""

    month: str
    payments: int
    payments_before: int
    disputes: int
    inquiries: int
    fraud_warnings: int
    networks: Sequence[NetworkRate]


class DisputeRates(msgspec.Struct, frozen=True):
    """Thirteen months, newest first."""

    about: About
    months: Sequence[DisputeRateLine]


class RefundsAndDisputesApi(Controller):
    """What went back."""

    path = API_PREFIX
    tags = ("Transactions",)
    guards = [TokenOnly(TokenScope.TRANSACTIONS)]  # noqa: RUF012 - litestar's own

    @get(
        "/refunds",
        operation_id="listRefunds",
        summary="Refunds, newest first",
        parameters=(*PERIOD_PARAMETERS, *PAGE_PARAMETERS),
        responses=refusals(),
    )
    async def refunds(self, ctx: NamedDependency[Context], request: AnyRequest) -> Refunds:
        """As on the page “Refunds and disputes”."""
        _, of = filters.period_or_default(ctx, request.query_params)
        zone = ctx.settings.accounting_zoneinfo
        place, size = read_cursor(ctx, request), page_size(request)
        async with ctx.sessions() as session:
            page, more = await refunds_and_disputes.list_refunds(
                session, zone, of, before=place, size=size
            )
            said = await about(ctx, session)
        return Refunds(said, shape_all(RefundLine, page), next_cursor(ctx, request, more))

    @get(
        "/disputes",
        operation_id="listDisputes",
        summary="Disputes, newest first",
        parameters=(*PERIOD_PARAMETERS, *PAGE_PARAMETERS),
        responses=refusals(),
    )
    async def disputes(self, ctx: NamedDependency[Context], request: AnyRequest) -> Disputes:
        """Those of the page “Refunds and disputes”, which shows the most urgent first."""
        _, of = filters.period_or_default(ctx, request.query_params)
        zone = ctx.settings.accounting_zoneinfo
        place, size = read_cursor(ctx, request), page_size(request)
        async with ctx.sessions() as session:
            page, more = await refunds_and_disputes.list_disputes_by_day(
                session, zone, of, before=place, size=size
            )
            said = await about(ctx, session)
        return Disputes(said, shape_all(DisputeLine, page), next_cursor(ctx, request, more))

    @get(
        "/disputes/rates",
        operation_id="listDisputeRates",
        summary="Disputes by month, beside the card networks' thresholds",
        responses=refusals(),
    )
    async def rates(self, ctx: NamedDependency[Context]) -> DisputeRates:
        """As on the page “Disputes”."""
        async with ctx.sessions() as session:
            months = await disputes_page.list_rates(ctx, session)
            said = await about(ctx, session)
        return DisputeRates(
            said,
            shape_all(DisputeRateLine, months, month=month_of, networks=_network_rates),
        )


def _network_rates(of_month: DisputeMonth) -> list[NetworkRate]:
    return [
        NetworkRate(
            network=rule.name,
            count=of_month.count(rule),
            divisor=of_month.divisor(rule),
            min_count=rule.min_count,
            basis_points=rule.basis_points,
            is_reached=of_month.reaches(rule),
        )
        for rule in dispute_rates.RULES
    ]
