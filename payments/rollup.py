"""The roll-up: how much moved between two accounts on each day of the accounting zone, so that a
month of a million rows is read as quickly as a month of a hundred.

It is folded from the rows of the books in the order of the chain, from a mark that moves in the
same transaction. Rows after the mark are added when a report is read: what a report says is what
the rows say, however late the fold is. `payments check` counts the rows again and compares.
"""

from datetime import date

from sqlalchemy import BigInteger, CheckConstraint, Integer, String, delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments import db, rollforward
from payments.ledger import LedgerEntry
from payments.runtime import Runtime

NO_FREQUENCY = "none"  # of what belongs to no contribution, such as Stripe's own fees
BATCH = 250_000  # rows folded in one transaction


class LedgerDay(db.Base):
    """One day's rows of one frequency between two accounts.

    Summed over a whole month, `givers` counts the contributions that paid in it, each once;
    `newcomers` counts, over any time, those that paid for the first time.
    """

    __tablename__ = "ledger_days"
    __table_args__ = (CheckConstraint("amount > 0", name="amount_is_positive"), db.is_currency())

    day: Mapped[date] = mapped_column(primary_key=True)
    frequency: Mapped[str] = mapped_column(String(40), primary_key=True)
    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    debit: Mapped[str] = mapped_column(String(40), primary_key=True)
    credit: Mapped[str] = mapped_column(String(40), primary_key=True)
    amount: Mapped[db.MinorUnits]
    entries: Mapped[int] = mapped_column(Integer)
    givers: Mapped[int] = mapped_column(Integer)
    newcomers: Mapped[int] = mapped_column(Integer)


class RollupMark(db.Base):
    """How far the rows are folded, and by the days of which zone. There is one."""

    __tablename__ = "rollup_marks"

    zone: Mapped[str] = mapped_column(String(64), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)


# A row is a contribution's first if no row before it in the chain says the same of it: that never
# changes, whatever comes later.
MONTH = "date_trunc('month', e.occurred_at AT TIME ZONE :zone)"
COUNTED = """
    SELECT coalesce(l.booked_on, CAST(e.occurred_at AT TIME ZONE {zone} AS date)) AS day,
           coalesce(i.frequency, 'none') AS frequency, e.currency, e.debit, e.credit,
           CAST(sum(e.amount) AS bigint) AS amount,
           CAST(count(*) AS int) AS entries,
           CAST(count(*) FILTER (WHERE e.credit LIKE 'income:%' AND NOT EXISTS (
               SELECT FROM ledger_entries x
                WHERE x.contribution_id = e.contribution_id AND x.seq < e.seq
                  AND x.credit LIKE 'income:%' AND x.credit = e.credit AND x.currency = e.currency
                  AND x.occurred_at >= {month} AT TIME ZONE {zone}
                  AND x.occurred_at < ({month} + interval '1 month') AT TIME ZONE {zone})
           ) AS int) AS givers,
           CAST(count(*) FILTER (WHERE e.credit LIKE 'income:%' AND NOT EXISTS (
               SELECT FROM ledger_entries x
                WHERE x.contribution_id = e.contribution_id AND x.seq < e.seq
                  AND x.credit LIKE 'income:%')) AS int) AS newcomers
      FROM ledger_entries e
      LEFT JOIN late_lines l ON l.seq = e.seq
      JOIN balance_transactions b ON b.id = e.balance_transaction
      LEFT JOIN charges c ON c.stripe_charge_id = b.charge
      LEFT JOIN contribution_intents i USING (stripe_payment_intent_id)
     WHERE e.seq > {after}{upto}
     GROUP BY 1, 2, 3, 4, 5
"""

# What a report reads: the days, and the rows that are not among them yet. Takes :zone.
_FOLDED = """
    SELECT day, frequency, currency, debit, credit, amount, entries, givers, newcomers
      FROM ledger_days
     WHERE EXISTS (SELECT FROM rollup_marks WHERE zone = :zone)
"""
_LATER = COUNTED.format(
    zone=":zone",
    month=MONTH,
    after="coalesce((SELECT seq FROM rollup_marks WHERE zone = :zone), 0)",
    upto="",
)
DAYS = f"{_FOLDED} UNION ALL {_LATER}"

_ADD = """
    INSERT INTO ledger_days AS d
           (day, frequency, currency, debit, credit, amount, entries, givers, newcomers)
    {counted}
    ON CONFLICT (day, frequency, currency, debit, credit) DO UPDATE
       SET amount = d.amount + excluded.amount, entries = d.entries + excluded.entries,
           givers = d.givers + excluded.givers, newcomers = d.newcomers + excluded.newcomers
"""
_UPTO = " AND e.seq <= :upto"
# Rows booked on a day or later; no row is booked before it happened.
_SINCE = f"""{_UPTO}
       AND e.occurred_at >= LEAST(CAST(:since AS timestamp) AT TIME ZONE :zone,
           (SELECT min(x.occurred_at) FROM late_lines y JOIN ledger_entries x ON x.seq = y.seq))
       AND coalesce(l.booked_on, CAST(e.occurred_at AT TIME ZONE :zone AS date)) >= :since"""  # noqa: S608 - our own words
_FOLD = text(
    _ADD.format(counted=COUNTED.format(zone=":zone", month=MONTH, after=":after", upto=_UPTO))
)
_FOLD_SINCE = text(
    _ADD.format(counted=COUNTED.format(zone=":zone", month=MONTH, after="0", upto=_SINCE))
)


async def fold(rt: Runtime) -> int:
    """Fold the rows after the mark. Gives how many there were.

    A change of the accounting zone begins again from the first row.
    """
    folded = 0
    while True:
        async with rt.sessions.begin() as session:
            done = await _fold_some(session, rt.settings.accounting_zone)
        folded += done
        if done < BATCH:
            break
    await rollforward.keep(rt)
    return folded


async def _fold_some(session: AsyncSession, zone: str) -> int:
    await session.execute(insert(RollupMark).values(zone=zone, seq=0).on_conflict_do_nothing())
    marks = list(await session.scalars(select(RollupMark).with_for_update()))
    (mark,) = (mark for mark in marks if mark.zone == zone)
    if len(marks) > 1:
        await session.execute(delete(RollupMark).where(RollupMark.zone != zone))
        await session.execute(delete(LedgerDay))
        await session.execute(rollforward.FORGET_ALL)
        mark.seq = 0
    newest = await session.scalar(select(LedgerEntry.seq).order_by(LedgerEntry.seq.desc()).limit(1))
    upto = min(newest or 0, mark.seq + BATCH)
    count = upto - mark.seq
    if count > 0:
        await session.execute(_FOLD, {"zone": zone, "after": mark.seq, "upto": upto})
        await rollforward.forget(session, zone, after=mark.seq, upto=upto)
        mark.seq = upto
    return count


async def fold_again(session: AsyncSession, zone: str, *, since: date) -> None:
    """Count the days from `since` on once more: rows were booked on other days than before."""
    mark = await session.scalar(select(RollupMark).where(RollupMark.zone == zone).with_for_update())
    if mark is None:
        return  # nothing is folded yet, and what will be is folded by its new days
    await session.execute(delete(LedgerDay).where(LedgerDay.day >= since))
    await session.execute(_FOLD_SINCE, {"zone": zone, "since": since, "upto": mark.seq})
    await rollforward.forget_since(session, since)


async def rebuild(rt: Runtime) -> int:
    """Forget the days and fold every row again. Gives how many there were."""
    async with rt.sessions.begin() as session:
        await session.execute(delete(RollupMark))
        await session.execute(delete(LedgerDay))
        await session.execute(rollforward.FORGET_ALL)
    return await fold(rt)


# --- proof ----------------------------------------------------------------------------------------

SAYS = "the daily roll-up equals the rows it was folded from"
# Counted in another way than the fold: by the place of each row among those like it.
DIFFERENCES = """
    WITH placed AS (
        SELECT coalesce(l.booked_on, CAST(e.occurred_at AT TIME ZONE m.zone AS date)) AS day,
               coalesce(i.frequency, 'none') AS frequency, e.currency, e.debit, e.credit, e.amount,
               e.credit LIKE 'income:%' AND e.contribution_id IS NOT NULL AS income,
               row_number() OVER (
                   PARTITION BY e.contribution_id, e.credit, e.currency,
                                date_trunc('month', e.occurred_at AT TIME ZONE m.zone)
                   ORDER BY e.seq) AS place,
               row_number() OVER (
                   PARTITION BY e.contribution_id, e.credit LIKE 'income:%'
                   ORDER BY e.seq) AS place_ever
          FROM rollup_marks m
          JOIN ledger_entries e ON e.seq <= m.seq
          LEFT JOIN late_lines l ON l.seq = e.seq
          JOIN balance_transactions b ON b.id = e.balance_transaction
          LEFT JOIN charges c ON c.stripe_charge_id = b.charge
          LEFT JOIN contribution_intents i USING (stripe_payment_intent_id)),
    counted AS (
        SELECT day, frequency, currency, debit, credit, sum(amount) AS amount,
               count(*) AS entries,
               count(*) FILTER (WHERE income AND place = 1) AS givers,
               count(*) FILTER (WHERE income AND place_ever = 1) AS newcomers
          FROM placed GROUP BY 1, 2, 3, 4, 5)
    SELECT concat_ws(' ', day, frequency, currency, debit, credit) || ': rolled up '
           || coalesce(d.amount, 0) || ' in ' || coalesce(d.entries, 0) || ', rows '
           || coalesce(r.amount, 0) || ' in ' || coalesce(r.entries, 0)
      FROM ledger_days d
      FULL JOIN counted r USING (day, frequency, currency, debit, credit)
     WHERE (d.amount, d.entries, d.givers, d.newcomers)
           IS DISTINCT FROM (r.amount, r.entries, r.givers, r.newcomers)
     ORDER BY 1
"""
