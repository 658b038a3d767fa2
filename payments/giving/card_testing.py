"""The breaker: notices that cards are being tested, from counts alone, and raises the shield.

It looks at first payments only: the renewals of a month are declined in their dozens, and that is
no attack. It goes by shares as well as by numbers, so that a great day is not taken for one. A
pause lasts a quarter of an hour and twice as long each time it has to come again, and until a
quiet night has passed after it a handful of declined cards is enough.

A session in which one card after the other is declined is ended. Where one gives once, Stripe's
charge says which session it was made in. Where a promise begins it does not: the charge has no
metadata of ours, the session has no payment intent, and there is neither invoice nor subscription
before one is paid. So it is found by amount, currency and hour: ended is the only session that it
can be and, in an attack, every one that it can be. An honest reader among those is told that
nothing was charged, and may begin again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import stripe
from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from payments.giving.charges import Charge, ChargeStatus
from payments.giving.checkout_session import CHECKOUT_LASTS, Frequency
from payments.giving.contributions import Contribution, ContributionIntent, Status
from payments.infra import alerts, stripe_client
from payments.infra.alerts import AlarmKind
from payments.infra.context import Runtime
from payments.risk import rate_limit

LOOKS_AT = 50  # charges, the newest
WINDOW, BURST = timedelta(hours=1), timedelta(minutes=5)
FIRST = timedelta(hours=2)  # a charge so soon after the decision to give is no renewal
EXPLAINED = timedelta(minutes=1)
TRIES = 4  # declined cards in one session; the next ends it
ELEVATED_FOR = timedelta(hours=1)
PAUSE, LONGEST_PAUSE = timedelta(minutes=15), timedelta(hours=4)
WARY_FOR = timedelta(hours=12)  # after a pause
FLOOD, FLOOD_TIMES, DAYS = 60, 5, 14  # starts in an hour, against those of the same hour before


@dataclass(frozen=True, slots=True)
class Looked:
    """What there is to judge by: charges, those declined, those declined in the last minutes."""

    charges: int
    declined: int
    burst: int


async def judge(rt: Runtime) -> None:
    """Raise the level if the newest charges say so, and end sessions in which cards are tried."""
    now = rt.now()
    async with rt.sessions.begin() as session:
        state = await session.get(rate_limit.State, 1)
        if state is None or now >= state.paused_until:
            looked = await _look(session, now, since=state.judged_from if state else None)
            await _decide(rt, session, looked, now)
        hammered = await _hammered(session, now)
        attacked = await rate_limit.level(session, now) is not rate_limit.Level.CALM
        hammered += await _hammered_promises(session, now, attacked=attacked)
    for session_id in hammered:
        await _expire(rt, session_id)


async def keep_watch(rt: Runtime) -> None:
    """Judge by the clock too: a flood of gifts that nobody pays, and the end of an attack."""
    await judge(rt)
    now = rt.now()
    async with rt.sessions.begin() as session:
        if await _is_flood(session, now):
            await _raise(session, now)
        if await rate_limit.level(session, now) is rate_limit.Level.CALM:
            await alerts.close(session, AlarmKind.CARD_TESTING, subject="shield", now=now)


async def _look(session: AsyncSession, now: datetime, *, since: datetime | None) -> Looked:
    start = max(now - WINDOW, since or now - WINDOW)
    soon = Contribution.created_at + FIRST
    # Nothing explains the declined first charge of a promise; a renewal's invoice soon does.
    is_unexplained = and_(Contribution.id.is_(None), Charge.charged_at < now - EXPLAINED)
    newest = (
        select(Charge.status, Charge.charged_at)
        .outerjoin(
            ContributionIntent,
            ContributionIntent.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .outerjoin(Contribution, Contribution.id == ContributionIntent.contribution_id)
        .where(Charge.charged_at >= start, or_(is_unexplained, Charge.charged_at < soon))
        .order_by(Charge.charged_at.desc())
        .limit(LOOKS_AT)
    )
    rows = [(status, at) for status, at in await session.execute(newest)]
    declined = [at for status, at in rows if status is ChargeStatus.FAILED]
    return Looked(len(rows), len(declined), sum(1 for at in declined if at > now - BURST))


async def _decide(rt: Runtime, session: AsyncSession, seen: Looked, now: datetime) -> None:
    enough = rt.settings.shield_declines
    share = seen.declined / max(seen.charges, 1)
    if seen.declined < max(enough // 4, 1) or share <= 0.3:
        return
    state = await rate_limit.state_to_change(session, now)
    if now < state.paused_until:  # somebody else has judged meanwhile
        return
    wary = state.trips > 0 and now < state.elevated_until and share > 0.5
    if wary or seen.burst > enough or (seen.charges >= enough and share > 0.6):
        _pause(state, now)
    elif seen.charges >= enough:
        state.elevated_until = max(state.elevated_until, now + ELEVATED_FOR)
    else:
        return
    await alerts.sound(session, AlarmKind.CARD_TESTING, subject="shield", now=now)


def _pause(state: rate_limit.State, now: datetime) -> None:
    """Take no small gifts for a while, twice as long as the last time."""
    trips = state.trips if now < state.elevated_until else 0
    state.trips = trips + 1
    state.paused_until = now + min(PAUSE * 2 ** min(trips, 8), LONGEST_PAUSE)
    state.elevated_until = state.paused_until + WARY_FOR
    state.judged_from = state.paused_until


async def _raise(session: AsyncSession, now: datetime) -> None:
    state = await rate_limit.state_to_change(session, now)
    state.elevated_until = max(state.elevated_until, now + ELEVATED_FOR)
    await alerts.sound(session, AlarmKind.CARD_TESTING, subject="shield", now=now)


async def _is_flood(session: AsyncSession, now: datetime) -> bool:
    """Whether far more gifts were started in an hour than at this time of other days, and hardly
    any was paid.
    """
    started, paid = await _started(session, now - WINDOW, now)
    if started <= FLOOD or paid * 5 > started:
        return False
    before = sorted(
        [
            (await _started(session, at - WINDOW, at))[0]
            for at in (now - timedelta(days=day) for day in range(1, DAYS + 1))
        ]
    )
    return started > FLOOD_TIMES * before[DAYS // 2]


async def _started(session: AsyncSession, since: datetime, until: datetime) -> tuple[int, int]:
    """How many gifts were started in a time, and how many of them are paid."""
    found = await session.execute(
        select(func.count(), func.count().filter(Contribution.status == Status.PAID)).where(
            Contribution.created_at > since, Contribution.created_at <= until
        )
    )
    started, paid = found.one()
    return started, paid


async def _hammered(session: AsyncSession, now: datetime) -> list[str]:
    """The open sessions in which one card after the other was declined."""
    query = (
        select(Contribution.stripe_session_id)
        .join(ContributionIntent, ContributionIntent.contribution_id == Contribution.id)
        .join(
            Charge, Charge.stripe_payment_intent_id == ContributionIntent.stripe_payment_intent_id
        )
        .where(
            Charge.charged_at > now - FIRST,
            Charge.status == ChargeStatus.FAILED,
            Contribution.status == Status.OPEN,
            Contribution.stripe_session_id.is_not(None),
        )
        .group_by(Contribution.id)
        .having(func.count() > TRIES)
        .order_by(Contribution.id)
        .limit(20)
    )
    return [found for found in await session.scalars(query) if found is not None]


async def _hammered_promises(session: AsyncSession, now: datetime, *, attacked: bool) -> list[str]:
    """The same where a promise is begun: those that the declined cards can have been tried in."""
    declined = await session.execute(
        select(Charge.amount, Charge.currency, func.min(Charge.charged_at))
        .outerjoin(
            ContributionIntent,
            ContributionIntent.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .where(
            ContributionIntent.contribution_id.is_(None),
            Charge.charged_at > now - FIRST,
            Charge.status == ChargeStatus.FAILED,
        )
        .group_by(Charge.stripe_payment_intent_id, Charge.amount, Charge.currency)
        .having(func.count() > TRIES)
        .order_by(func.min(Charge.charged_at))
        .limit(20)
    )
    found: list[str] = []
    for amount, currency, first in declined.all():
        may_be = await session.scalars(
            select(Contribution.stripe_session_id)
            .where(
                Contribution.frequency != Frequency.ONCE,
                Contribution.status == Status.OPEN,
                Contribution.amount == amount,
                Contribution.currency == currency,
                Contribution.created_at > first - CHECKOUT_LASTS,
                Contribution.created_at < first + timedelta(minutes=1),  # two clocks
                Contribution.stripe_session_id.is_not(None),
            )
            .order_by(Contribution.created_at, Contribution.id)
            .limit(20)
        )
        sessions = [one for one in may_be if one is not None]
        found += sessions if attacked or len(sessions) == 1 else []
    return list(dict.fromkeys(found))


async def _expire(rt: Runtime, session_id: str) -> None:
    """End a session; Stripe tells of it like of any other that ends."""
    try:
        with stripe_client.reachable():
            await rt.stripe.v1.checkout.sessions.expire_async(session_id)
    except stripe.InvalidRequestError:
        return  # paid or over meanwhile
