"""The importer: every movement of the Stripe balance, fetched, whether or not a webhook came.

It walks Stripe's list from a day before the newest transaction it has seen, and moves that mark
only when a walk has reached its end. A walk that stops half way, or a transaction that becomes
visible late, loses nothing.
"""

from datetime import UTC, datetime, timedelta

import stripe
from sqlalchemy import String, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from payments import charges, db, gateway, ledger, payouts
from payments.ledger import Account, BalanceTransaction, LedgerEntry
from payments.runtime import Runtime

OVERLAP = timedelta(hours=24)
PAGE = 100
WALK = "balance_transactions"


class Watermark(db.Base):
    """How far a walk through one of Stripe's lists has come."""

    __tablename__ = "watermarks"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    reached: Mapped[db.Moment]


async def import_new(rt: Runtime) -> int:
    """Record and post every balance transaction since the watermark. Gives how many were new."""
    async with rt.sessions() as session:
        mark = await session.scalar(select(Watermark.reached).where(Watermark.name == WALK))
    found, newest, after = 0, mark, None
    while True:
        page = await _page(rt, mark, after)
        if not page.data:
            break
        async with rt.sessions.begin() as session:
            found += await ledger.record(session, page.data)
        top = max(datetime.fromtimestamp(bt.created, UTC) for bt in page.data)
        newest = top if newest is None else max(newest, top)
        if not page.has_more:
            break
        after = page.data[-1].id
    if newest is not None and newest != mark:
        await _move(rt, newest)
    await settle(rt)
    return found


async def _page(
    rt: Runtime, mark: datetime | None, after: str | None
) -> stripe.ListObject[stripe.BalanceTransaction]:
    params: stripe.params.BalanceTransactionListParams = {"limit": PAGE, "expand": ["data.source"]}
    if mark is not None:
        params["created"] = {"gte": int((mark - OVERLAP).timestamp())}
    if after is not None:
        params["starting_after"] = after
    with gateway.reachable():
        return await rt.stripe.v1.balance_transactions.list_async(params)


async def _move(rt: Runtime, reached: datetime) -> None:
    """Move the mark forward, never back."""
    async with rt.sessions.begin() as session:
        wanted = insert(Watermark).values(name=WALK, reached=reached)
        await session.execute(
            wanted.on_conflict_do_update(
                index_elements=["name"],
                set_={"reached": func.greatest(Watermark.reached, wanted.excluded.reached)},
            )
        )


async def settle(rt: Runtime) -> None:
    """Post what is recorded, fetching what is needed to explain it."""
    async with rt.sessions.begin() as session:
        await charges.post_waiting(session, now=rt.now())
    await charges.explain(rt)
    async with rt.sessions() as session:
        unmet = await session.scalars(
            select(BalanceTransaction.source)
            .outerjoin(payouts.Payout, payouts.Payout.stripe_payout_id == BalanceTransaction.source)
            .where(BalanceTransaction.type == "payout", payouts.Payout.stripe_payout_id.is_(None))
            .order_by(BalanceTransaction.occurred_at)
            .limit(200)
        )
    for payout_id in unmet:
        assert payout_id is not None
        await payouts.sync(rt, payout_id)


async def at_stripe(rt: Runtime) -> dict[str, int]:
    """Stripe's own balance by currency: available and pending together, in minor units."""
    with gateway.reachable():
        balance = await rt.stripe.v1.balance.retrieve_async()
    held: dict[str, int] = {}
    parts = [(part.currency, part.amount) for part in balance.available]
    parts += [(part.currency, part.amount) for part in balance.pending]
    for currency, amount in parts:
        held[currency] = held.get(currency, 0) + amount
    return {currency: amount for currency, amount in held.items() if amount != 0}


async def in_the_books(rt: Runtime) -> dict[str, int]:
    """The same by our books: the stripe account and what is recorded but not posted."""
    into = (
        select(LedgerEntry.currency, func.sum(LedgerEntry.amount))
        .where(LedgerEntry.debit == Account.STRIPE)
        .group_by(LedgerEntry.currency)
    )
    out = (
        select(LedgerEntry.currency, -func.sum(LedgerEntry.amount))
        .where(LedgerEntry.credit == Account.STRIPE)
        .group_by(LedgerEntry.currency)
    )
    held: dict[str, int] = {}
    async with rt.sessions() as session:
        for query in (into, out):
            for currency, amount in await session.execute(query):
                held[currency] = held.get(currency, 0) + int(amount)
        for bt in await ledger.waiting(session, limit=100_000):
            held[bt.currency] = held.get(bt.currency, 0) + bt.net
    return {currency: amount for currency, amount in held.items() if amount != 0}
