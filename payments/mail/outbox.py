"""The outbox: mails that are owed, each a row with a key that is its meaning, and a job in the same
transaction.

`failed:in_123` is one mail however often Stripe tells of the failure. A row holds no address and no
text: both are found when the mail is sent. `facts` are words and numbers for the text, never
anything about a person.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import String, delete, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.identifiers import new_row_id
from payments.infra import db, job_queue
from payments.mail import muted

MAIL_JOB = "outbox_mail"  # a job kind: send one mail


class MailKind(StrEnum):
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
    SKIPPED = "skipped"
    PAUSED = "paused"
    RESUMED = "resumed"
    CANCELLED = "cancelled"
    END_SCHEDULED = "end_scheduled"  # the last day was set elsewhere: Stripe's dashboard or portal
    END_CANCELLED = "end_cancelled"  # and taken back


# How long a mail is worth sending; a link for ten minutes is worth nothing after them.
EXPIRES_AFTER = {MailKind.SIGN_IN: timedelta(minutes=9)}
DEFAULT_EXPIRES_AFTER = timedelta(days=7)
MAIL_RETENTION = timedelta(days=395)


class MailStatus(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    DROPPED = "dropped"  # no longer true, no longer wanted, or too late


class OutboxMail(db.Base):
    """One mail that is owed, was sent, or was dropped."""

    __tablename__ = "outbox_mails"

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(255), unique=True)
    kind: Mapped[MailKind] = mapped_column(db.enum_column(MailKind, "kind_is_known"))
    status: Mapped[MailStatus] = mapped_column(db.enum_column(MailStatus, "status_is_known"))
    subscription_id: Mapped[db.StripeId | None] = mapped_column(index=True)
    object_id: Mapped[str | None] = mapped_column(String(255))  # the id the mail is about
    context: Mapped[dict[str, Any]] = mapped_column(JSONB)  # words and numbers for the text
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
    context: dict[str, Any] | None = None,
    language: str = "en",
) -> bool:
    """Owe a mail, once for each key, if this transaction commits. Gives whether it is new.

    Nothing is owed about a promise that silence is kept about.
    """
    if await muted.is_muted(session, subscription_id):
        return False
    made = await session.scalar(
        insert(OutboxMail)
        .values(
            id=new_row_id(),
            key=key,
            kind=kind,
            status=MailStatus.PENDING,
            subscription_id=subscription_id,
            object_id=object_id,
            context=context or {},
            language=language,
            created_at=now,
            expires_at=now + EXPIRES_AFTER.get(kind, DEFAULT_EXPIRES_AFTER),
        )
        .on_conflict_do_nothing(index_elements=["key"])
        .returning(OutboxMail.id)
    )
    if made is not None:
        await job_queue.enqueue_sync(session, MAIL_JOB, made)
    return made is not None


async def purge(session: AsyncSession, now: datetime) -> None:
    """Mails that were sent or dropped a year ago are nobody's business."""
    await session.execute(
        delete(OutboxMail).where(
            OutboxMail.status != MailStatus.PENDING, OutboxMail.created_at < now - MAIL_RETENTION
        )
    )


async def cancel_for(session: AsyncSession, subscription_ids: Sequence[str]) -> None:
    """What is still owed about these promises is wanted no longer."""
    await session.execute(
        update(OutboxMail)
        .where(
            OutboxMail.subscription_id.in_(subscription_ids),
            OutboxMail.status == MailStatus.PENDING,
        )
        .values(status=MailStatus.DROPPED)
    )


async def list_for(
    session: AsyncSession, subscription_ids: Sequence[str], *, limit: int = 500
) -> list[OutboxMail]:
    """The mails about these promises, the newest first."""
    query = (
        select(OutboxMail)
        .where(OutboxMail.subscription_id.in_(subscription_ids))
        .order_by(OutboxMail.created_at.desc(), OutboxMail.id)
        .limit(limit)
    )
    return list(await session.scalars(query))
