"""Month snapshots, the month cache: figures of months that are over, computed once and stored, so
that a year of a million payments is read as quickly as a year of a hundred.

Each kind of figures says how a month is computed from the rows. Whatever changes a month later
deletes its snapshot in the same transaction, and the snapshots after it where those follow from it:
a ledger entry when it is added to the daily totals; a subscription's change, a charge, the period a
payment is for, and what joins contributions to one donor, by a trigger. A month without a snapshot
is computed from the rows. An integrity check computes the snapshots again and compares.
"""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import String, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.accounting import statement_timeout
from payments.core.calendar import first_of_month, months_between, next_month
from payments.infra import db
from payments.infra.context import Context

SNAPSHOT_GRACE = timedelta(days=1)  # after the end of a month: its last changes are seen by then
MONTHS_PER_BATCH = 6  # computed in one transaction

SnapshotRow = dict[str, Any]  # one line of a month: words and whole numbers
RowsByMonth = Mapping[date, Sequence[SnapshotRow]]


class MonthSnapshot(db.Base):
    """The figures of one kind for a month that is over."""

    __tablename__ = "month_snapshots"

    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)  # its first day
    figures: Mapped[list[SnapshotRow]] = mapped_column(JSONB)


@dataclass(frozen=True, slots=True)
class SnapshotKind:
    """One kind of figures. `compute` returns the months from a first day up to another.

    `from_ledger` says whether they follow from ledger entries; otherwise they follow from charges,
    whose changes a trigger watches.
    """

    name: str
    compute: Callable[[AsyncSession, ZoneInfo, date, date], Awaitable[RowsByMonth]]
    from_ledger: bool


# The LIKE names the partial index.
RECURRING_INCOME_SQL = (
    "e.credit LIKE 'income:%'"
    " AND e.credit IN ('income:monthly', 'income:annual', 'income:periodic')"
)
_FIRST_RECURRING_MONTH = text(
    f"""
    SELECT CAST(date_trunc('month', least(
               min(e.occurred_at), min(link.service_starts_at)) AT TIME ZONE :zone) AS date)
      FROM ledger_entries e
      LEFT JOIN charges c ON c.balance_transaction = e.balance_transaction
      LEFT JOIN payment_intent_links link
        ON link.stripe_payment_intent_id = c.stripe_payment_intent_id
     WHERE {RECURRING_INCOME_SQL}
    """  # noqa: S608 - constants only
)
# The same lock as the trigger function `invalidate_snapshots` takes, there shared.
_SNAPSHOT_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('month_snapshots'), hashtext(:kind))")


async def snapshot_past_months(ctx: Context, kind: SnapshotKind) -> int:
    """Store the months that are over and not stored yet. Returns how many there were."""
    zone = ctx.settings.accounting_zoneinfo
    until = first_of_month((ctx.now() - SNAPSHOT_GRACE).astimezone(zone).date())
    async with ctx.sessions() as session:
        first = await session.scalar(_FIRST_RECURRING_MONTH, {"zone": zone.key})
        stored = await _stored(session, kind, date.min, until)
    months = [] if first is None else [m for m in months_between(first, until) if m not in stored]
    for begin in range(0, len(months), MONTHS_PER_BATCH):
        await _snapshot(ctx, kind, months[begin : begin + MONTHS_PER_BATCH])
    return len(months)


async def _snapshot(ctx: Context, kind: SnapshotKind, months: Sequence[date]) -> None:
    async with ctx.sessions.begin() as session:
        await statement_timeout.extend(session)
        # Whoever changes these months waits for the lock, and then deletes what is stored here.
        await session.execute(_SNAPSHOT_LOCK, {"kind": kind.name})
        computed = await kind.compute(
            session, ctx.settings.accounting_zoneinfo, months[0], next_month(months[-1])
        )
        rows = [
            {"kind": kind.name, "month": month, "figures": list(computed.get(month, ()))}
            for month in months
        ]
        await session.execute(insert(MonthSnapshot).values(rows).on_conflict_do_nothing())


async def load_or_compute(
    session: AsyncSession, zone: ZoneInfo, kind: SnapshotKind, *, since: date, until: date
) -> RowsByMonth:
    """Return each month from `since` up to `until`: stored where it can be, else computed."""
    stale_from = await _first_stale_month(session, zone, kind) or until
    months = dict(await _stored(session, kind, since, min(until, stale_from)))
    missing = [month for month in months_between(since, until) if month not in months]
    if missing:
        computed = await kind.compute(session, zone, missing[0], next_month(missing[-1]))
        months |= {month: computed.get(month, ()) for month in missing}
    return months


async def _stored(
    session: AsyncSession, kind: SnapshotKind, since: date, until: date
) -> RowsByMonth:
    query = (
        select(MonthSnapshot)
        .where(
            MonthSnapshot.kind == kind.name,
            MonthSnapshot.month >= since,
            MonthSnapshot.month < until,
        )
        .order_by(MonthSnapshot.month)
    )
    return {row.month: row.figures for row in await session.scalars(query)}


# --- invalidation ---------------------------------------------------------------------------------

_FIRST_AFFECTED_MONTH = text(
    f"""
    SELECT CAST(date_trunc('month', least(
               min(booked_at(e.occurred_at, e.booked_on, :zone)),
               min(e.occurred_at AT TIME ZONE :zone),
               min(link.service_starts_at AT TIME ZONE :zone))) AS date)
      FROM booked_entries e
      LEFT JOIN charges c ON c.balance_transaction = e.balance_transaction
      LEFT JOIN payment_intent_links link
        ON link.stripe_payment_intent_id = c.stripe_payment_intent_id
     WHERE e.seq > :after
       AND e.seq <= :up_to
       AND {RECURRING_INCOME_SQL}
    """  # noqa: S608 - constants only
)
_INVALIDATE = text("SELECT invalidate_snapshots(:kind, :since, NULL)")
_TOTALS_POSITION = text("SELECT last_seq FROM daily_totals_positions WHERE zone = :zone")
_TOTALS_ZONE = text("SELECT zone FROM daily_totals_positions")
MAX_SEQ = 2**62


async def invalidate_for_entries(
    session: AsyncSession, kinds: Sequence[SnapshotKind], zone: str, *, after: int, up_to: int
) -> None:
    """Delete the ledger's snapshots of the first month that these entries change, and after it."""
    month = await session.scalar(
        _FIRST_AFFECTED_MONTH, {"zone": zone, "after": after, "up_to": up_to}
    )
    if month is not None:
        await invalidate_since(session, [kind for kind in kinds if kind.from_ledger], month)


async def invalidate_since(
    session: AsyncSession, kinds: Sequence[SnapshotKind], month: date
) -> None:
    """Delete the snapshots of a month and of those after it."""
    for kind in kinds:
        await session.execute(_INVALIDATE, {"kind": kind.name, "since": month})


async def _first_stale_month(
    session: AsyncSession, zone: ZoneInfo, kind: SnapshotKind
) -> date | None:
    """Return the first month whose snapshot may be out of date; None when none is.

    All are when the totals are by the days of another zone; otherwise those that entries after the
    totals' position change.
    """
    last_seq = await session.scalar(_TOTALS_POSITION, {"zone": zone.key})
    if last_seq is None:
        return date.min
    if not kind.from_ledger:
        return None
    month: date | None = await session.scalar(
        _FIRST_AFFECTED_MONTH, {"zone": zone.key, "after": last_seq, "up_to": MAX_SEQ}
    )
    return month


# --- the integrity check --------------------------------------------------------------------------

CHECK_DESCRIPTION = "each stored month of recurring revenue is what the rows say"


async def find_differences(
    session: AsyncSession, kind: SnapshotKind, *, newest_months: int | None = None
) -> list[str]:
    """Compute the stored months again, or the newest of them; describe each line that differs."""
    zone_name = await session.scalar(_TOTALS_ZONE)
    if zone_name is None:
        return []
    zone = ZoneInfo(zone_name)
    until = await _first_stale_month(session, zone, kind) or date.max
    stored = await _stored(session, kind, date.min, until)
    months = sorted(stored)[-newest_months if newest_months else 0 :]
    differences = []
    for begin in range(0, len(months), MONTHS_PER_BATCH):
        batch = months[begin : begin + MONTHS_PER_BATCH]
        computed = await kind.compute(session, zone, batch[0], next_month(batch[-1]))
        differences += [
            f"{kind.name} {month:%Y-%m}: {line}"
            for month in batch
            for line in _describe_differences(stored[month], computed.get(month, ()))
        ]
    return differences


def _describe_differences(
    stored: Sequence[SnapshotRow], computed: Sequence[SnapshotRow]
) -> Iterator[str]:
    stored_lines, computed_lines = (
        {json.dumps(row, sort_keys=True): row for row in rows} for rows in (stored, computed)
    )
    differing = stored_lines.keys() ^ computed_lines.keys()
    for label, lines in (("stored", stored_lines), ("the rows say", computed_lines)):
        for key in sorted(differing & lines.keys()):
            figures = sorted(lines[key].items())
            yield f"{label} " + ", ".join(f"{name} {value}" for name, value in figures)
