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
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, deferred, mapped_column

from payments.accounting import daily_totals, integrity
from payments.accounting.reports import freshness
from payments.accounting.reports.period import parse_month
from payments.core.calendar import next_month
from payments.core.errors import InvalidField, NotFound, PaymentsError
from payments.infra import audit_log, db
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.ledger import entries, hash_chain
from payments.ledger.entries import LedgerEntry

ALL_ENTRIES = select(LedgerEntry.seq)
MAX_LATE_ENTRIES = 200  # rows told of at once


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
            " AND (reopened_at IS NULL) = (reopen_reason IS NULL)",
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
    closed_at: Mapped[db.Timestamp]
    closed_by: Mapped[str] = mapped_column(String(80))
    last_seq: Mapped[int] = mapped_column(BigInteger)
    chain_head: Mapped[bytes]
    checklist: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)  # identity, says, holds
    manifest_hash: Mapped[bytes | None]  # SHA-256; null until the pack is made
    pack: Mapped[bytes | None] = deferred(mapped_column(LargeBinary))
    reopened_at: Mapped[db.Timestamp | None]
    reopened_by: Mapped[str | None] = mapped_column(String(80))
    reopen_reason: Mapped[str | None] = mapped_column(String(audit_log.MAX_REASON_LENGTH))


class LateEntry(db.Base):
    """A row of the books that was appended after its month was closed."""

    __tablename__ = "late_entries"

    seq: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("ledger_entries.seq"), primary_key=True, autoincrement=False
    )
    booked_on: Mapped[date] = mapped_column(Date, index=True)


@dataclass(frozen=True, slots=True)
class ChecklistItem:
    """One line of the list that is gone through before a month is closed."""

    description: str
    passed: bool
    detail: str = ""


async def list_closings(session: AsyncSession) -> list[PeriodClosing]:
    """Every closing, the newest first; those that were undone are among them."""
    query = select(PeriodClosing).order_by(PeriodClosing.id.desc()).limit(1200)
    return list(await session.scalars(query))


async def first_ledger_month(session: AsyncSession, zone: ZoneInfo) -> date | None:
    """The month of the first row of the books."""
    first = await session.scalar(select(func.min(LedgerEntry.occurred_at)))
    return None if first is None else first.astimezone(zone).date().replace(day=1)


@dataclass(frozen=True, slots=True)
class LateEntryRow:
    """A row that came too late for its month, and where it is booked instead."""

    balance_transaction: str
    occurred_at: datetime
    booked_on: date
    debit: str
    credit: str
    amount: int
    currency: str


async def list_late_entries(session: AsyncSession) -> list[LateEntryRow]:
    """The late rows, the newest first."""
    row = LedgerEntry
    query = (
        select(
            row.balance_transaction, row.occurred_at, LateEntry.booked_on,
            row.debit, row.credit, row.amount, row.currency,
        )
        .join(LateEntry, LateEntry.seq == row.seq)
        .order_by(row.seq.desc())
        .limit(MAX_LATE_ENTRIES)
    )  # fmt: skip
    return [LateEntryRow(*found) for found in await session.execute(query)]


async def last_closed(session: AsyncSession) -> PeriodClosing | None:
    """The closing of the last month that is closed."""
    found: PeriodClosing | None = await session.scalar(
        select(PeriodClosing)
        .where(PeriodClosing.reopened_at.is_(None))
        .order_by(PeriodClosing.month.desc())
        .limit(1)
    )
    return found


async def next_to_close(ctx: Context) -> date | None:
    """The first day of the month whose turn it is: after the last closed one, or the first with a
    row. None while there is nothing that is over.
    """
    async with ctx.sessions() as session:
        before = await last_closed(session)
        turn = (
            await first_ledger_month(session, ctx.settings.accounting_zoneinfo)
            if before is None
            else next_month(before.month)
        )
    return None if turn is None or next_month(turn) > _today(ctx) else turn


async def checklist(ctx: Context, first: date) -> list[ChecklistItem]:
    """What must be so before a month is closed."""
    async with ctx.sessions() as session:
        fresh = await freshness.get(session, ctx.now())
        before = await last_closed(session)
    findings = await integrity.run_checks(ctx)
    until = next_month(first)
    return [
        ChecklistItem(
            "The month is over", until <= _today(ctx), f"It ends before {until.isoformat()}."
        ),
        ChecklistItem(
            "The months before it are closed",
            before is None or next_month(before.month) == first,
            "It is the first to be closed; all that lies before it is closed with it."
            if before is None
            else f"The last that is closed is {before.month:%Y-%m}.",
        ),
        ChecklistItem(
            "The accounting zone is the one of the months before",
            before is None or before.zone == ctx.settings.accounting_zone,
            ctx.settings.accounting_zone,
        ),
        ChecklistItem(
            "Stripe's balance was imported since the month ended",
            fresh.imported_at is not None
            and fresh.imported_at.astimezone(ctx.settings.accounting_zoneinfo).date() >= until
            and not fresh.is_stale,
        ),
        ChecklistItem(
            "There is a key to sign the pack with",
            ctx.settings.close_pack_signing_key is not None,
            ""
            if ctx.settings.close_pack_signing_key is not None
            else "PAYMENTS_CLOSE_PACK_SIGNING_KEY is not set",
        ),
        ChecklistItem(
            "No movement waits to be posted", fresh.unposted == 0, _count_detail(fresh.unposted)
        ),
        ChecklistItem("Nothing is in suspense", fresh.suspense == 0, _count_detail(fresh.suspense)),
        *(
            ChecklistItem(
                found.description[:1].upper() + found.description[1:],
                found.passed,
                "; ".join(found.failures),
            )
            for found in findings
        ),
    ]


def _count_detail(number: int) -> str:
    return f"{number} of them" if number else ""


async def close(
    ctx: Context, first: date, *, by: str, staff_id: str | None = None
) -> PeriodClosing:
    """Close a month. Its pack is made by `packs.keep`. Raises PeriodNotReady."""
    async with ctx.sessions() as session:
        _ensure_not_closed(await last_closed(session), first)
    points = await checklist(ctx, first)
    missing = [
        f"{point.description}: {point.detail or 'no'}" for point in points if not point.passed
    ]
    if missing:
        raise PeriodNotReady(f"{'. '.join(missing)}. Nothing was closed.")
    async with ctx.sessions.begin() as session:
        # No poster is under way: a row is either in the month or late.
        await entries.lock_chain(session)
        before = await last_closed(session)
        _ensure_not_closed(before, first)
        newest = await session.scalar(select(LedgerEntry).order_by(LedgerEntry.seq.desc()).limit(1))
        closing = PeriodClosing(
            month=first,
            zone=ctx.settings.accounting_zone,
            closed_at=ctx.now(),
            closed_by=by,
            last_seq=newest.seq if newest is not None else 0,
            chain_head=newest.hash if newest is not None else hash_chain.GENESIS_HASH,
            checklist=[
                {"description": point.description, "passed": point.passed} for point in points
            ],
        )
        session.add(closing)
        await audit_log.record(
            session, AuditAction.PERIOD_CLOSED, staff_id=staff_id, name=by, object_id=f"{first:%Y-%m}",
            now=ctx.now(),
        )  # fmt: skip
    return closing


def _ensure_not_closed(previous_closing: PeriodClosing | None, first: date) -> None:
    if previous_closing is not None and previous_closing.month >= first:
        raise PeriodNotReady(f"{first:%Y-%m} is closed already. Nothing was closed.")


async def reopen(
    ctx: Context, first: date, *, reason: str, by: str, staff_id: str | None = None
) -> None:
    """Open the last closed month again. Lines that were late for it are back in it."""
    reason = audit_log.validate_reason(reason)
    async with ctx.sessions.begin() as session:
        await entries.lock_chain(session)
        closing = await last_closed(session)
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
            .values(reopened_at=ctx.now(), reopened_by=by, reopen_reason=reason)
        )
        still = await last_closed(session)
        await session.execute(
            delete(LateEntry).where(
                LateEntry.booked_on == next_month(first),
                LateEntry.seq.in_(
                    _entries_since(next_month(still.month), still.zone) if still else ALL_ENTRIES
                ),
            )
        )
        await daily_totals.recompute_since(session, ctx.settings.accounting_zone, since=first)
        await audit_log.record(
            session, AuditAction.PERIOD_REOPENED, staff_id=staff_id, name=by, object_id=f"{first:%Y-%m}",
            reason=reason, now=ctx.now(),
        )  # fmt: skip
    await daily_totals.refresh(ctx)


async def get(session: AsyncSession, value: str, *, today: date) -> PeriodClosing:
    """The closing of a month such as 2026-10. Raises InvalidField, or NotFound if it is open."""
    first = parse_month(value, name="period", today=today)
    found: PeriodClosing | None = await session.scalar(
        select(PeriodClosing).where(
            PeriodClosing.month == first, PeriodClosing.reopened_at.is_(None)
        )
    )
    if found is None:
        raise NotFound(f"{value} is not closed.")
    return found


async def previous(session: AsyncSession, closing: PeriodClosing) -> PeriodClosing | None:
    """The closing that was made before this one, undone or not: its pack is named in this one's."""
    found: PeriodClosing | None = await session.scalar(
        select(PeriodClosing)
        .where(PeriodClosing.id < closing.id)
        .order_by(PeriodClosing.id.desc())
        .limit(1)
    )
    return found


def _entries_since(day: date, zone: str) -> Select[int]:
    """The rows of what happened on a day or later."""
    happened = func.timezone(zone, LedgerEntry.occurred_at)
    return select(LedgerEntry.seq).where(happened >= day)


def _today(ctx: Context) -> date:
    return ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date()
