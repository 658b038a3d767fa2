"""How often one contribution's own pages may have us ask Stripe.

Stripe counts the requests of an account together and refuses everybody's when there are too many.
So whoever gave once, and asked for one page of Stripe's after another, would keep all others from
giving. What cancels is not limited.
"""

from datetime import timedelta

from payments.core.errors import PaymentsError
from payments.infra.context import Context
from payments.risk import buckets
from payments.risk.rate_limit import ROUNDING_TOLERANCE

CAPACITY, REFILL_INTERVAL = (
    60,
    timedelta(minutes=1),
)  # at once, and until there is room for one more


class TooManyChanges(PaymentsError):
    """A contribution was changed, or its card page opened, as often as it may be."""

    status = 429
    code = "too-many-changes"
    title = "Too many changes"

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__(
            "There were too many attempts to change this contribution. Nothing was changed "
            "or charged. Please try again in a few minutes. You can still cancel it at any "
            "time."
        )
        self.retry_after = retry_after


async def use(ctx: Context, contribution_id: str) -> None:
    """Use one request's share of a contribution's limit. Raises TooManyChanges."""
    now = ctx.now()
    key = buckets.keyed_hash(ctx, f"account {contribution_id}")
    async with ctx.sessions.begin() as session:
        used = (await buckets.consume(session, now, {key: REFILL_INTERVAL}))[key]
        over = used - REFILL_INTERVAL * (CAPACITY + ROUNDING_TOLERANCE)
        if over > timedelta(0):
            raise TooManyChanges(over)
