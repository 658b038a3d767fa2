"""Sources: net by campaign, renewals included. What fewer than five gave for is not told apart."""

from collections.abc import Sequence

from litestar import Controller, Response, get
from litestar.di import NamedDependency

from payments.accounting.reports import period, sources
from payments.accounting.reports.sources import Source
from payments.giving import article_counts
from payments.infra.context import Runtime
from payments.staff.accounts import Staff
from payments.web.finance import layout
from payments.web.finance.layout import Cell, Table, show, table, taken
from payments.web.forms import AnyRequest


class SourcePages(Controller):
    path = "/finance"
    include_in_schema = False

    @get("/sources")
    async def page(
        self,
        rt: NamedDependency[Runtime],
        request: AnyRequest,
        colleague: NamedDependency[Staff],
    ) -> Response[str]:
        """Of a period, this year unless another is asked for."""
        asked, today = dict(request.query_params), layout.today(rt)
        if not any(asked.get(name) for name in ("period", "from", "to")):
            asked["period"] = str(today.year)
        chosen = period.parse(asked, today=today)
        currency = layout.word(asked, "currency")
        async with rt.sessions() as session:
            found = await sources.by_campaign(session, rt.settings.zone, chosen, currency=currency)
            stories = await article_counts.most(session, since=chosen.since, until=chosen.until)
        return await layout.page(
            rt,
            "finance_sources.html",
            colleague,
            title=f"Sources, {chosen.words}",
            here="/finance/sources",
            until=chosen.until,
            asked={name: asked.get(name, "") for name in ("period", "from", "to")},
            currencies=layout.currencies(currency),
            table=_sources(found, asked.get("period", "")),
            smallest=sources.SMALLEST,
            stories=_stories(stories),
        )


def _stories(found: Sequence[tuple[str, int]]) -> Table:
    rows = [[article, layout.whole(starts)] for article, starts in found]
    columns = ["Article", "#Gifts begun, at least"]
    caption = "Stories that led to gifts"
    return table("stories", caption, columns, rows, empty="No story led to ten gifts in this time.")


def _sources(found: Sequence[Source], whole: str) -> Table:
    rows = []
    for one in found:
        name: str | Cell = "No campaign"
        if one.is_other:
            name = f"Other: each under {sources.SMALLEST} contributions"
        elif one.campaign is not None:
            url = "/finance/lines" + layout.query(
                period=whole, campaign=one.campaign, currency=one.currency
            )
            name = Cell(one.campaign, url)
        rows.append([
            name,
            one.currency.upper(),
            layout.whole(one.givers),
            layout.whole(one.payments),
            show(one.first, one.currency),
            show(one.renewals, one.currency),
            taken(one.fees, one.currency),
            taken(one.returned, one.currency),
            show(one.net, one.currency),
        ])  # fmt: skip
    columns = ["Campaign", "Currency", "#Contributions", "#Payments", "#First payments",
               "#Renewals", "#Fees", "#Returned", "#Net"]  # fmt: skip
    return table("sources", "Net by campaign", columns, rows, empty="No gift in this time.")
