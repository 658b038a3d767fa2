"""Late entries: ledger entries of a month that was already closed when they were appended.

A late entry is booked on the first day of the month after the last closed one. A trigger marks it,
in the transaction that appends the entry, whoever appends it.
"""

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import BigInteger, Date, ForeignKey, Select, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db
from payments.ledger.entries import LedgerEntry

MAX_LATE_ENTRIES = 200  # on a page


class LateEntry(db.Base):
    """The booking day of a ledger entry that was appended after its month was closed."""

    __tablename__ = "late_entries"

    seq: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("ledger_entries.seq"), primary_key=True, autoincrement=False
    )
    booked_on: Mapped[date] = mapped_column(Date, index=True)


@dataclass(frozen=True, slots=True)
class LateEntryRow:
    """A late entry with what it moved, in minor units. `seq` is its number in the ledger."""

    seq: int
    balance_transaction: str
    occurred_at: datetime
    booked_on: date
    debit: str
    credit: str
    amount: int
    currency: str


async def list_late_entries(
    session: AsyncSession, *, offset: int = 0
) -> tuple[list[LateEntryRow], int | None]:
    """Return a page of the late entries, the newest first: those after so many, and after how many
    the next begins.
    """
    rows = await session.execute(_newest_first().limit(MAX_LATE_ENTRIES + 1).offset(offset))
    found = [LateEntryRow(*row) for row in rows]
    more = offset + MAX_LATE_ENTRIES if len(found) > MAX_LATE_ENTRIES else None
    return found[:MAX_LATE_ENTRIES], more


async def list_before(
    session: AsyncSession, *, before_seq: int | None, size: int
) -> tuple[list[LateEntryRow], int | None]:
    """Return the newest late entries, or those before one, and which the next page begins before.

    Unlike by counting, a page stays the same while later entries arrive.
    """
    query = _newest_first().limit(size + 1)
    if before_seq is not None:
        query = query.where(LedgerEntry.seq < before_seq)
    found = [LateEntryRow(*row) for row in await session.execute(query)]
    return found[:size], found[size - 1].seq if len(found) > size else None


def _newest_first() -> Select[int, str, datetime, date, str, str, int, str]:
    entry = LedgerEntry
    return (
        select(
            entry.seq, entry.balance_transaction, entry.occurred_at, LateEntry.booked_on,
            entry.debit, entry.credit, entry.amount, entry.currency,
        )
        .join(LateEntry, LateEntry.seq == entry.seq)
        .order_by(entry.seq.desc())
    )  # fmt: skip


async def count_booked_in(session: AsyncSession, since: date | None, until: date | None) -> int:
    """Return how many transactions are booked late from a day up to another; None is open."""
    query = select(func.count(func.distinct(LedgerEntry.balance_transaction))).join(
        LateEntry, LateEntry.seq == LedgerEntry.seq
    )
    if since is not None:
        query = query.where(LateEntry.booked_on >= since)
    if until is not None:
        query = query.where(LateEntry.booked_on < until)
    return await session.scalar(query) or 0


async def release(
    session: AsyncSession, booked_on: date, *, occurred_since: date | None, zone: str
) -> None:
    """Book entries by their own time again: those that are booked late on a day.

    `occurred_since` leaves out those that occurred before a day of the zone; None takes them all.
    """
    entries = select(LedgerEntry.seq)
    if occurred_since is not None:
        entries = entries.where(func.timezone(zone, LedgerEntry.occurred_at) >= occurred_since)
    await session.execute(
        delete(LateEntry).where(LateEntry.booked_on == booked_on, LateEntry.seq.in_(entries))
    )
