"""What a program may read of a campaign that is running: its message and suggested amounts."""

from datetime import date

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.core.campaign_goal import PublicGoal
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
    goal: "GoalOut | None"
    matching: "MatchingOut | None"


class GoalOut(msgspec.Struct, frozen=True):
    """What the campaign is to bring. `percent` is how much of it there is at least, in whole
    tenths and counted once a day; null where it is not shown.
    """

    amount: int
    currency: str
    percent: int | None


class MatchingOut(msgspec.Struct, frozen=True):
    """What a sponsor adds to each gift in a currency: so many percent of it, up to the ceiling in
    all, until the end of the last day.
    """

    sponsor: str
    percent: int
    ceiling: int
    currency: str
    ends_on: date


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
    shown = await campaigns.get_running(ctx, campaign_id)
    config, public = shown.parsed_config(), shown.public_goal(ctx)
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
        goal=_goal_out(public),
        matching=_matching_out(public),
    )
    headers = {**widget_files.CROSS_ORIGIN_HEADERS, "cache-control": CACHE_CONTROL}
    return Response(campaign, headers=headers)


def _goal_out(public: PublicGoal | None) -> GoalOut | None:
    if public is None or public.goal is None:
        return None
    return GoalOut(public.goal.amount, public.goal.currency, public.percent)


def _matching_out(public: PublicGoal | None) -> MatchingOut | None:
    if public is None or public.matching is None:
        return None
    one = public.matching
    return MatchingOut(one.sponsor, one.percent, one.ceiling, one.currency, one.ends_on)
