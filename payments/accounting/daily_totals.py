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
    booking_day,
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

_LINK_JOINS_SQL = """
          JOIN balance_transactions bt ON bt.id = e.balance_transaction
          LEFT JOIN charges c ON c.stripe_charge_id = bt.charge
          LEFT JOIN payment_intent_links link USING (stripe_payment_intent_id)"""
# The same for a few entries: each is looked up, however many the planner thinks there are.
_LINK_LATERAL_JOINS_SQL = """
          JOIN LATERAL (
              SELECT charge FROM balance_transactions
               WHERE id = e.balance_transaction LIMIT 1) bt ON true
          LEFT JOIN LATERAL (
              SELECT stripe_payment_intent_id FROM charges
               WHERE stripe_charge_id = bt.charge LIMIT 1) c ON true
          LEFT JOIN LATERAL (
              SELECT frequency FROM payment_intent_links
               WHERE stripe_payment_intent_id = c.stripe_payment_intent_id LIMIT 1) link ON true"""


def _daily_sums_sql(
    entries_where: str, *, link_joins: str = _LINK_JOINS_SQL, is_complete: str = "false"
) -> str:
    """The query that sums entries by day, frequency, currency and accounts.

    `entries_where` says which entries `e`; `is_complete` is an SQL condition that is true when none
    is left out. The frequency of income is in its account; of a fee or refund, in the payment
    intent's link. An entry is its contribution's first, ever or of a month, if no entry before it
    in the chain is: the rank says so among the entries summed, and the others are looked up.
    """
    return f"""
        WITH income AS (
            SELECT {booking_day.booked_day()} AS day,
                   split_part(e.credit, ':', 2) AS frequency,
                   e.currency, e.debit, e.credit, e.amount, e.seq, e.contribution_id
              FROM ledger_entries e
              {booking_day.LATE_ENTRIES_JOIN_SQL}
             WHERE e.credit LIKE 'income:%' AND {entries_where}
        ),
        ranked_income AS (
            SELECT *,
                   row_number() OVER (
                       PARTITION BY contribution_id, date_trunc('month', day), credit, currency
                       ORDER BY seq) AS rank_in_month,
                   row_number() OVER (PARTITION BY contribution_id ORDER BY seq) AS rank_ever
              FROM income
        ),
        dated_entries AS (
            SELECT *,
                   rank_in_month = 1 AND ({is_complete} OR NOT EXISTS (
                       SELECT
                         FROM ledger_entries earlier
                         LEFT JOIN late_entries earlier_late USING (seq)
                        WHERE earlier.contribution_id = ranked_income.contribution_id
                          AND earlier.seq < ranked_income.seq
                          AND earlier.credit LIKE 'income:%'
                          AND earlier.credit = ranked_income.credit
                          AND earlier.currency = ranked_income.currency
                          AND date_trunc('month',
                                  {booking_day.booked_day("earlier", "earlier_late")})
                              = date_trunc('month', ranked_income.day)
                   )) AS is_first_of_month,
                   rank_ever = 1 AND ({is_complete} OR NOT EXISTS (
                       SELECT
                         FROM ledger_entries earlier
                        WHERE earlier.contribution_id = ranked_income.contribution_id
                          AND earlier.seq < ranked_income.seq
                          AND earlier.credit LIKE 'income:%'
                   )) AS is_first_ever
              FROM ranked_income
             UNION ALL
            SELECT {booking_day.booked_day()}, coalesce(link.frequency, 'none'),
                   e.currency, e.debit, e.credit, e.amount,
                   NULL, NULL, NULL, NULL, false, false
              FROM ledger_entries e
              {booking_day.LATE_ENTRIES_JOIN_SQL}
              {link_joins}
             WHERE e.credit NOT LIKE 'income:%' AND {entries_where}
        )
        SELECT day, frequency, currency, debit, credit,
               CAST(sum(amount) AS bigint) AS amount,
               CAST(count(*) AS int) AS entries,
               CAST(count(*) FILTER (WHERE is_first_of_month) AS int) AS payers,
               CAST(count(*) FILTER (WHERE is_first_ever) AS int) AS first_time_payers
          FROM dated_entries
         GROUP BY day, frequency, currency, debit, credit
    """  # noqa: S608 - constants only


# The upper end excludes nothing, but tells the planner that there are few.
_NEWER_TOTALS_SQL = _daily_sums_sql(
    """e.seq > coalesce((SELECT last_seq FROM daily_totals_positions WHERE zone = :zone), 0)
               AND e.seq <= (SELECT max(seq) FROM ledger_entries)""",
    link_joins=_LINK_LATERAL_JOINS_SQL,
)
# What a report reads as a table: the stored totals, and those of newer entries. Takes :zone.
DAILY_TOTALS_SQL = f"""
    SELECT day, frequency, currency, debit, credit, amount, entries, payers, first_time_payers
      FROM daily_totals
     WHERE EXISTS (SELECT FROM daily_totals_positions WHERE zone = :zone)
     UNION ALL
    ({_NEWER_TOTALS_SQL})
"""  # noqa: S608 - constants only


def _add_totals_sql(daily_sums: str) -> str:
    return f"""
        INSERT INTO daily_totals AS total
               (day, frequency, currency, debit, credit,
                amount, entries, payers, first_time_payers)
        {daily_sums}
        ON CONFLICT (day, frequency, currency, debit, credit) DO UPDATE
           SET amount = total.amount + excluded.amount,
               entries = total.entries + excluded.entries,
               payers = total.payers + excluded.payers,
               first_time_payers = total.first_time_payers + excluded.first_time_payers
    """  # noqa: S608 - constants only


_ADD_NEW_ENTRIES = text(
    _add_totals_sql(
        _daily_sums_sql(
            "e.seq > :after AND e.seq <= :up_to", is_complete="CAST(:after AS bigint) = 0"
        )
    )
)
_ADD_ENTRIES_SINCE = text(
    _add_totals_sql(
        _daily_sums_sql(
            f"""e.seq <= :up_to
               AND {booking_day.may_be_booked_from(":since")}
               AND {booking_day.booked_day()} >= :since"""
        )
    )
)


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

    After a change of the accounting zone it begins again with the first entry.
    """
    added = 0
    while True:
        async with ctx.sessions.begin() as session:
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
            _ADD_NEW_ENTRIES, {"zone": zone, "after": position.last_seq, "up_to": up_to}
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
        _ADD_ENTRIES_SINCE, {"zone": zone, "since": since, "up_to": position.last_seq}
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
