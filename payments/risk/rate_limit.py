"""Rate limits: keep card testers and floods away from Stripe and mailboxes, without a third party.

Each new contribution is checked inside the transaction that stores it: with the database away
nothing is created, and a limit is used if and only if the contribution exists.

normal      Each network may start so many contributions. Past its limit each needs a proof of work;
            past four times the limit they are refused. A filled honeypot needs a proof; a form sent
            implausibly fast counts as three.
challenge   Each contribution needs a proof of work, which a browser finds in about a second, or,
            without JavaScript, a short wait in a queue. Past its limit a network is refused.
restricted  The same with more work, and amounts under about $5 are refused: testers try cards with
            the least they can, and a declined charge costs us more than it costs them.

The normal level asks for no proof because it need not: in the replayed attack
(tests/storm/test_card_testing_attack.py) `giving.card_testing`, which counts declined cards, raises
the level within a minute, and work asked of everybody every day would cost honest readers far more
than it costs a rented botnet.

Above the normal level a proof alone lets nobody in. Bots can compute and bots can wait; what they
cannot do is pay. So each attempt of a network is counted, whether it led to anything or not, and a
contribution that is paid takes back its own attempt and one more. The first attempt of a network
passes: nearly every reader is one. All others share a small capacity, in which a network with fewer
attempts has more room. Bots that do everything a reader does, each from a network never seen
before, cannot be distinguished from readers: for them there is a limit to how many unpaid
contributions all new networks together may start.

The forms that have us mail somebody (`form_limit`) are limited as a gift at the normal level.
"""

import hashlib
from datetime import datetime, timedelta
from math import ceil

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.errors import PaymentsError
from payments.core.money import Money
from payments.core.settings import DEFAULT_RATE_LIMIT_GIFTS
from payments.infra import db
from payments.infra.context import Context
from payments.risk import buckets, risk_level
from payments.risk.request_context import Clearance, RequestContext
from payments.risk.risk_level import RiskLevel, RiskState

# Contributions that a network may start within a period, for networks of so many bits.
NETWORK_LIMITS: tuple[tuple[tuple[int, int], int, timedelta], ...] = (
    (buckets.NARROW_PREFIX, DEFAULT_RATE_LIMIT_GIFTS, timedelta(minutes=10)),
    (buckets.NARROW_PREFIX, 10, timedelta(days=1)),
    (buckets.WIDE_PREFIX, 40, timedelta(hours=1)),
)
SOFT_LIMIT_FACTOR = 4  # times its limit that a network may use at the normal level, with proofs
SUSPICIOUS_WEIGHT = 3  # contributions that one counts as, when its form is suspicious
ROUNDING_TOLERANCE = 1e-6  # the database rounds to microseconds

# Above the normal level. An attempt counts for an hour; a network has eight at most.
ATTEMPT_LIFETIME, MAX_ATTEMPT_BACKLOG = timedelta(hours=1), timedelta(hours=8)
WIDE_ATTEMPT_DIVISOR = 20  # attempts of a wide network that count as one of a narrow one
# Attempts of a network that use the capacity of new networks; later ones use the shared capacity.
FREE_ATTEMPTS = {RiskLevel.CHALLENGE: 2, RiskLevel.RESTRICTED: 1}
# Contributions that all the others together may start, and after how long there is room for one.
SHARED_CAPACITY, SHARED_REFILL_INTERVAL = 8, timedelta(minutes=3)
# Unpaid contributions that all new networks together may start, and the like.
NEW_NETWORK_CAPACITY, NEW_NETWORK_REFILL_INTERVAL = 60, timedelta(seconds=30)

FIRST_QUEUE_WAIT, MAX_QUEUE_WAIT = timedelta(seconds=20), timedelta(minutes=15)
PAID_CREDIT_LIFETIME = timedelta(hours=25)  # outlasts the page that may claim it: web.donate.thanks


class UsedToken(db.Base):
    """A proof, a ticket or a credit that was used, or a refused attempt that was counted."""

    __tablename__ = "used_tokens"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    expires_at: Mapped[db.Timestamp]


class ProofOfWorkRequired(PaymentsError):
    """The contribution needs a proof of work, or a wait in the queue."""

    status = 428
    code = "proof-of-work-required"
    title = "Please confirm that you're not a robot"

    def __init__(self, level: RiskLevel, *, of_gift: bool = True) -> None:
        super().__init__(
            "We need to check that you're not a robot. Nothing was charged."
            if of_gift
            else "We need to check that you're not a robot. Nothing was sent."
        )
        self.level = level


class TooManyAttempts(PaymentsError):
    """A network started as many contributions as it may."""

    status = 429
    code = "too-many-attempts"
    title = "Too many attempts"

    def __init__(self, retry_after: timedelta, *, of_gift: bool = True) -> None:
        super().__init__(
            "There were too many attempts from your network. Nothing was charged."
            if of_gift
            else "There were too many attempts from your network. Nothing was saved."
        )
        self.retry_after = retry_after


class UnpaidGiftsLimited(PaymentsError):
    """New networks together started as many unpaid contributions as they may."""

    status = 503
    code = "unpaid-gifts-limited"
    title = "We can take only a few gifts at a time"

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__(
            "To keep card fraud out, we are taking only a few gifts at a time right now. "
            "Nothing was charged."
        )
        self.retry_after = retry_after


class SmallGiftsPaused(PaymentsError):
    """The amount is below the minimum of the restricted level."""

    status = 503
    code = "small-gifts-paused"
    title = "Small gifts are paused for a few minutes"

    def __init__(self, minimum: Money, retry_after: timedelta) -> None:
        super().__init__(
            "To keep card fraud out, for a few minutes we are taking %(limit)s or more. "
            "Nothing was charged.",
            field="amount",
            limit=minimum,
        )
        self.minimum = minimum
        self.retry_after = retry_after


TEMPORARY_REFUSALS = (TooManyAttempts, UnpaidGiftsLimited, SmallGiftsPaused)


async def check_gift_allowed(
    ctx: Context, session: AsyncSession, request: RequestContext, amount: Money
) -> None:
    """Check a new contribution, in its own transaction, and use its share of every limit.

    Raises SmallGiftsPaused, TooManyAttempts, ProofOfWorkRequired or UnpaidGiftsLimited.
    """
    now = ctx.now()
    level = await risk_level.current_level(session, now)
    if level is RiskLevel.RESTRICTED:
        minimum = risk_level.restricted_minimum(amount.currency)
        if amount < minimum:
            state = await session.get_one(RiskState, 1)
            raise SmallGiftsPaused(minimum, state.restricted_until - now)
    used_share = await consume_network_limits(
        ctx,
        session,
        request,
        now,
        max_factor=SOFT_LIMIT_FACTOR if level is RiskLevel.NORMAL else 1,
    )
    attempts = await _count_attempts(ctx, session, request, now)
    is_within_limit = used_share <= 1 + ROUNDING_TOLERANCE
    if level is RiskLevel.NORMAL and is_within_limit and not request.filled_honeypot:
        return
    if request.clearance is None or not await use_token(session, request.clearance, now):
        raise ProofOfWorkRequired(level)
    if level is not RiskLevel.NORMAL:
        await _require_capacity(ctx, session, attempts / FREE_ATTEMPTS[level], now)


async def record_refused(ctx: Context, request: RequestContext) -> None:
    """Count an attempt that was refused, once however often the same is sent."""
    now = ctx.now()
    attempt = Clearance(digest=_attempt_digest(ctx, request), lifetime=ATTEMPT_LIFETIME)
    async with ctx.sessions.begin() as session:
        if await use_token(session, attempt, now):
            await buckets.consume(
                session,
                now,
                _attempt_costs(ctx, request.client_ip, request.purpose),
                cap=MAX_ATTEMPT_BACKLOG / limit_factor(ctx),
            )


async def credit_paid_network(ctx: Context, client_ip: str, contribution_id: str) -> None:
    """Give the network of a paid contribution its attempt back, and one more. Once for each.

    The donor is back from Stripe's page, so their network did not have to be stored meanwhile. The
    two transactions share nothing by which their rows could be linked.
    """
    now = ctx.now()
    digest = hashlib.sha256(f"paid\0{contribution_id}".encode()).digest()
    claim = Clearance(digest=digest, lifetime=PAID_CREDIT_LIFETIME)
    async with ctx.sessions.begin() as session:
        if not await use_token(session, claim, now):
            return
    costs = {
        **_attempt_costs(ctx, client_ip),
        _new_networks_key(ctx): NEW_NETWORK_REFILL_INTERVAL / limit_factor(ctx),
    }
    async with ctx.sessions.begin() as session:
        await buckets.credit(session, now, {key: cost * 2 for key, cost in costs.items()})


async def use_token(session: AsyncSession, token: Clearance, now: datetime) -> bool:
    """Mark a token as used, in the transaction of what it allows. Returns whether it was unused."""
    inserted = await session.scalar(
        insert(UsedToken)
        .values(digest=token.digest, expires_at=now + token.lifetime)
        .on_conflict_do_nothing()
        .returning(UsedToken.digest)
    )
    return inserted is not None


# --- limits by network ----------------------------------------------------------------------------


async def consume_network_limits(
    ctx: Context,
    session: AsyncSession,
    request: RequestContext,
    now: datetime,
    *,
    max_factor: float,
) -> float:
    """Use a contribution's share of each limit of its network.

    Returns the largest share in use; 1 is the whole limit. Raises TooManyAttempts past
    `max_factor`.
    """
    weight = SUSPICIOUS_WEIGHT if request.is_suspicious else 1
    costs: dict[bytes, timedelta] = {}
    periods: dict[bytes, timedelta] = {}
    for index, (prefix_lengths, limit, period) in enumerate(NETWORK_LIMITS):
        network = buckets.network_of(request.client_ip, prefix_lengths)
        key = buckets.keyed_hash(ctx, f"{request.purpose}{index} {network}")
        costs[key] = period * weight / (limit * limit_factor(ctx))
        periods[key] = period
    used = await buckets.consume(session, now, costs)
    used_share = max(used[key] / period for key, period in periods.items())
    if used_share > max_factor + ROUNDING_TOLERANCE:
        raise TooManyAttempts(
            max(used[key] - period * max_factor for key, period in periods.items()),
            of_gift=not request.purpose,
        )
    return used_share


def limit_factor(ctx: Context) -> float:
    """Return how many times our own limits the operator allows."""
    return ctx.settings.rate_limit_gifts / DEFAULT_RATE_LIMIT_GIFTS


# --- attempts -------------------------------------------------------------------------------------


def _attempt_costs(ctx: Context, client_ip: str, purpose: str = "") -> dict[bytes, timedelta]:
    """Return what an attempt uses of the narrow network's bucket, then of the wide one's."""
    narrow, wide = (
        buckets.network_of(client_ip, prefix_lengths)
        for prefix_lengths in (buckets.NARROW_PREFIX, buckets.WIDE_PREFIX)
    )
    cost = ATTEMPT_LIFETIME / limit_factor(ctx)
    return {
        buckets.keyed_hash(ctx, f"{purpose}attempt {narrow}"): cost,
        buckets.keyed_hash(ctx, f"{purpose}attempt {wide}"): cost / WIDE_ATTEMPT_DIVISOR,
    }


def _attempt_digest(ctx: Context, request: RequestContext) -> bytes:
    """Return what stands for one attempt of one network. From another network it is another."""
    narrow = buckets.network_of(request.client_ip, buckets.NARROW_PREFIX)
    return buckets.keyed_hash(ctx, f"{request.purpose}attempt {narrow} {request.attempt_id}")


async def _count_attempts(
    ctx: Context, session: AsyncSession, request: RequestContext, now: datetime
) -> float:
    """Return how many attempts a network made lately, this one included, which counts once."""
    already_counted = await session.scalar(
        delete(UsedToken)
        .where(UsedToken.digest == _attempt_digest(ctx, request))
        .returning(UsedToken.digest)
    )
    costs = _attempt_costs(ctx, request.client_ip)
    if already_counted is not None:
        costs = dict.fromkeys(costs, timedelta(0))
    used = await buckets.consume(session, now, costs, cap=MAX_ATTEMPT_BACKLOG / limit_factor(ctx))
    # Midnight changes the salt. It does not make a new network of one that has just tried.
    yesterday = now.date() - timedelta(days=1)
    used_yesterday = await buckets.time_until_full(session, now, costs, day=yesterday)
    most_used = max(*used.values(), *used_yesterday.values(), timedelta(0))
    return most_used / (ATTEMPT_LIFETIME / limit_factor(ctx))


async def _require_capacity(
    ctx: Context, session: AsyncSession, attempts: float, now: datetime
) -> None:
    """Use a contribution's share of the capacity for new networks, or of the shared one.

    `attempts` is in multiples of the free ones. Past them, the capacity halves with each further
    multiple. Raises UnpaidGiftsLimited for a new network, TooManyAttempts for another.
    """
    is_new = attempts <= 1 + ROUNDING_TOLERANCE
    if is_new:
        key = _new_networks_key(ctx)
        interval = NEW_NETWORK_REFILL_INTERVAL / limit_factor(ctx)
        capacity = float(NEW_NETWORK_CAPACITY)
    else:
        key = buckets.keyed_hash(ctx, "shared")
        interval = SHARED_REFILL_INTERVAL / limit_factor(ctx)
        capacity = max(SHARED_CAPACITY / 2 ** (attempts - 1), 1)
    used = (await buckets.consume(session, now, {key: interval}))[key]
    if used / interval <= capacity + ROUNDING_TOLERANCE:
        return
    retry_after = used - interval * capacity
    raise UnpaidGiftsLimited(retry_after) if is_new else TooManyAttempts(retry_after)


def _new_networks_key(ctx: Context) -> bytes:
    return buckets.keyed_hash(ctx, "new")


async def queue_wait(ctx: Context, request: RequestContext) -> timedelta:
    """Return how long somebody without JavaScript waits: 20 seconds, doubled for each attempt
    their network made lately, 15 minutes at most.
    """
    now = ctx.now()
    narrow_key = next(iter(_attempt_costs(ctx, request.client_ip, request.purpose)))
    async with ctx.sessions() as session:
        used = await buckets.time_until_full(session, now, [narrow_key])
    attempts = used.get(narrow_key, timedelta(0)) / (ATTEMPT_LIFETIME / limit_factor(ctx))
    return min(FIRST_QUEUE_WAIT * (1 << max(ceil(attempts) - 1, 0)), MAX_QUEUE_WAIT)


async def purge_expired(session: AsyncSession, now: datetime) -> None:
    """Delete buckets that limit nothing any more, and used tokens that would have expired."""
    await buckets.purge_full(session, now)
    await session.execute(delete(UsedToken).where(UsedToken.expires_at < now))
