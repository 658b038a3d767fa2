"""Tables of outgoing events: endpoints, events, and which event went to which endpoint."""

from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, SmallInteger, String, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db


class EventKind(StrEnum):
    """What an event is about: its `type` in the message."""

    CONTRIBUTION_PAID = "contribution.paid"
    CONTRIBUTION_REFUNDED = "contribution.refunded"
    CONTRIBUTION_DISPUTED = "contribution.disputed"
    SUBSCRIPTION_STARTED = "subscription.started"
    SUBSCRIPTION_CHANGED = "subscription.changed"
    SUBSCRIPTION_FAILED = "subscription.failed"
    SUBSCRIPTION_RECOVERED = "subscription.recovered"
    SUBSCRIPTION_ENDED = "subscription.ended"
    PAYOUT_PAID = "payout.paid"
    PERIOD_CLOSED = "period.closed"
    ENDPOINT_TEST = "endpoint.test"


# What an endpoint may ask for; a test is sent whatever it asks for.
OFFERED_KINDS = tuple(kind for kind in EventKind if kind is not EventKind.ENDPOINT_TEST)
# About no contribution. The others are withheld where donors are in danger.
KINDS_OF_THE_BOOKS = (EventKind.PAYOUT_PAID, EventKind.PERIOD_CLOSED, EventKind.ENDPOINT_TEST)


class DisabledReason(StrEnum):
    """Why nothing is sent to an endpoint."""

    BY_COLLEAGUE = "by_colleague"
    FAILING = "failing"  # for three days
    GONE = "gone"  # it answered 410
    UNREADABLE = "unreadable"  # sealed under a secret key that is not here any more


class DeliveryState(StrEnum):
    """What became of an event for one endpoint."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"  # after the last attempt


class Problem(StrEnum):
    """Why an attempt failed."""

    ADDRESS_REFUSED = "address_refused"  # not a public address
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    TLS = "tls"  # its certificate is not valid
    GARBAGE = "garbage"  # it does not speak HTTP
    REDIRECTED = "redirected"  # which is not followed
    STATUS = "status"  # it answered something else than 2xx


class EventEndpoint(db.Base):
    """Where events are sent. `sealed` has its URL and its secrets (`endpoints`)."""

    __tablename__ = "event_endpoints"

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    kinds: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[db.Timestamp]  # what happened before is not sent
    disabled_at: Mapped[db.Timestamp | None]
    disabled_reason: Mapped[DisabledReason | None] = mapped_column(
        db.enum_column(DisabledReason, "disabled_reason_is_known")
    )
    failing_since: Mapped[db.Timestamp | None]
    failures: Mapped[int] = mapped_column(SmallInteger, server_default="0")  # in a row
    retry_at: Mapped[db.Timestamp | None]  # nothing is sent before


class OutgoingEvent(db.Base):
    """One thing that happened. `figures` are the `data` of its message, without a pseudonym."""

    __tablename__ = "outgoing_events"
    __table_args__ = (
        Index("uq_outgoing_events_kind_fact", "kind", "fact", unique=True),
        Index("ix_outgoing_events_recorded_at", "recorded_at"),
    )

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    kind: Mapped[EventKind] = mapped_column(db.enum_column(EventKind, "kind_is_known"))
    fact: Mapped[str] = mapped_column(String(255))  # what makes it one event, however often seen
    occurred_at: Mapped[db.Timestamp]
    recorded_at: Mapped[db.Timestamp]
    contribution_id: Mapped[db.Id | None] = mapped_column(index=True)
    figures: Mapped[dict[str, Any]] = mapped_column(JSONB)


class EventDelivery(db.Base):
    """An event for one endpoint, with its last attempt."""

    __tablename__ = "event_deliveries"
    __table_args__ = (
        Index(
            "ix_event_deliveries_waiting",
            "endpoint_id",
            "next_attempt_at",
            postgresql_where="state = 'waiting'",
        ),
    )

    event_id: Mapped[db.Id] = mapped_column(
        ForeignKey("outgoing_events.id", ondelete="CASCADE"), primary_key=True
    )
    endpoint_id: Mapped[db.Id] = mapped_column(
        ForeignKey("event_endpoints.id", ondelete="CASCADE"), primary_key=True
    )
    state: Mapped[DeliveryState] = mapped_column(db.enum_column(DeliveryState, "state_is_known"))
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    next_attempt_at: Mapped[db.Timestamp | None]  # null unless it waits
    last_attempt_at: Mapped[db.Timestamp | None]
    problem: Mapped[Problem | None] = mapped_column(db.enum_column(Problem, "problem_is_known"))
    response_status: Mapped[int | None] = mapped_column(SmallInteger)
    response_excerpt: Mapped[str] = mapped_column(String(200), server_default="")
