"""Alarms: what a person must look at. Nothing odd is dropped, guessed or only logged.

An alarm is open or closed, and there is at most one open alarm of a kind about one thing.
`subject` is the id of a Stripe object or a row of ours, never anything about a person.
"""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Index, String, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db


class AlarmKind(StrEnum):
    ADOPTED = "adopted"
    SUSPENSE = "suspense"
    UNATTRIBUTED = "unattributed"
    BOOKS = "books"
    STUCK = "stuck"
    CARD_TESTING = "card_testing"
    AFTER_CANCEL = "after_cancel"
    MANY_REMINDERS = "many_reminders"
    MANY_LINKS = "many_links"
    NEWSLETTER = "newsletter"
    REFUND_FAILED = "refund_failed"
    DISPUTED = "disputed"
    EVIDENCE_DUE = "evidence_due"
    DISPUTE_LOST = "dispute_lost"
    FRAUD_WARNING = "fraud_warning"
    PAYOUT_FAILED = "payout_failed"
    ENDPOINT = "endpoint"
    QUARANTINED = "quarantined"
    STATEMENT = "statement"
    PASSKEY_COPIED = "passkey_copied"
    MANY_VIEWS = "many_views"
    BANK_LINE = "bank_line"


SENTENCES = {
    AlarmKind.CARD_TESTING: "Cards are being tried on our form; it asks for more, and takes less.",
    AlarmKind.ADOPTED: "Stripe had a payment or promise we had no record of; it was taken in.",
    AlarmKind.SUSPENSE: "Money moved in a way the books do not know yet; it waits in suspense.",
    AlarmKind.UNATTRIBUTED: "A charge could not be tied to a contribution.",
    AlarmKind.BOOKS: "A check of the books failed.",
    AlarmKind.AFTER_CANCEL: "A promise that had ended was charged again.",
    AlarmKind.MANY_REMINDERS: (
        "So many unknown addresses asked to be written to in an hour that the others wait."
    ),
    AlarmKind.MANY_LINKS: "So many sign-in links were asked for in an hour that no more are sent.",
    AlarmKind.NEWSLETTER: (
        "For three days nobody took the addresses of readers who want the newsletter; they wait."
    ),
    AlarmKind.REFUND_FAILED: "A refund did not reach its donor; the money is with us again.",
    AlarmKind.DISPUTED: "A donor's bank disputes a payment; Stripe waits for an answer.",
    AlarmKind.EVIDENCE_DUE: "A dispute that is not answered within three days is lost.",
    AlarmKind.DISPUTE_LOST: "A bank took a gift back for good, and its promise is still charged.",
    AlarmKind.FRAUD_WARNING: "A bank warns of fraud; a refund now may prevent a dispute.",
    AlarmKind.PAYOUT_FAILED: "A payout did not reach the bank, or came back from it.",
    AlarmKind.ENDPOINT: "Stripe does not send its webhooks as this service needs them.",
    AlarmKind.QUARANTINED: (
        "A payment came from a protected country; its promise ends and nobody is written to."
    ),
    AlarmKind.STATEMENT: (
        "A bank statement may not show what we promise, or a word it must not: gifts are refused."
    ),
    AlarmKind.BANK_LINE: (
        "For a hundred days nobody has compared a bank's real statement with what we promise."
    ),
    AlarmKind.PASSKEY_COPIED: "A colleague's passkey counted backwards; it may have been copied.",
    AlarmKind.MANY_VIEWS: "A colleague looked at so many donors in an hour that no more are shown.",
    AlarmKind.STUCK: "Something at Stripe was not read, or a mail not sent, after many attempts.",
}


class Alarm(db.Base):
    """One thing to look at."""

    __tablename__ = "alarms"
    __table_args__ = (
        Index(
            "uq_alarms_open",
            "kind",
            "subject",
            unique=True,
            postgresql_where="closed_at IS NULL",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[AlarmKind] = mapped_column(db.words(AlarmKind, "kind_is_known"))
    subject: Mapped[str] = mapped_column(String(255))
    opened_at: Mapped[db.Moment]
    closed_at: Mapped[db.Moment | None]


async def sound(session: AsyncSession, kind: AlarmKind, *, subject: str, now: datetime) -> None:
    """Open an alarm, unless one of this kind is already open about the subject."""
    await session.execute(
        insert(Alarm).values(kind=kind, subject=subject, opened_at=now).on_conflict_do_nothing()
    )


async def close(session: AsyncSession, kind: AlarmKind, *, subject: str, now: datetime) -> None:
    """Close the open alarm about the subject, if there is one."""
    await session.execute(
        update(Alarm)
        .where(Alarm.kind == kind, Alarm.subject == subject, Alarm.closed_at.is_(None))
        .values(closed_at=now)
    )


async def is_open(session: AsyncSession, kind: AlarmKind, *, subject: str) -> bool:
    """Whether there is an open alarm of this kind about the subject."""
    query = select(Alarm.id).where(
        Alarm.kind == kind, Alarm.subject == subject, Alarm.closed_at.is_(None)
    )
    return await session.scalar(query) is not None


async def attend(session: AsyncSession, alarm_id: int, *, now: datetime) -> Alarm | None:
    """Close an open alarm a person has looked at. None if it is not open any more."""
    closed: Alarm | None = await session.scalar(
        update(Alarm)
        .where(Alarm.id == alarm_id, Alarm.closed_at.is_(None))
        .values(closed_at=now)
        .returning(Alarm)
    )
    return closed


async def unattended(session: AsyncSession, *, limit: int = 50) -> list[Alarm]:
    """The open alarms, oldest first."""
    query = select(Alarm).where(Alarm.closed_at.is_(None)).order_by(Alarm.id).limit(limit)
    return list(await session.scalars(query))
