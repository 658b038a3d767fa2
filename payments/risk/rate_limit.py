"""The shield: keeps card testers and floods away from Stripe, with no third party and no puzzle.

Every new contribution passes it inside the transaction that keeps it, so with the database away
nothing is created, and what an attempt costs is paid if and only if the contribution exists.

calm      Each network may start so many gifts. Past that a gift costs work; past four times that
          it is refused. A filled trap costs work, a form sent in a blink costs as much as three.
elevated  Every gift costs work: a proof that the browser finds by itself in about a second, or,
          without JavaScript, a short wait in a queue. Past its limit a network is refused.
paused    The same with more work, and gifts under about $5 are not taken: testers try cards with
          the least they can, and one failed charge of theirs costs us more than it costs them.

Calm asks for no work because it need not: in the replayed attack (tests/storm/test_card_testing_attack.py) the
breaker, which counts how many cards are declined, raises the level within a minute, and work asked
of everybody every day would cost honest readers far more than it costs a rented botnet.

While it is not calm, work alone lets nobody in. Bots can do it, and bots can wait; what they cannot
do is pay. So each try of a network is noted, whether it came to anything or not, and a gift that is
paid takes back its own and one more. The first gift of a network goes straight on: that is nearly
every reader. All others share a trickle, in which whoever tried less has more room. Bots that do
everything a reader does, each from a network never seen before, cannot be told from readers: for
them there is a limit to how many unpaid gifts all new networks together may start.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil

from sqlalchemy import CheckConstraint, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import money
from payments.core.errors import PaymentsError
from payments.core.money import Money
from payments.infra import db
from payments.infra.context import Context
from payments.risk import buckets

SOFT_LIMIT_FACTOR = 4  # how many times its limit a network may have while all is calm, for work
ROUNDING_TOLERANCE = 1e-6  # of rounding to microseconds
SUSPICIOUS_WEIGHT = 3  # what a form counts that was sent in a blink, or without its time
TICKET_LIFETIME = timedelta(hours=1)
FIRST_QUEUE_WAIT, MAX_QUEUE_WAIT = timedelta(seconds=20), timedelta(minutes=15)
PAID_CREDIT_LIFETIME = timedelta(hours=25)  # longer than its page tells that a gift was paid

# bits of IPv4 and IPv6 that make a network, gifts it may start in a time
NETWORK_LIMITS: tuple[tuple[tuple[int, int], int, timedelta], ...] = (
    (buckets.NARROW_PREFIX, 3, timedelta(minutes=10)),
    (buckets.NARROW_PREFIX, 10, timedelta(days=1)),
    (buckets.WIDE_PREFIX, 40, timedelta(hours=1)),
)


class RiskLevel(StrEnum):
    NORMAL = "normal"
    CHALLENGE = "challenge"
    RESTRICTED = "restricted"


# While it is not calm. A try is forgotten an hour later, but none of those past the eighth counts.
ATTEMPT_LIFETIME, MAX_ATTEMPT_BACKLOG = timedelta(hours=1), timedelta(hours=8)
WIDE_ATTEMPT_DIVISOR = 20  # of a wide network, that count as one of a narrow one
FREE_ATTEMPTS = {
    RiskLevel.CHALLENGE: 2,
    RiskLevel.RESTRICTED: 1,
}  # tries of a network that go straight on
SHARED_REFILL_INTERVAL, SHARED_CAPACITY = timedelta(minutes=3), 8  # gifts for all the others
NEW_NETWORK_REFILL_INTERVAL, NEW_NETWORK_CAPACITY = (
    timedelta(seconds=30),
    60,
)  # unpaid gifts for all new networks


class UsedToken(db.Base):
    """A proof or a ticket that has let a gift in, or a try that is noted. It does so only once."""

    __tablename__ = "used_tokens"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    expires_at: Mapped[db.Timestamp]


class RiskState(db.Base):
    """What the breaker has decided: one row, or none while nothing has ever happened."""

    __tablename__ = "risk_state"
    __table_args__ = (CheckConstraint("id = 1", name="is_single_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    restricted_until: Mapped[db.Timestamp]
    challenge_until: Mapped[db.Timestamp]
    evaluated_since: Mapped[db.Timestamp]  # what the breaker has acted upon does not count twice
    trip_count: Mapped[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearance:
    """A proof or a ticket, verified but not yet spent."""

    digest: bytes
    lifetime: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """Who asks, and what they bring. It lives as long as the request."""

    client_ip: str  # of the network; empty where nobody can tell
    attempt_id: str = ""  # the random name of what they send: sent again, it is the same try
    is_suspicious: bool = False  # sent in a blink, or without the time the form was made
    filled_honeypot: bool = False  # a field was filled in that nobody can see
    clearance: Clearance | None = None
    declaration_accepted: bool = False  # they say that they may pay: see `notices`
    origin: str = ""  # the address of ours by which they came


class ProofOfWorkRequired(PaymentsError):
    """This gift costs a proof of work, or a wait."""

    status = 428
    code = "proof-of-work-required"
    title = "Please prove that this is no machine"

    def __init__(self, level: RiskLevel) -> None:
        super().__init__(
            "Someone may be testing stolen cards here, so this needs a short check. Nothing was "
            "charged."
        )
        self.level = level


class TooManyAttempts(PaymentsError):
    """A network has started as many gifts as one may."""

    status = 429
    code = "too-many-attempts"
    title = "Too many tries"

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__("There were too many tries from your network. Nothing was charged.")
        self.retry_after = retry_after


class UnpaidGiftsLimited(PaymentsError):
    """While cards are being tested, only so many unpaid gifts are started."""

    status = 503
    code = "unpaid-gifts-limited"
    title = "Few gifts are taken at a time"

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__(
            "Someone is testing stolen cards here, so we take only a few gifts at a time. Nothing "
            "was charged."
        )
        self.retry_after = retry_after


class SmallGiftsPaused(PaymentsError):
    """While cards are being tested, gifts of the smallest kind are not taken."""

    status = 503
    code = "small-gifts-paused"
    title = "Small gifts are paused for a while"

    def __init__(self, minimum: Money, retry_after: timedelta) -> None:
        super().__init__(
            "Someone is testing stolen cards here, so for some minutes we take %(limit)s or more. "
            "Nothing was charged.",
            field="amount",
            limit=minimum,
        )
        self.minimum = minimum
        self.retry_after = retry_after


TEMPORARY_REFUSALS = (TooManyAttempts, UnpaidGiftsLimited, SmallGiftsPaused)


# --- the door -------------------------------------------------------------------------------------


async def check_gift_allowed(
    ctx: Context, session: AsyncSession, request: RequestContext, amount: Money
) -> None:
    """Let a new contribution in, within its own transaction, or raise why not."""
    now = ctx.now()
    at = await current_level(session, now)
    if at is RiskLevel.RESTRICTED and amount < (least := restricted_minimum(amount.currency)):
        raise SmallGiftsPaused(least, (await session.get_one(RiskState, 1)).restricted_until - now)
    used = await _consume_network_limits(
        ctx, session, request, now, max_factor=SOFT_LIMIT_FACTOR if at is RiskLevel.NORMAL else 1
    )
    tries = await _count_attempts(ctx, session, request, now)
    if at is RiskLevel.NORMAL and used <= 1 + ROUNDING_TOLERANCE and not request.filled_honeypot:
        return
    if request.clearance is None or not await _use_token(session, request.clearance, now):
        raise ProofOfWorkRequired(at)
    if at is not RiskLevel.NORMAL:
        await _require_shared_capacity(ctx, session, tries / FREE_ATTEMPTS[at], now)


async def record_refused(ctx: Context, request: RequestContext) -> None:
    """Note a try that came to nothing, once however often the same is sent."""
    now = ctx.now()
    noted = Clearance(digest=_attempt_digest(ctx, request, now), lifetime=ATTEMPT_LIFETIME)
    async with ctx.sessions.begin() as session:
        if await _use_token(session, noted, now):
            spans, most = (
                _attempt_costs(ctx, request.client_ip, now),
                MAX_ATTEMPT_BACKLOG / _limit_factor(ctx),
            )
            await buckets.consume(session, now, spans, cap=most)


async def credit_paid_network(ctx: Context, client_ip: str, contribution_id: str) -> None:
    """A network whose gift was paid has its try back, and one more for somebody who only looked.

    Whoever paid is back from Stripe's page, so nothing had to be kept of whose network it was. The
    two transactions have nothing in common by which the rows could be found to belong together.
    """
    now = ctx.now()
    digest = hashlib.sha256(f"paid\0{contribution_id}".encode()).digest()
    async with ctx.sessions.begin() as session:
        if not await _use_token(
            session, Clearance(digest=digest, lifetime=PAID_CREDIT_LIFETIME), now
        ):
            return
    spans = {
        **_attempt_costs(ctx, client_ip, now),
        _new_networks_key(ctx, now): NEW_NETWORK_REFILL_INTERVAL / _limit_factor(ctx),
    }
    async with ctx.sessions.begin() as session:
        await buckets.credit(session, {key: span * 2 for key, span in spans.items()})


async def current_level(session: AsyncSession, now: datetime) -> RiskLevel:
    """How careful we are at this moment."""
    state = await session.get(RiskState, 1)
    if state is None or now >= state.challenge_until:
        return RiskLevel.NORMAL
    return RiskLevel.RESTRICTED if now < state.restricted_until else RiskLevel.CHALLENGE


def restricted_minimum(currency: str) -> Money:
    """The least that is taken while cards are being tested: $5, and alike in other currencies."""
    return Money(money.min_gift(currency).amount * 5 // 2, currency)


async def _use_token(session: AsyncSession, clearance: Clearance, now: datetime) -> bool:
    """Spend a proof or a ticket, in the transaction of what it pays for. False if it was before."""
    kept = insert(UsedToken).values(digest=clearance.digest, expires_at=now + clearance.lifetime)
    spent = await session.scalar(kept.on_conflict_do_nothing().returning(UsedToken.digest))
    return spent is not None


# --- what a network may ---------------------------------------------------------------------------


async def _consume_network_limits(
    ctx: Context, session: AsyncSession, request: RequestContext, now: datetime, *, max_factor: int
) -> float:
    """Take a gift's share from each bucket of its network. Gives how full the worst use is: 1 is
    all that a network may. Raises TooManyTries past so many times that.
    """
    weight = SUSPICIOUS_WEIGHT if request.is_suspicious else 1
    spans: dict[bytes, tuple[timedelta, timedelta]] = {}
    for index, (bits, gifts, period) in enumerate(NETWORK_LIMITS):
        key = buckets.daily_hash(
            ctx, now.date(), f"{index} {buckets.network_of(request.client_ip, bits)}"
        )
        spans[key] = (period * weight / (gifts * _limit_factor(ctx)), period)
    off = await buckets.consume(session, now, {key: span for key, (span, _) in spans.items()})
    again_in = max(off[key] - period * max_factor for key, (_, period) in spans.items())
    used = max(off[key] / period for key, (_, period) in spans.items())
    if used > max_factor + ROUNDING_TOLERANCE:
        raise TooManyAttempts(again_in)
    return used


async def is_over_limit(
    ctx: Context,
    session: AsyncSession,
    client_ip: str,
    purpose: str,
    *,
    limit: int,
    period: timedelta,
) -> bool:
    """Count one more use of this kind by a network. Gives whether it is past its most."""
    now = ctx.now()
    key = buckets.daily_hash(
        ctx, now.date(), f"{purpose} {buckets.network_of(client_ip, buckets.NARROW_PREFIX)}"
    )
    off = await buckets.consume(session, now, {key: period / limit})
    return off[key] / period > 1 + ROUNDING_TOLERANCE


def _limit_factor(ctx: Context) -> float:
    """How much more the operator lets in than we would."""
    return ctx.settings.rate_limit_gifts / NETWORK_LIMITS[0][1]


# --- tries ----------------------------------------------------------------------------------------


def _attempt_costs(ctx: Context, client_ip: str, now: datetime) -> dict[bytes, timedelta]:
    """What a try takes from the buckets of its network, the narrow one's and the wide one's."""
    narrow, wide = (
        buckets.network_of(client_ip, bits) for bits in (buckets.NARROW_PREFIX, buckets.WIDE_PREFIX)
    )
    lasts = ATTEMPT_LIFETIME / _limit_factor(ctx)
    return {
        buckets.daily_hash(ctx, now.date(), f"try {narrow}"): lasts,
        buckets.daily_hash(ctx, now.date(), f"try {wide}"): lasts / WIDE_ATTEMPT_DIVISOR,
    }


def _attempt_digest(ctx: Context, request: RequestContext, now: datetime) -> bytes:
    """What stands for one try of one network. Taken to another network it is another try."""
    narrow = buckets.network_of(request.client_ip, buckets.NARROW_PREFIX)
    return buckets.daily_hash(ctx, now.date(), f"try {narrow} {request.attempt_id}")


async def _count_attempts(
    ctx: Context, session: AsyncSession, request: RequestContext, now: datetime
) -> float:
    """How many tries a network made lately, with this one, which counts once."""
    noted = await session.scalar(
        delete(UsedToken)
        .where(UsedToken.digest == _attempt_digest(ctx, request, now))
        .returning(UsedToken.digest)
    )
    spans = _attempt_costs(ctx, request.client_ip, now)
    if noted is not None:
        spans = dict.fromkeys(spans, timedelta(0))
    off = await buckets.consume(session, now, spans, cap=MAX_ATTEMPT_BACKLOG / _limit_factor(ctx))
    # Midnight changes the salt. It does not make a new network of one that has just tried.
    yesterday = _attempt_costs(ctx, request.client_ip, now - timedelta(days=1))
    before = await buckets.time_until_full(session, now, yesterday)
    return max(*off.values(), *before.values(), timedelta(0)) / (
        ATTEMPT_LIFETIME / _limit_factor(ctx)
    )


async def _require_shared_capacity(
    ctx: Context, session: AsyncSession, attempts: float, now: datetime
) -> None:
    """Let the first gift of a network in, and of the others as many as there is room for: half the
    trickle for one more try, a quarter for two, and so on. Raises FewAtATime, TooManyTries.
    """
    if attempts <= 1 + ROUNDING_TOLERANCE:
        key, every, room = (
            _new_networks_key(ctx, now),
            NEW_NETWORK_REFILL_INTERVAL / _limit_factor(ctx),
            float(NEW_NETWORK_CAPACITY),
        )
    else:
        key = buckets.daily_hash(ctx, now.date(), "trickle")
        every = SHARED_REFILL_INTERVAL / _limit_factor(ctx)
        room = max(SHARED_CAPACITY / 2 ** (attempts - 1), 1)
    off = (await buckets.consume(session, now, {key: every}))[key]
    if off / every <= room + ROUNDING_TOLERANCE:
        return
    again_in = off - every * room
    raise (
        UnpaidGiftsLimited(again_in)
        if attempts <= 1 + ROUNDING_TOLERANCE
        else TooManyAttempts(again_in)
    )


def _new_networks_key(ctx: Context, now: datetime) -> bytes:
    return buckets.daily_hash(ctx, now.date(), "new")


async def queue_wait(ctx: Context, request: RequestContext) -> timedelta:
    """How long somebody without JavaScript waits: twenty seconds at first, doubled for each try
    their network made lately.
    """
    now = ctx.now()
    narrow = next(iter(_attempt_costs(ctx, request.client_ip, now)))
    async with ctx.sessions() as session:
        off = await buckets.time_until_full(session, now, [narrow])
    before = max(
        ceil(off.get(narrow, timedelta(0)) / (ATTEMPT_LIFETIME / _limit_factor(ctx))) - 1, 0
    )
    return min(FIRST_QUEUE_WAIT * (1 << before), MAX_QUEUE_WAIT)


# --- keeping house --------------------------------------------------------------------------------


async def purge_expired(session: AsyncSession, now: datetime) -> None:
    """Forget what has nothing left to limit, and what can no longer be shown."""
    await buckets.purge_full(session, now)
    await session.execute(delete(UsedToken).where(UsedToken.expires_at < now))


async def lock_risk_state(session: AsyncSession, now: datetime) -> RiskState:
    """The one row of the breaker, held until the transaction ends."""
    await session.execute(
        insert(RiskState)
        .values(
            id=1,
            restricted_until=now,
            challenge_until=now,
            evaluated_since=now - timedelta(1),
            trip_count=0,
        )
        .on_conflict_do_nothing()
    )
    found = await session.scalar(
        select(RiskState).where(RiskState.id == 1).with_for_update(),
        execution_options={"populate_existing": True},
    )
    assert found is not None
    return found
