"""Coming back to the form from Stripe's page, or from a payment that failed: it is filled in as
before, and no address that stays in the history says by which gift.

A link names the contribution once. It leads on to an address that is always the same, and which
contribution it was stands in a cookie.
"""

from datetime import timedelta

from litestar.response import Redirect

from payments.core.errors import NotFound
from payments.core.identifiers import is_row_id
from payments.giving import campaigns, contributions
from payments.giving.contributions import Contribution
from payments.infra.context import Context
from payments.web import request_locale
from payments.web.donate import gift_cookie
from payments.web.forms import AnyRequest

BY_COOKIE = "yes"  # in the place of an id
THANKS_PAGE_LIFETIME = timedelta(hours=24)  # then its URL tells nothing, and fills in no form


async def lead_on(ctx: Context, request: AnyRequest, named: str) -> Redirect | None:
    """Return the answer to a link that names a contribution, while it is recent; else None."""
    if not is_row_id(named) or await _recent(ctx, named) is None:
        return None
    cookie = gift_cookie.cookie_for_new(ctx.settings, request, named)
    url = request_locale.localised_url(f"/donate?again={BY_COOKIE}")
    return Redirect(url, status_code=303, cookies=[cookie])


async def abandoned(ctx: Context, request: AnyRequest, named: str) -> Contribution | None:
    """Return the contribution that a browser comes back from, while it is recent."""
    begun = gift_cookie.begun(ctx.settings, request)
    return await _recent(ctx, begun[0]) if named == BY_COOKIE and begun else None


def fields_of(contribution: Contribution) -> dict[str, str]:
    """Return a contribution as the fields of a link to the form."""
    fields = {"campaign": contribution.campaign or "", "frequency": contribution.frequency.value}
    given = contribution.money
    return fields | {"amount": str(given.amount), "currency": given.currency} if given else fields


async def _recent(ctx: Context, contribution_id: str) -> Contribution | None:
    try:
        async with ctx.sessions() as session:
            contribution = await contributions.get(session, contribution_id)
    except (NotFound, *campaigns.DATABASE_UNAVAILABLE_ERRORS):
        return None  # the form is shown without it, and without the database
    is_recent = ctx.now() - contribution.created_at <= THANKS_PAGE_LIFETIME
    return contribution if is_recent else None
