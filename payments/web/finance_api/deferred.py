"""Deferred income for programs: cash beside accrual, and what is still to be earned."""

from collections.abc import Sequence
from datetime import date

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency

from payments.accounting.deferred_income import DeferredMonth
from payments.accounting.reports import accrual
from payments.infra.context import Context
from payments.staff.api_tokens import TokenScope
from payments.web.finance import deferred, filters
from payments.web.finance_api.access import API_PREFIX, TokenOnly
from payments.web.finance_api.answers import About, Days, about, days, refusals
from payments.web.finance_api.parameters import PERIOD_PARAMETERS
from payments.web.forms import AnyRequest


class DeferredLine(msgspec.Struct, frozen=True):
    """A month of a currency, in minor units: opening and all that moved is closing."""

    month: date
    currency: str
    opening: int
    received: int
    earned: int
    refunded: int
    disputed: int
    closing: int


class AccrualLine(msgspec.Struct, frozen=True):
    """A month of a currency, in minor units: as received, and as earned."""

    month: date
    currency: str
    gross: int
    gross_earned: int
    net: int
    net_earned: int


class Deferred(msgspec.Struct, frozen=True):
    """Cash and accrual of the months of a period, and of the months to come what is deferred."""

    about: About
    period: Days
    months: Sequence[AccrualLine]
    deferred: Sequence[DeferredLine]
    to_come: Sequence[DeferredLine]


class DeferredApi(Controller):
    """Deferred income, as on its page."""

    path = API_PREFIX
    tags = ("Reports",)
    guards = [TokenOnly(TokenScope.REPORTS)]  # noqa: RUF012 - litestar's own

    @get(
        "/deferred",
        operation_id="getDeferred",
        summary="What was received and what was earned, by month",
        parameters=(*PERIOD_PARAMETERS, "currency"),
        responses=refusals(),
    )
    async def deferred(self, ctx: NamedDependency[Context], request: AnyRequest) -> Deferred:
        """As on the page “Deferred income”: of this fiscal year, unless another is asked for."""
        currency = filters.filter_value(request.query_params, "currency")
        today, zone = filters.today(ctx), ctx.settings.accounting_zoneinfo
        _, of = filters.period_or_default(ctx, request.query_params, deferred.this_fiscal_year(ctx))
        async with ctx.sessions() as session:
            months = await accrual.months_begun(session, zone, of, today=today)
            found = await accrual.by_month(session, zone, months, currency=currency)
            to_come = await accrual.still_to_be_earned(
                session, zone, today=today, currency=currency
            )
            said = await about(ctx, session)
        return Deferred(
            said,
            days(months),
            [
                AccrualLine(one.month, one.currency, one.gross, one.earned, one.net, one.net_earned)
                for one in found
            ],
            [_line(one.deferred) for one in found],
            [_line(one) for one in to_come],
        )


def _line(one: DeferredMonth) -> DeferredLine:
    return DeferredLine(
        one.month,
        one.currency,
        one.opening,
        one.received,
        one.released,
        one.refunded,
        one.disputed,
        one.closing,
    )
