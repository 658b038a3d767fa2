"""Corrections: an amount of one transaction that colleagues move from an account to another.

A correction explains what the posting table could not: money in suspense, above all. It says from
where to where, how much, on which day, why, who wanted it and, where a second person is needed, who
agreed. It is appended and never changed, and so is what was decided of it; `entries` makes a ledger
entry of it, whose hash covers the digest of all that was said.

No correction touches Stripe's own balances, which equal what Stripe says, a payout's way to the
bank, or income of contributions, which follows from what donors paid.
"""

import hashlib
from datetime import date

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Date,
    ForeignKey,
    String,
    UniqueConstraint,
    func,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import audit_log, db
from payments.infra.second_person import DecisionOutcome
from payments.ledger import hash_chain
from payments.ledger.posting_rules import (
    BALANCE_ACCOUNTS,
    INCOME_ACCOUNTS,
    OTHER_ACCOUNTS,
    LedgerAccount,
    Posting,
)

NAME_LENGTH = 80  # characters, as in the audit log
_FIXED_ACCOUNTS = {
    *BALANCE_ACCOUNTS.values(),
    *INCOME_ACCOUNTS.values(),
    LedgerAccount.HELD,
    LedgerAccount.IN_TRANSIT,
}
CORRECTABLE_ACCOUNTS = tuple(one for one in LedgerAccount if one not in _FIXED_ACCOUNTS)
_OF_OTHER_INCOME = {LedgerAccount.OTHER_INCOME, *OTHER_ACCOUNTS.values()}
_OF_CONTRIBUTIONS = set(OTHER_ACCOUNTS)


class Correction(db.Base):
    """`amount` minor units of one transaction, moved from the credited account to the debited one.

    `from_account` is the one of the two that the amount stood in.
    """

    __tablename__ = "corrections"
    __table_args__ = (
        CheckConstraint("amount > 0", name="amount_is_positive"),
        CheckConstraint("debit <> credit", name="accounts_differ"),
        CheckConstraint("from_account IN (debit, credit)", name="from_is_an_end"),
        CheckConstraint("extract(day FROM concerns_month) = 1", name="month_begins"),
        db.currency_check(),
    )

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    balance_transaction: Mapped[db.StripeId] = mapped_column(
        ForeignKey("balance_transactions.id"), index=True
    )
    from_account: Mapped[str] = mapped_column(String(40))
    debit: Mapped[LedgerAccount] = mapped_column(
        db.enum_column(LedgerAccount, "debit_is_an_account")
    )
    credit: Mapped[LedgerAccount] = mapped_column(
        db.enum_column(LedgerAccount, "credit_is_an_account")
    )
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    booked_on: Mapped[date] = mapped_column(Date)
    concerns_month: Mapped[date | None] = mapped_column(Date)  # closed, when this was proposed
    needs_approval: Mapped[bool] = mapped_column(Boolean)
    reason: Mapped[str] = mapped_column(String(audit_log.MAX_REASON_LENGTH))
    proposed_at: Mapped[db.Timestamp]
    proposed_by: Mapped[str] = mapped_column(String(NAME_LENGTH))
    proposed_by_id: Mapped[db.Id]

    @property
    def to_account(self) -> LedgerAccount:
        """The account that the amount is moved to."""
        return self.credit if self.from_account == self.debit else self.debit


class CorrectionDecision(db.Base):
    """What became of a correction that needed a second person, once."""

    __tablename__ = "correction_decisions"
    __table_args__ = (UniqueConstraint("correction_id"),)

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    correction_id: Mapped[db.Id] = mapped_column(ForeignKey("corrections.id"))
    outcome: Mapped[DecisionOutcome] = mapped_column(
        db.enum_column(DecisionOutcome, "outcome_is_known")
    )
    reason: Mapped[str] = mapped_column(String(audit_log.MAX_REASON_LENGTH))  # of a refusal
    decided_at: Mapped[db.Timestamp]
    decided_by: Mapped[str] = mapped_column(String(NAME_LENGTH))
    decided_by_id: Mapped[db.Id]


def may_move(from_account: LedgerAccount, to_account: LedgerAccount) -> bool:
    """Whether a correction may move an amount between two accounts.

    Nothing goes to suspense, and nothing between accounts of contributions and of other income:
    no entry is of both.
    """
    ends = {from_account, to_account}
    return (
        len(ends) == 2
        and ends <= set(CORRECTABLE_ACCOUNTS)
        and to_account is not LedgerAccount.SUSPENSE
        and not (ends & _OF_OTHER_INCOME and ends & _OF_CONTRIBUTIONS)
    )


def posting_between(from_account: LedgerAccount, to_account: LedgerAccount, moved: int) -> Posting:
    """Return the posting that moves minor units out of an account: below zero, of its credit."""
    if moved > 0:
        return Posting(to_account, from_account, moved)
    return Posting(from_account, to_account, -moved)


def digest(correction: Correction, decision: CorrectionDecision | None) -> bytes:
    """Return SHA-256 over all that a booked correction says.

    `accounting.correction_checks` has the same form in SQL, so that one does not prove itself.
    """
    parts = (
        "c1",
        correction.id,
        correction.balance_transaction,
        correction.from_account,
        correction.debit,
        correction.credit,
        str(correction.amount),
        correction.currency,
        correction.booked_on.isoformat(),
        "" if correction.concerns_month is None else correction.concerns_month.isoformat(),
        "alone" if not correction.needs_approval else "two",
        _hash(correction.reason),
        hash_chain.timestamp(correction.proposed_at),
        _hash(correction.proposed_by),
        "" if decision is None else decision.outcome,
        "" if decision is None else hash_chain.timestamp(decision.decided_at),
        "" if decision is None else _hash(decision.decided_by),
    )
    return hashlib.sha256("|".join(parts).encode("ascii")).digest()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def count_waiting(session: AsyncSession, until: date) -> int:
    """Count the corrections for a day before `until` that a second colleague has to decide."""
    decided = select(CorrectionDecision.correction_id)
    query = select(func.count()).where(
        Correction.needs_approval.is_(True),
        Correction.booked_on < until,
        Correction.id.not_in(decided),
    )
    return int(await session.scalar(query) or 0)
