"""Card testing: noticed from counts of declined charges, answered by raising the risk level.

Only first payments are sampled: the renewals of a month are declined in their dozens, and that is
no attack. Shares count as well as numbers, so that a good day is not taken for one. A restriction
lasts a quarter of an hour, twice as long each time it follows another; for twelve hours after one a
few declines are enough for the next.

A session in which one card after another is declined is expired. A single contribution's charge
says which session it was made in. The first charge of a subscription does not: it has no metadata
of ours, its session has no payment intent, and there is neither invoice nor subscription before one
is paid. So its session is found by amount, currency and time: expired is the only one it can be or,
under attack, every one it can be. An honest reader among those reads that nothing was charged,
and may start again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import stripe
from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased
from stripe.checkout import Session as CheckoutSession

from payments.core.frequency import Frequency
from payments.giving.charges import Charge, ChargeStatus
from payments.giving.checkout_session import CHECKOUT_LIFETIME
from payments.giving.contributions import Contribution, ContributionStatus
from payments.giving.payment_intent_links import PaymentIntentLink
from payments.infra import alerts, isolation, retries, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.risk import risk_level

ALERT_OBJECT_ID = "risk_state"  # the one row that an alert is about
SAMPLE_SIZE = 50  # the newest charges
SAMPLE_WINDOW, BURST_WINDOW = timedelta(hours=1), timedelta(minutes=5)
FIRST_PAYMENT_WITHIN = timedelta(hours=2)  # of the contribution's start: later is a renewal
INVOICE_LINK_DELAY = timedelta(minutes=1)  # a renewal is linked by its invoice by then
MAX_DECLINES_PER_SESSION = 4  # one more expires the session
CHALLENGE_PERIOD = timedelta(hours=1)
RESTRICTION_PERIOD, MAX_RESTRICTION_PERIOD = timedelta(minutes=15), timedelta(hours=4)
WATCH_PERIOD = timedelta(hours=12)  # after a restriction
# A flood has more starts in an hour than the minimum, and than so many times the median of the same
# hour on the days before.
FLOOD_MIN_STARTS, FLOOD_FACTOR, FLOOD_BASELINE_DAYS = 60, 5, 14
FLOOD_STARTS_PER_PAYMENT = 5  # with fewer starts for each payment it is no flood


page = aliased(Contribution)  # beside the contribution that a charge is linked to


@dataclass(frozen=True, slots=True)
class Sample:
    """Counts of charges: all, those declined, and those declined in the last minutes."""

    charges: int
    declined: int
    declined_in_burst: int


async def evaluate(ctx: Context) -> None:
    """Raise the risk level if the newest charges call for it, and expire sessions under attack."""
    now = ctx.now()
    async with ctx.sessions.begin() as session:
        state = await session.get(risk_level.RiskState, 1)
        if state is None or now >= state.restricted_until:
            since = state.evaluated_since if state else None
            sample = await _take_sample(session, now, since=since)
            await _apply_risk_level(ctx, session, sample, now)
        session_ids = await _sessions_under_attack(session, now)
        is_under_attack = (
            await risk_level.current_level(session, now) is not risk_level.RiskLevel.NORMAL
        )
        session_ids += await _subscription_sessions_under_attack(
            session, now, is_under_attack=is_under_attack
        )
    await isolation.for_each(
        ctx,
        session_ids,
        lambda session_id: _expire_session(ctx, session_id),
        job=retries.schedule_job("check_card_testing"),
    )


async def scheduled_check(ctx: Context) -> None:
    """Evaluate by schedule too: for a flood of unpaid starts, and for the end of an attack."""
    await evaluate(ctx)
    now = ctx.now()
    async with ctx.sessions.begin() as session:
        if await _is_start_flood(session, now):
            await _challenge(session, now)
        if await risk_level.current_level(session, now) is risk_level.RiskLevel.NORMAL:
            await alerts.close(session, AlertKind.CARD_TESTING, object_id=ALERT_OBJECT_ID, now=now)


async def _take_sample(session: AsyncSession, now: datetime, *, since: datetime | None) -> Sample:
    start = max(now - SAMPLE_WINDOW, since or now - SAMPLE_WINDOW)
    is_first = Charge.charged_at < Contribution.created_at + FIRST_PAYMENT_WITHIN
    # The declined first charge of a subscription has no link; a renewal's invoice soon makes one.
    # A shop's has none for an hour: it counts only where one of our pages may have made it.
    is_unlinked = and_(
        PaymentIntentLink.stripe_payment_intent_id.is_(None),
        Charge.charged_at < now - INVOICE_LINK_DELAY,
        _recurring_pages(Charge.amount, Charge.currency, Charge.charged_at).exists(),
    )
    newest = (
        select(Charge.status, Charge.charged_at)
        .outerjoin(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .outerjoin(Contribution, Contribution.id == PaymentIntentLink.contribution_id)
        .where(Charge.charged_at >= start, or_(is_unlinked, is_first))
        .order_by(Charge.charged_at.desc())
        .limit(SAMPLE_SIZE)
    )
    rows = [(status, charged_at) for status, charged_at in await session.execute(newest)]
    declined = [charged_at for status, charged_at in rows if status is ChargeStatus.FAILED]
    return Sample(len(rows), len(declined), sum(1 for at in declined if at > now - BURST_WINDOW))


async def _apply_risk_level(
    ctx: Context, session: AsyncSession, sample: Sample, now: datetime
) -> None:
    threshold = ctx.settings.card_testing_declines
    share = sample.declined / max(sample.charges, 1)
    if sample.declined < max(threshold // 4, 1) or share <= 0.3:
        return
    state = await risk_level.lock_state(session, now)
    if now < state.restricted_until:  # another process has evaluated meanwhile
        return
    is_again = state.trip_count > 0 and now < state.challenge_until and share > 0.5
    is_burst = sample.declined_in_burst > threshold
    if is_again or is_burst or (sample.charges >= threshold and share > 0.6):
        _restrict(state, now)
    elif sample.charges >= threshold:
        state.challenge_until = max(state.challenge_until, now + CHALLENGE_PERIOD)
    else:
        return
    await alerts.raise_alert(session, AlertKind.CARD_TESTING, object_id=ALERT_OBJECT_ID, now=now)


def _restrict(state: risk_level.RiskState, now: datetime) -> None:
    """Refuse small contributions for a while, twice as long as the last time."""
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
    """Whether far more contributions were started in an hour than at this time of other days, and
    hardly any was paid.
    """
    started, paid = await _count_started(session, now - SAMPLE_WINDOW, now)
    if started <= FLOOD_MIN_STARTS or paid * FLOOD_STARTS_PER_PAYMENT > started:
        return False
    baseline = []
    for day in range(1, FLOOD_BASELINE_DAYS + 1):
        until = now - timedelta(days=day)
        baseline.append((await _count_started(session, until - SAMPLE_WINDOW, until))[0])
    return started > FLOOD_FACTOR * sorted(baseline)[FLOOD_BASELINE_DAYS // 2]


async def _count_started(
    session: AsyncSession, since: datetime, until: datetime
) -> tuple[int, int]:
    """Return how many contributions were started in a time, and how many of them are paid."""
    counts = await session.execute(
        select(
            func.count(), func.count().filter(Contribution.status == ContributionStatus.PAID)
        ).where(Contribution.created_at > since, Contribution.created_at <= until)
    )
    started, paid = counts.one()
    return started, paid


async def _sessions_under_attack(session: AsyncSession, now: datetime) -> list[str]:
    """Return the open sessions in which too many cards were declined."""
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
    return [id_ for id_ in await session.scalars(query) if id_ is not None]


async def _subscription_sessions_under_attack(
    session: AsyncSession, now: datetime, *, is_under_attack: bool
) -> list[str]:
    """Return the open sessions of subscriptions that the declined charges may belong to."""
    declined = await session.execute(
        select(Charge.amount, Charge.currency, func.min(Charge.charged_at))
        .outerjoin(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .where(
            PaymentIntentLink.stripe_payment_intent_id.is_(None),
            Charge.charged_at > now - FIRST_PAYMENT_WITHIN,
            Charge.status == ChargeStatus.FAILED,
        )
        .group_by(Charge.stripe_payment_intent_id, Charge.amount, Charge.currency)
        .having(func.count() > MAX_DECLINES_PER_SESSION)
        .order_by(func.min(Charge.charged_at))
        .limit(20)
    )
    session_ids: list[str] = []
    for amount, currency, first_at in declined.all():
        pages = _recurring_pages(amount, currency, first_at)
        possible = await session.scalars(
            pages.with_only_columns(page.stripe_session_id)
            .where(
                page.status == ContributionStatus.OPEN,
                page.stripe_session_id.is_not(None),
            )
            .order_by(page.created_at, page.id)
            .limit(20)
        )
        candidates = [id_ for id_ in possible if id_ is not None]
        session_ids += candidates if is_under_attack or len(candidates) == 1 else []
    return list(dict.fromkeys(session_ids))


def _recurring_pages(
    amount: int | InstrumentedAttribute[Any],
    currency: str | InstrumentedAttribute[Any],
    charged_at: datetime | InstrumentedAttribute[Any],
) -> Select[str]:
    """Return the query for recurring contributions on whose page a charge may have been made."""
    return select(page.id).where(
        page.frequency != Frequency.ONCE,
        page.amount == amount,
        page.currency == currency,
        page.created_at > charged_at - CHECKOUT_LIFETIME,
        page.created_at < charged_at + timedelta(minutes=1),  # two clocks
    )


async def _expire_session(ctx: Context, session_id: str) -> None:
    """Expire a session at Stripe; its webhook writes the outcome, as for any other.

    One that stays open although Stripe confirmed it raises an alert.
    """
    try:
        with stripe_client.translate_errors():
            expired = await ctx.stripe.v1.checkout.sessions.expire_async(session_id)
    except stripe.InvalidRequestError:
        return  # paid or expired meanwhile
    if expired.status == "open":
        async with ctx.sessions.begin() as session:
            await alerts.raise_alert(
                session, AlertKind.CHANGE_NOT_MADE, object_id=session_id, now=ctx.now()
            )


async def on_checkout_ended(ctx: Context, fetched: CheckoutSession) -> None:
    """Close the alert about a session that was not expired, once it has ended."""
    if fetched.status != "open":
        async with ctx.sessions.begin() as session:
            await alerts.close(
                session, AlertKind.CHANGE_NOT_MADE, object_id=fetched.id, now=ctx.now()
            )
