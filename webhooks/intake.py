"""Intake of Stripe's events: verify, store, enqueue. Nothing is applied, nothing personal is read.

The signature is checked over the raw bytes; five fields are decoded; the event and the job for its
object are written in one statement, and the answer is 200 only after its commit. Events that
arrive together share a statement, so a busy minute costs few commits and still no event is
answered before its own.
"""

import asyncio
import hmac
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
import psycopg
from sqlalchemy import Index, String
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import from_unix
from payments.core.errors import BadWebhook, DatabaseUnavailable
from payments.infra import db, job_queue

MAX_BODY_BYTES = 256 * 1024
MAX_HEADER_CHARS = 1024
MAX_SIGNATURES = 4  # while secrets are rolled Stripe signs with each of them
TIMESTAMP_TOLERANCE_SECONDS = 300  # to either side
MAX_BATCH = 256  # events in one statement
# An event that comes again so long after it was stored is sent again on purpose: its object is
# synced once more. Sooner, it is one of the copies that every webhook may have.
RESENT_AFTER = timedelta(minutes=1)

# Objects that the books hold by their ids anyway. Of any other, which would lead to a person, an
# event keeps no id.
BOOKED_TYPES = frozenset({"charge", "dispute", "payout", "radar.early_fraud_warning", "refund"})

SafeString = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_.\-]+\Z", max_length=255)]


class StripeEvent(db.Base):
    """An event that Stripe delivered. Its id is retained for ever; its body is never stored, nor is
    the id of an object that leads to a person.
    """

    __tablename__ = "stripe_events"
    # Small, and cheap to add to: rows come in the order of their time.
    __table_args__ = (
        Index("ix_stripe_events_received_at", "received_at", postgresql_using="brin"),
    )

    id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(String(255))
    object_type: Mapped[str] = mapped_column(String(255))
    object_id: Mapped[db.StripeId | None] = mapped_column(index=True)
    api_version: Mapped[str | None] = mapped_column(String(255))
    created: Mapped[db.Timestamp]
    received_at: Mapped[db.Timestamp]


class EventObject(msgspec.Struct, frozen=True):
    """The object an event is about. A preview, such as `invoice.upcoming`, has no id."""

    object: SafeString
    id: SafeString | None = None


class EventData(msgspec.Struct, frozen=True):
    """The `data` of an event."""

    object: EventObject


class EventEnvelope(msgspec.Struct, frozen=True):
    """All that is read of an event."""

    id: SafeString
    type: SafeString
    created: Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
    livemode: bool
    data: EventData
    api_version: SafeString | None = None
    account: SafeString | None = None


class ForeignEvent(Exception):
    """An event that Stripe signed for us, about another mode or a connected account."""


_decoder = msgspec.json.Decoder(EventEnvelope)
_TIMESTAMP_PATTERN = re.compile(r"[0-9]{1,12}")
_SIGNATURE_PATTERN = re.compile(r"[0-9a-f]{64}")


def verify_signature(body: bytes, header: str, *, keys: Sequence[bytes], now: datetime) -> None:
    """Verify Stripe's signature with any of the keys. Raises BadWebhook.

    The header is `t=<seconds>,v1=<hex>` with up to four v1 parts; other schemes are ignored.
    https://docs.stripe.com/webhooks#verify-manually
    """
    if len(header) > MAX_HEADER_CHARS or not header.isascii():
        raise BadWebhook("The signature header is malformed.")
    parts = [part.partition("=")[::2] for part in header.split(",")]
    timestamps = [value for scheme, value in parts if scheme == "t"]
    signatures = [value for scheme, value in parts if scheme == "v1"]
    if len(timestamps) != 1 or not _TIMESTAMP_PATTERN.fullmatch(timestamps[0]):
        raise BadWebhook("The signature header has no single timestamp.")
    if not 1 <= len(signatures) <= MAX_SIGNATURES or not all(
        _SIGNATURE_PATTERN.fullmatch(signature) for signature in signatures
    ):
        raise BadWebhook("The signature header has no valid v1 signature.")
    if abs(now.timestamp() - int(timestamps[0])) > TIMESTAMP_TOLERANCE_SECONDS:
        raise BadWebhook("The signature is too old or from the future.")
    signed = timestamps[0].encode() + b"." + body
    for key in keys:
        expected = hmac.digest(key, signed, "sha256").hex()
        if any(hmac.compare_digest(expected, signature) for signature in signatures):
            return
    raise BadWebhook("The signature does not match the body.")


def decode(body: bytes, *, livemode: bool) -> EventEnvelope:
    """Decode the envelope of an event of this account and mode.

    Raises BadWebhook for what is no event, and ForeignEvent.
    """
    try:
        str(body, "utf-8")  # msgspec checks only the fields it decodes
        event = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadWebhook("The body is not a Stripe event.") from error
    if event.livemode is not livemode or event.account is not None:
        raise ForeignEvent
    return event


_STORE_AND_ENQUEUE_SQL = f"""
    WITH delivered AS (
        SELECT * FROM unnest(
            %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[],
            %s::bool[], %s::bool[]
        ) AS event(id, type, object_type, object_id, api_version, created, is_synced, is_booked)
    ), stored AS (
        INSERT INTO stripe_events
               (id, type, object_type, object_id, api_version, created, received_at)
        SELECT DISTINCT ON (id) id, type, object_type, CASE WHEN is_booked THEN object_id END,
               api_version, created, %s
          FROM delivered
         ORDER BY id
            ON CONFLICT DO NOTHING
        RETURNING id
    ), sync_requests AS (
        SELECT delivered.object_type, delivered.object_id, 1 AS attempt,
               NULL::timestamptz AS run_at
          FROM delivered
          LEFT JOIN stored USING (id)
          LEFT JOIN stripe_events AS earlier USING (id)
         WHERE is_synced
           AND (stored.id IS NOT NULL OR earlier.received_at < %s)
    ), enqueued AS ({job_queue.ENQUEUE_SQL} RETURNING 1)
    SELECT id FROM stored
"""  # noqa: S608 - one constant of ours


class Inbox:
    """Stores events, several in a statement when several come at once."""

    def __init__(self, engine: AsyncEngine, *, synced_types: frozenset[str]) -> None:
        self._engine = engine
        self._synced_types = synced_types
        self._pending: list[tuple[EventEnvelope, datetime, asyncio.Future[bool]]] = []
        self._flushing: asyncio.Task[None] | None = None

    def enqueues(self, event: EventEnvelope) -> bool:
        """Whether a sync is enqueued because of this event."""
        return event.data.object.id is not None and event.data.object.object in self._synced_types

    async def store(self, event: EventEnvelope, *, now: datetime) -> bool:
        """Store the event and enqueue a sync of its object, in one transaction.

        Returns whether the event was new, after the commit. Raises DatabaseUnavailable when it
        could not be stored; Stripe then sends it again.
        """
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pending.append((event, now, done))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        return await done

    async def _flush(self) -> None:
        while self._pending:
            batch, self._pending = self._pending[:MAX_BATCH], self._pending[MAX_BATCH:]
            try:
                new = await self._store_batch([event for event, _, _ in batch], now=batch[0][1])
            except Exception as error:  # noqa: BLE001 - each caller gets it, whatever it is
                for _, _, done in batch:
                    if not done.cancelled():
                        done.set_exception(_as_unavailable(error))
                continue
            for event, _, done in batch:
                if not done.cancelled():
                    done.set_result(event.id in new)
                    new.discard(event.id)  # a second delivery in the same batch is not new

    async def _store_batch(self, events: Sequence[EventEnvelope], *, now: datetime) -> set[str]:
        """Store the events in one statement, which is one transaction. Returns the ids that were
        new.
        """
        params = (
            [event.id for event in events],
            [event.type for event in events],
            [event.data.object.object for event in events],
            [event.data.object.id for event in events],
            [event.api_version for event in events],
            [from_unix(event.created) for event in events],
            [self.enqueues(event) for event in events],
            [event.data.object.object in BOOKED_TYPES for event in events],
            now,
            now - RESENT_AFTER,
        )
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            driver = (await connection.get_raw_connection()).driver_connection
            assert isinstance(driver, psycopg.AsyncConnection)
            try:
                cursor = await driver.execute(_STORE_AND_ENQUEUE_SQL, params, prepare=True)
            except psycopg.errors.ReadOnlySqlTransaction:  # a standby, after a fail-over
                await connection.invalidate()
                raise
            return {row[0] for row in await cursor.fetchall()}


def _as_unavailable(error: Exception) -> Exception:
    """Return DatabaseUnavailable for a lost database, which is expected; any other error is a bug
    and is returned as it is.
    """
    if not isinstance(error, SQLAlchemyError | psycopg.Error | OSError):
        return error
    unavailable = DatabaseUnavailable("The event was not stored. Please send it again.")
    unavailable.__cause__ = error
    return unavailable
