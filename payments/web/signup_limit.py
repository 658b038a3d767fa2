"""The limit of sign-ups by one network: reminders and the newsletter, on pages and in the API.

Past it a sign-up is not refused, which would tell an attacker, but its confirmation waits behind
those of others.
"""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from payments.infra.context import Context
from payments.risk import rate_limit
from payments.web import risk_check
from payments.web.forms import AnyRequest

SIGNUPS_PER_NETWORK, PERIOD = 3, timedelta(hours=1)


async def is_exceeded(ctx: Context, session: AsyncSession, request: AnyRequest) -> bool:
    """Count one more sign-up of the client's network. Returns whether it is past the limit."""
    return await rate_limit.is_over_limit(
        ctx,
        session,
        risk_check.client_address(ctx.settings, request),
        "sign-up",
        limit=SIGNUPS_PER_NETWORK,
        period=PERIOD,
    )
