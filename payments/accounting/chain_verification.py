"""Chain verification: whether the ledger's hash chain is whole, and the replay of the ledger.

The chain proves that no entry was changed since it was appended, nor the correction it comes from.
The replay proves that the chain itself was not forged: it computes every entry from Stripe's
transactions and the corrections alone.
"""

from typing import Any

from sqlalchemy import BigInteger, Row, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.accounting import statement_timeout
from payments.accounting.correction_checks import CORRECTION_DIGEST_SQL, JOIN_CORRECTIONS_SQL
from payments.infra import db
from payments.infra.context import Context
from payments.ledger import balance_transactions, entries, hash_chain
from payments.ledger.posting_rules import (
    POSTING_TABLES,
    Attribution,
    LedgerAccount,
    Posting,
    needs_contribution,
    postings,
)

MAX_FAILURES = 20  # entries that are named

# The byte form of `ledger.hash_chain`, written in SQL so that one does not prove itself. Takes
# :after_seq and :after_hash, the entry to begin after, :whole_chain, and :most, how many it names.
CHAIN_SQL = f"""
    WITH linked_entries AS (
        SELECT e.seq,
               e.hash,
               e.balance_transaction,
               e.occurred_at,
               coalesce(lag(seq) OVER by_seq, :after_seq) + 1 AS expected_seq,
               coalesce(lag(hash) OVER by_seq, :after_hash) AS previous_hash,
               convert_to(concat_ws('|', 'v2', e.seq, e.debit, e.credit, e.amount, e.currency,
                   to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                   e.balance_transaction, coalesce(e.contribution_id, ''), e.posting_version,
                   CASE WHEN e.correction_id IS NULL THEN ''
                        ELSE encode({CORRECTION_DIGEST_SQL}, 'hex') END), 'UTF8') AS row_bytes
          FROM ledger_entries e{JOIN_CORRECTIONS_SQL}
         WHERE e.seq > :after_seq OR CAST(:whole_chain AS boolean)
        WINDOW by_seq AS (ORDER BY seq)
    )
    SELECT CASE WHEN seq <> expected_seq THEN 'row ' || expected_seq || ' is missing'
                ELSE 'row ' || seq || ' (' || balance_transaction || ') was changed' END
      FROM linked_entries
     WHERE seq <> expected_seq
        OR hash <> sha256(previous_hash || row_bytes)
        OR occurred_at <> date_trunc('second', occurred_at)
     ORDER BY seq
     LIMIT :most
"""  # noqa: S608 - constants only
# What was verified once must still be there: this is how a chain cut off at its end is found.
VERIFIED_HEADS_SQL = """
    SELECT 'row ' || h.seq || ', proven on ' || CAST(h.verified_at AS date) || ', '
           || CASE WHEN e.seq IS NULL THEN 'is gone' ELSE 'was changed' END
      FROM verified_heads h
      LEFT JOIN ledger_entries e USING (seq)
     WHERE e.hash IS DISTINCT FROM h.hash
     ORDER BY h.seq
"""

# Every entry in its order, with the transaction it came from and the contribution that is for. A
# payout's arrival occurs on the day it reached the bank, as `entries.post_payout_arrival` has it.
REPLAY_SQL = f"""
    SELECT e.seq,
           e.debit,
           e.credit,
           e.hash,
           e.balance_transaction,
           e.contribution_id AS posted_contribution_id,
           e.posting_version,
           e.correction_id,
           correction.debit AS correction_debit,
           correction.credit AS correction_credit,
           correction.amount AS corrected_amount,
           correction.needs_approval,
           decision.outcome,
           {CORRECTION_DIGEST_SQL}
               AS correction_digest,
           bt.type,
           bt.reporting_category,
           bt.balance_type,
           bt.amount,
           bt.fee,
           bt.net,
           bt.fees,
           bt.currency,
           bt.exchange_rate,
           link.contribution_id,
           link.frequency,
           CASE WHEN e.correction_id IS NOT NULL
                THEN greatest(bt.occurred_at,
                              (correction.booked_on + time '{entries.PAYOUT_ARRIVAL_TIME}')
                                  AT TIME ZONE 'UTC')
                WHEN e.debit IN ('bank', 'in-transit') AND e.credit IN ('bank', 'in-transit')
                THEN greatest(bt.occurred_at,
                              (p.arrives_on + time '{entries.PAYOUT_ARRIVAL_TIME}')
                                  AT TIME ZONE 'UTC')
                ELSE bt.occurred_at END AS occurred_at
      FROM ledger_entries e
      LEFT JOIN balance_transactions bt ON bt.id = e.balance_transaction
      LEFT JOIN payouts p ON p.balance_transaction = e.balance_transaction
      LEFT JOIN charges c ON c.stripe_charge_id = bt.charge
      LEFT JOIN payment_intent_links link USING (stripe_payment_intent_id){JOIN_CORRECTIONS_SQL}
     ORDER BY e.seq
"""  # noqa: S608 - constants only


class VerifiedHead(db.Base):
    """A ledger entry up to which the chain was verified. Never changed."""

    __tablename__ = "verified_heads"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes]
    verified_at: Mapped[db.Timestamp]


async def broken_links(session: AsyncSession, *, full: bool) -> tuple[str, ...]:
    """Describe the entries that do not follow from the one before, and verified ones that are gone.

    `full` verifies the whole chain, otherwise what was appended since it was last verified.
    """
    head = None
    if not full:
        head = await session.scalar(select(VerifiedHead).order_by(VerifiedHead.seq.desc()).limit(1))
    params = {
        "whole_chain": head is None,
        "after_seq": 0 if head is None else head.seq,
        "after_hash": hash_chain.GENESIS_HASH if head is None else head.hash,
        "most": MAX_FAILURES,
    }
    broken = list(await session.scalars(text(CHAIN_SQL), params))
    broken += await session.scalars(text(f"{VERIFIED_HEADS_SQL} LIMIT {MAX_FAILURES}"))
    return tuple(str(row) for row in broken[:MAX_FAILURES])


async def last_entry(session: AsyncSession) -> Row[Any] | None:
    """Return number and hash of the newest entry."""
    query = text("SELECT seq, hash FROM ledger_entries ORDER BY seq DESC LIMIT 1")
    return (await session.execute(query)).one_or_none()


async def store_verified_head(session: AsyncSession, entry: Row[Any], ctx: Context) -> None:
    """Remember that the chain was verified up to an entry."""
    head = insert(VerifiedHead).values(seq=entry.seq, hash=entry.hash, verified_at=ctx.now())
    await session.execute(head.on_conflict_do_nothing())


async def replay_failures(ctx: Context) -> tuple[str, ...]:
    """Compute the ledger in the order it was written; return the first entry that differs.

    An entry depends on nothing but its transaction, the contribution that was paid, and the version
    of the posting table that it names; a correction, on what colleagues decided.
    """
    head, expected = hash_chain.GENESIS_HASH, list[Posting]()
    async with ctx.sessions() as session:
        await statement_timeout.extend(session)
        rows = await session.stream(text(REPLAY_SQL), execution_options={"yield_per": 1000})
        row, failure = None, ""
        async for row in rows:
            if row.type is None:
                failure = f"row {row.seq}: {row.balance_transaction} is not Stripe's"
                break
            if row.posting_version not in POSTING_TABLES:
                failure = f"row {row.seq}: its posting table, {row.posting_version}, is unknown"
                break
            expected = expected or _expected_postings(row)
            head = (
                hash_chain.next_hash(head, _entry_bytes(row, expected.pop(0))) if expected else b""
            )
            if head != row.hash:
                failure = f"row {row.seq} ({row.balance_transaction}) would be another"
                break
        await rows.close()
    if failure:
        return (failure,)
    return (f"{row.balance_transaction} would have more rows",) if row and expected else ()


def _expected_postings(row: Row[Any]) -> list[Posting]:
    """Return the postings that begin at this entry: of a transaction, a payout's arrival, or a
    correction that was decided.
    """
    if row.correction_id is not None:
        is_decided = row.outcome == ("approved" if row.needs_approval else None)
        if row.correction_debit is None or not is_decided:
            return []
        ends = LedgerAccount(row.correction_debit), LedgerAccount(row.correction_credit)
        return [Posting(*ends, row.corrected_amount)]
    if {row.debit, row.credit} == {LedgerAccount.BANK, LedgerAccount.IN_TRANSIT}:
        return [entries.payout_arrival_posting(row.amount)]
    facts = balance_transactions.transaction_facts(row)
    if facts.net != facts.amount - facts.fee or sum(amount for _, amount in facts.fees) != row.fee:
        return []
    attribution = None if row.frequency is None else Attribution(row.contribution_id, row.frequency)
    return postings(facts, attribution, version=row.posting_version)


def _entry_bytes(row: Row[Any], posting: Posting) -> bytes:
    is_attributed = needs_contribution(
        row.type, row.reporting_category, version=row.posting_version
    )
    contribution_id = row.contribution_id if is_attributed else row.posted_contribution_id
    if row.correction_id is not None:
        contribution_id = None
    return hash_chain.row_bytes(
        hash_chain.ChainedEntry(
            row.seq,
            posting.debit,
            posting.credit,
            posting.amount,
            row.currency,
            row.occurred_at,
            row.balance_transaction,
            contribution_id,
            row.posting_version,
            None if row.correction_id is None else row.correction_digest,
        )
    )
