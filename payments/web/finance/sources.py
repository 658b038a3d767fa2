"""Sources: net by campaign, renewals included. What fewer than five gave for is not told apart."""

from collections.abc import Sequence

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.accounting.reports import period, sources
from payments.accounting.reports.sources import CampaignTotal
from payments.giving import article_counts
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import Cell, Table, format_deduction, format_money, table
from payments.web.forms import AnyRequest


class SourcePages(Controller):
    path = "/finance"
    include_in_schema = False

    @get("/sources")
    async def show(
        self,
        ctx: NamedDependency[Context],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Of a period, this year unless another is asked for."""
        asked, today = dict(request.query_params), layout.today(ctx)
        if not any(asked.get(name) for name in ("period", "from", "to")):
            asked["period"] = str(today.year)
        chosen = period.parse_period(asked, today=today)
        currency = layout.filter_value(asked, "currency")
        async with ctx.sessions() as session:
            found = await sources.by_campaign(
                session, ctx.settings.accounting_zoneinfo, chosen, currency=currency
            )
            stories = await article_counts.top_articles(
                session, since=chosen.since, until=chosen.until
            )
        return await layout.render(
            ctx,
            "finance_sources.html",
            colleague,
            title=f"Sources, {chosen.label}",
            active_url="/finance/sources",
            until=chosen.until,
            asked={name: asked.get(name, "") for name in ("period", "from", "to")},
            currencies=layout.currency_options(currency),
            table=_campaigns_table(found, asked.get("period", "")),
            smallest=sources.MIN_GROUP_SIZE,
            stories=_articles_table(stories),
        )


def _articles_table(found: Sequence[tuple[str, int]]) -> Table:
    rows = [[article, layout.format_count(starts)] for article, starts in found]
    columns = ["Article", "#Gifts begun, at least"]
    caption = "Stories that led to gifts"
    return table("stories", caption, columns, rows, empty="No story led to ten gifts in this time.")


def _campaigns_table(found: Sequence[CampaignTotal], period_param: str) -> Table:
    rows = []
    for one in found:
        name: str | Cell = "No campaign"
        if one.is_other:
            name = f"Other: each under {sources.MIN_GROUP_SIZE} contributions"
        elif one.campaign is not None:
            url = "/finance/lines" + layout.query_string(
                period=period_param, campaign=one.campaign, currency=one.currency
            )
            name = Cell(one.campaign, url)
        rows.append([
            name,
            one.currency.upper(),
            layout.format_count(one.payers),
            layout.format_count(one.payments),
            format_money(one.first_payments, one.currency),
            format_money(one.renewals, one.currency),
            format_deduction(one.fees, one.currency),
            format_deduction(one.reversals, one.currency),
            format_money(one.net, one.currency),
        ])  # fmt: skip
    columns = ["Campaign", "Currency", "#Contributions", "#Payments", "#First payments",
               "#Renewals", "#Fees", "#Returned", "#Net"]  # fmt: skip
    return table("sources", "Net by campaign", columns, rows, empty="No gift in this time.")
