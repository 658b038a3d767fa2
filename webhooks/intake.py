"""The way in for Stripe's events: verify, keep, ring. Nothing is applied and nothing personal is
read.

The signature is checked over the raw bytes; five fields are decoded; the event and the job for its
object are written in one statement, and the answer is 200 only after its commit. Events that
arrive together share a statement, so a busy minute costs few commits and still no event is
answered before its own.
"""

import asyncio
import hmac
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
import psycopg
from sqlalchemy import String
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import from_unix
from payments.core.errors import BadWebhook, DatabaseUnavailable
from payments.infra import db, job_queue

MAX_BODY_BYTES = 256 * 1024
MAX_HEADER_CHARS = 1024
TIMESTAMP_TOLERANCE_SECONDS = 300  # seconds, to either side
MAX_BATCH = 256

SafeString = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_.\-]+\Z", max_length=255)]


class StripeEvent(db.Base):
    """An event Stripe told us of. Kept for ever by its id; the body is never kept."""

    __tablename__ = "stripe_events"

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


_decoder = msgspec.json.Decoder(EventEnvelope)
_TIMESTAMP_PATTERN = re.compile(r"[0-9]{1,12}")
_SIGNATURE_PATTERN = re.compile(r"[0-9a-f]{64}")


def verify_signature(body: bytes, header: str, *, keys: Sequence[bytes], now: datetime) -> None:
    """Check Stripe's signature, or raise BadWebhook.

    The header is `t=<seconds>,v1=<hex>` with up to four v1 parts; other schemes are passed over.
    https://docs.stripe.com/webhooks#verify-manually
    """
    if len(header) > MAX_HEADER_CHARS or not header.isascii():
        raise BadWebhook("The signature header is malformed.")
    parts = [part.partition("=")[::2] for part in header.split(",")]
    moments = [value for scheme, value in parts if scheme == "t"]
    digests = [value for scheme, value in parts if scheme == "v1"]
    if len(moments) != 1 or not _TIMESTAMP_PATTERN.fullmatch(moments[0]):
        raise BadWebhook("The signature header has no single timestamp.")
    if not 1 <= len(digests) <= 4 or not all(
        _SIGNATURE_PATTERN.fullmatch(digest) for digest in digests
    ):
        raise BadWebhook("The signature header has no valid v1 signature.")
    if abs(now.timestamp() - int(moments[0])) > TIMESTAMP_TOLERANCE_SECONDS:
        raise BadWebhook("The signature is too old or from the future.")
    signed = moments[0].encode() + b"." + body
    for key in keys:
        expected = hmac.digest(key, signed, "sha256").hex()
        if any(hmac.compare_digest(expected, digest) for digest in digests):
            return
    raise BadWebhook("The signature does not match the body.")


def decode(body: bytes, *, livemode: bool) -> EventEnvelope:
    """Read the five fields of an event for this account and mode, or raise BadWebhook."""
    try:
        str(body, "utf-8")  # msgspec looks only at the fields it keeps
        bell = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadWebhook("The body is not a Stripe event.") from error
    if bell.livemode is not livemode:
        mode = "live" if livemode else "test"
        raise BadWebhook(f"This service is in {mode} mode and the event is not.")
    if bell.account is not None:
        raise BadWebhook("The event is about another account.")
    return bell


_STORE_AND_ENQUEUE_SQL = f"""
    WITH delivered AS (
        SELECT * FROM unnest(
            %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[],
            %s::bool[]
        ) AS d(id, type, object_type, object_id, api_version, created, rings)
    ), stored AS (
        INSERT INTO stripe_events
               (id, type, object_type, object_id, api_version, created, received_at)
        SELECT DISTINCT ON (id) id, type, object_type, object_id, api_version, created, %s
          FROM delivered ORDER BY id
            ON CONFLICT DO NOTHING
        RETURNING id
    ), bells AS (
        SELECT object_type, object_id, 1 AS attempt, NULL::timestamptz AS run_at
          FROM delivered JOIN stored USING (id) WHERE rings
    ), rung AS ({job_queue.ENQUEUE_SQL} RETURNING 1)
    SELECT id FROM stored
"""  # noqa: S608 - one constant of ours


class Inbox:
    """Keeps events, several in a statement when several come at once."""

    def __init__(self, engine: AsyncEngine, *, synced_types: frozenset[str]) -> None:
        self._engine = engine
        self._synced_types = synced_types
        self._pending: list[tuple[EventEnvelope, datetime, asyncio.Future[bool]]] = []
        self._flushing: asyncio.Task[None] | None = None

    def enqueues(self, event: EventEnvelope) -> bool:
        """Whether anything is fetched because of this event."""
        return event.data.object.id is not None and event.data.object.object in self._synced_types

    async def store(self, event: EventEnvelope, *, now: datetime) -> bool:
        """Store the event and ring for its object. Gives whether it was new, once it is committed.

        Raises DatabaseUnavailable when it could not be stored; Stripe will then send it again.
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
                new = await self._store_batch([bell for bell, _, _ in batch], now=batch[0][1])
            except Exception as error:  # noqa: BLE001 - whatever it was, each caller must hear of it
                for _, _, done in batch:
                    if not done.cancelled():
                        done.set_exception(_as_unavailable(error))
                continue
            for bell, _, done in batch:
                if not done.cancelled():
                    done.set_result(bell.id in new)
                    new.discard(bell.id)

    async def _store_batch(self, events: Sequence[EventEnvelope], *, now: datetime) -> set[str]:
        """One statement, which is one transaction. Gives the ids that were new."""
        named = [bell.data.object for bell in events]
        params = (
            [bell.id for bell in events],
            [bell.type for bell in events],
            [thing.object for thing in named],
            [thing.id for thing in named],
            [bell.api_version for bell in events],
            [from_unix(bell.created) for bell in events],
            [self.enqueues(bell) for bell in events],
            now,
        )
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            driver = (await connection.get_raw_connection()).driver_connection
            assert isinstance(driver, psycopg.AsyncConnection)
            cursor = await driver.execute(_STORE_AND_ENQUEUE_SQL, params, prepare=True)
            return {row[0] for row in await cursor.fetchall()}


def _as_unavailable(error: Exception) -> Exception:
    """A lost database is expected and says so; anything else is a bug and stays one."""
    if not isinstance(error, SQLAlchemyError | psycopg.Error | OSError):
        return error
    away = DatabaseUnavailable("The event was not stored. Please send it again.")
    away.__cause__ = error
    return away
