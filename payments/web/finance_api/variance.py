"""Why net differs between two periods, for programs."""

from collections.abc import Sequence

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency

from payments.accounting.reports import variance
from payments.infra.context import Context
from payments.staff.api_tokens import TokenScope
from payments.web.finance import variance as variance_page
from payments.web.finance_api.access import API_PREFIX, TokenOnly
from payments.web.finance_api.answers import (
    About,
    CurrencySum,
    Days,
    about,
    days,
    refusals,
    shape,
    shape_all,
)
from payments.web.finance_api.parameters import PERIOD_PARAMETERS
from payments.web.forms import AnyRequest


class CauseLine(msgspec.Struct, frozen=True):
    """By how much one cause changed net, and of how many contributions, where it is of any."""

    cause: str
    amount: int
    contributions: int | None


class ChangeLine(msgspec.Struct, frozen=True):
    """What a contribution adds to the cause that was asked for, and what it paid in both."""

    contribution_id: str
    paid_before: int
    paid_after: int
    amount: int


class Why(msgspec.Struct, frozen=True):
    """Net of two periods; the causes add up to `change` exactly. `behind` are the contributions of
    the `cause` that was asked for, those that changed most first.
    """

    about: About
    currency: str
    earlier: Days
    later: Days
    totals_earlier: CurrencySum
    totals_later: CurrencySum
    net_earlier: int
    net_later: int
    change: int
    causes: Sequence[CauseLine]
    behind: Sequence[ChangeLine]


class VarianceApi(Controller):
    """Two periods to the cent."""

    path = f"{API_PREFIX}/why"
    tags = ("Reports",)
    guards = [TokenOnly(TokenScope.REPORTS)]  # noqa: RUF012 - litestar's own

    @get(
        operation_id="getVariance",
        summary="Why net differs between two periods",
        parameters=(*PERIOD_PARAMETERS, "against", "currency", "cause"),
        responses=refusals(),
    )
    async def why(self, ctx: NamedDependency[Context], request: AnyRequest) -> Why:
        """As on the page “Why did net change?”: of the last month that is over, and the one before,
        unless another period is asked for.
        """
        asked = variance_page.parse_question(ctx, request.query_params)
        cause = variance_page.parse_cause(request.query_params)
        zone = ctx.settings.accounting_zoneinfo
        async with ctx.sessions() as session:
            found = await variance.net_variance(
                session, zone, currency=asked.currency, earlier=asked.earlier, later=asked.later
            )
            behind = await variance_page.list_behind(session, zone, asked, cause)
            said = await about(ctx, session)
        return Why(
            about=said,
            currency=asked.currency,
            earlier=days(asked.earlier),
            later=days(asked.later),
            totals_earlier=shape(CurrencySum, found.earlier),
            totals_later=shape(CurrencySum, found.later),
            net_earlier=found.before,
            net_later=found.after,
            change=found.after - found.before,
            causes=shape_all(CauseLine, found.components, contributions=lambda one: one.count),
            behind=shape_all(ChangeLine, behind),
        )
