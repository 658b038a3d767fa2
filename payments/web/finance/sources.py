"""Sources: net by campaign, renewals included. Campaigns of fewer than five are shown together."""

from collections.abc import Mapping, Sequence

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.reports import article_sums, sources
from payments.accounting.reports.article_sums import ArticleSum
from payments.accounting.reports.period import Period
from payments.accounting.reports.sources import CampaignTotal
from payments.core.brand_settings import ArticlePolicy
from payments.giving import article_counts, campaign_totals
from payments.giving.campaign_totals import GoalProgress, SponsorClaim
from payments.infra.context import Context
from payments.signups.reminder_stats import MIN_GROUP_SIZE
from payments.staff.accounts import Staff
from payments.web.finance import filters, layout
from payments.web.finance.formats import format_count, format_deduction, format_money
from payments.web.finance.tables import EMPTY_CELL, Cell, Table, table
from payments.web.forms import AnyRequest, query_string


class SourcePages(Controller):
    """The page of sources."""

    path = "/finance"
    include_in_schema = False

    @get("/sources")
    async def show(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Campaigns and articles of a period, this year unless another is asked for."""
        params, period = filters.period_or_default(
            ctx, request.query_params, str(filters.today(ctx).year)
        )
        currency = filters.filter_value(request.query_params, "currency")
        async with ctx.sessions() as session:
            totals = await sources.by_campaign(
                session, ctx.settings.accounting_zoneinfo, period, currency=currency
            )
            articles, article_lines = await list_articles(ctx, session, period, currency)
            claims = await campaign_totals.list_claims(ctx, session)
            goals = await campaign_totals.list_goals(ctx, session)
        return await layout.render(
            ctx,
            "finance_sources.html",
            colleague,
            request=request,
            title=f"Sources, {period.words}",
            active_url="/finance/sources",
            until=period.until,
            picker=filters.period_picker(ctx, params),
            currencies=filters.currency_options(currency),
            campaigns=_campaigns_table(totals, params),
            min_group_size=MIN_GROUP_SIZE,
            articles=None if articles is None else _articles_table(articles),
            article_sums=None if article_lines is None else _article_sums_table(article_lines),
            claims=_claims_table(claims) if claims else None,
            goals=_goals_table(goals) if goals else None,
        )


async def list_articles(
    ctx: Context, session: AsyncSession, period: Period, currency: str | None
) -> tuple[list[tuple[str, int]] | None, list[ArticleSum] | None]:
    """Return what is counted of articles and what came by them; None for what the newsroom's
    policy leaves out.
    """
    if ctx.settings.articles is ArticlePolicy.OFF:
        return None, None
    counted = await article_counts.top_articles(session, since=period.since, until=period.until)
    if ctx.settings.articles is not ArticlePolicy.REVENUE:
        return counted, None
    zone, today = ctx.settings.accounting_zoneinfo, filters.today(ctx)
    sums = await article_sums.by_article(session, zone, period, today=today, currency=currency)
    return counted, list(sums)


def _articles_table(articles: Sequence[tuple[str, int]]) -> Table:
    rows = [[article, format_count(starts)] for article, starts in articles]
    columns = ["Article", "#Gifts begun, at least"]
    caption = "Stories that led to gifts"
    return table("stories", caption, columns, rows, empty="No story led to ten gifts in this time.")


def _article_sums_table(lines: Sequence[ArticleSum]) -> Table:
    rows = [
        [
            "Everything else" if one.article is None else one.article,
            one.currency.upper(),
            format_money(one.given, one.currency),
        ]
        for one in lines
    ]
    columns = ["Article", "Currency", "#Given, less what went back"]
    caption = "What came by articles, renewals included"
    return table("article-sums", caption, columns, rows, empty="No gift in this time.")


def _claims_table(claims: Sequence[SponsorClaim]) -> Table:
    rows = [
        [
            one.campaign,
            one.matching.sponsor,
            one.matching.ends_on.isoformat(),
            one.given.currency.upper(),
            format_money(one.given.amount, one.given.currency),
            f"{one.matching.percent}%",
            format_money(one.ceiling.amount, one.ceiling.currency),
            format_money(one.to_ask.amount, one.to_ask.currency),
        ]
        for one in claims
    ]
    columns = ["Campaign", "Sponsor", "Until", "Currency", "#Given, less what went back", "#Added",
               "#At most", "#To be asked of the sponsor"]  # fmt: skip
    return table("claims", "Matching by sponsors", columns, rows, empty="")


def _goals_table(goals: Sequence[GoalProgress]) -> Table:
    rows: list[list[str | Cell]] = []
    for one in goals:
        query = query_string(period="all", campaign=one.campaign)
        to_ask = one.to_ask
        rows.append(
            [
                Cell(one.campaign, f"/finance/transactions{query}"),
                EMPTY_CELL if one.ends_on is None else one.ends_on.isoformat(),
                one.goal.currency.upper(),
                format_money(one.goal.amount, one.goal.currency),
                f"fewer than {MIN_GROUP_SIZE} donors"
                if one.raised is None
                else format_money(one.raised, one.goal.currency),
                EMPTY_CELL if one.percent is None else f"{one.percent}%",
                EMPTY_CELL if to_ask is None else format_money(to_ask.amount, to_ask.currency),
            ]
        )
    columns = ["Campaign", "Last day", "Currency", "#Goal", "#Given, less what went back",
               "#Share of the goal", "#Added by its sponsor"]  # fmt: skip
    return table("goals", "Campaigns against their goals", columns, rows, empty="")


def _campaigns_table(totals: Sequence[CampaignTotal], params: Mapping[str, str]) -> Table:
    rows = [_line(_campaign_cell(total, params), total) for total in totals]
    columns = ["Campaign", "Currency", "#Contributions that paid", "#Payments", "#First payments",
               "#Renewals", "#Fees", "#Returned", "#Net"]  # fmt: skip
    footer = [_line(_overview_cell(one, params), one) for one in sources.sum_by_currency(totals)]
    return table(
        "sources", "Net by campaign", columns, rows, footer=footer, empty="No gift in this time."
    )


def _line(first: Cell, total: CampaignTotal) -> list[str | Cell]:
    return [
        first,
        total.currency.upper(),
        format_count(total.payers),
        format_count(total.payments),
        format_money(total.first_payments, total.currency),
        format_money(total.renewals, total.currency),
        format_deduction(total.fees, total.currency),
        format_deduction(total.reversals, total.currency),
        format_money(total.net, total.currency),
    ]


def _overview_cell(total: CampaignTotal, params: Mapping[str, str]) -> Cell:
    query = query_string(**params, currency=total.currency)
    return Cell("Total", f"/finance{query}")


def _campaign_cell(total: CampaignTotal, params: Mapping[str, str]) -> Cell:
    if total.is_other:
        return Cell(f"Other: each under {MIN_GROUP_SIZE} contributions")
    if total.is_outside:
        query = query_string(**params, account="expense:billing", currency=total.currency)
        return Cell("Stripe's own fees", f"/finance/transactions{query}")
    if total.campaign is None:
        return Cell("No campaign")
    query = query_string(**params, campaign=total.campaign, currency=total.currency)
    return Cell(total.campaign, f"/finance/transactions{query}")
