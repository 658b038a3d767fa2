"""Delivery: what is due goes to each endpoint, one endpoint at a time, until it is taken.

A delivery is a row with the time of its next attempt; a schedule turns what is due into one job for
each endpoint, which comes after every other job. So an endpoint that is slow, refuses or hangs
keeps no other from its events, takes one worker at most, and never holds up the books.

An event is tried ten times within about three days (`RETRY_DELAYS`). After `MAX_FAILURES` in a row
an endpoint is asked once at a time, less and less often, and what waits spends no attempt
meanwhile. One that has taken nothing for `DISABLE_AFTER`, or answers 410, is disabled, and an alert
says so; its events wait until a colleague turns it on, or until they are `RETENTION` old.
"""

import random
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Select, delete, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.safety_policy import EventRule, Policy
from payments.infra import job_queue
from payments.infra.context import Context
from payments.infra.outgoing_events import addresses, endpoints, payloads, transport
from payments.infra.outgoing_events.endpoints import Sealed, Unreadable
from payments.infra.outgoing_events.tables import (
    KINDS_OF_THE_BOOKS,
    DeliveryState,
    DisabledReason,
    EventDelivery,
    EventEndpoint,
    OutgoingEvent,
)
from payments.infra.outgoing_events.transport import Answer

log = structlog.get_logger("payments.infra.outgoing_events")
DELIVERY_JOB = f"{job_queue.AFTER_OTHERS_PREFIX}deliver_events"
BATCH_SIZE = 50  # events that one job sends
RETRY_DELAYS = tuple(
    timedelta(minutes=minutes) for minutes in (1, 5, 30, 120, 300, 600, 840, 1200, 1440)
)
MAX_FAILURES = 3  # in a row, before an endpoint is asked once at a time
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)
DISABLE_AFTER = timedelta(days=3)
RETENTION = timedelta(days=14)  # of an event, whether or not it was taken
MISSED_WITHIN = timedelta(days=7)
HTTP_GONE = 410

# What was written without the other seeing it: a charge and what it is for, by two transactions at
# once; a refund or a dispute before its charge. It is recorded here, a minute later.
_RECORD_MISSED_SQL = text("""
    WITH happened AS (
        SELECT 'contribution.paid' AS kind, stripe_charge_id AS fact, charged_at AS at, synced_at,
               stripe_charge_id AS charge, amount, currency
          FROM charges
         WHERE status = 'succeeded' AND charged_at > :since
         UNION ALL
        SELECT 'contribution.refunded', id, requested_at, synced_at,
               stripe_charge_id, amount, currency
          FROM refunds
         WHERE status = 'succeeded' AND requested_at > :since
         UNION ALL
        SELECT 'contribution.disputed', stripe_dispute_id, opened_at, synced_at,
               stripe_charge_id, amount, currency
          FROM disputes
         WHERE status NOT IN ('warning_needs_response', 'warning_under_review', 'warning_closed',
                              'prevented', 'unknown')
           AND opened_at > :since
    )
    SELECT record_event_of_payment(kind, fact, at, happened.synced_at, charge, happened.amount,
               happened.currency)
      FROM happened
      JOIN charges AS paid ON paid.stripe_charge_id = happened.charge
      JOIN payment_intent_links AS link USING (stripe_payment_intent_id)
     WHERE link.contribution_id IS NOT NULL
       AND EXISTS (SELECT FROM event_endpoints AS endpoint
                    WHERE happened.kind = ANY(endpoint.kinds) AND endpoint.created_at <= at)
       AND NOT EXISTS (SELECT FROM outgoing_events AS event
                        WHERE event.kind = happened.kind AND event.fact = happened.fact)
""")
# What was recorded while its contribution was being erased.
_FORGET_ERASED_SQL = text("""
    DELETE FROM outgoing_events
     WHERE contribution_id IN (
           SELECT id FROM contributions WHERE protected OR erased OR dropped)
""")
_IS_NOT_ERASED_SQL = text("""
    NOT EXISTS (SELECT FROM contributions AS given
                 WHERE given.id = outgoing_events.contribution_id
                   AND (given.protected OR given.erased OR given.dropped))
""")


# --- what is due ----------------------------------------------------------------------------------


async def enqueue_due(ctx: Context) -> int:
    """Enqueue a job for each endpoint that something is due for. Returns how many.

    Before that, what may not leave is deleted.
    """
    policy, now = ctx.settings.safety_policy, ctx.now()
    async with ctx.sessions.begin() as session:
        if await session.scalar(select(EventEndpoint.id).limit(1)) is None:
            return 0
        if not _hides_gifts(policy):
            await session.execute(_RECORD_MISSED_SQL, {"since": now - MISSED_WITHIN})
        await _delete_withheld(session, policy)
        due = (
            select(EventEndpoint.id)
            .where(
                EventEndpoint.disabled_at.is_(None),
                or_(EventEndpoint.retry_at.is_(None), EventEndpoint.retry_at <= now),
                EventEndpoint.id.in_(
                    _due(policy, now).with_only_columns(EventDelivery.endpoint_id)
                ),
            )
            .order_by(EventEndpoint.id)
        )
        ids = list(await session.scalars(due))
        for endpoint_id in ids:
            await job_queue.enqueue_sync(session, DELIVERY_JOB, endpoint_id)
    return len(ids)


def _hides_gifts(policy: Policy | None) -> bool:
    return policy is not None and policy.outgoing_events is EventRule.HIDDEN


async def _delete_withheld(session: AsyncSession, policy: Policy | None) -> None:
    """Delete the events that no endpoint may get: of erased and protected contributions and, where
    the policy hides them, of all.
    """
    await session.execute(_FORGET_ERASED_SQL)
    if _hides_gifts(policy):
        await session.execute(
            delete(OutgoingEvent).where(OutgoingEvent.kind.not_in(KINDS_OF_THE_BOOKS))
        )


def _due(policy: Policy | None, now: datetime) -> Select[EventDelivery, OutgoingEvent]:
    """Return the query of what is due. With a policy, of gifts what was recorded before today: when
    a message comes would say when somebody paid, and the order in which they come as well.
    """
    is_due = (EventDelivery.state == DeliveryState.WAITING) & (EventDelivery.next_attempt_at <= now)
    query = (
        select(EventDelivery, OutgoingEvent)
        .join(OutgoingEvent, OutgoingEvent.id == EventDelivery.event_id)
        .where(is_due)
    )
    if policy is None:
        return query.order_by(EventDelivery.next_attempt_at, OutgoingEvent.id)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    is_over = OutgoingEvent.recorded_at < today
    return query.where(or_(OutgoingEvent.kind.in_(KINDS_OF_THE_BOOKS), is_over)).order_by(
        OutgoingEvent.id
    )


# --- one endpoint ---------------------------------------------------------------------------------


async def deliver(ctx: Context, endpoint_id: str) -> None:
    """Send an endpoint what is due, until it has failed too often or a batch is sent.

    A job that runs twice at once sends twice; a receiver knows an event by its `webhook-id`.
    """
    for _ in range(BATCH_SIZE):
        async with ctx.sessions() as session:
            found = await _next_delivery(ctx, session, endpoint_id)
        if found is None:
            return
        endpoint, event = found
        try:
            opened = endpoints.unseal(ctx.settings, endpoint)
        except Unreadable:
            await _disable(ctx, endpoint_id, DisabledReason.UNREADABLE)
            return
        answer = await _send(ctx, event, opened)
        if not await _record_answer(ctx, event.id, endpoint_id, answer):
            return
    async with ctx.sessions.begin() as session:
        await job_queue.enqueue_sync(session, DELIVERY_JOB, endpoint_id)


async def _next_delivery(
    ctx: Context, session: AsyncSession, endpoint_id: str
) -> tuple[EventEndpoint, OutgoingEvent] | None:
    policy, now = ctx.settings.safety_policy, ctx.now()
    endpoint = await session.get(EventEndpoint, endpoint_id)
    if endpoint is None or endpoint.disabled_at is not None:
        return None
    if endpoint.retry_at is not None and endpoint.retry_at > now:
        return None
    query = _due(policy, now).where(EventDelivery.endpoint_id == endpoint_id, _IS_NOT_ERASED_SQL)
    if _hides_gifts(policy):
        query = query.where(OutgoingEvent.kind.in_(KINDS_OF_THE_BOOKS))
    row = (await session.execute(query.limit(1))).first()
    return None if row is None else (endpoint, row[1])


async def _send(ctx: Context, event: OutgoingEvent, opened: Sealed) -> Answer:
    body = payloads.body_of(event, opened, ctx.settings.safety_policy)
    return await transport.post(
        opened.url,
        body,
        payloads.headers_of(event.id, body, opened, now=ctx.now()),
        loopback=addresses.allows_loopback(ctx.settings),
    )


async def _record_answer(ctx: Context, event_id: str, endpoint_id: str, answer: Answer) -> bool:
    """Record an attempt. Returns whether the endpoint may be asked for the next one at once."""
    now = ctx.now()
    async with ctx.sessions.begin() as session:
        endpoint = await session.get(EventEndpoint, endpoint_id, with_for_update=True)
        row = await session.get(EventDelivery, (event_id, endpoint_id), with_for_update=True)
        if endpoint is None or row is None:
            return endpoint is not None
        row.attempts, row.last_attempt_at = row.attempts + 1, now
        row.problem, row.response_status = answer.problem, answer.status
        row.response_excerpt = answer.excerpt
        if answer.problem is None:
            row.state, row.next_attempt_at = DeliveryState.DELIVERED, None
            endpoint.failing_since = endpoint.retry_at = None
            endpoint.failures = 0
            return True
        log.warning("event_not_delivered", outcome=answer.problem.value, attempt=row.attempts)
        _schedule_retry(row, answer, now)
        return await _record_failure(session, endpoint, answer, now)


def _schedule_retry(row: EventDelivery, answer: Answer, now: datetime) -> None:
    if row.attempts > len(RETRY_DELAYS):
        row.state, row.next_attempt_at = DeliveryState.GIVEN_UP, None
        return
    delay = RETRY_DELAYS[row.attempts - 1] * random.uniform(0.9, 1.1)  # noqa: S311 - spreads load
    row.next_attempt_at = now + max(delay, answer.retry_after or timedelta())


async def _record_failure(
    session: AsyncSession, endpoint: EventEndpoint, answer: Answer, now: datetime
) -> bool:
    """Count a failure of an endpoint. Returns whether it may be asked again at once."""
    endpoint.failures = min(endpoint.failures + 1, 1000)
    endpoint.failing_since = endpoint.failing_since or now
    if answer.status == HTTP_GONE:
        await endpoints.disable(session, endpoint, DisabledReason.GONE, now=now)
        return False
    if now - endpoint.failing_since >= DISABLE_AFTER:
        await endpoints.disable(session, endpoint, DisabledReason.FAILING, now=now)
        return False
    if endpoint.failures < MAX_FAILURES:
        return True
    pause = job_queue.backoff(
        endpoint.failures - MAX_FAILURES + 1, first=FIRST_PAUSE, longest=LONGEST_PAUSE
    )
    endpoint.retry_at = now + max(pause, answer.retry_after or timedelta())
    return False


async def _disable(ctx: Context, endpoint_id: str, reason: DisabledReason) -> None:
    async with ctx.sessions.begin() as session:
        endpoint = await session.get(EventEndpoint, endpoint_id, with_for_update=True)
        if endpoint is not None:
            await endpoints.disable(session, endpoint, reason, now=ctx.now())


# --- retention ------------------------------------------------------------------------------------


async def purge(session: AsyncSession, now: datetime) -> None:
    """Delete the events that are `RETENTION` old, with all that is in the log about them."""
    await session.execute(delete(OutgoingEvent).where(OutgoingEvent.recorded_at < now - RETENTION))


async def count_waiting(session: AsyncSession) -> int:
    """Return how many events wait for an endpoint that is on."""
    query = (
        select(func.count())
        .select_from(EventDelivery)
        .join(EventEndpoint, EventEndpoint.id == EventDelivery.endpoint_id)
        .where(EventDelivery.state == DeliveryState.WAITING, EventEndpoint.disabled_at.is_(None))
    )
    return int(await session.scalar(query) or 0)
