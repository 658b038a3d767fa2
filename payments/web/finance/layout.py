"""The frame of every finance page: navigation, how fresh the figures are, and what needs attention.

Every page names the accounting zone, for a month is a month of that zone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from litestar import Response

from payments.accounting.reports import freshness
from payments.accounting.reports.freshness import Freshness
from payments.infra import alerts
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web import rendering
from payments.web.finance import sorting
from payments.web.finance.filters import today
from payments.web.finance.formats import format_datetime
from payments.web.forms import AnyRequest
from payments.web.staff import layout as staff_layout

ALERTS_SHOWN = 3  # on each page; their own page has all


@dataclass(frozen=True, slots=True)
class Banner:
    """Something that is not as it should be. `tone` is a class: "", mild or plain.

    `items` are messages, each with the id of what it is about; `more` is how many are left out.
    """

    text: str
    tone: str = "mild"
    items: Sequence[tuple[str, str]] = ()
    more: int = 0


async def data_banners(ctx: Context, *, until: date | None = None) -> list[Banner]:
    """Return what a reader of figures must know: old, incomplete, or of a period not over."""
    async with ctx.sessions() as session:
        fresh = await freshness.get(session, ctx.now())
        open_alerts = await alerts.list_open(session)
    banners = _freshness_banners(ctx, fresh)
    if until is not None and until > today(ctx):
        now = format_datetime(ctx, ctx.now())
        banners.append(Banner(f"This period is not over: figures up to {now}.", "plain"))
    if open_alerts:
        items = [
            (alerts.MESSAGES[alert.kind], alert.object_id) for alert in open_alerts[:ALERTS_SHOWN]
        ]
        more = max(0, len(open_alerts) - ALERTS_SHOWN)
        banners.append(Banner("Needs attention", "", items, more))
    return banners


def _freshness_banners(ctx: Context, fresh: Freshness) -> list[Banner]:
    banners = []
    if fresh.imported_at is None:
        banners.append(Banner("Stripe's balance has never been imported in full."))
    elif fresh.is_stale:
        imported_at = format_datetime(ctx, fresh.imported_at)
        banners.append(
            Banner(f"These figures are old. Stripe's balance was last imported on {imported_at}.")
        )
    if fresh.unposted:
        wait = "movement waits" if fresh.unposted == 1 else "movements wait"
        banners.append(
            Banner(f"{fresh.unposted} {wait} for a contribution; no figure here includes them.")
        )
    return banners


async def render(
    ctx: Context,
    template: str,
    colleague: Staff,
    *,
    title: str,
    active_url: str,
    until: date | None = None,
    request: AnyRequest | None = None,
    **context: Any,  # noqa: ANN401 - whatever its template prints
) -> Response[str]:
    """Return a finance page for a colleague.

    `active_url` is its place in the navigation, `until` the end of the period its figures are of.
    The tables are sorted as the address of `request` asks. Raises InvalidField.
    """
    if request is not None:
        params = request.query_params
        context = sorting.with_links(context, request.scope["path"], params)
        context["sort"] = params.get(sorting.SORT, "")
    banners = await data_banners(ctx, until=until)
    return render_frame(
        ctx, template, colleague, title=title, active_url=active_url, banners=banners, **context
    )


def render_frame(
    ctx: Context,
    template: str,
    colleague: Staff,
    *,
    title: str,
    active_url: str,
    banners: Sequence[Banner] = (),
    **context: Any,  # noqa: ANN401 - whatever its template prints
) -> Response[str]:
    """Return a finance page without a look at the database: one that shows no figures."""
    return rendering.render(
        ctx,
        template,
        title=title,
        colleague_name=colleague.name,
        may_change=staff_layout.may_change(colleague),
        navigation=staff_layout.navigation(colleague, active_url),
        zone=f"All months in {ctx.settings.accounting_zone}",
        generated_at=format_datetime(ctx, ctx.now()),
        banners=banners,
        **context,
    )
