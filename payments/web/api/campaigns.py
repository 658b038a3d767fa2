"""What a program may read of a campaign that is running: its message and suggested amounts."""

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.core.campaign_schema import FREQUENCIES
from payments.giving import campaigns
from payments.infra.context import Context
from payments.web import widget_files
from payments.web.errors import problem_responses

CACHE_CONTROL = "public, max-age=300"


class CampaignOut(msgspec.Struct, frozen=True):
    """A campaign that is running: what its form suggests before a variant is drawn. Amounts are in
    minor units.
    """

    id: str
    currency: str
    default_frequency: str | None
    message: dict[str, str]
    presets: dict[str, list[int]]


@get(
    "/api/campaigns/{campaign_id:str}",
    operation_id="getCampaign",
    summary="What a campaign says and suggests",
    tags=["Contributions"],
    responses=problem_responses(400, 404, 503),
)
async def get_campaign(
    ctx: NamedDependency[Context], campaign_id: FromPath[str]
) -> Response[CampaignOut]:
    """Return a campaign for a site's own form. Any page may read it and cache it for 5 minutes."""
    config = await campaigns.running_config(ctx, campaign_id)
    currency = config.currency or ctx.settings.default_currency
    campaign = CampaignOut(
        id=config.id,
        currency=currency,
        default_frequency=config.default_frequency,
        message=config.message,
        presets={
            frequency: [amount.amount for amount in config.suggested_amounts(currency, frequency)]
            for frequency in FREQUENCIES
        },
    )
    headers = {**widget_files.CROSS_ORIGIN_HEADERS, "cache-control": CACHE_CONTROL}
    return Response(campaign, headers=headers)
