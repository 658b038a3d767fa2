"""Period close: the months that finance has closed. A closed month never changes.

Months are closed in order, by the accounting zone, once every item of the checklist has passed, the
integrity checks among them. From then on a month's figures and its pack stay as they are: an entry
that Stripe reports later is a late entry of the month after (`late_entries`). The last closed month
can be reopened, with a reason that is stored; closing it again makes another pack, and the first
one stays.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Index,
    LargeBinary,
    String,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, deferred, mapped_column

from payments.accounting import daily_totals, integrity, late_entries
from payments.accounting.reports import freshness
from payments.accounting.reports.period import parse_month
from payments.core.calendar import first_of_month, next_month
from payments.core.errors import InvalidField, NotFound, PaymentsError
from payments.infra import audit_log, db
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.ledger import entries, hash_chain
from payments.ledger.corrections import count_waiting
from payments.ledger.entries import LedgerEntry


class PeriodNotReady(PaymentsError):
    """A month cannot be closed yet. Nothing was closed."""

    status = 409
    code = "period-not-ready"
    title = "This month cannot be closed yet"


class PeriodClosing(db.Base):
    """A month that was closed, and perhaps reopened."""

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
    last_seq: Mapped[int] = mapped_column(BigInteger)  # the last ledger entry at that time
    chain_head: Mapped[bytes]
    checklist: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)  # description, passed
    manifest_hash: Mapped[bytes | None]  # SHA-256; null until the pack is made
    pack: Mapped[bytes | None] = deferred(mapped_column(LargeBinary))
    reopened_at: Mapped[db.Timestamp | None]
    reopened_by: Mapped[str | None] = mapped_column(String(80))
    reopen_reason: Mapped[str | None] = mapped_column(String(audit_log.MAX_REASON_LENGTH))


@dataclass(frozen=True, slots=True)
class ChecklistItem:
    """One condition of closing a month, and whether it is met. `detail` says what is not."""

    description: str
    passed: bool
    detail: str = ""


async def list_closings(session: AsyncSession, *, month: date | None = None) -> list[PeriodClosing]:
    """Return every closing, or those of a month, newest first, the reopened ones among them."""
    query = select(PeriodClosing).order_by(PeriodClosing.id.desc())
    if month is not None:
        query = query.where(PeriodClosing.month == month)
    return list(await session.scalars(query))


async def first_ledger_month(session: AsyncSession, zone: ZoneInfo) -> date | None:
    """Return the first day of the month of the first ledger entry."""
    earliest = await session.scalar(select(func.min(LedgerEntry.occurred_at)))
    return None if earliest is None else first_of_month(earliest.astimezone(zone).date())


async def last_closed(session: AsyncSession) -> PeriodClosing | None:
    """Return the closing of the last month that is closed."""
    closing: PeriodClosing | None = await session.scalar(
        select(PeriodClosing)
        .where(PeriodClosing.reopened_at.is_(None))
        .order_by(PeriodClosing.month.desc())
        .limit(1)
    )
    return closing


async def next_to_close(ctx: Context) -> date | None:
    """Return the first day of the month to close next; None while that month is not over.

    It is the month after the last closed one, or the month of the first ledger entry.
    """
    async with ctx.sessions() as session:
        last = await last_closed(session)
        if last is None:
            month = await first_ledger_month(session, ctx.settings.accounting_zoneinfo)
        else:
            month = next_month(last.month)
    return None if month is None or next_month(month) > _today(ctx) else month


async def checklist(ctx: Context, first: date) -> list[ChecklistItem]:
    """Run the checks of the month that begins with `first`, and return every condition."""
    until = next_month(first)
    async with ctx.sessions() as session:
        fresh = await freshness.get(session, ctx.now())
        last = await last_closed(session)
        waiting = await count_waiting(session, until)
    results = await integrity.run_checks(ctx)
    return [
        ChecklistItem(
            "The month is over", until <= _today(ctx), f"It ends before {until.isoformat()}."
        ),
        ChecklistItem(
            "The months before it are closed",
            last is None or next_month(last.month) == first,
            "It is the first to be closed; all that lies before it is closed with it."
            if last is None
            else f"The last that is closed is {last.month:%Y-%m}.",
        ),
        ChecklistItem(
            "The accounting zone is the one of the months before",
            last is None or last.zone == ctx.settings.accounting_zone,
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
        ChecklistItem(
            "No correction of it waits for a second colleague", waiting == 0, _count_detail(waiting)
        ),
        *(
            ChecklistItem(
                result.description[:1].upper() + result.description[1:],
                result.passed,
                "; ".join(result.failures),
            )
            for result in results
        ),
    ]


def _count_detail(number: int) -> str:
    return f"{number} of them" if number else ""


async def close(
    ctx: Context, first: date, *, by: str, staff_id: str | None = None
) -> PeriodClosing:
    """Close the month that begins with `first`. Raises PeriodNotReady.

    `by` is the name that is stored, `staff_id` the colleague of the audit log. The pack is built
    afterwards (`close_pack.build`).
    """
    async with ctx.sessions() as session:
        _ensure_not_closed(await last_closed(session), first)
    items = await checklist(ctx, first)
    unmet = [f"{item.description}: {item.detail or 'no'}" for item in items if not item.passed]
    if unmet:
        raise PeriodNotReady(f"{'. '.join(unmet)}. Nothing was closed.")
    async with ctx.sessions.begin() as session:
        # Nobody appends meanwhile: an entry is either in the month or late.
        await entries.lock_chain(session)
        _ensure_not_closed(await last_closed(session), first)
        newest = await session.scalar(select(LedgerEntry).order_by(LedgerEntry.seq.desc()).limit(1))
        closing = PeriodClosing(
            month=first,
            zone=ctx.settings.accounting_zone,
            closed_at=ctx.now(),
            closed_by=by,
            last_seq=newest.seq if newest is not None else 0,
            chain_head=newest.hash if newest is not None else hash_chain.GENESIS_HASH,
            checklist=[{"description": item.description, "passed": item.passed} for item in items],
        )
        session.add(closing)
        await audit_log.record(
            session, AuditAction.PERIOD_CLOSED, staff_id=staff_id, name=by,
            object_id=f"{first:%Y-%m}", now=ctx.now(),
        )  # fmt: skip
    return closing


def _ensure_not_closed(previous_closing: PeriodClosing | None, first: date) -> None:
    if previous_closing is not None and previous_closing.month >= first:
        raise PeriodNotReady(f"{first:%Y-%m} is closed already. Nothing was closed.")


async def reopen(
    ctx: Context, first: date, *, reason: str, by: str, staff_id: str | None = None
) -> None:
    """Reopen the last closed month; entries that were late for it are booked in it again.

    Raises InvalidField for another month, without a reason, or before its pack was made.
    """
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
        if closing.manifest_hash is None:  # it could not be built any more, and the next names it
            raise InvalidField(
                f"period: the pack of {first:%Y-%m} was not made yet: download it first. "
                "Nothing was changed.",
                field="period",
            )
        await session.execute(
            update(PeriodClosing)
            .where(PeriodClosing.id == closing.id)
            .values(reopened_at=ctx.now(), reopened_by=by, reopen_reason=reason)
        )
        last = await last_closed(session)
        await late_entries.release(
            session,
            next_month(first),
            occurred_since=None if last is None else next_month(last.month),
            zone=closing.zone if last is None else last.zone,
        )
        await daily_totals.recompute_since(session, ctx.settings.accounting_zone, since=first)
        await audit_log.record(
            session, AuditAction.PERIOD_REOPENED, staff_id=staff_id, name=by,
            object_id=f"{first:%Y-%m}", reason=reason, now=ctx.now(),
        )  # fmt: skip
    await daily_totals.refresh(ctx)


async def get(
    session: AsyncSession, value: str, *, today: date, closing_id: str | None = None
) -> PeriodClosing:
    """Return the closing of a month such as 2026-10 that is valid, or the one with a number.

    Raises InvalidField or NotFound.
    """
    first = parse_month(value, name="period", today=today)
    for closing in await list_closings(session, month=first):
        if str(closing.id) == closing_id or (closing_id is None and closing.reopened_at is None):
            return closing
    if closing_id is None:
        raise NotFound(f"{value} is not closed.")
    raise NotFound(f"There is no pack {closing_id} of {value}.")


async def previous(session: AsyncSession, closing: PeriodClosing) -> PeriodClosing | None:
    """Return the closing made before this one, reopened or not: this one's pack names its pack."""
    earlier: PeriodClosing | None = await session.scalar(
        select(PeriodClosing)
        .where(PeriodClosing.id < closing.id)
        .order_by(PeriodClosing.id.desc())
        .limit(1)
    )
    return earlier


def _today(ctx: Context) -> date:
    return ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date()
