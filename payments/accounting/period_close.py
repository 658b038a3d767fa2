"""Periods: the months that finance has closed. A closed month never changes.

A month is closed in order, by the accounting zone, after every proof of the books has passed. From
then on its figures and its pack stay as they are: what Stripe tells later of that time is booked on
the first day of the month after, marked as late, and points back by the time at which it happened.
The database marks it, in the transaction that appends the row, whoever appends it. The last closed
month can be opened again, with a reason that is kept; closing it anew makes another pack, and the
first is kept too.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    ForeignKey,
    Index,
    LargeBinary,
    Select,
    String,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, deferred, mapped_column

from payments.accounting import daily_totals, integrity
from payments.accounting.reports import freshness
from payments.accounting.reports.period import month, next_month
from payments.core.errors import InvalidField, NotFound, PaymentsError
from payments.infra import audit_log, db
from payments.infra.audit_log import Deed
from payments.infra.context import Runtime
from payments.ledger import hash_chain
from payments.ledger.entries import CHAIN_LOCK, LedgerEntry

ALL_ROWS = select(LedgerEntry.seq)
LATE_MOST = 200  # rows told of at once


class PeriodNotReady(PaymentsError):
    """A month cannot be closed yet. Nothing was closed."""

    status = 409
    code = "period-not-ready"
    title = "This month cannot be closed yet"


class PeriodClosing(db.Base):
    """A month that was closed, and perhaps opened again. `ledger_through` is the last row then."""

    __tablename__ = "period_closings"
    __table_args__ = (
        CheckConstraint("extract(day FROM month) = 1", name="month_begins"),
        CheckConstraint(
            "(reopened_at IS NULL) = (reopened_by IS NULL)"
            " AND (reopened_at IS NULL) = (reopened_why IS NULL)",
            name="reopened_with_reason",
        ),
        Index(
            "uq_period_closings_closed",
            "month",
            unique=True,
            postgresql_where="reopened_at IS NULL",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    month: Mapped[date]  # its first day
    zone: Mapped[str] = mapped_column(String(64))
    closed_at: Mapped[db.Moment]
    closed_by: Mapped[str] = mapped_column(String(80))
    ledger_through: Mapped[int] = mapped_column(BigInteger)
    chain_head: Mapped[bytes]
    proofs: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)  # identity, says, holds
    manifest_hash: Mapped[bytes | None]  # SHA-256; null until the pack is made
    pack: Mapped[bytes | None] = deferred(mapped_column(LargeBinary))
    reopened_at: Mapped[db.Moment | None]
    reopened_by: Mapped[str | None] = mapped_column(String(80))
    reopened_why: Mapped[str | None] = mapped_column(String(audit_log.REASON_MOST))


class LateLine(db.Base):
    """A row of the books that was appended after its month was closed."""

    __tablename__ = "late_lines"

    seq: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("ledger_entries.seq"), primary_key=True, autoincrement=False
    )
    booked_on: Mapped[date] = mapped_column(Date, index=True)


@dataclass(frozen=True, slots=True)
class Point:
    """One line of the list that is gone through before a month is closed."""

    says: str
    holds: bool
    detail: str = ""


async def closed(session: AsyncSession) -> list[PeriodClosing]:
    """Every closing, the newest first; those that were undone are among them."""
    query = select(PeriodClosing).order_by(PeriodClosing.id.desc()).limit(1200)
    return list(await session.scalars(query))


async def first_month(session: AsyncSession, zone: ZoneInfo) -> date | None:
    """The month of the first row of the books."""
    first = await session.scalar(select(func.min(LedgerEntry.occurred_at)))
    return None if first is None else first.astimezone(zone).date().replace(day=1)


@dataclass(frozen=True, slots=True)
class Late:
    """A row that came too late for its month, and where it is booked instead."""

    balance_transaction: str
    occurred_at: datetime
    booked_on: date
    debit: str
    credit: str
    amount: int
    currency: str


async def late(session: AsyncSession) -> list[Late]:
    """The late rows, the newest first."""
    row = LedgerEntry
    query = (
        select(
            row.balance_transaction, row.occurred_at, LateLine.booked_on,
            row.debit, row.credit, row.amount, row.currency,
        )
        .join(LateLine, LateLine.seq == row.seq)
        .order_by(row.seq.desc())
        .limit(LATE_MOST)
    )  # fmt: skip
    return [Late(*found) for found in await session.execute(query)]


async def last(session: AsyncSession) -> PeriodClosing | None:
    """The closing of the last month that is closed."""
    found: PeriodClosing | None = await session.scalar(
        select(PeriodClosing)
        .where(PeriodClosing.reopened_at.is_(None))
        .order_by(PeriodClosing.month.desc())
        .limit(1)
    )
    return found


async def next_to_close(rt: Runtime) -> date | None:
    """The first day of the month whose turn it is: after the last closed one, or the first with a
    row. None while there is nothing that is over.
    """
    async with rt.sessions() as session:
        before = await last(session)
        turn = (
            await first_month(session, rt.settings.zone)
            if before is None
            else next_month(before.month)
        )
    return None if turn is None or next_month(turn) > _today(rt) else turn


async def checklist(rt: Runtime, first: date) -> list[Point]:
    """What must be so before a month is closed."""
    async with rt.sessions() as session:
        fresh = await freshness.read(session, rt.now())
        before = await last(session)
    findings = await integrity.check(rt)
    until = next_month(first)
    return [
        Point("The month is over", until <= _today(rt), f"It ends before {until.isoformat()}."),
        Point(
            "The months before it are closed",
            before is None or next_month(before.month) == first,
            "It is the first to be closed; all that lies before it is closed with it."
            if before is None
            else f"The last that is closed is {before.month:%Y-%m}.",
        ),
        Point(
            "The accounting zone is the one of the months before",
            before is None or before.zone == rt.settings.accounting_zone,
            rt.settings.accounting_zone,
        ),
        Point(
            "Stripe's balance was imported since the month ended",
            fresh.imported_at is not None
            and fresh.imported_at.astimezone(rt.settings.zone).date() >= until
            and not fresh.is_stale,
        ),
        Point(
            "There is a key to sign the pack with",
            rt.settings.signing_key is not None,
            "" if rt.settings.signing_key is not None else "PAYMENTS_SIGNING_KEY is not set",
        ),
        Point("No movement waits to be posted", fresh.waiting == 0, _but(fresh.waiting)),
        Point("Nothing is in suspense", fresh.suspense == 0, _but(fresh.suspense)),
        *(
            Point(found.says[:1].upper() + found.says[1:], found.holds, "; ".join(found.rows))
            for found in findings
        ),
    ]


def _but(number: int) -> str:
    return f"{number} of them" if number else ""


async def close(rt: Runtime, first: date, *, by: str, staff_id: str | None = None) -> PeriodClosing:
    """Close a month. Its pack is made by `packs.keep`. Raises PeriodNotReady."""
    async with rt.sessions() as session:
        _not_yet_closed(await last(session), first)
    points = await checklist(rt, first)
    missing = [f"{point.says}: {point.detail or 'no'}" for point in points if not point.holds]
    if missing:
        raise PeriodNotReady(f"{'. '.join(missing)}. Nothing was closed.")
    async with rt.sessions.begin() as session:
        # No poster is under way: a row is either in the month or late.
        await session.execute(text(f"SELECT pg_advisory_xact_lock({CHAIN_LOCK})"))
        before = await last(session)
        _not_yet_closed(before, first)
        newest = await session.scalar(select(LedgerEntry).order_by(LedgerEntry.seq.desc()).limit(1))
        closing = PeriodClosing(
            month=first,
            zone=rt.settings.accounting_zone,
            closed_at=rt.now(),
            closed_by=by,
            ledger_through=newest.seq if newest is not None else 0,
            chain_head=newest.hash if newest is not None else hash_chain.FIRST,
            proofs=[{"says": point.says, "holds": point.holds} for point in points],
        )
        session.add(closing)
        await audit_log.note(
            session, Deed.PERIOD_CLOSED, staff_id=staff_id, name=by, about=f"{first:%Y-%m}",
            now=rt.now(),
        )  # fmt: skip
    return closing


def _not_yet_closed(before: PeriodClosing | None, first: date) -> None:
    if before is not None and before.month >= first:
        raise PeriodNotReady(f"{first:%Y-%m} is closed already. Nothing was closed.")


async def reopen(
    rt: Runtime, first: date, *, why: str, by: str, staff_id: str | None = None
) -> None:
    """Open the last closed month again. Lines that were late for it are back in it."""
    reason = audit_log.reason(why)
    async with rt.sessions.begin() as session:
        await session.execute(text(f"SELECT pg_advisory_xact_lock({CHAIN_LOCK})"))
        closing = await last(session)
        if closing is None or closing.month != first:
            latest = "none is closed" if closing is None else f"that is {closing.month:%Y-%m}"
            raise InvalidField(
                f"period: only the last closed month can be opened again; {latest}. "
                "Nothing was changed.",
                field="period",
            )
        await session.execute(
            update(PeriodClosing)
            .where(PeriodClosing.id == closing.id)
            .values(reopened_at=rt.now(), reopened_by=by, reopened_why=reason)
        )
        still = await last(session)
        await session.execute(
            delete(LateLine).where(
                LateLine.booked_on == next_month(first),
                LateLine.seq.in_(
                    _since(next_month(still.month), still.zone) if still else ALL_ROWS
                ),
            )
        )
        await daily_totals.fold_again(session, rt.settings.accounting_zone, since=first)
        await audit_log.note(
            session, Deed.PERIOD_REOPENED, staff_id=staff_id, name=by, about=f"{first:%Y-%m}",
            reason=reason, now=rt.now(),
        )  # fmt: skip
    await daily_totals.fold(rt)


async def of(session: AsyncSession, words: str, *, today: date) -> PeriodClosing:
    """The closing of a month such as 2026-10. Raises InvalidField, or NotFound if it is open."""
    first = month(words, name="period", today=today)
    found: PeriodClosing | None = await session.scalar(
        select(PeriodClosing).where(
            PeriodClosing.month == first, PeriodClosing.reopened_at.is_(None)
        )
    )
    if found is None:
        raise NotFound(f"{words} is not closed.")
    return found


async def before(session: AsyncSession, closing: PeriodClosing) -> PeriodClosing | None:
    """The closing that was made before this one, undone or not: its pack is named in this one's."""
    found: PeriodClosing | None = await session.scalar(
        select(PeriodClosing)
        .where(PeriodClosing.id < closing.id)
        .order_by(PeriodClosing.id.desc())
        .limit(1)
    )
    return found


def _since(day: date, zone: str) -> Select[int]:
    """The rows of what happened on a day or later."""
    happened = func.timezone(zone, LedgerEntry.occurred_at)
    return select(LedgerEntry.seq).where(happened >= day)


def _today(rt: Runtime) -> date:
    return rt.now().astimezone(rt.settings.zone).date()
