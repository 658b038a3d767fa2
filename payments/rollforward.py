"""The roll-forward of monthly recurring revenue: what comes in again each month without anybody
asking, and how that changed, by month and currency.

It is reckoned from payments, not from promises: a monthly promise counts with its last payment in
the month, an annual one with a twelfth of its payment in the twelve months that begin with it.
Opening and movements add up to closing exactly, because each contribution moves in one way.

A month that is over is reckoned once and kept, so that a year of a million gifts is read as quickly
as a year of a hundred. What is learned of a month later forgets it and those after it: a row of the
books in the transaction that folds it, a change of a promise by a trigger.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments import db
from payments.runtime import Runtime

SETTLED = timedelta(days=1)  # so long after its end a month is kept: changes are seen by then
KEPT_MOST = 1200


class RecurringMonth(db.Base):
    """The figures of a month that is over, one set for each currency, as `Forward` names them."""

    __tablename__ = "recurring_months"

    month: Mapped[date] = mapped_column(primary_key=True)  # its first day
    figures: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)


MOVEMENTS = ("new", "returned", "raised", "lowered", "paused", "stopped", "failed", "fx")


@dataclass(frozen=True, slots=True)
class Forward:
    """One month of one currency: closing = opening + every movement. Losses are below zero."""

    month: date
    currency: str
    opening: int
    new: int
    returned: int
    raised: int
    lowered: int
    paused: int
    stopped: int
    failed: int
    fx: int
    closing: int
    givers: int  # contributions that closing is made of


# When a row is booked: as a day it can be compared with, and the month that day is in.
_BOOKED = "coalesce(CAST(late.booked_on AS timestamp), e.occurred_at AT TIME ZONE :zone)"
_INCOME = "('income:monthly', 'income:annual')"
_CARRIED = f"""
    paid AS (
        SELECT e.contribution_id, e.currency, e.credit, e.amount, e.seq, e.occurred_at,
               c.amount AS shown, c.currency AS shown_in,
               date_trunc('month', {_BOOKED}) AS month
          FROM ledger_entries e
          LEFT JOIN late_lines late ON late.seq = e.seq
          LEFT JOIN charges c ON c.balance_transaction = e.balance_transaction
         WHERE e.credit LIKE 'income:%' AND e.credit IN {_INCOME}
           AND e.occurred_at >= LEAST(
                   (CAST(:since AS timestamp) - interval '12 months') AT TIME ZONE :zone,
                   (SELECT min(x.occurred_at) FROM late_lines y
                      JOIN ledger_entries x ON x.seq = y.seq))
           AND e.occurred_at < CAST(:until AS timestamp) AT TIME ZONE :zone
           AND {_BOOKED} >= CAST(:since AS timestamp) - CASE e.credit
                   WHEN 'income:annual' THEN interval '12 months' ELSE interval '1 month' END
           AND {_BOOKED} < CAST(:until AS timestamp)),
    carried AS (
        SELECT DISTINCT ON (contribution_id, currency, m) contribution_id, currency, shown_in,
               CAST(m AS date) AS month, credit,
               CASE credit WHEN 'income:annual' THEN amount / 12 ELSE amount END AS mrr,
               CASE credit WHEN 'income:annual' THEN shown / 12 ELSE shown END AS shown
          FROM paid, LATERAL generate_series(month,
                   month + CASE credit WHEN 'income:annual' THEN interval '11 months'
                                       ELSE interval '0' END, interval '1 month') AS m
         WHERE m >= CAST(:since AS timestamp) - interval '1 month'
           AND m < CAST(:until AS timestamp)
         ORDER BY contribution_id, currency, m, occurred_at DESC, seq DESC)
"""  # noqa: S608 - our own words
_FORWARD = text(
    f"""
    WITH {_CARRIED},
    pairs AS (
        SELECT coalesce(now.month, CAST(was.month + interval '1 month' AS date)) AS month,
               coalesce(now.currency, was.currency) AS currency,
               coalesce(now.contribution_id, was.contribution_id) AS contribution_id,
               coalesce(was.mrr, 0) AS a, coalesce(now.mrr, 0) AS b,
               was.mrr IS NULL AS absent, now.mrr IS NULL AS gone,
               was.shown AS shown_a, now.shown AS shown_b,
               was.shown_in IS NOT DISTINCT FROM now.shown_in AND was.shown > 0 AS comparable
          FROM carried now
          FULL JOIN carried was
            ON was.contribution_id = now.contribution_id AND was.currency = now.currency
           AND CAST(was.month + interval '1 month' AS date) = now.month),
    told AS (
        SELECT t.*, CASE
                 WHEN absent AND EXISTS (
                     SELECT FROM ledger_entries x
                      WHERE x.contribution_id = t.contribution_id AND x.currency = t.currency
                        AND x.credit LIKE 'income:%' AND x.credit IN {_INCOME}
                        AND x.occurred_at < CAST(t.month AS timestamp) AT TIME ZONE :zone)
                 THEN 'returned'
                 WHEN absent THEN 'new'
                 WHEN gone THEN coalesce((
                     SELECT CASE WHEN h.kind = 'stopped' THEN 'stopped'
                                 WHEN h.kind IN ('paused', 'skipped') THEN 'paused'
                                 ELSE 'failed' END
                       FROM subscriptions s
                       JOIN subscription_changes h
                         ON h.subscription_id = s.stripe_subscription_id
                      WHERE s.contribution_id = t.contribution_id
                        AND h.kind IN ('stopped', 'paused', 'skipped', 'lapsed')
                        AND h.done_at < (t.month + interval '1 month') AT TIME ZONE :zone
                      ORDER BY h.done_at DESC, h.id LIMIT 1), 'failed')
                 WHEN comparable AND shown_a = shown_b THEN 'fx'
                 WHEN shown_b > shown_a THEN 'raised' ELSE 'lowered' END AS cause
          FROM pairs t
         WHERE t.month >= :since AND t.month < :until),
    parts AS (
        SELECT month, currency, cause,
               CASE WHEN cause IN ('raised', 'lowered') AND comparable
                    THEN div(CAST(a AS numeric) * (shown_b - shown_a), shown_a)
                    ELSE b - a END AS amount
          FROM told
         UNION ALL
        SELECT month, currency, 'fx',
               b - a - div(CAST(a AS numeric) * (shown_b - shown_a), shown_a)
          FROM told WHERE cause IN ('raised', 'lowered') AND comparable),
    causes AS (
        SELECT month, currency, cause, CAST(sum(amount) AS bigint) AS amount
          FROM parts GROUP BY 1, 2, 3),
    moved AS (
        SELECT month, currency, jsonb_object_agg(cause, amount) AS moved
          FROM causes GROUP BY 1, 2),
    sums AS (
        SELECT month, currency, CAST(sum(a) AS bigint) AS opening,
               CAST(sum(b) AS bigint) AS closing, count(*) FILTER (WHERE NOT gone) AS givers
          FROM told GROUP BY 1, 2)
    SELECT month, currency, opening, closing, givers, moved
      FROM sums JOIN moved USING (month, currency)
     ORDER BY currency, month DESC
     LIMIT 5000
    """  # noqa: S608 - our own words
)


async def reckon(
    session: AsyncSession, zone: ZoneInfo, *, since: date, until: date
) -> list[Forward]:
    """Each month from `since` up to `until`, from the rows."""
    params = {"zone": zone.key, "since": since, "until": until}
    return [
        Forward(
            month=row.month,
            currency=row.currency,
            opening=row.opening,
            closing=row.closing,
            givers=row.givers,
            **{name: int(row.moved.get(name, 0)) for name in MOVEMENTS},
        )
        for row in await session.execute(_FORWARD, params)
    ]


# --- what is kept ---------------------------------------------------------------------------------

# The first month that rows after a mark are about.
_TOUCHED = text(
    f"""
    SELECT CAST(date_trunc('month', min({_BOOKED})) AS date)
      FROM ledger_entries e LEFT JOIN late_lines late ON late.seq = e.seq
     WHERE e.seq > :after AND e.seq <= :upto
       AND e.credit LIKE 'income:%' AND e.credit IN {_INCOME}
    """  # noqa: S608 - our own words
)
_FORGET = text("DELETE FROM recurring_months WHERE month >= :month")
FORGET_ALL = text("DELETE FROM recurring_months")
_FOLDED = text("SELECT seq FROM rollup_marks WHERE zone = :zone")
_FIRST = text(
    f"""
    SELECT CAST(date_trunc('month', min(occurred_at) AT TIME ZONE :zone) AS date)
      FROM ledger_entries WHERE credit LIKE 'income:%' AND credit IN {_INCOME}
    """  # noqa: S608 - our own words
)
NEWEST = 2**62


async def forget(session: AsyncSession, zone: str, *, after: int, upto: int) -> None:
    """Forget the months that these rows are about, and those after them."""
    touched = await session.scalar(_TOUCHED, {"zone": zone, "after": after, "upto": upto})
    if touched is not None:
        await forget_since(session, touched)


async def forget_since(session: AsyncSession, month: date) -> None:
    """Forget a month and those after it."""
    await session.execute(_FORGET, {"month": month})


async def keep(rt: Runtime) -> int:
    """Reckon the months that are over and not kept yet. Gives how many there were."""
    zone = rt.settings.zone
    until = (rt.now() - SETTLED).astimezone(zone).date().replace(day=1)
    async with rt.sessions() as session:
        month = await session.scalar(_FIRST, {"zone": zone.key})
        kept = set(await session.scalars(select(RecurringMonth.month).limit(KEPT_MOST)))
    made = 0
    while month is not None and month < until:
        if month not in kept:
            await _keep(rt, month)
            made += 1
        month = _next(month)
    return made


async def _keep(rt: Runtime, month: date) -> None:
    async with rt.sessions.begin() as session:
        # Whoever folds a row meanwhile waits, and then forgets what is kept here.
        await session.execute(text("SELECT seq FROM rollup_marks FOR UPDATE"))
        found = await reckon(session, rt.settings.zone, since=month, until=_next(month))
        figures = [_written(one) for one in found]
        await session.execute(
            insert(RecurringMonth).values(month=month, figures=figures).on_conflict_do_nothing()
        )


async def read(session: AsyncSession, zone: ZoneInfo, *, since: date, until: date) -> list[Forward]:
    """Each month from `since` up to `until`, newest first by currency: what is kept, and the rest
    from the rows.
    """
    folded = await session.scalar(_FOLDED, {"zone": zone.key})
    doubtful = since
    if folded is not None:
        params = {"zone": zone.key, "after": folded, "upto": NEWEST}
        doubtful = await session.scalar(_TOUCHED, params) or until
    query = select(RecurringMonth).where(
        RecurringMonth.month >= since, RecurringMonth.month < min(until, doubtful)
    )
    kept = {one.month: one.figures for one in await session.scalars(query.limit(KEPT_MOST))}
    found = [_read(month, one) for month, figures in kept.items() for one in figures]
    missing = [month for month in _months(since, until) if month not in kept]
    if missing:
        rest = await reckon(session, zone, since=missing[0], until=_next(missing[-1]))
        found += [one for one in rest if one.month not in kept]
    return sorted(found, key=lambda one: (one.currency, -one.month.toordinal()))


def _written(one: Forward) -> dict[str, Any]:
    names = ("currency", "opening", *MOVEMENTS, "closing", "givers")
    return {name: getattr(one, name) for name in names}


def _read(month: date, figures: dict[str, Any]) -> Forward:
    return Forward(month=month, **figures)


def _months(since: date, until: date) -> Iterable[date]:
    month = since
    while month < until:
        yield month
        month = _next(month)


def _next(month: date) -> date:
    return (month + timedelta(days=32)).replace(day=1)
