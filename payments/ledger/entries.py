"""Ledger entries: the double entries of every balance transaction, appended and never changed.

A stored balance transaction is posted by the newest table in `posting_rules`, and each entry says
by which version; a charge is posted only once its contribution is known. The entries form a hash
chain (`hash_chain`) in the order they were posted, and one transaction appends at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    SmallInteger,
    and_,
    delete,
    select,
)
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import alerts, db
from payments.infra.alerts import AlertKind
from payments.ledger import corrections, hash_chain
from payments.ledger.balance_transactions import (
    BalanceTransaction,
    UnpostedTransaction,
    transaction_facts,
)
from payments.ledger.corrections import Correction, CorrectionDecision
from payments.ledger.posting_rules import (
    Attribution,
    LedgerAccount,
    Posting,
    current_version,
    needs_contribution,
    postings,
)

CHAIN_LOCK_KEY = 0x6C6564676572  # "ledger": whoever holds this advisory lock may append
# UTC, of the day a payout arrives: the same day from Honolulu to Auckland.
PAYOUT_ARRIVAL_TIME = time(10)


class LedgerEntry(db.Base):
    """`amount` minor units of `currency` from the credited account to the debited one."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        Unique(
            "balance_transaction",
            "debit",
            "credit",
            "correction_id",
            name="uq_ledger_entries_pair",
            postgresql_nulls_not_distinct=True,
        ),
        Unique("correction_id"),
        CheckConstraint("amount > 0", name="amount_is_positive"),
        CheckConstraint("debit <> credit", name="accounts_differ"),
        CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),
        db.currency_check(),
        # For what each contribution paid, and when: daily totals and reports ask it of every entry.
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
    posting_version: Mapped[int] = mapped_column(SmallInteger)  # of `posting_rules`
    correction_id: Mapped[db.Id | None] = mapped_column(ForeignKey("corrections.id"))
    hash: Mapped[bytes]


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """An entry before it has its number and hash."""

    transaction: BalanceTransaction
    posting: Posting
    contribution_id: str | None
    occurred_at: datetime
    correction: Correction | None = None
    decision: CorrectionDecision | None = None


async def post(
    session: AsyncSession,
    candidates: Sequence[BalanceTransaction],
    *,
    attributions: Mapping[str, Attribution],
    now: datetime,
) -> int:
    """Post those candidates that are unposted and whose contribution, if they need one, is known.

    `attributions` maps a charge's id to its contribution. Returns how many transactions were
    posted. Raises an alert for what ends in suspense. Takes the chain lock, which is held until
    the session's transaction ends: call this last in it.
    """
    ready = [
        transaction
        for transaction in candidates
        if transaction.charge in attributions
        or not needs_contribution(transaction.type, transaction.reporting_category)
    ]
    if not ready:
        return 0
    await lock_chain(session)
    claimed = set(
        await session.scalars(
            delete(UnpostedTransaction)
            .where(UnpostedTransaction.balance_transaction.in_([one.id for one in ready]))
            .returning(UnpostedTransaction.balance_transaction)
        )
    )
    ready = [transaction for transaction in ready if transaction.id in claimed]
    pending = list[PendingEntry]()
    for transaction in ready:
        its_entries = _pending_entries(transaction, attributions)
        if any(_is_in_suspense(entry.posting) for entry in its_entries):
            await alerts.raise_alert(session, AlertKind.SUSPENSE, object_id=transaction.id, now=now)
        pending += its_entries
    await _append(session, pending)
    return len(ready)


def _pending_entries(
    transaction: BalanceTransaction, attributions: Mapping[str, Attribution]
) -> list[PendingEntry]:
    charge_id = transaction.charge
    attribution = None if charge_id is None else attributions.get(charge_id)
    contribution_id = None if attribution is None else attribution.contribution_id
    return [
        PendingEntry(transaction, posting, contribution_id, transaction.occurred_at)
        for posting in postings(transaction_facts(transaction), attribution)
    ]


def _is_in_suspense(posting: Posting) -> bool:
    return LedgerAccount.SUSPENSE in (posting.debit, posting.credit)


async def post_payout_arrival(
    session: AsyncSession, transaction: BalanceTransaction, arrived_on: date
) -> None:
    """Post a payout's move from in-transit to the bank, once, on the day its bank statement has.

    `transaction` is the balance transaction that took the payout from Stripe's balance.
    """
    arrived_at = datetime.combine(arrived_on, PAYOUT_ARRIVAL_TIME, tzinfo=UTC)
    await _post_bank_transfer(
        session,
        transaction,
        payout_arrival_posting(transaction.amount),
        max(arrived_at, transaction.occurred_at),
    )


async def post_payout_return(
    session: AsyncSession,
    payout_transaction: BalanceTransaction,
    failure_transaction: BalanceTransaction,
) -> None:
    """Post the return of a payout that had reached the bank, once. Does nothing if it had not."""
    if await _has_bank_transfer(session, payout_transaction):
        await _post_bank_transfer(
            session,
            failure_transaction,
            payout_arrival_posting(failure_transaction.amount),
            failure_transaction.occurred_at,
        )


def payout_arrival_posting(amount: int) -> Posting:
    """Return the bank's side of a payout's transaction. Stripe's minus is the bank's plus."""
    if amount < 0:
        return Posting(LedgerAccount.BANK, LedgerAccount.IN_TRANSIT, -amount)
    return Posting(LedgerAccount.IN_TRANSIT, LedgerAccount.BANK, amount)


async def _has_bank_transfer(session: AsyncSession, transaction: BalanceTransaction) -> bool:
    query = select(LedgerEntry.seq).where(
        LedgerEntry.balance_transaction == transaction.id, _is_bank_transfer()
    )
    return await session.scalar(query) is not None


def _is_bank_transfer() -> ColumnElement[bool]:
    accounts = (LedgerAccount.BANK, LedgerAccount.IN_TRANSIT)
    return and_(LedgerEntry.debit.in_(accounts), LedgerEntry.credit.in_(accounts))


async def _post_bank_transfer(
    session: AsyncSession, transaction: BalanceTransaction, posting: Posting, occurred_at: datetime
) -> None:
    await lock_chain(session)
    if not await _has_bank_transfer(session, transaction):
        await _append(session, [PendingEntry(transaction, posting, None, occurred_at)])


async def post_correction(
    session: AsyncSession,
    transaction: BalanceTransaction,
    correction: Correction,
    decision: CorrectionDecision | None,
) -> None:
    """Post a correction, and close the alert about suspense once nothing of it is left there.

    The caller holds the chain lock, and has seen that so much stands in its account.
    """
    occurred_at = correction_time(correction.booked_on, transaction.occurred_at)
    posting = Posting(correction.debit, correction.credit, correction.amount)
    await _append(
        session, [PendingEntry(transaction, posting, None, occurred_at, correction, decision)]
    )
    now = correction.proposed_at if decision is None else decision.decided_at
    if not (await standing(session, transaction.id)).get(LedgerAccount.SUSPENSE):
        await alerts.close(session, AlertKind.SUSPENSE, object_id=transaction.id, now=now)


def correction_time(booked_on: date, transaction_at: datetime) -> datetime:
    """Return when a correction occurs: on its day, and not before its transaction."""
    return max(datetime.combine(booked_on, PAYOUT_ARRIVAL_TIME, tzinfo=UTC), transaction_at)


async def standing(session: AsyncSession, transaction_id: str) -> dict[LedgerAccount, int]:
    """Return what stands in each account of one transaction: its debits less its credits."""
    sums: dict[LedgerAccount, int] = {}
    query = select(LedgerEntry.debit, LedgerEntry.credit, LedgerEntry.amount)
    for debit, credit, amount in await session.execute(
        query.where(LedgerEntry.balance_transaction == transaction_id)
    ):
        sums[debit] = sums.get(debit, 0) + amount
        sums[credit] = sums.get(credit, 0) - amount
    return {account: sum_ for account, sum_ in sums.items() if sum_}


async def lock_chain(session: AsyncSession) -> None:
    """Wait for the chain lock and hold it until the transaction ends: nobody else appends."""
    await db.advisory_lock(session, CHAIN_LOCK_KEY)


async def _append(session: AsyncSession, pending: Sequence[PendingEntry]) -> None:
    """Write entries at the end of the chain. The caller holds the chain lock."""
    if not pending:
        return
    last = (
        await session.execute(
            select(LedgerEntry.seq, LedgerEntry.hash).order_by(LedgerEntry.seq.desc()).limit(1)
        )
    ).one_or_none()
    seq, head = last if last is not None else (0, hash_chain.GENESIS_HASH)
    version = current_version()
    values = []
    for entry in pending:
        seq += 1
        posting, transaction, correction = entry.posting, entry.transaction, entry.correction
        digest = None if correction is None else corrections.digest(correction, entry.decision)
        row = hash_chain.row_bytes(
            hash_chain.ChainedEntry(
                seq,
                posting.debit,
                posting.credit,
                posting.amount,
                transaction.currency,
                entry.occurred_at,
                transaction.id,
                entry.contribution_id,
                version,
                digest,
            )
        )
        head = hash_chain.next_hash(head, row)
        values.append(
            {
                "seq": seq,
                "debit": posting.debit,
                "credit": posting.credit,
                "amount": posting.amount,
                "currency": transaction.currency,
                "occurred_at": entry.occurred_at,
                "balance_transaction": transaction.id,
                "contribution_id": entry.contribution_id,
                "posting_version": version,
                "correction_id": None if correction is None else correction.id,
                "hash": head,
            }
        )
    await session.execute(insert(LedgerEntry), values)
