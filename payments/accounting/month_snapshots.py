"""Months that are over, reckoned once and kept, so that a year of a million gifts is read as
quickly as a year of a hundred.

Each kind of figures says how months are reckoned from the rows. Whatever is learned of a month
later forgets it in the transaction that writes it, and the months after it where they follow from
it: a row of the books when it is folded; a change of a promise, and a charge, by a trigger. What is
forgotten is reckoned from the rows until it is kept again. `payments check` reckons anew what is
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

from payments.infra import db
from payments.infra.context import Runtime

SETTLED = timedelta(days=1)  # so long after its end a month is kept: changes are seen by then
TOGETHER = 6  # months reckoned at once
MOST = 1200

Figure = dict[str, Any]  # one line of a month, in words and whole numbers
Months = Mapping[date, Sequence[Figure]]


class RecurringMonth(db.Base):
    """The figures of one kind of a month that is over, a set for each line."""

    __tablename__ = "recurring_months"

    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    month: Mapped[date] = mapped_column(primary_key=True)  # its first day
    figures: Mapped[list[Figure]] = mapped_column(JSONB)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of figures. `reckon` gives the months from a first day up to another."""

    name: str
    reckon: Callable[[AsyncSession, ZoneInfo, date, date], Awaitable[Months]]
    is_of_books: bool  # or of charges, whose changes a trigger tells


# When a row is booked: as a day it can be compared with. Takes :zone, and `late_lines` as `late`.
BOOKED = "coalesce(CAST(late.booked_on AS timestamp), e.occurred_at AT TIME ZONE :zone)"
RECURRING = "e.credit LIKE 'income:%' AND e.credit IN ('income:monthly', 'income:annual')"
# Rows that may be booked on a day or later: none is booked before it happened.
FROM_ON = """
    e.occurred_at >= LEAST(({day}) AT TIME ZONE :zone, (
        SELECT min(x.occurred_at) FROM late_lines y JOIN ledger_entries x ON x.seq = y.seq))
"""

_FIRST = text(
    f"""
    SELECT CAST(date_trunc('month', min(e.occurred_at) AT TIME ZONE :zone) AS date)
      FROM ledger_entries e WHERE {RECURRING}
    """  # noqa: S608 - our own words
)
_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('recurring_months'), hashtext(:kind))")


async def keep(rt: Runtime, kind: Kind) -> int:
    """Reckon the months that are over and not kept yet. Gives how many there were."""
    zone = rt.settings.zone
    until = (rt.now() - SETTLED).astimezone(zone).date().replace(day=1)
    async with rt.sessions() as session:
        first = await session.scalar(_FIRST, {"zone": zone.key})
        kept = await _kept(session, kind, date.min, until)
    missing = [] if first is None else [m for m in _months(first, until) if m not in kept]
    for begin in range(0, len(missing), TOGETHER):
        await _keep(rt, kind, missing[begin : begin + TOGETHER])
    return len(missing)


async def _keep(rt: Runtime, kind: Kind, months: Sequence[date]) -> None:
    async with rt.sessions.begin() as session:
        await session.execute(text("SET LOCAL statement_timeout = '30min'"))
        # Whoever writes what these months follow from waits, and then forgets what is kept here.
        await session.execute(_LOCK, {"kind": kind.name})
        found = await kind.reckon(session, rt.settings.zone, months[0], after(months[-1]))
        rows = [
            {"kind": kind.name, "month": month, "figures": list(found.get(month, ()))}
            for month in months
        ]
        await session.execute(insert(RecurringMonth).values(rows).on_conflict_do_nothing())


async def read(
    session: AsyncSession, zone: ZoneInfo, kind: Kind, *, since: date, until: date
) -> Months:
    """Each month from `since` up to `until`: what is kept, and the rest from the rows."""
    doubtful = await _doubtful(session, zone, kind) or until
    known = dict(await _kept(session, kind, since, min(until, doubtful)))
    missing = [month for month in _months(since, until) if month not in known]
    if missing:
        rest = await kind.reckon(session, zone, missing[0], after(missing[-1]))
        known |= {month: rest.get(month, ()) for month in missing}
    return known


async def _kept(session: AsyncSession, kind: Kind, since: date, until: date) -> Months:
    query = (
        select(RecurringMonth)
        .where(
            RecurringMonth.kind == kind.name,
            RecurringMonth.month >= since,
            RecurringMonth.month < until,
        )
        .order_by(RecurringMonth.month)
        .limit(MOST)
    )
    return {one.month: one.figures for one in await session.scalars(query)}


# --- forgetting -----------------------------------------------------------------------------------

# The first month that rows after a mark are about.
_TOUCHED = text(
    f"""
    SELECT CAST(date_trunc('month', min({BOOKED})) AS date)
      FROM ledger_entries e LEFT JOIN late_lines late ON late.seq = e.seq
     WHERE e.seq > :after AND e.seq <= :upto AND {RECURRING}
    """  # noqa: S608 - our own words
)
_FORGET = text("SELECT forget_months(:kind, :since, NULL)")
_FOLDED = text("SELECT seq FROM rollup_marks WHERE zone = :zone")
_ZONE = text("SELECT zone FROM rollup_marks")
NEWEST = 2**62


async def forget(
    session: AsyncSession, kinds: Sequence[Kind], zone: str, *, after: int, upto: int
) -> None:
    """Forget the months of the books that these rows are about, and those after them."""
    touched = await session.scalar(_TOUCHED, {"zone": zone, "after": after, "upto": upto})
    if touched is not None:
        await forget_since(session, [kind for kind in kinds if kind.is_of_books], touched)


async def forget_since(session: AsyncSession, kinds: Sequence[Kind], month: date) -> None:
    """Forget a month and those after it."""
    for kind in kinds:
        await session.execute(_FORGET, {"kind": kind.name, "since": month})


async def _doubtful(session: AsyncSession, zone: ZoneInfo, kind: Kind) -> date | None:
    """The first month that is kept and may be another by now: by the days of another zone all are,
    and those that rows not folded yet are about.
    """
    folded = await session.scalar(_FOLDED, {"zone": zone.key})
    if folded is None:
        return date.min
    if not kind.is_of_books:
        return None
    params = {"zone": zone.key, "after": folded, "upto": NEWEST}
    touched: date | None = await session.scalar(_TOUCHED, params)
    return touched


# --- proof ----------------------------------------------------------------------------------------

SAYS = "each month of recurring revenue that is kept is what the rows say"


async def differences(session: AsyncSession, kind: Kind, *, newest: int | None = None) -> list[str]:
    """Each line of the months that are kept, or of the `newest`, that the rows say otherwise."""
    named = await session.scalar(_ZONE)
    if named is None:
        return []
    zone = ZoneInfo(named)
    until = await _doubtful(session, zone, kind) or date.max
    kept = await _kept(session, kind, date.min, until)
    months = sorted(kept)[-newest if newest else 0 :]
    told = []
    for begin in range(0, len(months), TOGETHER):
        some = months[begin : begin + TOGETHER]
        rows = await kind.reckon(session, zone, some[0], after(some[-1]))
        told += [
            f"{kind.name} {month:%Y-%m}: {line}"
            for month in some
            for line in _differ(kept[month], rows.get(month, ()))
        ]
    return told


def _differ(kept: Sequence[Figure], rows: Sequence[Figure]) -> Iterator[str]:
    ours, theirs = ({json.dumps(one, sort_keys=True): one for one in some} for some in (kept, rows))
    for words, known in (("kept", ours), ("the rows say", theirs)):
        for line in sorted((ours.keys() ^ theirs.keys()) & known.keys()):
            parts = sorted(known[line].items())
            yield f"{words} " + ", ".join(f"{name} {value}" for name, value in parts)


# --- months ---------------------------------------------------------------------------------------


def after(month: date) -> date:
    """The month after."""
    return (month + timedelta(days=32)).replace(day=1)


def _months(since: date, until: date) -> Iterator[date]:
    month = since
    while month < until:
        yield month
        month = after(month)
