"""Payouts: money that left the Stripe balance for the bank. In transit until Stripe says it has
arrived; a payout may still come back after that.

An automatic payout is a list of transactions that Stripe calls complete some time after it was
paid. The list is kept as Stripe gave it, with each transaction's net: a second witness of every
cent that was paid out, and what `books` compares with our own rows.
"""

from datetime import date
from enum import StrEnum

import stripe
from sqlalchemy import ForeignKey, String, and_, case, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import from_unix
from payments.infra import alerts, db, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.ledger import entries
from payments.ledger.entries import BalanceTransaction

PAGE_SIZE = 100


class PayoutStatus(StrEnum):
    PENDING = "pending"
    IN_TRANSIT = "in_transit"
    PAID = "paid"
    FAILED = "failed"
    CANCELED = "canceled"


class ReconciliationStatus(StrEnum):
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    NOT_APPLICABLE = "not_applicable"  # manual and instant: Stripe does not say what is in them


class Payout(db.Base):
    """Stripe's payout as last fetched. `amount` is negative when the bank is debited."""

    __tablename__ = "payouts"
    __table_args__ = (db.currency_check(),)

    stripe_payout_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    status: Mapped[PayoutStatus] = mapped_column(db.enum_column(PayoutStatus, "status_is_known"))
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    automatic: Mapped[bool]
    created_at: Mapped[db.Timestamp] = mapped_column(index=True)
    arrives_on: Mapped[date]
    balance_transaction: Mapped[db.StripeId | None]
    synced_at: Mapped[db.Timestamp]
    method: Mapped[str] = mapped_column(String(40), server_default="standard")  # or instant
    reconciliation_status: Mapped[ReconciliationStatus] = mapped_column(
        db.enum_column(ReconciliationStatus, "reconciliation_is_known"),
        server_default="in_progress",
    )
    failure_balance_transaction: Mapped[db.StripeId | None]
    failure_code: Mapped[str | None] = mapped_column(String(64))
    transactions_listed_at: Mapped[db.Timestamp | None]  # when its complete list was kept


class PayoutTransaction(db.Base):
    """One transaction of a payout, as Stripe's own list has it. Never changed."""

    __tablename__ = "payout_transactions"

    stripe_payout_id: Mapped[db.StripeId] = mapped_column(
        ForeignKey("payouts.stripe_payout_id"), primary_key=True
    )
    balance_transaction: Mapped[db.StripeId] = mapped_column(primary_key=True, index=True)
    net: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]


async def sync(ctx: Context, payout_id: str) -> None:
    """Fetch a payout as it is now, post what it took and its arrival, and keep its list when it is
    complete.
    """
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.payouts.retrieve_async(
            payout_id, {"expand": ["balance_transaction", "failure_balance_transaction"]}
        )
    moved = [
        bt
        for bt in (fetched.balance_transaction, fetched.failure_balance_transaction)
        if isinstance(bt, stripe.BalanceTransaction)
    ]
    async with ctx.sessions.begin() as session:
        await _upsert(ctx, session, fetched)
        await entries.store_transactions(session, moved)
        await entries.post(session, await entries.unposted(session), attributions={}, now=ctx.now())
        await post_arrival(session, payout_id)
    await _store_transaction_list(ctx, payout_id)


async def _upsert(ctx: Context, session: AsyncSession, fetched: stripe.Payout) -> None:
    status = PayoutStatus(fetched.status)
    row = {
        "status": status,
        "arrives_on": from_unix(fetched.arrival_date).date(),
        "balance_transaction": stripe_client.id_of(fetched.balance_transaction),
        "method": fetched.method,
        "reconciliation_status": ReconciliationStatus(fetched.reconciliation_status),
        "failure_balance_transaction": stripe_client.id_of(fetched.failure_balance_transaction),
        "failure_code": fetched.failure_code,
        "synced_at": ctx.now(),
    }
    # Once it is in the books the day stays: the books are made anew from it.
    is_booked = Payout.status.not_in((PayoutStatus.PENDING, PayoutStatus.IN_TRANSIT))
    day = case((is_booked, Payout.arrives_on), else_=row["arrives_on"])
    await session.execute(
        insert(Payout)
        .values(
            stripe_payout_id=fetched.id,
            amount=fetched.amount,
            currency=fetched.currency,
            automatic=fetched.automatic,
            created_at=from_unix(fetched.created),
            **row,
        )
        .on_conflict_do_update(index_elements=["stripe_payout_id"], set_=row | {"arrives_on": day})
    )
    if status is PayoutStatus.FAILED:
        await alerts.raise_alert(
            session, AlertKind.PAYOUT_FAILED, object_id=fetched.id, now=ctx.now()
        )


async def post_arrival(session: AsyncSession, payout_id: str) -> None:
    """Post the arrival of a payout that is paid, or the return of one that came back after all."""
    payout = await session.get_one(Payout, payout_id, populate_existing=True)
    took = await _find_transaction(session, payout.balance_transaction)
    if took is None:
        return
    if payout.status is PayoutStatus.PAID:
        await entries.post_payout_arrival(session, took, payout.arrives_on)
    gave_back = await _find_transaction(session, payout.failure_balance_transaction)
    if gave_back is not None and payout.status in (PayoutStatus.FAILED, PayoutStatus.CANCELED):
        await entries.post_payout_return(session, took, gave_back)


async def _find_transaction(
    session: AsyncSession, transaction_id: str | None
) -> BalanceTransaction | None:
    return None if transaction_id is None else await session.get(BalanceTransaction, transaction_id)


async def _store_transaction_list(ctx: Context, payout_id: str) -> None:
    """Keep Stripe's list of what is in an automatic payout, once it is complete and only once."""
    async with ctx.sessions() as session:
        payout = await session.get_one(Payout, payout_id)
    if (
        payout.transactions_listed_at is not None
        or payout.reconciliation_status is not ReconciliationStatus.COMPLETED
    ):
        return
    found, after = [], None
    while True:
        params: stripe.params.BalanceTransactionListParams = {
            "limit": PAGE_SIZE,
            "payout": payout_id,
        }
        if after is not None:
            params["starting_after"] = after
        with stripe_client.translate_errors():
            page = await ctx.stripe.v1.balance_transactions.list_async(params)
        found += [
            {
                "stripe_payout_id": payout_id,
                "balance_transaction": bt.id,
                "net": bt.net,
                "currency": bt.currency,
            }
            for bt in page.data
        ]
        if not page.data or not page.has_more:
            break
        after = page.data[-1].id
    async with ctx.sessions.begin() as session:
        if found:
            await session.execute(insert(PayoutTransaction).on_conflict_do_nothing(), found)
        row = await session.get_one(Payout, payout_id, with_for_update=True)
        row.transactions_listed_at = ctx.now()


async def unsynced_ids(session: AsyncSession, *, limit: int = 200) -> list[str]:
    """Payouts that our transactions tell of and that we have not seen so yet, the oldest first."""
    query = (
        select(BalanceTransaction.source)
        .outerjoin(Payout, Payout.stripe_payout_id == BalanceTransaction.source)
        .where(
            BalanceTransaction.type.in_(("payout", "payout_failure", "payout_cancel")),
            BalanceTransaction.source.is_not(None),
            or_(
                Payout.stripe_payout_id.is_(None),
                and_(
                    BalanceTransaction.type != "payout",
                    Payout.failure_balance_transaction.is_(None),
                ),
            ),
        )
        .order_by(BalanceTransaction.occurred_at, BalanceTransaction.id)
        .limit(limit)
    )
    return list(dict.fromkeys(id_ for id_ in await session.scalars(query) if id_ is not None))
