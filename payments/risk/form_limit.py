"""Limits of the forms that have us mail somebody: by who asks, never by who is asked about.

A network may send a few as they are; past that each needs a proof of work or a wait in the queue,
as a gift does at the normal level. A sign-in is then never refused: whoever shares a network with
an attacker has a price to pay, not a door that is shut. A sign-up, whose row and key stay for two
days, is refused past four times the limit of its network, and where all networks together ask
for more than there are mails to confirm them with. Few are taken without a proof when many come at
once, from however many networks: the mails of the hour are then left for those who prove or wait.
"""

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import PaymentsError
from payments.infra.context import Context
from payments.risk import buckets, rate_limit
from payments.risk.rate_limit import ROUNDING_TOLERANCE, ProofOfWorkRequired, TooManyAttempts
from payments.risk.request_context import RequestContext
from payments.risk.risk_level import RiskLevel

SIGN_IN, SIGN_UP = "sign-in", "sign-up"  # reminders and newsletter are both sign-ups
OWN_MAILBOX = "own mailbox"  # a reminder that no mail confirms: its mailbox was proved
# Sign-ups of all networks together: at once, and after how long there is room for one more.
SIGN_UP_CAPACITY, SIGN_UP_REFILL = 500, timedelta(seconds=18)
# Of those, the ones without a proof.
UNPROVED_CAPACITY, UNPROVED_REFILL = 50, timedelta(seconds=72)


class SignUpsLimited(PaymentsError):
    """All networks together signed up as many addresses as can be confirmed."""

    status = 503
    code = "sign-ups-limited"
    title = "Too many requests at the moment"

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__("Very many people are asking right now. Nothing was saved.")
        self.retry_after = retry_after


async def use_share(ctx: Context, request: RequestContext) -> bool:
    """Use the share that a form has of each limit. Returns whether its network is past what it may
    send as it is.

    The address that was typed is not asked for: it is hashed after this, which costs us something,
    while nothing is held in the database. A refused attempt makes the queue longer. Raises
    ProofOfWorkRequired, TooManyAttempts or SignUpsLimited.
    """
    try:
        async with ctx.sessions.begin() as session:
            return await _check(ctx, session, request)
    except (ProofOfWorkRequired, TooManyAttempts, SignUpsLimited):
        await rate_limit.record_refused(ctx, request)
        raise


async def _check(ctx: Context, session: AsyncSession, request: RequestContext) -> bool:
    now, is_sign_up = ctx.now(), request.purpose == SIGN_UP
    used_share = await rate_limit.consume_network_limits(
        ctx,
        session,
        request,
        now,
        max_factor=rate_limit.SOFT_LIMIT_FACTOR if is_sign_up else float("inf"),
    )
    is_past = used_share > 1 + ROUNDING_TOLERANCE
    if is_sign_up:
        over = await _over(ctx, session, "all", SIGN_UP_CAPACITY, SIGN_UP_REFILL, now)
        if over > timedelta(0):
            raise SignUpsLimited(over)
    needs_proof = is_past or (
        is_sign_up
        and request.clearance is None
        and await _over(ctx, session, "unproved", UNPROVED_CAPACITY, UNPROVED_REFILL, now)
        > timedelta(0)
    )
    if needs_proof and (
        request.clearance is None or not await rate_limit.use_token(session, request.clearance, now)
    ):
        raise ProofOfWorkRequired(RiskLevel.NORMAL, of_gift=False)
    return is_past


async def _over(
    ctx: Context,
    session: AsyncSession,
    label: str,
    capacity: int,
    refill: timedelta,
    now: datetime,
) -> timedelta:
    """Use one of a capacity that all networks share. Returns how long it was overdrawn by then."""
    key = buckets.keyed_hash(ctx, f"{SIGN_UP} {label}")
    cost = refill / rate_limit.limit_factor(ctx)
    used = (await buckets.consume(session, now, {key: cost}))[key]
    return used - refill * (capacity + ROUNDING_TOLERANCE)
