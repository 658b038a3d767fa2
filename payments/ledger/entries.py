"""The books. Every movement of money, once, from one account to another. Rows are never changed.

Only Stripe's balance transactions make rows: first the transaction is recorded as Stripe gave it,
then it is posted by the table in `chart`. A charge waits in between until its contribution is
known. The rows form a hash chain (`chain`) in the order they were posted, one poster at a time.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any

import stripe
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    String,
    and_,
    delete,
    select,
)
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import from_unix
from payments.infra import alerts, db, stripe_client
from payments.infra.alerts import AlertKind
from payments.ledger import hash_chain
from payments.ledger.posting_rules import (
    Attribution,
    LedgerAccount,
    Posting,
    TransactionFacts,
    needs_contribution,
    postings,
)

APPEND_ONLY_TABLES = ("balance_transactions", "ledger_entries")
CHARGE_ID_PREFIXES = ("ch_", "py_")
CHAIN_LOCK_KEY = 0x6C6564676572  # "ledger": whoever holds it is the one poster
PAYOUT_ARRIVAL_TIME = time(
    10
)  # UTC, of the day a payout arrives: the same day from Honolulu to Auckland


class BalanceTransaction(db.Base):
    """One movement of the Stripe balance, word for word. Minor units of the settlement currency."""

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
    exchange_rate: Mapped[str | None] = mapped_column(String(40))  # to show, never to reckon with
    source: Mapped[db.StripeId | None] = mapped_column(index=True)
    charge: Mapped[db.StripeId | None] = mapped_column(index=True)  # the charge it is about
    occurred_at: Mapped[db.Timestamp] = mapped_column(index=True)
    available_on: Mapped[db.Timestamp]


class UnpostedTransaction(db.Base):
    """A balance transaction that is recorded and not posted yet."""

    __tablename__ = "unposted_transactions"

    balance_transaction: Mapped[db.StripeId] = mapped_column(
        ForeignKey("balance_transactions.id"), primary_key=True
    )


class LedgerEntry(db.Base):
    """`amount` minor units of `currency` from the credited account to the debited one."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        Unique("balance_transaction", "debit", "credit"),
        CheckConstraint("amount > 0", name="amount_is_positive"),
        CheckConstraint("debit <> credit", name="ends_differ"),
        CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),
        db.currency_check(),
        # For what each contribution paid, and when: the roll-ups ask that of every row.
        Index(
            "ix_ledger_entries_paid",
            "contribution_id",
            "occurred_at",
            postgresql_where="credit LIKE 'income:%'",
        ),
    )

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    debit: Mapped[LedgerAccount] = mapped_column(
        db.enum_column(LedgerAccount, "debit_is_an_account")
    )
    credit: Mapped[LedgerAccount] = mapped_column(
        db.enum_column(LedgerAccount, "credit_is_an_account")
    )
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    occurred_at: Mapped[db.Timestamp] = mapped_column(index=True)
    balance_transaction: Mapped[db.StripeId] = mapped_column(ForeignKey("balance_transactions.id"))
    contribution_id: Mapped[db.Id | None] = mapped_column(
        ForeignKey("contributions.id"), index=True
    )
    hash: Mapped[bytes]


async def store_transactions(
    session: AsyncSession, transactions: Sequence[stripe.BalanceTransaction]
) -> int:
    """Keep balance transactions as Stripe gave them. Gives how many were new."""
    if not transactions:
        return 0
    rows = [_as_row(bt) for bt in sorted(transactions, key=lambda bt: bt.id)]
    new = list(
        await session.scalars(
            insert(BalanceTransaction)
            .values(rows)
            .on_conflict_do_nothing()
            .returning(BalanceTransaction.id)
        )
    )
    if new:
        await session.execute(
            insert(UnpostedTransaction).values([{"balance_transaction": id_} for id_ in new])
        )
    return len(new)


def _as_row(bt: stripe.BalanceTransaction) -> dict[str, Any]:  # column -> value
    return {
        "id": bt.id,
        "type": bt.type,
        "reporting_category": bt.reporting_category,
        "balance_type": bt.balance_type,
        "amount": bt.amount,
        "fee": bt.fee,
        "net": bt.net,
        "currency": bt.currency,
        "fees": [[detail.type, detail.amount] for detail in bt.fee_details],
        "exchange_rate": None if bt.exchange_rate is None else str(bt.exchange_rate),
        "source": stripe_client.id_of(bt.source),
        "charge": _charge_of(bt),
        "occurred_at": from_unix(bt.created),
        "available_on": from_unix(bt.available_on),
    }


def _charge_of(bt: stripe.BalanceTransaction) -> str | None:
    """The charge that was made, refunded or disputed. A refund tells only when it is expanded."""
    source = stripe_client.id_of(bt.source)
    if source is not None and source.startswith(CHARGE_ID_PREFIXES):
        return source
    return stripe_client.id_of(getattr(bt.source, "charge", None))


async def unposted(session: AsyncSession, *, limit: int = 1000) -> list[BalanceTransaction]:
    """What is recorded and not posted, oldest first."""
    query = (
        select(BalanceTransaction)
        .join(UnpostedTransaction, UnpostedTransaction.balance_transaction == BalanceTransaction.id)
        .order_by(BalanceTransaction.occurred_at, BalanceTransaction.id)
        .limit(limit)
    )
    return list(await session.scalars(query))


async def post(
    session: AsyncSession,
    candidates: Sequence[BalanceTransaction],
    *,
    attributions: Mapping[str, Attribution],
    now: datetime,
) -> int:
    """Post those of the candidates that are still waiting and can be explained.

    `owners` maps a charge's id to its contribution. Gives how many transactions were posted. The
    chain is locked until the transaction ends, so this comes last in it.
    """
    ready = [
        bt
        for bt in candidates
        if bt.charge in attributions or not needs_contribution(bt.type, bt.reporting_category)
    ]
    if not ready:
        return 0
    await lock_chain(session)
    still = set(
        await session.scalars(
            delete(UnpostedTransaction)
            .where(UnpostedTransaction.balance_transaction.in_([bt.id for bt in ready]))
            .returning(UnpostedTransaction.balance_transaction)
        )
    )
    ready = [bt for bt in ready if bt.id in still]
    rows = list[PendingEntry]()
    for bt in ready:
        owner = attributions.get(bt.charge) if bt.charge is not None else None
        made = postings(transaction_facts(bt), owner)
        contribution_id = owner.contribution_id if owner is not None else None
        rows += [(bt, posting, contribution_id, bt.occurred_at) for posting in made]
        if any(LedgerAccount.SUSPENSE in (posting.debit, posting.credit) for posting in made):
            await alerts.raise_alert(session, AlertKind.SUSPENSE, object_id=bt.id, now=now)
    await _append(session, rows)
    return len(ready)


PendingEntry = tuple[BalanceTransaction, Posting, str | None, datetime]
"""What becomes a row: of which transaction, whose contribution, and of what time."""


async def post_payout_arrival(
    session: AsyncSession, transaction: BalanceTransaction, arrived_on: date
) -> None:
    """A payout has reached the bank: move it there from in transit, once, on the day that the
    bank's own statement has.
    """
    at = datetime.combine(arrived_on, PAYOUT_ARRIVAL_TIME, tzinfo=UTC)
    await _post_bank_transfer(
        session,
        transaction,
        payout_arrival_posting(transaction.amount),
        max(at, transaction.occurred_at),
    )


async def post_payout_return(
    session: AsyncSession,
    payout_transaction: BalanceTransaction,
    failure_transaction: BalanceTransaction,
) -> None:
    """A payout that had reached the bank came back after all: take it out of there, once."""
    there = await session.scalar(
        select(LedgerEntry.seq).where(
            LedgerEntry.balance_transaction == payout_transaction.id,
            _is_payout_arrival(LedgerEntry),
        )
    )
    if there is not None:
        await _post_bank_transfer(
            session,
            failure_transaction,
            payout_arrival_posting(failure_transaction.amount),
            failure_transaction.occurred_at,
        )


def payout_arrival_posting(amount: int) -> Posting:
    """What a payout's transaction of this amount means to the bank. Stripe's minus is its plus."""
    if amount < 0:
        return Posting(LedgerAccount.BANK, LedgerAccount.IN_TRANSIT, -amount)
    return Posting(LedgerAccount.IN_TRANSIT, LedgerAccount.BANK, amount)


def _is_payout_arrival(row: type[LedgerEntry]) -> ColumnElement[bool]:
    ends = (LedgerAccount.BANK, LedgerAccount.IN_TRANSIT)
    return and_(row.debit.in_(ends), row.credit.in_(ends))


async def _post_bank_transfer(
    session: AsyncSession, transaction: BalanceTransaction, posting: Posting, occurred_at: datetime
) -> None:
    await lock_chain(session)
    done = await session.scalar(
        select(LedgerEntry.seq).where(
            LedgerEntry.balance_transaction == transaction.id, _is_payout_arrival(LedgerEntry)
        )
    )
    if done is None:
        await _append(session, [(transaction, posting, None, occurred_at)])


async def lock_chain(session: AsyncSession) -> None:
    """Be the one poster until the transaction ends."""
    await db.advisory_lock(session, CHAIN_LOCK_KEY)


async def _append(session: AsyncSession, rows: Sequence[PendingEntry]) -> None:
    """Write rows at the end of the chain. The caller holds the chain lock."""
    if not rows:
        return
    last = (
        await session.execute(
            select(LedgerEntry.seq, LedgerEntry.hash).order_by(LedgerEntry.seq.desc()).limit(1)
        )
    ).one_or_none()
    seq, head = last if last is not None else (0, hash_chain.GENESIS_HASH)
    values = []
    for bt, posting, contribution_id, at in rows:
        seq += 1
        frozen = hash_chain.row_bytes(
            seq,
            posting.debit,
            posting.credit,
            posting.amount,
            bt.currency,
            at,
            bt.id,
            contribution_id,
        )
        head = hash_chain.next_hash(head, frozen)
        values.append(
            {
                "seq": seq,
                "debit": posting.debit,
                "credit": posting.credit,
                "amount": posting.amount,
                "currency": bt.currency,
                "occurred_at": at,
                "balance_transaction": bt.id,
                "contribution_id": contribution_id,
                "hash": head,
            }
        )
    await session.execute(insert(LedgerEntry), values)


def transaction_facts(bt: BalanceTransaction) -> TransactionFacts:
    """A balance transaction as the posting table reads it."""
    return TransactionFacts(
        type=bt.type,
        amount=bt.amount,
        fee=bt.fee,
        net=bt.net,
        fees=tuple((str(kind), int(amount)) for kind, amount in bt.fees),
        reporting_category=bt.reporting_category,
        balance_type=bt.balance_type or "payments",
        is_converted=bt.exchange_rate is not None,
    )
