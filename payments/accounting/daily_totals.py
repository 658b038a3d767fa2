"""Daily totals: how much moved between two accounts on each day of the accounting zone, so that a
month of a million entries is read as quickly as a month of a hundred.

Entries are added in the order of the chain, up to a position that moves in the same transaction.
A report adds the entries after that position when it is read, so that it says what the ledger says
however late the totals are. An integrity check counts all entries again and compares.
"""

from datetime import date
from functools import partial

from sqlalchemy import BigInteger, CheckConstraint, Integer, String, delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.accounting import (
    accounting_zone,
    cohort_retention,
    month_snapshots,
    mrr_rollforward,
    payment_recovery,
    statement_timeout,
)
from payments.infra import db, isolation
from payments.infra.context import Context
from payments.ledger.entries import LedgerEntry
from payments.settlement import importer

REFRESH_BATCH_ROWS = 250_000  # entries added in one transaction, when some were added before
SNAPSHOT_KINDS = (
    mrr_rollforward.SNAPSHOT_KIND,
    cohort_retention.SNAPSHOT_KIND,
    payment_recovery.SNAPSHOT_KIND,
)  # computed by month beside the days


class DailyTotal(db.Base):
    """One day's entries of one frequency between two accounts.

    Summed over a whole month, `payers` counts the contributions that paid in it, each once;
    `first_time_payers` counts, over any time, those that paid for the first time.
    """

    __tablename__ = "daily_totals"
    __table_args__ = (CheckConstraint("amount > 0", name="amount_is_positive"), db.currency_check())

    day: Mapped[date] = mapped_column(primary_key=True)
    frequency: Mapped[str] = mapped_column(String(40), primary_key=True)
    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    debit: Mapped[str] = mapped_column(String(40), primary_key=True)
    credit: Mapped[str] = mapped_column(String(40), primary_key=True)
    amount: Mapped[db.MinorUnits]
    entries: Mapped[int] = mapped_column(Integer)
    payers: Mapped[int] = mapped_column(Integer)
    first_time_payers: Mapped[int] = mapped_column(Integer)


class DailyTotalsPosition(db.Base):
    """The last entry in the totals, and the zone of their days. There is one row."""

    __tablename__ = "daily_totals_positions"

    zone: Mapped[str] = mapped_column(String(64), primary_key=True)
    last_seq: Mapped[int] = mapped_column(BigInteger)


# --- the sums -------------------------------------------------------------------------------------

# Adds the entries after a number up to another that are booked on :since or later, NULL for any.
# Sums of income have `income_daily_sums` to themselves, a function of the database that
# `daily_totals_now` uses too: what a report reads as a table, newer entries included.
_ADD_ENTRIES = text("""
    INSERT INTO daily_totals AS total
           (day, frequency, currency, debit, credit, amount, entries, payers, first_time_payers)
    SELECT day, frequency, currency, debit, credit, amount, entries, payers, first_time_payers
      FROM income_daily_sums(:after, :up_to, CAST(:since AS date), :is_complete, :zone)
     UNION ALL
    SELECT CAST(booked_at(e.occurred_at, e.booked_on, :zone) AS date),
           coalesce(link.frequency, 'none'),
           e.currency, e.debit, e.credit,
           CAST(sum(e.amount) AS bigint), CAST(count(*) AS int), 0, 0
      FROM booked_entries e
      JOIN balance_transactions bt ON bt.id = e.balance_transaction
      LEFT JOIN charges c ON c.stripe_charge_id = bt.charge
      LEFT JOIN payment_intent_links link USING (stripe_payment_intent_id)
     WHERE e.credit NOT LIKE 'income:%'
       AND e.seq > :after
       AND e.seq <= :up_to
       AND (CAST(:since AS date) IS NULL
            OR e.occurred_at >= (SELECT earliest_occurrence(CAST(:since AS date), :zone))
               AND is_booked_from(e.occurred_at, e.booked_on, CAST(:since AS date), :zone))
     GROUP BY 1, 2, 3, 4, 5
        ON CONFLICT (day, frequency, currency, debit, credit) DO UPDATE
       SET amount = total.amount + excluded.amount,
           entries = total.entries + excluded.entries,
           payers = total.payers + excluded.payers,
           first_time_payers = total.first_time_payers + excluded.first_time_payers
""")


# --- keeping them up to date ----------------------------------------------------------------------


async def import_and_refresh(ctx: Context) -> int:
    """Import new balance transactions and add their entries to the totals. Returns how many."""
    new_count = 0

    async def import_new() -> None:
        nonlocal new_count
        new_count = await importer.import_new(ctx)

    await isolation.run_steps(import_new, lambda: refresh(ctx))
    return new_count


async def refresh(ctx: Context) -> int:
    """Add the entries after the position, then snapshot past months. Returns how many entries.

    After a change of the accounting zone it begins again with the first entry. Raises AnotherZone.
    """
    added = 0
    while True:
        async with ctx.sessions.begin() as session:
            await accounting_zone.record_first(ctx, session)
            count = await _refresh_batch(session, ctx.settings.accounting_zone)
        added += count
        if count != REFRESH_BATCH_ROWS:
            break
    await isolation.run_steps(
        *(partial(month_snapshots.snapshot_past_months, ctx, kind) for kind in SNAPSHOT_KINDS)
    )
    return added


async def _refresh_batch(session: AsyncSession, zone: str) -> int:
    await session.execute(
        insert(DailyTotalsPosition).values(zone=zone, last_seq=0).on_conflict_do_nothing()
    )
    positions = list(await session.scalars(select(DailyTotalsPosition).with_for_update()))
    (position,) = (one for one in positions if one.zone == zone)
    if len(positions) > 1:
        await session.execute(delete(DailyTotalsPosition).where(DailyTotalsPosition.zone != zone))
        await _delete_totals(session)
        position.last_seq = 0
    newest = await session.scalar(select(LedgerEntry.seq).order_by(LedgerEntry.seq.desc()).limit(1))
    up_to = newest or 0
    # The first time all entries are summed at once: far quicker than batches, which have to look up
    # what is before them.
    if position.last_seq:
        up_to = min(up_to, position.last_seq + REFRESH_BATCH_ROWS)
    count = up_to - position.last_seq
    if count > 0:
        await statement_timeout.extend(session)
        await session.execute(text("SET LOCAL work_mem = '64MB'"))
        await session.execute(
            _ADD_ENTRIES,
            {
                "zone": zone,
                "after": position.last_seq,
                "up_to": up_to,
                "since": None,
                "is_complete": position.last_seq == 0,
            },
        )
        await month_snapshots.invalidate_for_entries(
            session, SNAPSHOT_KINDS, zone, after=position.last_seq, up_to=up_to
        )
        position.last_seq = up_to
    return count


async def recompute_since(session: AsyncSession, zone: str, *, since: date) -> None:
    """Compute the totals from `since` on anew, because entries are booked on other days now."""
    position = await session.scalar(
        select(DailyTotalsPosition).where(DailyTotalsPosition.zone == zone).with_for_update()
    )
    if position is None:
        return  # there are no totals yet
    await session.execute(delete(DailyTotal).where(DailyTotal.day >= since))
    await session.execute(
        _ADD_ENTRIES,
        {
            "zone": zone,
            "after": 0,
            "up_to": position.last_seq,
            "since": since,
            "is_complete": False,
        },
    )
    await month_snapshots.invalidate_since(session, SNAPSHOT_KINDS, since)


async def rebuild(ctx: Context) -> int:
    """Delete the totals and snapshots and compute them anew. Returns how many entries there are."""
    async with ctx.sessions.begin() as session:
        await session.execute(delete(DailyTotalsPosition))
        await _delete_totals(session)
    return await refresh(ctx)


async def _delete_totals(session: AsyncSession) -> None:
    await session.execute(delete(DailyTotal))
    await month_snapshots.invalidate_since(session, SNAPSHOT_KINDS, date.min)


# --- the integrity check --------------------------------------------------------------------------

CHECK_DESCRIPTION = "the daily roll-up equals the rows it was folded from"
# Counted in another way than above, and with its own booking day, so that one does not prove
# itself: by the number of the first entry of each contribution.
DIFFERENCES_SQL = """
    WITH dated_entries AS (
        SELECT e.seq, e.contribution_id, e.credit, e.currency, e.debit, e.amount,
               coalesce(late.booked_on,
                        CAST(e.occurred_at AT TIME ZONE totals_position.zone AS date)) AS day,
               coalesce(link.frequency, 'none') AS frequency
          FROM daily_totals_positions totals_position
          JOIN ledger_entries e ON e.seq <= totals_position.last_seq
          LEFT JOIN late_entries late ON late.seq = e.seq
          JOIN balance_transactions bt ON bt.id = e.balance_transaction
          LEFT JOIN charges c ON c.stripe_charge_id = bt.charge
          LEFT JOIN payment_intent_links link USING (stripe_payment_intent_id)
    ),
    first_of_month AS (
        SELECT min(seq) AS seq
          FROM dated_entries
         WHERE credit LIKE 'income:%' AND contribution_id IS NOT NULL
         GROUP BY contribution_id, credit, currency, date_trunc('month', day)
    ),
    first_ever AS (
        SELECT min(seq) AS seq
          FROM dated_entries
         WHERE credit LIKE 'income:%' AND contribution_id IS NOT NULL
         GROUP BY contribution_id
    ),
    recounted AS (
        SELECT day, frequency, currency, debit, credit,
               sum(amount) AS amount,
               count(*) AS entries,
               count(first_of_month.seq) AS payers,
               count(first_ever.seq) AS first_time_payers
          FROM dated_entries
          LEFT JOIN first_of_month USING (seq)
          LEFT JOIN first_ever USING (seq)
         GROUP BY day, frequency, currency, debit, credit
    )
    SELECT concat_ws(' ', day, frequency, currency, debit, credit)
           || ': rolled up ' || coalesce(total.amount, 0) || ' in ' || coalesce(total.entries, 0)
           || ', rows ' || coalesce(recounted.amount, 0)
           || ' in ' || coalesce(recounted.entries, 0)
      FROM daily_totals total
      FULL JOIN recounted USING (day, frequency, currency, debit, credit)
     WHERE (total.amount, total.entries, total.payers, total.first_time_payers)
           IS DISTINCT FROM
           (recounted.amount, recounted.entries, recounted.payers, recounted.first_time_payers)
     ORDER BY 1
"""
