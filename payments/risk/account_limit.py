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
CODES_CAPACITY, CODES_REFILL_INTERVAL = 3, timedelta(hours=8)  # of codes for another address


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


class TooManyAddressChanges(PaymentsError):
    """A donor had codes for another address mailed as often as one may."""

    status = 429
    code = "too-many-address-changes"
    title = "Too many codes"

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__(
            "Codes were sent several times today. Nothing was changed. Please try again tomorrow."
        )
        self.retry_after = retry_after


async def use(ctx: Context, donor_id: str) -> None:
    """Use one request's share of the limit of a donor; where nobody is known, of a contribution.

    Raises TooManyChanges.
    """
    await _use(ctx, f"account {donor_id}", REFILL_INTERVAL, CAPACITY, TooManyChanges)


async def use_address_codes(ctx: Context, donor_id: str) -> None:
    """Use a donor's share of the codes for another address: whoever gave once could have mails sent
    to others. Raises TooManyAddressChanges.
    """
    label = f"address codes {donor_id}"
    await _use(ctx, label, CODES_REFILL_INTERVAL, CODES_CAPACITY, TooManyAddressChanges)


async def _use(
    ctx: Context,
    label: str,
    interval: timedelta,
    capacity: int,
    refusal: type[TooManyChanges | TooManyAddressChanges],
) -> None:
    """Use one share of a limit. Raises the refusal, and then nothing is used."""
    key = buckets.keyed_hash(ctx, label)
    async with ctx.sessions.begin() as session:
        used = (await buckets.consume(session, ctx.now(), {key: interval}))[key]
        over = used - interval * (capacity + ROUNDING_TOLERANCE)
        if over > timedelta(0):
            raise refusal(over)
