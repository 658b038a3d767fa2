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

from payments import db


class AlarmKind(StrEnum):
    ADOPTED = "adopted"
    SUSPENSE = "suspense"
    UNATTRIBUTED = "unattributed"
    BOOKS = "books"
    STUCK = "stuck"
    AFTER_CANCEL = "after_cancel"


SENTENCES = {
    AlarmKind.ADOPTED: "Stripe had a payment or promise we had no record of; it was taken in.",
    AlarmKind.SUSPENSE: "Money moved in a way the books do not know yet; it waits in suspense.",
    AlarmKind.UNATTRIBUTED: "A charge could not be tied to a contribution.",
    AlarmKind.BOOKS: "A check of the books failed.",
    AlarmKind.AFTER_CANCEL: "A promise that had ended was charged again.",
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


async def unattended(session: AsyncSession, *, limit: int = 50) -> list[Alarm]:
    """The open alarms, oldest first."""
    query = select(Alarm).where(Alarm.closed_at.is_(None)).order_by(Alarm.id).limit(limit)
    return list(await session.scalars(query))
