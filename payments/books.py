"""The proof of the books: identities that hold with no tolerance, each checked by SQL over the
rows.

Every problem names the row that breaks it. An empty list is the proof.
"""

from dataclasses import dataclass

from sqlalchemy import String, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments import alarms, balance, db
from payments.alarms import AlarmKind
from payments.ledger import LedgerEntry, chain
from payments.runtime import Runtime

WORST = 20  # rows named for one identity
COMPARISONS = 3  # money may move while we look


@dataclass(frozen=True, slots=True)
class Finding:
    """One identity and the rows that break it. `rows` is empty when it holds."""

    identity: str
    says: str
    rows: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.rows


async def check(rt: Runtime, *, with_stripe: bool = True) -> list[Finding]:
    """Prove every identity. `with_stripe` also compares with Stripe's own balance."""
    findings = []
    async with rt.sessions() as session:
        findings.append(Finding("chain", CHAIN, tuple(await _broken_links(session))))
        for identity, (says, query) in IDENTITIES.items():
            rows = await session.scalars(text(f"{query} LIMIT {WORST}"))
            findings.append(Finding(identity, says, tuple(str(row) for row in rows)))
    if with_stripe:
        findings.append(await _balance(rt))
    return findings


CHAIN = "every row follows the one before it, and none was changed"
IDENTITIES = {
    "posted": (
        "the Stripe end of each transaction's rows is its net, or it waits for its contribution",
        """
        SELECT bt.id || ': net ' || bt.net || ', posted ' || coalesce(sum(CASE
                   WHEN e.debit = 'stripe:balance' THEN e.amount
                   WHEN e.credit = 'stripe:balance' THEN -e.amount END), 0)
          FROM balance_transactions bt
          LEFT JOIN ledger_entries e
            ON e.balance_transaction = bt.id AND e.currency = bt.currency
          LEFT JOIN waiting_transactions w ON w.balance_transaction = bt.id
         GROUP BY bt.id, bt.net, w.balance_transaction
        HAVING CASE WHEN w.balance_transaction IS NULL THEN bt.net ELSE 0 END
               <> coalesce(sum(CASE WHEN e.debit = 'stripe:balance' THEN e.amount
                                    WHEN e.credit = 'stripe:balance' THEN -e.amount END), 0)
         ORDER BY bt.id
        """,
    ),
    "fees": (
        "the parts of each fee add up to it",
        """
        SELECT bt.id || ': fee ' || bt.fee
          FROM balance_transactions bt
         WHERE bt.fee <> (SELECT coalesce(sum((part ->> 1)::bigint), 0)
                            FROM jsonb_array_elements(bt.fees) AS part)
         ORDER BY bt.id
        """,
    ),
    "income": (
        "each charge that moved money is income once, of its amount and of its frequency",
        """
        SELECT coalesce(c.stripe_charge_id, e.balance_transaction) || ': charged '
               || coalesce(c.amount::text, 'nothing') || ', income '
               || coalesce(e.amount::text, 'nothing')
          FROM (SELECT ch.stripe_charge_id, ch.balance_transaction, ch.amount, ch.currency,
                       i.contribution_id, i.frequency
                  FROM charges ch
                  LEFT JOIN contribution_intents i USING (stripe_payment_intent_id)
                 WHERE ch.status = 'succeeded' AND ch.balance_transaction IS NOT NULL
                   AND NOT EXISTS (SELECT 1 FROM waiting_transactions w
                                    WHERE w.balance_transaction = ch.balance_transaction)) c
          FULL JOIN (SELECT * FROM ledger_entries WHERE credit LIKE 'income:%') e
            ON e.balance_transaction = c.balance_transaction
          LEFT JOIN balance_transactions bt ON bt.id = e.balance_transaction
         WHERE e.seq IS NULL OR c.stripe_charge_id IS NULL
            OR (e.currency = c.currency AND e.amount <> c.amount) OR e.amount <> bt.amount
            OR e.contribution_id IS DISTINCT FROM c.contribution_id
            OR e.credit <> 'income:' || c.frequency
         ORDER BY 1
        """,
    ),
    "payouts": (
        "each payout that is paid is in the bank once, and none is there that is not",
        """
        SELECT coalesce(p.stripe_payout_id, bt.source) || ': ' || coalesce(p.status, 'unknown')
               || ', in the bank ' || count(e.seq)
          FROM payouts p
          FULL JOIN (SELECT * FROM ledger_entries WHERE 'bank' IN (debit, credit)) e
            ON e.balance_transaction = p.balance_transaction
          LEFT JOIN balance_transactions bt ON bt.id = e.balance_transaction
         GROUP BY p.stripe_payout_id, p.status, bt.source
        HAVING (p.status = 'paid') IS DISTINCT FROM (count(e.seq) = 1)
         ORDER BY 1
        """,
    ),
    "suspense": (
        "what is in suspense has an open alarm",
        """
        SELECT e.balance_transaction || ': ' || e.amount || ' ' || e.currency || ', no open alarm'
          FROM ledger_entries e
         WHERE 'suspense' IN (e.debit, e.credit)
           AND NOT EXISTS (SELECT 1 FROM alarms a
                            WHERE a.kind = 'suspense' AND a.subject = e.balance_transaction
                              AND a.closed_at IS NULL)
         ORDER BY e.seq
        """,
    ),
}


async def _broken_links(session: AsyncSession) -> list[str]:
    """The first row that does not follow from the one before it."""
    head, expected = chain.FIRST, 0
    query = select(LedgerEntry).order_by(LedgerEntry.seq).execution_options(yield_per=1000)
    rows = await session.stream_scalars(query)
    broken = []
    async for row in rows:
        expected += 1
        frozen = chain.row_bytes(
            row.seq,
            row.debit,
            row.credit,
            row.amount,
            row.currency,
            row.occurred_at,
            row.balance_transaction,
            row.contribution_id,
        )
        head = chain.link(head, frozen)
        if row.seq != expected:
            broken = [f"row {expected} is missing"]
        elif head != row.hash:
            broken = [f"row {row.seq} ({row.balance_transaction}) was changed"]
        if broken:
            break
    await rows.close()
    return broken


async def _balance(rt: Runtime) -> Finding:
    """Compare with Stripe. What moved a moment ago is imported first, and then compared again."""
    differ: list[str] = []
    for attempt in range(COMPARISONS):
        if attempt > 0:
            await balance.import_new(rt)
        theirs, ours = await balance.at_stripe(rt), await balance.in_the_books(rt)
        differ = [
            f"{currency}: Stripe {theirs.get(currency, 0)}, books {ours.get(currency, 0)}"
            for currency in sorted(theirs.keys() | ours.keys())
            if theirs.get(currency, 0) != ours.get(currency, 0)
        ]
        if not differ:
            break
    return Finding("balance", "the stripe account equals Stripe's own balance", tuple(differ))


class Proof(db.Base):
    """What the last check found of one identity, for the page that shows it."""

    __tablename__ = "proofs"

    identity: Mapped[str] = mapped_column(String(40), primary_key=True)
    says: Mapped[str]
    rows: Mapped[list[str]] = mapped_column(JSONB)
    checked_at: Mapped[db.Moment]


async def check_and_alarm(rt: Runtime) -> list[Finding]:
    """Check on a schedule: one alarm for each identity that fails, closed when it holds again."""
    await balance.import_new(rt)
    findings = await check(rt)
    async with rt.sessions.begin() as session:
        for finding in findings:
            seen = {"says": finding.says, "rows": list(finding.rows), "checked_at": rt.now()}
            await session.execute(
                insert(Proof)
                .values(identity=finding.identity, **seen)
                .on_conflict_do_update(index_elements=["identity"], set_=seen)
            )
            change = alarms.close if finding.holds else alarms.sound
            await change(session, AlarmKind.BOOKS, subject=finding.identity, now=rt.now())
    return findings


async def last_proof(session: AsyncSession) -> list[Proof]:
    """What the last check found, in the order of the identities."""
    found = {proof.identity: proof for proof in await session.scalars(select(Proof))}
    return [found[name] for name in ("chain", *IDENTITIES, "balance") if name in found]
