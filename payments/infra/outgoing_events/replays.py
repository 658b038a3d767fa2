"""The log of deliveries, sending events again, and test events."""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import NotFound
from payments.core.identifiers import is_row_id, new_row_id
from payments.infra import job_queue
from payments.infra.outgoing_events.delivery import DELIVERY_JOB
from payments.infra.outgoing_events.tables import (
    DeliveryState,
    EventDelivery,
    EventEndpoint,
    EventKind,
    OutgoingEvent,
)

AGAIN = {
    "state": DeliveryState.WAITING,
    "attempts": 0,
    "problem": None,
    "response_status": None,
    "response_excerpt": "",
}


async def list_deliveries(
    session: AsyncSession,
    *,
    endpoint_id: str | None = None,
    state: DeliveryState | None = None,
    limit: int,
    offset: int = 0,
) -> list[tuple[EventDelivery, OutgoingEvent]]:
    """Return a page of deliveries with their events, the newest events first."""
    query = (
        select(EventDelivery, OutgoingEvent)
        .join(OutgoingEvent, OutgoingEvent.id == EventDelivery.event_id)
        .order_by(
            OutgoingEvent.recorded_at.desc(), OutgoingEvent.id.desc(), EventDelivery.endpoint_id
        )
        .limit(limit)
        .offset(offset)
    )
    if endpoint_id is not None:
        query = query.where(EventDelivery.endpoint_id == endpoint_id)
    if state is not None:
        query = query.where(EventDelivery.state == state)
    rows = await session.execute(query)
    return [(delivery, event) for delivery, event in rows]


async def replay(
    session: AsyncSession, endpoint: EventEndpoint, event_id: str, *, now: datetime
) -> None:
    """Send one event to an endpoint again, under the same `webhook-id`. Raises NotFound."""
    replayed = (
        await session.scalar(
            update(EventDelivery)
            .where(EventDelivery.event_id == event_id, EventDelivery.endpoint_id == endpoint.id)
            .values(next_attempt_at=now, **AGAIN)
            .returning(EventDelivery.event_id)
        )
        if is_row_id(event_id)
        else None
    )
    if replayed is None:
        raise NotFound("There is no such event for this endpoint, or it is more than 14 days old.")
    await _enqueue(session, endpoint)


async def replay_range(
    session: AsyncSession,
    endpoint: EventEndpoint,
    *,
    since: datetime,
    until: datetime,
    now: datetime,
) -> int:
    """Send an endpoint again all that happened in a time, of what it asks for. Returns how many.

    `since` is included, `until` is not. What was recorded for another endpoint before this one was
    there is sent too.
    """
    query = select(OutgoingEvent.id).where(
        OutgoingEvent.kind.in_(endpoint.kinds),
        OutgoingEvent.occurred_at >= since,
        OutgoingEvent.occurred_at < until,
    )
    ids = list(await session.scalars(query))
    if ids:
        again = {"next_attempt_at": now, **AGAIN}
        await session.execute(
            insert(EventDelivery).on_conflict_do_update(
                index_elements=["event_id", "endpoint_id"], set_=again
            ),
            [{"event_id": event_id, "endpoint_id": endpoint.id, **again} for event_id in ids],
        )
        await _enqueue(session, endpoint)
    return len(ids)


async def send_test(session: AsyncSession, endpoint: EventEndpoint, *, now: datetime) -> str:
    """Send a test event to one endpoint, whatever it asks for. Returns the event's id."""
    event_id = new_row_id()
    session.add(
        OutgoingEvent(
            id=event_id,
            kind=EventKind.ENDPOINT_TEST,
            fact=event_id,
            occurred_at=now,
            recorded_at=now,
            figures={"endpoint": endpoint.name},
        )
    )
    await session.flush()
    session.add(
        EventDelivery(event_id=event_id, endpoint_id=endpoint.id, next_attempt_at=now, **AGAIN)
    )
    await session.flush()
    await _enqueue(session, endpoint)
    return event_id


async def _enqueue(session: AsyncSession, endpoint: EventEndpoint) -> None:
    """Have a job look at once, also at an endpoint that is left alone for a while."""
    endpoint.retry_at = None
    await session.flush()
    await job_queue.enqueue_sync(session, DELIVERY_JOB, endpoint.id)
