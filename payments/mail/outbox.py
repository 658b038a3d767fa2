"""The outbox: mails that are owed, each a row with a key that is its meaning, and a job in the same
transaction.

`failed:in_123` is one mail however often Stripe tells of the failure. A row holds no address and no
text: both are found when the mail is sent. `facts` are words and numbers for the text, never
anything about a person.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import String, delete, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db, job_queue
from payments.mail import muted

JOB = "message"  # the object type of a mail's bell


class MessageKind(StrEnum):
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
    STOPPED = "stopped"
    ENDING = "ending"  # the last day was set elsewhere: Stripe's dashboard or portal
    KEPT = "kept"  # and taken back


# How long a mail is worth sending; a link for ten minutes is worth nothing after them.
WORTH = {MessageKind.SIGN_IN: timedelta(minutes=9)}
WORTH_ELSE = timedelta(days=7)
KEPT = timedelta(days=395)


class MessageStatus(StrEnum):
    WAITING = "waiting"
    SENT = "sent"
    DROPPED = "dropped"  # no longer true, no longer wanted, or too late


class Message(db.Base):
    """One mail that is owed, was sent, or was dropped."""

    __tablename__ = "messages"

    id: Mapped[db.OurId] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(255), unique=True)
    kind: Mapped[MessageKind] = mapped_column(db.words(MessageKind, "kind_is_known"))
    status: Mapped[MessageStatus] = mapped_column(db.words(MessageStatus, "status_is_known"))
    subscription_id: Mapped[db.StripeId | None] = mapped_column(index=True)
    subject: Mapped[str | None] = mapped_column(String(255))  # the id the mail is about
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)  # words and numbers for the text
    language: Mapped[str] = mapped_column(String(8))
    created_at: Mapped[db.Moment] = mapped_column(index=True)
    expires_at: Mapped[db.Moment]
    sent_at: Mapped[db.Moment | None]


async def put(
    session: AsyncSession,
    kind: MessageKind,
    *,
    key: str,
    now: datetime,
    subscription_id: str | None = None,
    subject: str | None = None,
    facts: dict[str, Any] | None = None,
    language: str = "en",
) -> bool:
    """Owe a mail, once for each key, if this transaction commits. Gives whether it is new.

    Nothing is owed about a promise that silence is kept about.
    """
    if await muted.is_quiet(session, subscription_id):
        return False
    made = await session.scalar(
        insert(Message)
        .values(
            id=secrets.token_hex(16),
            key=key,
            kind=kind,
            status=MessageStatus.WAITING,
            subscription_id=subscription_id,
            subject=subject,
            facts=facts or {},
            language=language,
            created_at=now,
            expires_at=now + WORTH.get(kind, WORTH_ELSE),
        )
        .on_conflict_do_nothing(index_elements=["key"])
        .returning(Message.id)
    )
    if made is not None:
        await job_queue.ring(session, JOB, made)
    return made is not None


async def forget_old(session: AsyncSession, now: datetime) -> None:
    """Mails that were sent or dropped a year ago are nobody's business."""
    await session.execute(
        delete(Message).where(
            Message.status != MessageStatus.WAITING, Message.created_at < now - KEPT
        )
    )


async def drop_about(session: AsyncSession, subscription_ids: Sequence[str]) -> None:
    """What is still owed about these promises is wanted no longer."""
    await session.execute(
        update(Message)
        .where(
            Message.subscription_id.in_(subscription_ids), Message.status == MessageStatus.WAITING
        )
        .values(status=MessageStatus.DROPPED)
    )


async def about(
    session: AsyncSession, subscription_ids: Sequence[str], *, limit: int = 500
) -> list[Message]:
    """The mails about these promises, the newest first."""
    query = (
        select(Message)
        .where(Message.subscription_id.in_(subscription_ids))
        .order_by(Message.created_at.desc(), Message.id)
        .limit(limit)
    )
    return list(await session.scalars(query))
