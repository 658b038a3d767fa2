"""Months that are over, reckoned once and kept, so that a year of a million gifts is read as
quickly as a year of a hundred.

Each kind of figures says how months are reckoned from the rows. Whatever is learned of a month
later forgets it in the transaction that writes it, and the months after it where they follow from
it: a row of the books when it is folded; a change of a promise, and a charge, by a trigger. What is
forgotten is reckoned from the rows until it is kept again. `payments verify-ledger` reckons anew what is
kept, and compares.
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

from payments.core.calendar import months_between, next_month
from payments.infra import db
from payments.infra.context import Context

SNAPSHOT_GRACE = timedelta(
    days=1
)  # so long after its end a month is kept: changes are seen by then
MONTHS_PER_BATCH = 6  # months reckoned at once
MAX_MONTHS = 1200

SnapshotRow = dict[str, Any]  # one line of a month, in words and whole numbers
RowsByMonth = Mapping[date, Sequence[SnapshotRow]]


class MonthSnapshot(db.Base):
    """The figures of one kind of a month that is over, a set for each line."""

    __tablename__ = "month_snapshots"

    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)  # its first day
    figures: Mapped[list[SnapshotRow]] = mapped_column(JSONB)


@dataclass(frozen=True, slots=True)
class SnapshotKind:
    """One kind of figures. `reckon` gives the months from a first day up to another."""

    name: str
    compute: Callable[[AsyncSession, ZoneInfo, date, date], Awaitable[RowsByMonth]]
    from_ledger: bool  # or of charges, whose changes a trigger tells


# When a row is booked: as a day it can be compared with. Takes :zone, and `late_lines` as `late`.
BOOKED_AT_SQL = "coalesce(CAST(late.booked_on AS timestamp), e.occurred_at AT TIME ZONE :zone)"
RECURRING_INCOME_SQL = (
    "e.credit LIKE 'income:%' AND e.credit IN ('income:monthly', 'income:annual')"
)
# Rows that may be booked on a day or later: none is booked before it happened.
BOOKED_SINCE_SQL = """
    e.occurred_at >= LEAST(({day}) AT TIME ZONE :zone, (
        SELECT min(x.occurred_at) FROM late_entries y JOIN ledger_entries x ON x.seq = y.seq))
"""

_FIRST_RECURRING_MONTH = text(
    f"""
    SELECT CAST(date_trunc('month', min(e.occurred_at) AT TIME ZONE :zone) AS date)
      FROM ledger_entries e WHERE {RECURRING_INCOME_SQL}
    """  # noqa: S608 - our own words
)
_SNAPSHOT_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('month_snapshots'), hashtext(:kind))")


async def snapshot_past_months(ctx: Context, kind: SnapshotKind) -> int:
    """Reckon the months that are over and not kept yet. Gives how many there were."""
    zone = ctx.settings.accounting_zoneinfo
    until = (ctx.now() - SNAPSHOT_GRACE).astimezone(zone).date().replace(day=1)
    async with ctx.sessions() as session:
        first = await session.scalar(_FIRST_RECURRING_MONTH, {"zone": zone.key})
        kept = await _stored(session, kind, date.min, until)
    missing = [] if first is None else [m for m in months_between(first, until) if m not in kept]
    for begin in range(0, len(missing), MONTHS_PER_BATCH):
        await _snapshot(ctx, kind, missing[begin : begin + MONTHS_PER_BATCH])
    return len(missing)


async def _snapshot(ctx: Context, kind: SnapshotKind, months: Sequence[date]) -> None:
    async with ctx.sessions.begin() as session:
        await session.execute(text("SET LOCAL statement_timeout = '30min'"))
        # Whoever writes what these months follow from waits, and then forgets what is kept here.
        await session.execute(_SNAPSHOT_LOCK, {"kind": kind.name})
        found = await kind.compute(
            session, ctx.settings.accounting_zoneinfo, months[0], next_month(months[-1])
        )
        rows = [
            {"kind": kind.name, "month": month, "figures": list(found.get(month, ()))}
            for month in months
        ]
        await session.execute(insert(MonthSnapshot).values(rows).on_conflict_do_nothing())


async def load_or_compute(
    session: AsyncSession, zone: ZoneInfo, kind: SnapshotKind, *, since: date, until: date
) -> RowsByMonth:
    """Each month from `since` up to `until`: what is kept, and the rest from the rows."""
    doubtful = await _first_stale_month(session, zone, kind) or until
    known = dict(await _stored(session, kind, since, min(until, doubtful)))
    missing = [month for month in months_between(since, until) if month not in known]
    if missing:
        rest = await kind.compute(session, zone, missing[0], next_month(missing[-1]))
        known |= {month: rest.get(month, ()) for month in missing}
    return known


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
        .limit(MAX_MONTHS)
    )
    return {one.month: one.figures for one in await session.scalars(query)}


# --- forgetting -----------------------------------------------------------------------------------

# The first month that rows after a mark are about.
_FIRST_AFFECTED_MONTH = text(
    f"""
    SELECT CAST(date_trunc('month', min({BOOKED_AT_SQL})) AS date)
      FROM ledger_entries e LEFT JOIN late_entries late ON late.seq = e.seq
     WHERE e.seq > :after AND e.seq <= :upto AND {RECURRING_INCOME_SQL}
    """  # noqa: S608 - our own words
)
_INVALIDATE = text("SELECT invalidate_snapshots(:kind, :since, NULL)")
_TOTALS_POSITION = text("SELECT last_seq FROM daily_totals_positions WHERE zone = :zone")
_TOTALS_ZONE = text("SELECT zone FROM daily_totals_positions")
MAX_SEQ = 2**62


async def invalidate_for_entries(
    session: AsyncSession, kinds: Sequence[SnapshotKind], zone: str, *, after: int, up_to: int
) -> None:
    """Forget the months of the books that these rows are about, and those after them."""
    touched = await session.scalar(
        _FIRST_AFFECTED_MONTH, {"zone": zone, "after": after, "upto": up_to}
    )
    if touched is not None:
        await invalidate_since(session, [kind for kind in kinds if kind.from_ledger], touched)


async def invalidate_since(
    session: AsyncSession, kinds: Sequence[SnapshotKind], month: date
) -> None:
    """Forget a month and those after it."""
    for kind in kinds:
        await session.execute(_INVALIDATE, {"kind": kind.name, "since": month})


async def _first_stale_month(
    session: AsyncSession, zone: ZoneInfo, kind: SnapshotKind
) -> date | None:
    """The first month that is kept and may be another by now: by the days of another zone all are,
    and those that rows not folded yet are about.
    """
    folded = await session.scalar(_TOTALS_POSITION, {"zone": zone.key})
    if folded is None:
        return date.min
    if not kind.from_ledger:
        return None
    params = {"zone": zone.key, "after": folded, "upto": MAX_SEQ}
    touched: date | None = await session.scalar(_FIRST_AFFECTED_MONTH, params)
    return touched


# --- proof ----------------------------------------------------------------------------------------

CHECK_DESCRIPTION = "each month of recurring revenue that is kept is what the rows say"


async def find_differences(
    session: AsyncSession, kind: SnapshotKind, *, newest_months: int | None = None
) -> list[str]:
    """Each line of the months that are kept, or of the `newest`, that the rows say otherwise."""
    named = await session.scalar(_TOTALS_ZONE)
    if named is None:
        return []
    zone = ZoneInfo(named)
    until = await _first_stale_month(session, zone, kind) or date.max
    kept = await _stored(session, kind, date.min, until)
    months = sorted(kept)[-newest_months if newest_months else 0 :]
    told = []
    for begin in range(0, len(months), MONTHS_PER_BATCH):
        some = months[begin : begin + MONTHS_PER_BATCH]
        rows = await kind.compute(session, zone, some[0], next_month(some[-1]))
        told += [
            f"{kind.name} {month:%Y-%m}: {line}"
            for month in some
            for line in _describe_differences(kept[month], rows.get(month, ()))
        ]
    return told


def _describe_differences(
    stored: Sequence[SnapshotRow], recomputed: Sequence[SnapshotRow]
) -> Iterator[str]:
    ours, theirs = (
        {json.dumps(one, sort_keys=True): one for one in some} for some in (stored, recomputed)
    )
    for words, known in (("kept", ours), ("the rows say", theirs)):
        for line in sorted((ours.keys() ^ theirs.keys()) & known.keys()):
            parts = sorted(known[line].items())
            yield f"{words} " + ", ".join(f"{name} {value}" for name, value in parts)
