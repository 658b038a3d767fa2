"""How often one donor's own pages may have us ask Stripe, however many contributions are theirs.

Stripe counts the requests of an account together and refuses everybody's when there are too many.
So whoever gave once, and asked for one page of Stripe's after another, would keep all others from
giving. What cancels is not limited.
"""

from datetime import timedelta

from payments.core.errors import PaymentsError
from payments.infra.context import Context
from payments.risk import buckets
from payments.risk.rate_limit import ROUNDING_TOLERANCE

CAPACITY = 60  # at once
REFILL_INTERVAL = timedelta(minutes=1)  # until there is room for one more


class TooManyChanges(PaymentsError):
    """A donor changed contributions, or opened a card page, as often as one may."""

    status = 429
    code = "too-many-changes"
    title = "Too many changes"

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__(
            "There were too many attempts to change your contributions. Nothing was changed "
            "or charged. Please try again in a few minutes. You can still cancel at any time."
        )
        self.retry_after = retry_after


async def use(ctx: Context, donor_id: str) -> None:
    """Use one request's share of the limit of a donor; where nobody is known, of a contribution.

    Raises TooManyChanges.
    """
    now = ctx.now()
    key = buckets.keyed_hash(ctx, f"account {donor_id}")
    async with ctx.sessions.begin() as session:
        used = (await buckets.consume(session, now, {key: REFILL_INTERVAL}))[key]
        over = used - REFILL_INTERVAL * (CAPACITY + ROUNDING_TOLERANCE)
        if over > timedelta(0):
            raise TooManyChanges(over)
