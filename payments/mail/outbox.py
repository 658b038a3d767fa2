"""The outbox: mails to send, each a row with a key for its cause, and a job in one transaction.

`failed:in_123:pm_4` is one mail however many events report the failure. A row holds no address and
no text: both are looked up when the mail is sent. Of its key a row holds the hash. It is deleted
with the donor's erasure.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, String, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import i18n
from payments.core.calendar import THIRTEEN_MONTHS
from payments.core.identifiers import new_row_id
from payments.infra import db, job_queue
from payments.mail import muted

MAIL_JOB = "outbox_mail"  # a job kind: send one mail


class MailKind(StrEnum):
    """What a mail is about. The value is the name of its template."""

    SIGN_IN = "sign_in"
    PAYMENT_FAILED = "payment_failed"
    ACTION_NEEDED = "action_needed"
    LAPSED = "lapsed"
    NEEDS_CARD = "needs_card"
    CARD_CHANGED = "card_changed"
    CARD_EXPIRING = "card_expiring"
    RENEWS_SOON = "renews_soon"
    AMOUNT_CHANGED = "amount_changed"
    FREQUENCY_CHANGED = "frequency_changed"
    DAY_CHANGED = "day_changed"
    SKIPPED = "skipped"
    PAUSED = "paused"
    RESUMED = "resumed"
    CANCELLED = "cancelled"
    SECOND_BEGUN = "second_begun"  # beside another one of the same donor
    END_SCHEDULED = "end_scheduled"  # in advance, by the donor or at Stripe
    END_MOVED = "end_moved"  # the scheduled end is another day now
    END_CANCELLED = "end_cancelled"  # the scheduled end was taken back
    THANKS = "thanks"  # branded, with the receipt of a payment
    RECEIPT = "receipt"  # of a payment, neutral, to whoever asked for it
    REFUNDED = "refunded"
    YEARLY_STATEMENT = "yearly_statement"


# After these a mail is dropped: a link that works for ten minutes is useless later.
EXPIRES_AFTER = {MailKind.SIGN_IN: timedelta(minutes=9)}
DEFAULT_EXPIRES_AFTER = timedelta(days=7)
MAIL_RETENTION = THIRTEEN_MONTHS  # of mails that are not pending any more
SIGN_IN_RETENTION = timedelta(hours=1)  # of those that anybody can ask for


class MailStatus(StrEnum):
    """Whether a mail has left."""

    PENDING = "pending"
    SENT = "sent"
    DROPPED = "dropped"  # it no longer applied, or was cancelled
    UNDELIVERABLE = "undeliverable"  # it applied, and nobody could be reached with it


class Undeliverable(Exception):
    """A mail that applies has no address it could go to."""


class OutboxMail(db.Base):
    """One mail that is pending, was sent, was dropped, or could not be delivered."""

    __tablename__ = "outbox_mails"

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256 of its cause
    kind: Mapped[MailKind] = mapped_column(db.enum_column(MailKind, "kind_is_known"))
    status: Mapped[MailStatus] = mapped_column(db.enum_column(MailStatus, "status_is_known"))
    subscription_id: Mapped[db.StripeId | None] = mapped_column(index=True)
    object_id: Mapped[str | None] = mapped_column(String(255))  # the id the mail is about
    language: Mapped[str] = mapped_column(String(8))
    created_at: Mapped[db.Timestamp] = mapped_column(index=True)
    expires_at: Mapped[db.Timestamp]
    sent_at: Mapped[db.Timestamp | None]


async def enqueue(
    session: AsyncSession,
    kind: MailKind,
    *,
    key: str,
    now: datetime,
    subscription_id: str | None = None,
    object_id: str | None = None,
    language: str = i18n.DEFAULT_LOCALE,
) -> bool:
    """Enqueue a mail, once for each key, if this transaction commits. Returns whether it is new.

    None is enqueued about a muted subscription.
    """
    if await muted.is_muted(session, subscription_id):
        return False
    hashed = _hashed(key)
    mail_id = await session.scalar(
        insert(OutboxMail)
        .values(
            id=new_row_id(),
            key=hashed,
            kind=kind,
            status=MailStatus.PENDING,
            subscription_id=subscription_id,
            object_id=object_id,
            language=language,
            created_at=now,
            expires_at=now + EXPIRES_AFTER.get(kind, DEFAULT_EXPIRES_AFTER),
        )
        .on_conflict_do_nothing(index_elements=["key"])
        .returning(OutboxMail.id)
    )
    if mail_id is not None:
        await job_queue.enqueue_sync(session, MAIL_JOB, mail_id)
    return mail_id is not None


def _hashed(key: str) -> str:
    """Return what is stored of a key: it names objects of Stripe's that lead to a person."""
    return hashlib.sha256(key.encode()).hexdigest()


def has_none(key: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether no mail of a cause was enqueued before, for a key that the database puts together."""
    hashed = func.encode(func.sha256(func.convert_to(key, "UTF8")), "hex")  # as `_hashed`
    return ~select(OutboxMail.id).where(OutboxMail.key == hashed).exists()


async def exists(session: AsyncSession, keys: Sequence[str]) -> bool:
    """Whether a mail of one of these causes was enqueued before, whatever became of it."""
    return bool(await known_keys(session, keys))


async def known_keys(session: AsyncSession, keys: Sequence[str]) -> set[str]:
    """Return for which of these causes a mail was enqueued before, whatever became of it."""
    by_hash = {_hashed(key): key for key in keys}
    stored = await session.scalars(select(OutboxMail.key).where(OutboxMail.key.in_(by_hash)))
    return {by_hash[one] for one in stored}


async def purge(session: AsyncSession, now: datetime) -> None:
    """Delete mails that are past their retention."""
    is_old = (OutboxMail.status != MailStatus.PENDING) & (
        OutboxMail.created_at < now - MAIL_RETENTION
    )
    await session.execute(delete(OutboxMail).where(is_old))


async def purge_sign_ins(session: AsyncSession, now: datetime) -> None:
    """Delete what is left of requests for a sign-in link, whether one was mailed or not."""
    is_old = OutboxMail.created_at < now - SIGN_IN_RETENTION
    await session.execute(delete(OutboxMail).where(OutboxMail.kind == MailKind.SIGN_IN, is_old))


async def cancel_for(session: AsyncSession, subscription_ids: Sequence[str]) -> None:
    """Drop the pending mails about these subscriptions."""
    await session.execute(
        update(OutboxMail)
        .where(
            OutboxMail.subscription_id.in_(subscription_ids),
            OutboxMail.status == MailStatus.PENDING,
        )
        .values(status=MailStatus.DROPPED)
    )


async def list_for(
    session: AsyncSession,
    subscription_ids: Sequence[str],
    keys: Sequence[str],
    *,
    limit: int | None = None,
) -> list[OutboxMail]:
    """Return the mails about these subscriptions and of these causes, the newest first: all, or so
    many.
    """
    is_of_cause = OutboxMail.key.in_([_hashed(key) for key in keys])
    query = (
        select(OutboxMail)
        .where(or_(OutboxMail.subscription_id.in_(subscription_ids), is_of_cause))
        .order_by(OutboxMail.created_at.desc(), OutboxMail.id)
        .limit(limit)
    )
    return list(await session.scalars(query))
