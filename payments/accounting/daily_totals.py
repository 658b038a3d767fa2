"""The roll-up: how much moved between two accounts on each day of the accounting zone, so that a
month of a million rows is read as quickly as a month of a hundred.

It is folded from the rows of the books in the order of the chain, from a mark that moves in the
same transaction. Rows after the mark are added when a report is read: what a report says is what
the rows say, however late the fold is. `payments verify-ledger` counts the rows again and compares.
"""

from datetime import date

from sqlalchemy import BigInteger, CheckConstraint, Integer, String, delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.accounting import cohort_retention, month_snapshots, mrr_rollforward, payment_recovery
from payments.infra import db
from payments.infra.context import Context
from payments.ledger.entries import LedgerEntry
from payments.settlement import importer

NO_FREQUENCY = "none"  # of what belongs to no contribution, such as Stripe's own fees
REFRESH_BATCH_ROWS = 250_000  # rows folded in one transaction, when some are folded already
SNAPSHOT_KINDS = (
    mrr_rollforward.SNAPSHOT_KIND,
    cohort_retention.SNAPSHOT_KIND,
    payment_recovery.SNAPSHOT_KIND,
)  # kept by month beside the days


async def import_and_refresh(ctx: Context) -> int:
    """Import new balance transactions and add their rows to the totals. Returns how many."""
    found = await importer.import_new(ctx)
    await refresh(ctx)
    return found


class DailyTotal(db.Base):
    """One day's rows of one frequency between two accounts.

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
    """How far the rows are folded, and by the days of which zone. There is one."""

    __tablename__ = "daily_totals_positions"

    zone: Mapped[str] = mapped_column(String(64), primary_key=True)
    last_seq: Mapped[int] = mapped_column(BigInteger)


# A row is a contribution's first, of all or of a month, if no row before it in the chain says the
# same of it. Among the rows that are counted the place tells; the others are asked, if any are.
# Of what frequency income is, its account says; of what goes with it, its payment intent.
_BOOKED_DAY_SQL = "coalesce({late}.booked_on, CAST({row}.occurred_at AT TIME ZONE {zone} AS date))"
DAILY_SUMS_SQL = """
    SELECT day, frequency, currency, debit, credit, CAST(sum(amount) AS bigint) AS amount,
           CAST(count(*) AS int) AS entries,
           CAST(count(*) FILTER (WHERE place = 1 AND ({whole} OR NOT EXISTS (
               SELECT FROM ledger_entries x LEFT JOIN late_entries y ON y.seq = x.seq
                WHERE x.contribution_id = placed.contribution_id AND x.seq < placed.seq
                  AND x.credit LIKE 'income:%' AND x.credit = placed.credit
                  AND x.currency = placed.currency
                  AND date_trunc('month', {earlier}) = date_trunc('month', placed.day)))
           ) AS int) AS payers,
           CAST(count(*) FILTER (WHERE place_ever = 1 AND ({whole} OR NOT EXISTS (
               SELECT FROM ledger_entries x
                WHERE x.contribution_id = placed.contribution_id AND x.seq < placed.seq
                  AND x.credit LIKE 'income:%'))) AS int) AS first_time_payers
      FROM (
        SELECT *, row_number() OVER (
                   PARTITION BY contribution_id, date_trunc('month', day), credit, currency
                   ORDER BY seq) AS place,
               row_number() OVER (PARTITION BY contribution_id ORDER BY seq) AS place_ever
          FROM (
            SELECT {day} AS day, split_part(e.credit, ':', 2) AS frequency, e.currency, e.debit,
                   e.credit, e.amount, e.seq, e.contribution_id
              FROM ledger_entries e
              LEFT JOIN late_entries l ON l.seq = e.seq
             WHERE e.credit LIKE 'income:%' AND e.seq > {after}{upto}) AS income
         UNION ALL
        SELECT {day}, coalesce(i.frequency, 'none'), e.currency, e.debit, e.credit, e.amount,
               NULL, NULL, NULL, NULL
          FROM ledger_entries e
          LEFT JOIN late_entries l ON l.seq = e.seq
          {intents}
         WHERE e.credit NOT LIKE 'income:%' AND e.seq > {after}{upto}) AS placed
     GROUP BY 1, 2, 3, 4, 5
"""


_INTENT_JOINS_SQL = """
          JOIN balance_transactions b ON b.id = e.balance_transaction
          LEFT JOIN charges c ON c.stripe_charge_id = b.charge
          LEFT JOIN payment_intent_links i USING (stripe_payment_intent_id)"""
# The same for a few rows: each is looked up, however many the planner thinks there are.
_INTENT_LATERAL_JOINS_SQL = """
          JOIN LATERAL (SELECT charge FROM balance_transactions
                         WHERE id = e.balance_transaction LIMIT 1) b ON true
          LEFT JOIN LATERAL (SELECT stripe_payment_intent_id FROM charges
                              WHERE stripe_charge_id = b.charge LIMIT 1) c ON true
          LEFT JOIN LATERAL (SELECT frequency FROM payment_intent_links
                              WHERE stripe_payment_intent_id = c.stripe_payment_intent_id
                              LIMIT 1) i ON true"""


def _daily_sums_sql(
    after: str, up_to: str, *, intent_joins: str = _INTENT_JOINS_SQL, is_complete: str = "false"
) -> str:
    """Rows counted by day. `whole`: whether there are no others."""
    return DAILY_SUMS_SQL.format(
        day=_BOOKED_DAY_SQL.format(late="l", row="e", zone=":zone"),
        earlier=_BOOKED_DAY_SQL.format(late="y", row="x", zone=":zone"),
        intents=intent_joins,
        after=after,
        upto=up_to,
        whole=is_complete,
    )


# What a report reads: the days, and the rows that are not among them yet. Takes :zone.
_STORED_TOTALS_SQL = """
    SELECT day, frequency, currency, debit, credit, amount, entries, payers, first_time_payers
      FROM daily_totals
     WHERE EXISTS (SELECT FROM daily_totals_positions WHERE zone = :zone)
"""
# The upper end says nothing, but tells the planner that there are few.
_NEWER_ENTRIES_SQL = _daily_sums_sql(
    "coalesce((SELECT last_seq FROM daily_totals_positions WHERE zone = :zone), 0)",
    " AND e.seq <= (SELECT max(seq) FROM ledger_entries)",
    intent_joins=_INTENT_LATERAL_JOINS_SQL,
)
DAILY_TOTALS_SQL = f"{_STORED_TOTALS_SQL} UNION ALL {_NEWER_ENTRIES_SQL}"

_ADD_TOTALS_SQL = """
    INSERT INTO daily_totals AS d
           (day, frequency, currency, debit, credit, amount, entries, payers, first_time_payers)
    {counted}
    ON CONFLICT (day, frequency, currency, debit, credit) DO UPDATE
       SET amount = d.amount + excluded.amount, entries = d.entries + excluded.entries,
           payers = d.payers + excluded.payers, first_time_payers = d.first_time_payers + excluded.first_time_payers
"""
_UP_TO_SQL = " AND e.seq <= :upto"
# Rows booked on a day or later; no row is booked before it happened.
_BOOKED_SINCE_SQL = f"""{_UP_TO_SQL}
       AND e.occurred_at >= LEAST(CAST(:since AS timestamp) AT TIME ZONE :zone,
           (SELECT min(x.occurred_at) FROM late_entries y JOIN ledger_entries x ON x.seq = y.seq))
       AND coalesce(l.booked_on, CAST(e.occurred_at AT TIME ZONE :zone AS date)) >= :since"""  # noqa: S608 - our own words
_ADD_NEW_ENTRIES = text(
    _ADD_TOTALS_SQL.format(
        counted=_daily_sums_sql(":after", _UP_TO_SQL, is_complete="CAST(:after AS bigint) = 0")
    )
)
_ADD_ENTRIES_SINCE = text(_ADD_TOTALS_SQL.format(counted=_daily_sums_sql("0", _BOOKED_SINCE_SQL)))


async def refresh(ctx: Context) -> int:
    """Fold the rows after the mark. Gives how many there were.

    A change of the accounting zone begins again from the first row.
    """
    folded = 0
    while True:
        async with ctx.sessions.begin() as session:
            done = await _refresh_batch(session, ctx.settings.accounting_zone)
        folded += done
        if done != REFRESH_BATCH_ROWS:
            break
    for kind in SNAPSHOT_KINDS:
        await month_snapshots.snapshot_past_months(ctx, kind)
    return folded


async def _refresh_batch(session: AsyncSession, zone: str) -> int:
    await session.execute(
        insert(DailyTotalsPosition).values(zone=zone, last_seq=0).on_conflict_do_nothing()
    )
    marks = list(await session.scalars(select(DailyTotalsPosition).with_for_update()))
    (mark,) = (mark for mark in marks if mark.zone == zone)
    if len(marks) > 1:
        await session.execute(delete(DailyTotalsPosition).where(DailyTotalsPosition.zone != zone))
        await session.execute(delete(DailyTotal))
        await month_snapshots.invalidate_since(session, SNAPSHOT_KINDS, date.min)
        mark.last_seq = 0
    newest = await session.scalar(select(LedgerEntry.seq).order_by(LedgerEntry.seq.desc()).limit(1))
    # All rows are counted in one go, far more quickly than in parts that ask for what is before.
    upto = min(newest or 0, mark.last_seq + REFRESH_BATCH_ROWS) if mark.last_seq else newest or 0
    count = upto - mark.last_seq
    if count > 0:
        await session.execute(text("SET LOCAL statement_timeout = '30min'"))
        await session.execute(text("SET LOCAL work_mem = '64MB'"))
        await session.execute(
            _ADD_NEW_ENTRIES, {"zone": zone, "after": mark.last_seq, "upto": upto}
        )
        await month_snapshots.invalidate_for_entries(
            session, SNAPSHOT_KINDS, zone, after=mark.last_seq, up_to=upto
        )
        mark.last_seq = upto
    return count


async def recompute_since(session: AsyncSession, zone: str, *, since: date) -> None:
    """Count the days from `since` on once more: rows were booked on other days than before."""
    mark = await session.scalar(
        select(DailyTotalsPosition).where(DailyTotalsPosition.zone == zone).with_for_update()
    )
    if mark is None:
        return  # nothing is folded yet, and what will be is folded by its new days
    await session.execute(delete(DailyTotal).where(DailyTotal.day >= since))
    await session.execute(_ADD_ENTRIES_SINCE, {"zone": zone, "since": since, "upto": mark.last_seq})
    await month_snapshots.invalidate_since(session, SNAPSHOT_KINDS, since)


async def rebuild(ctx: Context) -> int:
    """Forget the days and fold every row again. Gives how many there were."""
    async with ctx.sessions.begin() as session:
        await session.execute(delete(DailyTotalsPosition))
        await session.execute(delete(DailyTotal))
        await month_snapshots.invalidate_since(session, SNAPSHOT_KINDS, date.min)
    return await refresh(ctx)


# --- proof ----------------------------------------------------------------------------------------

CHECK_DESCRIPTION = "the daily roll-up equals the rows it was folded from"
# Counted in another way than the fold: by the number of the first row of each contribution.
DIFFERENCES_SQL = """
    WITH seen AS (
        SELECT e.seq, e.contribution_id, e.credit, e.currency, e.debit, e.amount,
               coalesce(l.booked_on, CAST(e.occurred_at AT TIME ZONE m.zone AS date)) AS day,
               coalesce(i.frequency, 'none') AS frequency
          FROM daily_totals_positions m
          JOIN ledger_entries e ON e.seq <= m.last_seq
          LEFT JOIN late_entries l ON l.seq = e.seq
          JOIN balance_transactions b ON b.id = e.balance_transaction
          LEFT JOIN charges c ON c.stripe_charge_id = b.charge
          LEFT JOIN payment_intent_links i USING (stripe_payment_intent_id)),
    gave AS (
        SELECT min(seq) AS seq FROM seen
         WHERE credit LIKE 'income:%' AND contribution_id IS NOT NULL
         GROUP BY contribution_id, credit, currency, date_trunc('month', day)),
    came AS (
        SELECT min(seq) AS seq FROM seen
         WHERE credit LIKE 'income:%' AND contribution_id IS NOT NULL GROUP BY contribution_id),
    counted AS (
        SELECT day, frequency, currency, debit, credit, sum(amount) AS amount,
               count(*) AS entries, count(gave.seq) AS payers, count(came.seq) AS first_time_payers
          FROM seen LEFT JOIN gave USING (seq) LEFT JOIN came USING (seq)
         GROUP BY 1, 2, 3, 4, 5)
    SELECT concat_ws(' ', day, frequency, currency, debit, credit) || ': rolled up '
           || coalesce(d.amount, 0) || ' in ' || coalesce(d.entries, 0) || ', rows '
           || coalesce(r.amount, 0) || ' in ' || coalesce(r.entries, 0)
      FROM daily_totals d
      FULL JOIN counted r USING (day, frequency, currency, debit, credit)
     WHERE (d.amount, d.entries, d.payers, d.first_time_payers)
           IS DISTINCT FROM (r.amount, r.entries, r.payers, r.first_time_payers)
     ORDER BY 1
"""
