"""Which campaign a contribution counts for.

Only ids that a colleague made are ever stored: whatever else an address says there may be
somebody's name. No contribution is lost over a label: a form with an unknown id is accepted and
attributed to nothing; one of a campaign that has ended or is disabled still counts for it. Programs
get a 422.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import InvalidField
from payments.giving import campaigns
from payments.giving.campaigns import Campaign
from payments.infra.context import Context


async def attribution(
    ctx: Context, campaign_id: str | None, variant_key: str
) -> tuple[str | None, str]:
    """Return the campaign and the variant key to store with a contribution, each if it is known."""
    async with ctx.sessions() as session:
        if campaign_id is None or not await _is_known(session, campaign_id):
            return None, ""
        campaign = await session.get(Campaign, campaign_id)
        is_known = campaign is not None and campaign.has_variant_key(variant_key)
        return campaign_id, variant_key if is_known else ""


async def require_known(ctx: Context, campaign_id: str | None) -> None:
    """Raise InvalidField for a campaign that does not exist; None is valid."""
    if campaign_id is None:
        return
    async with ctx.sessions() as session:
        if not await _is_known(session, campaign_id):
            raise InvalidField(
                "campaign must be the id of one of the newsroom's campaigns. Nothing was charged.",
                field="campaign",
            )


async def _is_known(session: AsyncSession, campaign_id: str) -> bool:
    return campaign_id == campaigns.REMINDER or await session.get(Campaign, campaign_id) is not None
