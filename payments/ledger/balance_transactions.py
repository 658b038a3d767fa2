"""Balance transactions: every movement of the Stripe balance, stored as Stripe gave it.

A row is never changed. A new one is unposted until `entries.post` has made ledger entries of it.
"""

from collections.abc import Sequence
from typing import Any

import stripe
from sqlalchemy import CheckConstraint, ColumnElement, ForeignKey, Row, String, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import from_unix
from payments.infra import db, stripe_client
from payments.ledger.posting_rules import TransactionFacts

CHARGE_ID_PREFIXES = ("ch_", "py_")


class BalanceTransaction(db.Base):
    """Stripe's balance transaction. Amounts are minor units of the settlement currency."""

    __tablename__ = "balance_transactions"
    __table_args__ = (
        CheckConstraint("net = amount - fee", name="net_is_amount_less_fee"),
        db.currency_check(),
    )

    id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(String(64))
    reporting_category: Mapped[str] = mapped_column(String(64))
    balance_type: Mapped[str | None] = mapped_column(String(64))
    amount: Mapped[db.MinorUnits]
    fee: Mapped[db.MinorUnits]
    net: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    fees: Mapped[list[Any]] = mapped_column(JSONB)  # [[type, amount], …] from fee_details
    exchange_rate: Mapped[str | None] = mapped_column(String(40))  # to show, never to compute with
    source: Mapped[db.StripeId | None] = mapped_column(index=True)
    charge: Mapped[db.StripeId | None] = mapped_column(index=True)  # the charge it is about
    occurred_at: Mapped[db.Timestamp] = mapped_column(index=True)
    available_on: Mapped[db.Timestamp]


class UnpostedTransaction(db.Base):
    """A balance transaction that is stored and has no ledger entries yet."""

    __tablename__ = "unposted_transactions"

    balance_transaction: Mapped[db.StripeId] = mapped_column(
        ForeignKey("balance_transactions.id"), primary_key=True
    )


async def store_transactions(
    session: AsyncSession, transactions: Sequence[stripe.BalanceTransaction]
) -> int:
    """Store balance transactions as Stripe gave them, unposted. Returns how many were new."""
    if not transactions:
        return 0
    rows = [_as_row(transaction) for transaction in sorted(transactions, key=lambda one: one.id)]
    new_ids = list(
        await session.scalars(
            insert(BalanceTransaction)
            .values(rows)
            .on_conflict_do_nothing()
            .returning(BalanceTransaction.id)
        )
    )
    if new_ids:
        await session.execute(
            insert(UnpostedTransaction).values([{"balance_transaction": id_} for id_ in new_ids])
        )
    return len(new_ids)


def _as_row(transaction: stripe.BalanceTransaction) -> dict[str, Any]:  # column -> value
    rate = transaction.exchange_rate
    return {
        "id": transaction.id,
        "type": transaction.type,
        "reporting_category": transaction.reporting_category,
        "balance_type": transaction.balance_type,
        "amount": transaction.amount,
        "fee": transaction.fee,
        "net": transaction.net,
        "currency": transaction.currency,
        "fees": [[detail.type, detail.amount] for detail in transaction.fee_details],
        "exchange_rate": None if rate is None else str(rate),
        "source": stripe_client.id_of(transaction.source),
        "charge": _charge_id(transaction),
        "occurred_at": from_unix(transaction.created),
        "available_on": from_unix(transaction.available_on),
    }


def _charge_id(transaction: stripe.BalanceTransaction) -> str | None:
    """Return the charge that was made, refunded or disputed.

    A refund or dispute names its charge only when Stripe was asked to expand `source`.
    """
    source_id = stripe_client.id_of(transaction.source)
    if source_id is not None and source_id.startswith(CHARGE_ID_PREFIXES):
        return source_id
    return stripe_client.id_of(getattr(transaction.source, "charge", None))


async def unposted(
    session: AsyncSession, *conditions: ColumnElement[bool], limit: int = 1000
) -> list[BalanceTransaction]:
    """Return the oldest stored transactions that are not posted and meet the conditions.

    The conditions must leave out what cannot be posted yet: else it would fill the list for good.
    """
    query = (
        select(BalanceTransaction)
        .join(UnpostedTransaction, UnpostedTransaction.balance_transaction == BalanceTransaction.id)
        .where(*conditions)
        .order_by(BalanceTransaction.occurred_at, BalanceTransaction.id)
        .limit(limit)
    )
    return list(await session.scalars(query))


async def unposted_sums(session: AsyncSession) -> dict[str, int]:
    """Return the sum of all that is not posted in the payments balance, by currency."""
    query = (
        select(BalanceTransaction.currency, func.sum(BalanceTransaction.net))
        .join(UnpostedTransaction, UnpostedTransaction.balance_transaction == BalanceTransaction.id)
        .where(func.coalesce(BalanceTransaction.balance_type, "payments") == "payments")
        .group_by(BalanceTransaction.currency)
    )
    return {currency: int(sum_) for currency, sum_ in await session.execute(query)}


def transaction_facts(row: BalanceTransaction | Row[Any]) -> TransactionFacts:
    """Return what the posting rules need of a stored transaction.

    `row` is the mapped row, or a row of SQL text with its columns under the same names.
    """
    return TransactionFacts(
        type=row.type,
        amount=row.amount,
        fee=row.fee,
        net=row.net,
        fees=tuple((str(fee_type), int(amount)) for fee_type, amount in row.fees),
        reporting_category=row.reporting_category,
        balance_type=row.balance_type or "payments",
        is_converted=row.exchange_rate is not None,
    )
