"""Sources for programs: net by campaign, articles, sponsors and goals."""

from collections.abc import Sequence
from datetime import date

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency

from payments.accounting.reports import sources
from payments.giving import campaign_totals
from payments.infra.context import Context
from payments.staff.api_tokens import TokenScope
from payments.web.finance import filters
from payments.web.finance import sources as sources_page
from payments.web.finance_api.access import API_PREFIX, TokenOnly
from payments.web.finance_api.answers import About, Days, about, days, refusals, shape_all
from payments.web.finance_api.parameters import PERIOD_PARAMETERS
from payments.web.forms import AnyRequest


class CampaignLine(msgspec.Struct, frozen=True):
    """A campaign in one currency. `campaign` is null for what came by none; `is_other` is what is
    merged of campaigns that few contributed by, `is_outside` what belongs to no contribution. The
    lines of a currency add up to the overview of the same days.
    """

    campaign: str | None
    is_other: bool
    is_outside: bool
    currency: str
    payers: int
    payments: int
    first_payments: int
    renewals: int
    fees: int
    reversals: int
    net: int


class ArticleLine(msgspec.Struct, frozen=True):
    """An article, and how many gifts began with it at least, in steps of ten."""

    article: str
    gifts_at_least: int


class ArticleSumLine(msgspec.Struct, frozen=True):
    """What came by an article, renewals included, less what went back; null is everything else."""

    article: str | None
    currency: str
    given: int


class SponsorLine(msgspec.Struct, frozen=True):
    """What a sponsor is to be asked for: `percent` of what was given, `ceiling` at most."""

    campaign: str
    sponsor: str
    ends_on: date
    currency: str
    given: int
    percent: int
    ceiling: int
    to_ask: int


class GoalLine(msgspec.Struct, frozen=True):
    """A campaign against its goal. `raised` and `percent` are null while few have given, `to_ask`
    where no sponsor adds anything.
    """

    campaign: str
    ends_on: date | None
    currency: str
    goal: int
    raised: int | None
    percent: int | None
    to_ask: int | None


class Sources(msgspec.Struct, frozen=True):
    """Net by campaign; articles, where the newsroom counts them; what sponsors are to be asked for,
    which is in no sum; and campaigns against their goals.
    """

    about: About
    period: Days
    campaigns: Sequence[CampaignLine]
    articles: Sequence[ArticleLine]
    article_sums: Sequence[ArticleSumLine]
    claims: Sequence[SponsorLine]
    goals: Sequence[GoalLine]


class SourcesApi(Controller):
    """Where gifts come from."""

    path = f"{API_PREFIX}/sources"
    tags = ("Reports",)
    guards = [TokenOnly(TokenScope.REPORTS)]  # noqa: RUF012 - litestar's own

    @get(
        operation_id="getSources",
        summary="Net by campaign, and where gifts came from",
        parameters=(*PERIOD_PARAMETERS, "currency"),
        responses=refusals(),
    )
    async def sources(self, ctx: NamedDependency[Context], request: AnyRequest) -> Sources:
        """As on the page “Sources”: of this year, unless another time is asked for."""
        _, of = filters.period_or_default(ctx, request.query_params, str(filters.today(ctx).year))
        currency = filters.filter_value(request.query_params, "currency")
        async with ctx.sessions() as session:
            totals = await sources.by_campaign(
                session, ctx.settings.accounting_zoneinfo, of, currency=currency
            )
            articles, article_lines = await sources_page.list_articles(ctx, session, of, currency)
            claims = await campaign_totals.list_claims(ctx, session)
            goals = await campaign_totals.list_goals(ctx, session)
            said = await about(ctx, session)
        return Sources(
            about=said,
            period=days(of),
            campaigns=shape_all(CampaignLine, totals),
            articles=[ArticleLine(article, starts) for article, starts in articles or ()],
            article_sums=shape_all(ArticleSumLine, article_lines or ()),
            claims=[
                SponsorLine(
                    one.campaign,
                    one.matching.sponsor,
                    one.matching.ends_on,
                    one.given.currency,
                    one.given.amount,
                    one.matching.percent,
                    one.ceiling.amount,
                    one.to_ask.amount,
                )
                for one in claims
            ],
            goals=[
                GoalLine(
                    one.campaign,
                    one.ends_on,
                    one.goal.currency,
                    one.goal.amount,
                    one.raised,
                    one.percent,
                    None if one.to_ask is None else one.to_ask.amount,
                )
                for one in goals
            ],
        )
