"""The importer: every movement of the Stripe balance, fetched, whether or not a webhook came.

It walks Stripe's list from a day before the newest transaction it has seen, and moves that mark
only when a walk has reached its end. A walk that stops half way, or a transaction that becomes
visible late, loses nothing.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta

import stripe
from sqlalchemy import String, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import from_unix
from payments.giving import charges
from payments.infra import db, stripe_client
from payments.infra.context import Context
from payments.ledger import entries
from payments.ledger.entries import LedgerEntry
from payments.ledger.posting_rules import LedgerAccount
from payments.settlement import disputes, payouts, refunds

SyncHandler = Callable[[Context, str], Awaitable[None]]
IMPORT_OVERLAP = timedelta(hours=24)
PAGE_SIZE = 100
TRANSACTIONS_CURSOR = "balance_transactions"
IMPORT_COMPLETED = "imported"  # not how far a walk came, but when one last reached its end


class ImportCursor(db.Base):
    """How far a walk through one of Stripe's lists has come."""

    __tablename__ = "import_cursors"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    reached_at: Mapped[db.Timestamp]


async def import_new(ctx: Context) -> int:
    """Record and post every balance transaction since the watermark. Gives how many were new."""
    async with ctx.sessions() as session:
        mark = await session.scalar(
            select(ImportCursor.reached_at).where(ImportCursor.name == TRANSACTIONS_CURSOR)
        )
    found, newest = await _store_listed_since(ctx, None if mark is None else mark - IMPORT_OVERLAP)
    if newest is not None and (mark is None or newest > mark):
        await advance_cursor(ctx, TRANSACTIONS_CURSOR, newest)
    await post_imported(ctx)
    await advance_cursor(ctx, IMPORT_COMPLETED, ctx.now())
    return found


async def import_since(ctx: Context, since: datetime) -> int:
    """Record and post what has been missed since a moment, however long ago. Gives how many."""
    found, _ = await _store_listed_since(ctx, since)
    await post_imported(ctx)
    return found


async def _store_listed_since(ctx: Context, since: datetime | None) -> tuple[int, datetime | None]:
    """Record all that Stripe lists. Gives how many were new, and the moment of the newest."""
    found, newest, after = 0, None, None
    while True:
        page = await _list_page(ctx, since, after)
        if not page.data:
            break
        async with ctx.sessions.begin() as session:
            found += await entries.store_transactions(session, page.data)
        top = max(from_unix(bt.created) for bt in page.data)
        newest = top if newest is None else max(newest, top)
        if not page.has_more:
            break
        after = page.data[-1].id
    return found, newest


async def _list_page(
    ctx: Context, since: datetime | None, starting_after: str | None
) -> stripe.ListObject[stripe.BalanceTransaction]:
    params: stripe.params.BalanceTransactionListParams = {
        "limit": PAGE_SIZE,
        "expand": ["data.source"],
    }
    if since is not None:
        params["created"] = {"gte": int(since.timestamp())}
    if starting_after is not None:
        params["starting_after"] = starting_after
    with stripe_client.translate_errors():
        return await ctx.stripe.v1.balance_transactions.list_async(params)


async def advance_cursor(ctx: Context, cursor_name: str, reached_at: datetime) -> None:
    """Move a walk's mark forward, never back."""
    async with ctx.sessions.begin() as session:
        wanted = insert(ImportCursor).values(name=cursor_name, reached_at=reached_at)
        await session.execute(
            wanted.on_conflict_do_update(
                index_elements=["name"],
                set_={
                    "reached_at": func.greatest(ImportCursor.reached_at, wanted.excluded.reached_at)
                },
            )
        )


async def post_imported(ctx: Context) -> None:
    """Post what is recorded, fetching what is needed to explain it."""
    async with ctx.sessions.begin() as session:
        await charges.post_unposted(session, now=ctx.now())
    await charges.attribute_unposted(ctx)
    async with ctx.sessions() as session:
        payout_ids = await payouts.unsynced_ids(session)
        refund_ids = await session.scalars(text(UNSYNCED_REFUNDS_SQL))
        dispute_ids = await session.scalars(text(UNSYNCED_DISPUTES_SQL))
        unmet: list[tuple[SyncHandler, str]] = [(payouts.sync, id_) for id_ in payout_ids]
        unmet += [(refunds.sync, str(id_)) for id_ in refund_ids]
        unmet += [(disputes.sync, str(id_)) for id_ in dispute_ids]
    for sync, id_ in unmet:
        # What Stripe will not show must not keep the others waiting; the books tell of it.
        with suppress(stripe.InvalidRequestError):
            await sync(ctx, id_)


# Refunds and disputes that our transactions tell of and that we have not seen so yet.
UNSYNCED_REFUNDS_SQL = """
    SELECT bt.source
      FROM balance_transactions bt LEFT JOIN refunds r ON r.stripe_refund_id = bt.source
     WHERE bt.reporting_category IN ('refund', 'refund_failure') AND bt.source ~ '^(re|pyr)_'
       AND (bt.id <> ALL (ARRAY[r.balance_transaction, r.failure_balance_transaction]))
           IS NOT FALSE
     GROUP BY bt.source ORDER BY min(bt.occurred_at), bt.source LIMIT 200
"""
UNSYNCED_DISPUTES_SQL = """
    SELECT bt.source
      FROM balance_transactions bt LEFT JOIN disputes d ON d.stripe_dispute_id = bt.source
     WHERE bt.reporting_category IN ('dispute', 'dispute_reversal') AND bt.source IS NOT NULL
       AND d.stripe_dispute_id IS NULL
     GROUP BY bt.source ORDER BY min(bt.occurred_at), bt.source LIMIT 200
"""


async def stripe_balance(ctx: Context) -> dict[str, int]:
    """Stripe's own balance by currency: available and pending together, in minor units."""
    with stripe_client.translate_errors():
        balance = await ctx.stripe.v1.balance.retrieve_async()
    held: dict[str, int] = {}
    parts = [(part.currency, part.amount) for part in balance.available]
    parts += [(part.currency, part.amount) for part in balance.pending]
    for currency, amount in parts:
        held[currency] = held.get(currency, 0) + amount
    return {currency: amount for currency, amount in held.items() if amount != 0}


async def ledger_balance(ctx: Context) -> dict[str, int]:
    """The same by our books: the stripe account and what is recorded but not posted.

    What Stripe keeps in reserve is in neither.
    """
    into = (
        select(LedgerEntry.currency, func.sum(LedgerEntry.amount))
        .where(LedgerEntry.debit == LedgerAccount.STRIPE)
        .group_by(LedgerEntry.currency)
    )
    out = (
        select(LedgerEntry.currency, -func.sum(LedgerEntry.amount))
        .where(LedgerEntry.credit == LedgerAccount.STRIPE)
        .group_by(LedgerEntry.currency)
    )
    held: dict[str, int] = {}
    async with ctx.sessions() as session:
        for query in (into, out):
            for currency, amount in await session.execute(query):
                held[currency] = held.get(currency, 0) + int(amount)
        for bt in await entries.unposted(session, limit=100_000):
            if bt.balance_type not in (None, "payments"):
                continue
            held[bt.currency] = held.get(bt.currency, 0) + bt.net
    return {currency: amount for currency, amount in held.items() if amount != 0}
