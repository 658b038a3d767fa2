"""The importer: fetches every movement of the Stripe balance, whether or not a webhook came.

It lists from a day before the newest transaction it has seen, and moves that cursor only after the
whole list was read. A run that stops half way, or a transaction that becomes visible late, loses
nothing. One that could not be stored is passed by the cursor and has an alert: while that is open,
each run fetches it by its id.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta

import stripe
from sqlalchemy import String, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import from_unix
from payments.giving import charges, unposted_charges
from payments.infra import (
    alerts,
    db,
    isolation,
    job_queue,
    retries,
    stripe_account,
    stripe_client,
    stripe_health,
)
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.ledger import balance_transactions
from payments.ledger.entries import LedgerEntry
from payments.ledger.posting_rules import LedgerAccount
from payments.settlement import disputes, payouts, refunds

SyncHandler = Callable[[Context, str], Awaitable[None]]
# A job kind: import the balance, once, after the objects whose events have come.
IMPORT_JOB = f"{job_queue.AFTER_OTHERS_PREFIX}balance_import"
IMPORT_OVERLAP = timedelta(hours=24)
MAX_IMPORT_AGE = timedelta(hours=1)  # longer without one raises an alert
IMPORT_SCHEDULE = "import_balance"
RETRY_JOB = retries.schedule_job(IMPORT_SCHEDULE)  # of the alerts about what could not be stored
TRANSACTIONS_CURSOR = "balance_transactions"
IMPORT_COMPLETED = "import_completed"  # when an import last read the whole list, not how far it is


class ImportCursor(db.Base):
    """How far the import of one of Stripe's lists has come."""

    __tablename__ = "import_cursors"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    reached_at: Mapped[db.Timestamp]


async def enqueue_import(session: AsyncSession) -> None:
    """Enqueue an import of the balance; those that wait already are the same one."""
    await job_queue.enqueue_sync(session, IMPORT_JOB, TRANSACTIONS_CURSOR)


async def import_new(ctx: Context) -> int:
    """Store and post every balance transaction since the cursor. Returns how many were new."""
    async with ctx.sessions() as session:
        cursor = await session.scalar(
            select(ImportCursor.reached_at).where(ImportCursor.name == TRANSACTIONS_CURSOR)
        )
    since = None if cursor is None else cursor - IMPORT_OVERLAP
    new_count = 0

    async def store() -> None:
        nonlocal new_count
        new_count, newest = await _store_listed_since(ctx, since)
        if newest is not None and (cursor is None or newest > cursor):
            await advance_cursor(ctx, TRANSACTIONS_CURSOR, newest)

    async def retry_failed() -> None:
        nonlocal new_count
        new_count += await _store_failed_before(ctx)

    await isolation.run_steps(store, retry_failed, lambda: post_imported(ctx))
    await advance_cursor(ctx, IMPORT_COMPLETED, ctx.now())
    return new_count


async def import_since(ctx: Context, since: datetime) -> int:
    """Store and post what was missed since a moment. Returns how many transactions were new."""
    new_count, _ = await _store_listed_since(ctx, since)
    await post_imported(ctx)
    return new_count


async def _store_listed_since(ctx: Context, since: datetime | None) -> tuple[int, datetime | None]:
    """Store all that Stripe lists. Returns how many were new, and the time of the newest."""
    await stripe_account.ensure_bound(ctx)
    new_count, newest, last_id = 0, None, None
    while True:
        page = await _list_page(ctx, since, last_id)
        if not page.data:
            break
        new_count += await _store_page(ctx, page.data)
        newest_of_page = max(from_unix(transaction.created) for transaction in page.data)
        newest = newest_of_page if newest is None else max(newest, newest_of_page)
        if not page.has_more:
            break
        last_id = page.data[-1].id
    return new_count, newest


async def _store_page(ctx: Context, transactions: Sequence[stripe.BalanceTransaction]) -> int:
    """Store a page in one transaction or, where one of it cannot be stored, each by itself.

    Returns how many were new.
    """
    try:
        async with ctx.sessions.begin() as session:
            ids = [transaction.id for transaction in transactions]
            await alerts.close_all(
                session, AlertKind.OBJECT_FAILED, object_ids=ids, job=RETRY_JOB, now=ctx.now()
            )
            return await balance_transactions.store_transactions(session, transactions)
    except (DataError, IntegrityError, AttributeError, TypeError, ValueError):
        by_id = {transaction.id: transaction for transaction in transactions}

    new_count = 0

    async def store(transaction_id: str) -> None:
        nonlocal new_count
        async with ctx.sessions.begin() as session:
            new_count += await balance_transactions.store_transactions(
                session, [by_id[transaction_id]]
            )

    await isolation.for_each(ctx, by_id, store, job=RETRY_JOB)
    return new_count


async def _store_failed_before(ctx: Context) -> int:
    """Fetch by their ids the transactions that could not be stored, and store them. Returns how
    many were new.
    """
    async with ctx.sessions() as session:
        ids = await alerts.open_object_ids(session, AlertKind.OBJECT_FAILED, job=RETRY_JOB)
    new_count = 0

    async def fetch_and_store(transaction_id: str) -> None:
        nonlocal new_count
        with stripe_client.translate_errors():
            fetched = await ctx.stripe.v1.balance_transactions.retrieve_async(
                transaction_id, {"expand": ["source"]}
            )
        async with ctx.sessions.begin() as session:
            new_count += await balance_transactions.store_transactions(session, [fetched])

    await isolation.for_each(ctx, ids, fetch_and_store, job=RETRY_JOB)
    return new_count


async def _list_page(
    ctx: Context, since: datetime | None, starting_after: str | None
) -> stripe.ListObject[stripe.BalanceTransaction]:
    params: stripe.params.BalanceTransactionListParams = {
        "limit": stripe_client.MAX_PAGE_SIZE,
        "expand": ["data.source"],
    }
    if since is not None:
        params["created"] = {"gte": int(since.timestamp())}
    if starting_after is not None:
        params["starting_after"] = starting_after
    with stripe_client.translate_errors():
        return await ctx.stripe.v1.balance_transactions.list_async(params)


async def advance_cursor(ctx: Context, cursor_name: str, reached_at: datetime) -> None:
    """Move a cursor forward, never back."""
    async with ctx.sessions.begin() as session:
        row = insert(ImportCursor).values(name=cursor_name, reached_at=reached_at)
        furthest = func.greatest(ImportCursor.reached_at, row.excluded.reached_at)
        await session.execute(
            row.on_conflict_do_update(index_elements=["name"], set_={"reached_at": furthest})
        )


async def post_imported(ctx: Context) -> None:
    """Post what is stored, fetching the charges, payouts, refunds and disputes that explain it."""

    async def post() -> None:
        async with ctx.sessions.begin() as session:
            await charges.post_unposted(session, now=ctx.now())

    await isolation.run_steps(
        post,
        lambda: unposted_charges.attribute(ctx),
        lambda: _sync_each(ctx, "payout", payouts.sync, payouts.unsynced_ids),
        lambda: _sync_each(ctx, "refund", refunds.sync, _ids_of(UNSYNCED_REFUNDS_SQL)),
        lambda: _sync_each(ctx, "dispute", disputes.sync, _ids_of(UNSYNCED_DISPUTES_SQL)),
    )


IdQuery = Callable[[AsyncSession], Awaitable[Iterable[str]]]


def _ids_of(query: str) -> IdQuery:
    async def read(session: AsyncSession) -> Iterable[str]:
        return [str(id_) for id_ in await session.scalars(text(query))]

    return read


async def _sync_each(ctx: Context, object_type: str, sync: SyncHandler, read_ids: IdQuery) -> None:
    """Sync the objects of one type that are not here as the transactions say."""
    async with ctx.sessions() as session:
        ids = await read_ids(session)
    await isolation.for_each(ctx, ids, lambda id_: sync(ctx, id_), job=object_type)


# Refunds and disputes that a balance transaction names and whose row does not have it yet. A run
# takes any 1,000 of them: the oldest might be those that Stripe never shows.
UNSYNCED_REFUNDS_SQL = """
    SELECT bt.source
      FROM balance_transactions bt
      LEFT JOIN refunds r ON r.stripe_refund_id = bt.source
     WHERE bt.reporting_category IN ('refund', 'refund_failure')
       AND bt.source ~ '^(re|pyr)_'
       AND (bt.id <> ALL (ARRAY[r.balance_transaction, r.failure_balance_transaction]))
           IS NOT FALSE
     GROUP BY bt.source
     ORDER BY random()
     LIMIT 1000
"""
UNSYNCED_DISPUTES_SQL = """
    SELECT bt.source
      FROM balance_transactions bt
      LEFT JOIN disputes d ON d.stripe_dispute_id = bt.source
     WHERE bt.reporting_category IN ('dispute', 'dispute_reversal')
       AND bt.source IS NOT NULL
       AND d.stripe_dispute_id IS NULL
     GROUP BY bt.source
     ORDER BY random()
     LIMIT 1000
"""


async def refresh_stall_alert(ctx: Context) -> bool:
    """Raise the alert that no import was completed for an hour, or close it. Returns whether.

    While Stripe answers nobody there is another alert, which says why.
    """
    async with ctx.sessions.begin() as session:
        completed_at = await session.scalar(
            select(ImportCursor.reached_at).where(ImportCursor.name == IMPORT_COMPLETED)
        )
        account = await stripe_account.get(session)
        since = completed_at or (account.bound_at if account is not None else ctx.now())
        is_stalled = ctx.now() - since > MAX_IMPORT_AGE
        if is_stalled and await stripe_health.is_paused(session):
            return True
        change = alerts.raise_alert if is_stalled else alerts.close
        await change(session, AlertKind.IMPORT_STALLED, object_id=IMPORT_SCHEDULE, now=ctx.now())
    return is_stalled


async def stripe_balance(ctx: Context) -> dict[str, int]:
    """Fetch Stripe's own balance: minor units by currency, available and pending together."""
    with stripe_client.translate_errors():
        balance = await ctx.stripe.v1.balance.retrieve_async()
    amounts = [(part.currency, part.amount) for part in balance.available]
    amounts += [(part.currency, part.amount) for part in balance.pending]
    return _sum_by_currency(amounts)


async def ledger_balance(ctx: Context) -> dict[str, int]:
    """Compute the same from our rows: the stripe account, and what is stored but not posted.

    What Stripe holds in reserve is in neither.
    """
    debited = (
        select(LedgerEntry.currency, func.sum(LedgerEntry.amount))
        .where(LedgerEntry.debit == LedgerAccount.STRIPE)
        .group_by(LedgerEntry.currency)
    )
    credited = (
        select(LedgerEntry.currency, -func.sum(LedgerEntry.amount))
        .where(LedgerEntry.credit == LedgerAccount.STRIPE)
        .group_by(LedgerEntry.currency)
    )
    amounts: list[tuple[str, int]] = []
    async with ctx.sessions() as session:
        for query in (debited, credited):
            amounts += [(currency, int(sum_)) for currency, sum_ in await session.execute(query)]
        amounts += (await balance_transactions.unposted_sums(session)).items()
    return _sum_by_currency(amounts)


def _sum_by_currency(amounts: list[tuple[str, int]]) -> dict[str, int]:
    """Sum minor units by currency; a currency whose sum is zero is left out."""
    sums: dict[str, int] = {}
    for currency, amount in amounts:
        sums[currency] = sums.get(currency, 0) + amount
    return {currency: amount for currency, amount in sums.items() if amount != 0}
