"""Payouts: money on its way from the Stripe balance to the bank, and payout reconciliation.

A payout is in transit until Stripe says it has arrived, and may fail and come back even after that.
An automatic payout is the sum of a list of transactions that Stripe completes some time after it
was paid. That list is stored once, with each transaction's net: the integrity checks compare it
with our own balance transactions.
"""

from datetime import date

import stripe
from sqlalchemy import ForeignKey, String, and_, case, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import from_unix
from payments.core.open_enum import OpenEnum
from payments.infra import alerts, db, stripe_account, stripe_client, unknown_values
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.ledger import balance_transactions, entries
from payments.ledger.balance_transactions import BalanceTransaction


class PayoutStatus(OpenEnum):
    """Stripe's words. https://docs.stripe.com/api/payouts/object#payout_object-status"""

    PENDING = "pending"
    IN_TRANSIT = "in_transit"
    PAID = "paid"
    FAILED = "failed"
    CANCELED = "canceled"
    UNKNOWN = "unknown"  # a word that is new at Stripe


# Not known to have arrived, or to have come back.
PENDING_STATUSES = (PayoutStatus.PENDING, PayoutStatus.IN_TRANSIT, PayoutStatus.UNKNOWN)


class ReconciliationStatus(OpenEnum):
    """Whether Stripe's list of what is in a payout is complete."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    NOT_APPLICABLE = "not_applicable"  # manual and instant: Stripe does not say what is in them
    UNKNOWN = "unknown"


class Payout(db.Base):
    """Stripe's payout as last fetched. `amount`, in minor units, is negative when the bank pays."""

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
        db.enum_column(ReconciliationStatus, "reconciliation_status_is_known"),
        server_default="in_progress",
    )
    failure_balance_transaction: Mapped[db.StripeId | None]
    failure_code: Mapped[str | None] = mapped_column(String(64))
    transactions_listed_at: Mapped[db.Timestamp | None]  # when its complete list was stored


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
    """Fetch a payout as it is now; post its transactions and its arrival; store a complete list."""
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.payouts.retrieve_async(
            payout_id, {"expand": ["balance_transaction", "failure_balance_transaction"]}
        )
    transactions = [
        transaction
        for transaction in (fetched.balance_transaction, fetched.failure_balance_transaction)
        if isinstance(transaction, stripe.BalanceTransaction)
    ]
    async with ctx.sessions.begin() as session:
        await _upsert(ctx, session, fetched)
        await balance_transactions.store_transactions(session, transactions)
        unposted = await balance_transactions.unposted(
            session, BalanceTransaction.source == payout_id
        )
        await entries.post(session, unposted, attributions={}, now=ctx.now())
        await post_arrival(session, payout_id)
    await _store_transaction_list(ctx, payout_id)


async def _upsert(ctx: Context, session: AsyncSession, fetched: stripe.Payout) -> None:
    status = PayoutStatus(fetched.status)
    reconciliation = ReconciliationStatus(fetched.reconciliation_status)
    row = {
        "status": status,
        "arrives_on": from_unix(fetched.arrival_date).date(),
        "balance_transaction": stripe_client.id_of(fetched.balance_transaction),
        "method": fetched.method,
        "reconciliation_status": reconciliation,
        "failure_balance_transaction": stripe_client.id_of(fetched.failure_balance_transaction),
        "failure_code": fetched.failure_code,
        "synced_at": ctx.now(),
    }
    # Once its arrival is posted the day stays: the replay check computes the entry from it.
    is_posted = Payout.status.not_in(PENDING_STATUSES)
    arrives_on = case((is_posted, Payout.arrives_on), else_=row["arrives_on"])
    known_status = await session.scalar(
        select(Payout.status).where(Payout.stripe_payout_id == fetched.id)
    )
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
        .on_conflict_do_update(
            index_elements=["stripe_payout_id"], set_=row | {"arrives_on": arrives_on}
        )
    )
    await unknown_values.update_alert(session, fetched.id, status, reconciliation, now=ctx.now())
    if status is not PayoutStatus.FAILED or known_status is PayoutStatus.FAILED:
        return
    if known_status is None and await stripe_account.is_history(
        session, from_unix(fetched.created)
    ):
        return
    await alerts.raise_alert(session, AlertKind.PAYOUT_FAILED, object_id=fetched.id, now=ctx.now())


async def post_arrival(session: AsyncSession, payout_id: str) -> None:
    """Post the arrival of a payout that is paid, or the return of one that came back later."""
    payout = await session.get_one(Payout, payout_id, populate_existing=True)
    transaction = await _find_transaction(session, payout.balance_transaction)
    if transaction is None:
        return
    if payout.status is PayoutStatus.PAID:
        await entries.post_payout_arrival(session, transaction, payout.arrives_on)
    failure = await _find_transaction(session, payout.failure_balance_transaction)
    if failure is not None and payout.status in (PayoutStatus.FAILED, PayoutStatus.CANCELED):
        await entries.post_payout_return(session, transaction, failure)


async def _find_transaction(
    session: AsyncSession, transaction_id: str | None
) -> BalanceTransaction | None:
    return None if transaction_id is None else await session.get(BalanceTransaction, transaction_id)


async def _store_transaction_list(ctx: Context, payout_id: str) -> None:
    """Store Stripe's list of what is in an automatic payout, once, when it is complete."""
    async with ctx.sessions() as session:
        payout = await session.get_one(Payout, payout_id)
    if (
        payout.transactions_listed_at is not None
        or payout.reconciliation_status is not ReconciliationStatus.COMPLETED
    ):
        return
    transactions = await _list_transactions(ctx, payout_id)
    async with ctx.sessions.begin() as session:
        if transactions:
            await session.execute(insert(PayoutTransaction).on_conflict_do_nothing(), transactions)
        payout = await session.get_one(Payout, payout_id, with_for_update=True)
        payout.transactions_listed_at = ctx.now()


async def _list_transactions(ctx: Context, payout_id: str) -> list[dict[str, object]]:
    """Fetch what is in a payout, as rows of `payout_transactions`."""
    rows: list[dict[str, object]] = []
    last_id: str | None = None
    while True:
        params: stripe.params.BalanceTransactionListParams = {
            "limit": stripe_client.MAX_PAGE_SIZE,
            "payout": payout_id,
        }
        if last_id is not None:
            params["starting_after"] = last_id
        with stripe_client.translate_errors():
            page = await ctx.stripe.v1.balance_transactions.list_async(params)
        rows += [
            {
                "stripe_payout_id": payout_id,
                "balance_transaction": transaction.id,
                "net": transaction.net,
                "currency": transaction.currency,
            }
            for transaction in page.data
        ]
        if not page.data or not page.has_more:
            return rows
        last_id = page.data[-1].id


async def unsynced_ids(session: AsyncSession, *, limit: int = 1000) -> list[str]:
    """Return payouts that a transaction names and whose row does not show it, in any order: the
    oldest might be those that Stripe never shows.
    """
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
        .order_by(func.random())
        .limit(limit)
    )
    return list(dict.fromkeys(id_ for id_ in await session.scalars(query) if id_ is not None))
