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

An address is seen for the length of one request. What is kept is HMAC(salt of the day, network),
the salt being made from our secret key, so that all processes agree: without the key a hash says
nothing; with it, whoever seizes a running server could try all sixteen million networks and learn
which of them started a gift that day, though neither whose it was nor which. The table is not
logged, and its rows go when they have nothing left to limit.
"""

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import CheckConstraint, Date, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments import db, money
from payments.errors import PaymentsError
from payments.money import Money
from payments.runtime import Runtime

PATIENCE = 4  # how many times its limit a network may have while all is calm, for work
PARDON = 1e-6  # of rounding to microseconds
ODD = 3  # what a form counts that was sent in a blink, or without its time
TICKET_LASTS = timedelta(hours=1)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=20), timedelta(minutes=15)
TICKET_WEIGHS = timedelta(minutes=10)  # for how long a network's ticket doubles its next wait
CROWD_WEIGHS, CROWD_MOST = timedelta(seconds=1), timedelta(minutes=1)

# bits of IPv4 and IPv6 that make a network, gifts it may start in a time
LIMITS: tuple[tuple[int, int, int, timedelta], ...] = (
    (24, 56, 3, timedelta(minutes=10)),
    (24, 56, 10, timedelta(days=1)),
    (16, 40, 40, timedelta(hours=1)),
)


class Level(StrEnum):
    CALM = "calm"
    ELEVATED = "elevated"
    PAUSED = "paused"


class Bucket(db.Base):
    """How far a network has used what it may: an empty bucket fills up by `full_at`. A full one
    is no row.
    """

    __tablename__ = "shield_buckets"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    key: Mapped[bytes] = mapped_column(primary_key=True)
    full_at: Mapped[db.Moment]
    made_on: Mapped[datetime] = mapped_column(Date)


class Spent(db.Base):
    """A proof or a ticket that has let a gift in. It lets in no other."""

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

    def __init__(self) -> None:
        super().__init__(
            "There were too many tries from your network. Please try again later. Nothing was "
            "charged."
        )


class SmallGiftsPaused(PaymentsError):
    """While cards are being tested, gifts of the smallest kind are not taken."""

    status = 503
    code = "small-gifts-paused"
    title = "Small gifts are paused for a while"

    def __init__(self, least: Money, field: str | None = "amount") -> None:
        super().__init__(
            "Someone is testing stolen cards here, so for some minutes we take %(limit)s or more. "
            "Nothing was charged.",
            field=field,
            limit=least,
        )
        self.least = least


# --- the door -------------------------------------------------------------------------------------


async def admit(rt: Runtime, session: AsyncSession, visit: Visit, gift: Money) -> None:
    """Let a new contribution in, within its own transaction, or raise why not."""
    now = rt.now()
    at = await level(session, now)
    if at is Level.PAUSED and gift < (least := not_small(gift.currency)):
        raise SmallGiftsPaused(least)
    used = await _use(rt, session, visit, now)
    if used > (PATIENCE if at is Level.CALM else 1) + PARDON:
        raise TooManyTries
    if at is Level.CALM and used <= 1 + PARDON and not visit.trapped:
        return
    if visit.brings is None or not await _spend(session, visit.brings, now):
        raise WorkNeeded(at)


async def note_refused(rt: Runtime, visit: Visit) -> None:
    """Count an attempt that was turned away: who hammers at a closed door finds it shut longer."""
    async with rt.sessions.begin() as session:
        await _use(rt, session, visit, rt.now())


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


# --- buckets --------------------------------------------------------------------------------------


async def _use(rt: Runtime, session: AsyncSession, visit: Visit, now: datetime) -> float:
    """Take a gift's share from each bucket of its network. Gives how full the worst use is: 1 is
    all that a network may.
    """
    factor = rt.settings.shield_gifts / LIMITS[0][2]
    weight = ODD if visit.odd else 1
    spans: dict[bytes, tuple[timedelta, timedelta]] = {}
    for index, (v4, v6, gifts, period) in enumerate(LIMITS):
        key = _hashed(rt, now, f"{index} {network(visit.address, v4, v6)}")
        spans[key] = (period * weight / (gifts * factor), period)
    full_at = await _fill(session, now, {key: span for key, (span, _) in spans.items()})
    return max((full_at[key] - now) / period for key, (_, period) in spans.items())


async def _fill(
    session: AsyncSession, now: datetime, spans: dict[bytes, timedelta]
) -> dict[bytes, datetime]:
    """Put off the time at which each bucket is full again, in one statement and one order."""
    asked = insert(Bucket).values(
        [
            {"key": key, "full_at": now + spans[key], "made_on": now.date()}
            for key in sorted(spans)  # in one order, so that two do not wait for each other
        ]
    )
    later = func.greatest(Bucket.full_at, now) + (asked.excluded.full_at - now)
    rows = await session.execute(
        asked.on_conflict_do_update(
            index_elements=["key"], set_={"full_at": later, "made_on": now.date()}
        ).returning(Bucket.key, Bucket.full_at)
    )
    return {row.key: row.full_at for row in rows}


def network(address: str, v4: int, v6: int) -> str:
    """The network of an address, so many bits wide; empty for what is no address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if found.version == 6 and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    bits = v4 if found.version == 4 else v6
    return str(ipaddress.ip_network(f"{found}/{bits}", strict=False))


def _hashed(rt: Runtime, now: datetime, text: str) -> bytes:
    """What stands for a network, today only."""
    salt = hmac.new(rt.settings.keys[0], f"shield\0{now.date()}".encode(), hashlib.sha256).digest()
    return hmac.new(salt, text.encode(), hashlib.sha256).digest()[:16]


async def is_crowd(
    rt: Runtime, session: AsyncSession, address: str, purpose: str, *, most: int, period: timedelta
) -> bool:
    """Count one more use of this kind by a network. Gives whether it is past its most."""
    now = rt.now()
    key = _hashed(rt, now, f"{purpose} {network(address, *LIMITS[0][:2])}")
    full_at = await _fill(session, now, {key: period / most})
    return (full_at[key] - now) / period > 1 + PARDON


# --- the queue ------------------------------------------------------------------------------------


async def wait_for(rt: Runtime, visit: Visit) -> timedelta:
    """How long somebody without JavaScript waits: twenty seconds at first, doubled for each ticket
    their network took lately, and a little more in a crowd.
    """
    now = rt.now()
    mine = _hashed(rt, now, f"queue {network(visit.address, *LIMITS[0][:2])}")
    crowd = _hashed(rt, now, "queue")
    async with rt.sessions.begin() as session:
        full_at = await _fill(session, now, {mine: TICKET_WEIGHS, crowd: CROWD_WEIGHS})
    before = max(0, min(round((full_at[mine] - now) / TICKET_WEIGHS) - 1, 10))
    own = min(FIRST_WAIT * (1 << before), LONGEST_WAIT)
    return own + min(full_at[crowd] - now - CROWD_WEIGHS, CROWD_MOST)


# --- keeping house --------------------------------------------------------------------------------


async def forget_expired(session: AsyncSession, now: datetime) -> None:
    """Forget buckets that are full, those of another day, and what can no longer be shown."""
    await session.execute(
        delete(Bucket).where((Bucket.full_at <= now) | (Bucket.made_on < now.date()))
    )
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
