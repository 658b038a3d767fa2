"""The shield: keeps card testers and floods away from Stripe, with no third party and no puzzle.

Every new contribution passes it inside the transaction that keeps it, so with the database away
nothing is created, and what an attempt costs is paid if and only if the contribution exists.

calm      Each network may start so many gifts. Past that a gift costs work; past four times that
          it is refused. A filled trap costs work, a form sent in a blink costs as much as three.
elevated  Every gift costs work: a proof that the browser finds by itself in about a second, or,
          without JavaScript, a short wait in a queue. Past its limit a network is refused.
paused    The same with more work, and gifts under about $5 are not taken: testers try cards with
          the least they can, and one failed charge of theirs costs us more than it costs them.

Calm asks for no work because it need not: in the replayed attack (tests/storm/test_attack.py) the
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
from payments.infra.context import Runtime
from payments.risk import buckets

PATIENCE = 4  # how many times its limit a network may have while all is calm, for work
PARDON = 1e-6  # of rounding to microseconds
ODD = 3  # what a form counts that was sent in a blink, or without its time
TICKET_LASTS = timedelta(hours=1)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=20), timedelta(minutes=15)
PAID_KNOWN_FOR = timedelta(hours=25)  # longer than its page tells that a gift was paid

# bits of IPv4 and IPv6 that make a network, gifts it may start in a time
LIMITS: tuple[tuple[tuple[int, int], int, timedelta], ...] = (
    (buckets.NARROW, 3, timedelta(minutes=10)),
    (buckets.NARROW, 10, timedelta(days=1)),
    (buckets.WIDE, 40, timedelta(hours=1)),
)


class Level(StrEnum):
    CALM = "calm"
    ELEVATED = "elevated"
    PAUSED = "paused"


# While it is not calm. A try is forgotten an hour later, but none of those past the eighth counts.
TRY_LASTS, TRIES_LAST = timedelta(hours=1), timedelta(hours=8)
WIDE_TRIES = 20  # of a wide network, that count as one of a narrow one
FREE = {Level.ELEVATED: 2, Level.PAUSED: 1}  # tries of a network that go straight on
TRICKLE_EVERY, TRICKLE_HOLDS = timedelta(minutes=3), 8  # gifts for all the others
NEW_EVERY, NEW_HOLD = timedelta(seconds=30), 60  # unpaid gifts for all new networks


class Spent(db.Base):
    """A proof or a ticket that has let a gift in, or a try that is noted. It does so only once."""

    __tablename__ = "shield_spent"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    forget_at: Mapped[db.Moment]


class State(db.Base):
    """What the breaker has decided: one row, or none while nothing has ever happened."""

    __tablename__ = "shield_state"
    __table_args__ = (CheckConstraint("id = 1", name="there_is_one"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    paused_until: Mapped[db.Moment]
    elevated_until: Mapped[db.Moment]
    judged_from: Mapped[db.Moment]  # what the breaker has acted upon does not count twice
    trips: Mapped[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """A proof or a ticket, verified but not yet spent."""

    digest: bytes
    lasts: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Who asks, and what they bring. It lives as long as the request."""

    address: str  # of the network; empty where nobody can tell
    attempt: str = ""  # the random name of what they send: sent again, it is the same try
    odd: bool = False  # sent in a blink, or without the time the form was made
    trapped: bool = False  # a field was filled in that nobody can see
    brings: Pass | None = None
    declared: bool = False  # they say that they may pay: see `notices`
    origin: str = ""  # the address of ours by which they came


class WorkNeeded(PaymentsError):
    """This gift costs a proof of work, or a wait."""

    status = 428
    code = "work-needed"
    title = "Please prove that this is no machine"

    def __init__(self, level: Level) -> None:
        super().__init__(
            "Someone may be testing stolen cards here, so this needs a short check. Nothing was "
            "charged."
        )
        self.level = level


class TooManyTries(PaymentsError):
    """A network has started as many gifts as one may."""

    status = 429
    code = "too-many-tries"
    title = "Too many tries"

    def __init__(self, again_in: timedelta) -> None:
        super().__init__("There were too many tries from your network. Nothing was charged.")
        self.again_in = again_in


class FewAtATime(PaymentsError):
    """While cards are being tested, only so many unpaid gifts are started."""

    status = 503
    code = "few-at-a-time"
    title = "Few gifts are taken at a time"

    def __init__(self, again_in: timedelta) -> None:
        super().__init__(
            "Someone is testing stolen cards here, so we take only a few gifts at a time. Nothing "
            "was charged."
        )
        self.again_in = again_in


class SmallGiftsPaused(PaymentsError):
    """While cards are being tested, gifts of the smallest kind are not taken."""

    status = 503
    code = "small-gifts-paused"
    title = "Small gifts are paused for a while"

    def __init__(self, least: Money, again_in: timedelta) -> None:
        super().__init__(
            "Someone is testing stolen cards here, so for some minutes we take %(limit)s or more. "
            "Nothing was charged.",
            field="amount",
            limit=least,
        )
        self.least = least
        self.again_in = again_in


NOT_NOW = (TooManyTries, FewAtATime, SmallGiftsPaused)


# --- the door -------------------------------------------------------------------------------------


async def admit(rt: Runtime, session: AsyncSession, visit: Visit, gift: Money) -> None:
    """Let a new contribution in, within its own transaction, or raise why not."""
    now = rt.now()
    at = await level(session, now)
    if at is Level.PAUSED and gift < (least := not_small(gift.currency)):
        raise SmallGiftsPaused(least, (await session.get_one(State, 1)).paused_until - now)
    used = await _use(rt, session, visit, now, most=PATIENCE if at is Level.CALM else 1)
    tries = await _tries(rt, session, visit, now)
    if at is Level.CALM and used <= 1 + PARDON and not visit.trapped:
        return
    if visit.brings is None or not await _spend(session, visit.brings, now):
        raise WorkNeeded(at)
    if at is not Level.CALM:
        await _share(rt, session, tries / FREE[at], now)


async def note_refused(rt: Runtime, visit: Visit) -> None:
    """Note a try that came to nothing, once however often the same is sent."""
    now = rt.now()
    noted = Pass(digest=_try(rt, visit, now), lasts=TRY_LASTS)
    async with rt.sessions.begin() as session:
        if await _spend(session, noted, now):
            spans, most = _of_a_try(rt, visit.address, now), TRIES_LAST / _factor(rt)
            await buckets.take(session, now, spans, most=most)


async def welcome_back(rt: Runtime, address: str, contribution_id: str) -> None:
    """A network whose gift was paid has its try back, and one more for somebody who only looked.

    Whoever paid is back from Stripe's page, so nothing had to be kept of whose network it was. The
    two transactions have nothing in common by which the rows could be found to belong together.
    """
    now = rt.now()
    digest = hashlib.sha256(f"paid\0{contribution_id}".encode()).digest()
    async with rt.sessions.begin() as session:
        if not await _spend(session, Pass(digest=digest, lasts=PAID_KNOWN_FOR), now):
            return
    spans = {**_of_a_try(rt, address, now), _new(rt, now): NEW_EVERY / _factor(rt)}
    async with rt.sessions.begin() as session:
        await buckets.give_back(session, {key: span * 2 for key, span in spans.items()})


async def level(session: AsyncSession, now: datetime) -> Level:
    """How careful we are at this moment."""
    state = await session.get(State, 1)
    if state is None or now >= state.elevated_until:
        return Level.CALM
    return Level.PAUSED if now < state.paused_until else Level.ELEVATED


def not_small(currency: str) -> Money:
    """The least that is taken while cards are being tested: $5, and alike in other currencies."""
    return Money(money.minimum(currency).amount * 5 // 2, currency)


async def _spend(session: AsyncSession, brought: Pass, now: datetime) -> bool:
    """Spend a proof or a ticket, in the transaction of what it pays for. False if it was before."""
    kept = insert(Spent).values(digest=brought.digest, forget_at=now + brought.lasts)
    spent = await session.scalar(kept.on_conflict_do_nothing().returning(Spent.digest))
    return spent is not None


# --- what a network may ---------------------------------------------------------------------------


async def _use(
    rt: Runtime, session: AsyncSession, visit: Visit, now: datetime, *, most: int
) -> float:
    """Take a gift's share from each bucket of its network. Gives how full the worst use is: 1 is
    all that a network may. Raises TooManyTries past so many times that.
    """
    weight = ODD if visit.odd else 1
    spans: dict[bytes, tuple[timedelta, timedelta]] = {}
    for index, (bits, gifts, period) in enumerate(LIMITS):
        key = buckets.hashed(rt, now.date(), f"{index} {buckets.of(visit.address, bits)}")
        spans[key] = (period * weight / (gifts * _factor(rt)), period)
    off = await buckets.take(session, now, {key: span for key, (span, _) in spans.items()})
    again_in = max(off[key] - period * most for key, (_, period) in spans.items())
    used = max(off[key] / period for key, (_, period) in spans.items())
    if used > most + PARDON:
        raise TooManyTries(again_in)
    return used


async def is_crowd(
    rt: Runtime, session: AsyncSession, address: str, purpose: str, *, most: int, period: timedelta
) -> bool:
    """Count one more use of this kind by a network. Gives whether it is past its most."""
    now = rt.now()
    key = buckets.hashed(rt, now.date(), f"{purpose} {buckets.of(address, buckets.NARROW)}")
    off = await buckets.take(session, now, {key: period / most})
    return off[key] / period > 1 + PARDON


def _factor(rt: Runtime) -> float:
    """How much more the operator lets in than we would."""
    return rt.settings.shield_gifts / LIMITS[0][1]


# --- tries ----------------------------------------------------------------------------------------


def _of_a_try(rt: Runtime, address: str, now: datetime) -> dict[bytes, timedelta]:
    """What a try takes from the buckets of its network, the narrow one's and the wide one's."""
    narrow, wide = (buckets.of(address, bits) for bits in (buckets.NARROW, buckets.WIDE))
    lasts = TRY_LASTS / _factor(rt)
    return {
        buckets.hashed(rt, now.date(), f"try {narrow}"): lasts,
        buckets.hashed(rt, now.date(), f"try {wide}"): lasts / WIDE_TRIES,
    }


def _try(rt: Runtime, visit: Visit, now: datetime) -> bytes:
    """What stands for one try of one network. Taken to another network it is another try."""
    narrow = buckets.of(visit.address, buckets.NARROW)
    return buckets.hashed(rt, now.date(), f"try {narrow} {visit.attempt}")


async def _tries(rt: Runtime, session: AsyncSession, visit: Visit, now: datetime) -> float:
    """How many tries a network made lately, with this one, which counts once."""
    noted = await session.scalar(
        delete(Spent).where(Spent.digest == _try(rt, visit, now)).returning(Spent.digest)
    )
    spans = _of_a_try(rt, visit.address, now)
    if noted is not None:
        spans = dict.fromkeys(spans, timedelta(0))
    off = await buckets.take(session, now, spans, most=TRIES_LAST / _factor(rt))
    # Midnight changes the salt. It does not make a new network of one that has just tried.
    yesterday = _of_a_try(rt, visit.address, now - timedelta(days=1))
    before = await buckets.left(session, now, yesterday)
    return max(*off.values(), *before.values(), timedelta(0)) / (TRY_LASTS / _factor(rt))


async def _share(rt: Runtime, session: AsyncSession, tries: float, now: datetime) -> None:
    """Let the first gift of a network in, and of the others as many as there is room for: half the
    trickle for one more try, a quarter for two, and so on. Raises FewAtATime, TooManyTries.
    """
    if tries <= 1 + PARDON:
        key, every, room = _new(rt, now), NEW_EVERY / _factor(rt), float(NEW_HOLD)
    else:
        key = buckets.hashed(rt, now.date(), "trickle")
        every = TRICKLE_EVERY / _factor(rt)
        room = max(TRICKLE_HOLDS / 2 ** (tries - 1), 1)
    off = (await buckets.take(session, now, {key: every}))[key]
    if off / every <= room + PARDON:
        return
    again_in = off - every * room
    raise FewAtATime(again_in) if tries <= 1 + PARDON else TooManyTries(again_in)


def _new(rt: Runtime, now: datetime) -> bytes:
    return buckets.hashed(rt, now.date(), "new")


async def wait_for(rt: Runtime, visit: Visit) -> timedelta:
    """How long somebody without JavaScript waits: twenty seconds at first, doubled for each try
    their network made lately.
    """
    now = rt.now()
    narrow = next(iter(_of_a_try(rt, visit.address, now)))
    async with rt.sessions() as session:
        off = await buckets.left(session, now, [narrow])
    before = max(ceil(off.get(narrow, timedelta(0)) / (TRY_LASTS / _factor(rt))) - 1, 0)
    return min(FIRST_WAIT * (1 << before), LONGEST_WAIT)


# --- keeping house --------------------------------------------------------------------------------


async def forget_expired(session: AsyncSession, now: datetime) -> None:
    """Forget what has nothing left to limit, and what can no longer be shown."""
    await buckets.forget_full(session, now)
    await session.execute(delete(Spent).where(Spent.forget_at < now))


async def state_to_change(session: AsyncSession, now: datetime) -> State:
    """The one row of the breaker, held until the transaction ends."""
    await session.execute(
        insert(State)
        .values(id=1, paused_until=now, elevated_until=now, judged_from=now - timedelta(1), trips=0)
        .on_conflict_do_nothing()
    )
    found = await session.scalar(
        select(State).where(State.id == 1).with_for_update(),
        execution_options={"populate_existing": True},
    )
    assert found is not None
    return found
