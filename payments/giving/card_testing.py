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

from payments.core.frequency import Frequency
from payments.giving.charges import Charge, ChargeStatus
from payments.giving.checkout_session import CHECKOUT_LIFETIME
from payments.giving.contributions import Contribution, ContributionStatus, PaymentIntentLink
from payments.infra import alerts, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.risk import risk_level

ALERT_OBJECT_ID = "risk_state"  # the one row an alert of this is about
SAMPLE_SIZE = 50  # charges, the newest
SAMPLE_WINDOW, BURST_WINDOW = timedelta(hours=1), timedelta(minutes=5)
FIRST_PAYMENT_WITHIN = timedelta(
    hours=2
)  # a charge so soon after the decision to give is no renewal
INVOICE_LINK_DELAY = timedelta(minutes=1)
MAX_DECLINES_PER_SESSION = 4  # declined cards in one session; the next ends it
CHALLENGE_PERIOD = timedelta(hours=1)
RESTRICTION_PERIOD, MAX_RESTRICTION_PERIOD = timedelta(minutes=15), timedelta(hours=4)
WATCH_PERIOD = timedelta(hours=12)  # after a pause
FLOOD_MIN_STARTS, FLOOD_FACTOR, FLOOD_BASELINE_DAYS = (
    60,
    5,
    14,
)  # starts in an hour, against those of the same hour before


@dataclass(frozen=True, slots=True)
class Sample:
    """What there is to judge by: charges, those declined, those declined in the last minutes."""

    charges: int
    declined: int
    declined_in_burst: int


async def evaluate(ctx: Context) -> None:
    """Raise the level if the newest charges say so, and end sessions in which cards are tried."""
    now = ctx.now()
    async with ctx.sessions.begin() as session:
        state = await session.get(risk_level.RiskState, 1)
        if state is None or now >= state.restricted_until:
            looked = await _take_sample(
                session, now, since=state.evaluated_since if state else None
            )
            await _apply_risk_level(ctx, session, looked, now)
        hammered = await _sessions_under_attack(session, now)
        attacked = await risk_level.current_level(session, now) is not risk_level.RiskLevel.NORMAL
        hammered += await _subscription_sessions_under_attack(
            session, now, is_under_attack=attacked
        )
    for session_id in hammered:
        await _expire_session(ctx, session_id)


async def scheduled_check(ctx: Context) -> None:
    """Judge by the clock too: a flood of gifts that nobody pays, and the end of an attack."""
    await evaluate(ctx)
    now = ctx.now()
    async with ctx.sessions.begin() as session:
        if await _is_start_flood(session, now):
            await _challenge(session, now)
        if await risk_level.current_level(session, now) is risk_level.RiskLevel.NORMAL:
            await alerts.close(session, AlertKind.CARD_TESTING, object_id=ALERT_OBJECT_ID, now=now)


async def _take_sample(session: AsyncSession, now: datetime, *, since: datetime | None) -> Sample:
    start = max(now - SAMPLE_WINDOW, since or now - SAMPLE_WINDOW)
    soon = Contribution.created_at + FIRST_PAYMENT_WITHIN
    # Nothing explains the declined first charge of a promise; a renewal's invoice soon does.
    is_unexplained = and_(Contribution.id.is_(None), Charge.charged_at < now - INVOICE_LINK_DELAY)
    newest = (
        select(Charge.status, Charge.charged_at)
        .outerjoin(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .outerjoin(Contribution, Contribution.id == PaymentIntentLink.contribution_id)
        .where(Charge.charged_at >= start, or_(is_unexplained, Charge.charged_at < soon))
        .order_by(Charge.charged_at.desc())
        .limit(SAMPLE_SIZE)
    )
    rows = [(status, at) for status, at in await session.execute(newest)]
    declined = [at for status, at in rows if status is ChargeStatus.FAILED]
    return Sample(len(rows), len(declined), sum(1 for at in declined if at > now - BURST_WINDOW))


async def _apply_risk_level(
    ctx: Context, session: AsyncSession, sample: Sample, now: datetime
) -> None:
    enough = ctx.settings.card_testing_declines
    share = sample.declined / max(sample.charges, 1)
    if sample.declined < max(enough // 4, 1) or share <= 0.3:
        return
    state = await risk_level.lock_state(session, now)
    if now < state.restricted_until:  # somebody else has judged meanwhile
        return
    wary = state.trip_count > 0 and now < state.challenge_until and share > 0.5
    if wary or sample.declined_in_burst > enough or (sample.charges >= enough and share > 0.6):
        _restrict(state, now)
    elif sample.charges >= enough:
        state.challenge_until = max(state.challenge_until, now + CHALLENGE_PERIOD)
    else:
        return
    await alerts.raise_alert(session, AlertKind.CARD_TESTING, object_id=ALERT_OBJECT_ID, now=now)


def _restrict(state: risk_level.RiskState, now: datetime) -> None:
    """Take no small gifts for a while, twice as long as the last time."""
    trips = state.trip_count if now < state.challenge_until else 0
    state.trip_count = trips + 1
    state.restricted_until = now + min(
        RESTRICTION_PERIOD * 2 ** min(trips, 8), MAX_RESTRICTION_PERIOD
    )
    state.challenge_until = state.restricted_until + WATCH_PERIOD
    state.evaluated_since = state.restricted_until


async def _challenge(session: AsyncSession, now: datetime) -> None:
    state = await risk_level.lock_state(session, now)
    state.challenge_until = max(state.challenge_until, now + CHALLENGE_PERIOD)
    await alerts.raise_alert(session, AlertKind.CARD_TESTING, object_id=ALERT_OBJECT_ID, now=now)


async def _is_start_flood(session: AsyncSession, now: datetime) -> bool:
    """Whether far more gifts were started in an hour than at this time of other days, and hardly
    any was paid.
    """
    started, paid = await _count_started(session, now - SAMPLE_WINDOW, now)
    if started <= FLOOD_MIN_STARTS or paid * 5 > started:
        return False
    before = sorted(
        [
            (await _count_started(session, at - SAMPLE_WINDOW, at))[0]
            for at in (now - timedelta(days=day) for day in range(1, FLOOD_BASELINE_DAYS + 1))
        ]
    )
    return started > FLOOD_FACTOR * before[FLOOD_BASELINE_DAYS // 2]


async def _count_started(
    session: AsyncSession, since: datetime, until: datetime
) -> tuple[int, int]:
    """How many gifts were started in a time, and how many of them are paid."""
    found = await session.execute(
        select(
            func.count(), func.count().filter(Contribution.status == ContributionStatus.PAID)
        ).where(Contribution.created_at > since, Contribution.created_at <= until)
    )
    started, paid = found.one()
    return started, paid


async def _sessions_under_attack(session: AsyncSession, now: datetime) -> list[str]:
    """The open sessions in which one card after the other was declined."""
    query = (
        select(Contribution.stripe_session_id)
        .join(PaymentIntentLink, PaymentIntentLink.contribution_id == Contribution.id)
        .join(Charge, Charge.stripe_payment_intent_id == PaymentIntentLink.stripe_payment_intent_id)
        .where(
            Charge.charged_at > now - FIRST_PAYMENT_WITHIN,
            Charge.status == ChargeStatus.FAILED,
            Contribution.status == ContributionStatus.OPEN,
            Contribution.stripe_session_id.is_not(None),
        )
        .group_by(Contribution.id)
        .having(func.count() > MAX_DECLINES_PER_SESSION)
        .order_by(Contribution.id)
        .limit(20)
    )
    return [found for found in await session.scalars(query) if found is not None]


async def _subscription_sessions_under_attack(
    session: AsyncSession, now: datetime, *, is_under_attack: bool
) -> list[str]:
    """The same where a promise is begun: those that the declined cards can have been tried in."""
    declined = await session.execute(
        select(Charge.amount, Charge.currency, func.min(Charge.charged_at))
        .outerjoin(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .where(
            PaymentIntentLink.contribution_id.is_(None),
            Charge.charged_at > now - FIRST_PAYMENT_WITHIN,
            Charge.status == ChargeStatus.FAILED,
        )
        .group_by(Charge.stripe_payment_intent_id, Charge.amount, Charge.currency)
        .having(func.count() > MAX_DECLINES_PER_SESSION)
        .order_by(func.min(Charge.charged_at))
        .limit(20)
    )
    found: list[str] = []
    for amount, currency, first in declined.all():
        may_be = await session.scalars(
            select(Contribution.stripe_session_id)
            .where(
                Contribution.frequency != Frequency.ONCE,
                Contribution.status == ContributionStatus.OPEN,
                Contribution.amount == amount,
                Contribution.currency == currency,
                Contribution.created_at > first - CHECKOUT_LIFETIME,
                Contribution.created_at < first + timedelta(minutes=1),  # two clocks
                Contribution.stripe_session_id.is_not(None),
            )
            .order_by(Contribution.created_at, Contribution.id)
            .limit(20)
        )
        sessions = [one for one in may_be if one is not None]
        found += sessions if is_under_attack or len(sessions) == 1 else []
    return list(dict.fromkeys(found))


async def _expire_session(ctx: Context, session_id: str) -> None:
    """End a session; Stripe tells of it like of any other that ends."""
    try:
        with stripe_client.translate_errors():
            await ctx.stripe.v1.checkout.sessions.expire_async(session_id)
    except stripe.InvalidRequestError:
        return  # paid or over meanwhile
