"""The proof of the books: identities that hold with no tolerance, each checked by SQL over the
rows (`identities`).

Every problem names the row that breaks it. An empty list is the proof. Each hour the chain is
followed from the last row that was proven; each night all of it, and then the books are made anew
from Stripe's transactions alone: the last hash must be the same.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Row, String, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.accounting import daily_totals, integrity_checks, month_snapshots
from payments.accounting.integrity_checks import IDENTITIES
from payments.infra import alerts, db
from payments.infra.alerts import AlarmKind
from payments.infra.context import Runtime
from payments.ledger import entries, hash_chain
from payments.ledger.posting_rules import (
    Account,
    Movement,
    Owner,
    Posting,
    is_for_a_contribution,
    postings,
)
from payments.settlement import importer

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


CHAIN = "every row follows the one before it, and none was changed"
REBUILT = "the books made anew from Stripe's transactions are the same to the last hash"
BESIDE = ("recurring", "balance", "rebuilt")  # what is no question to the database
NEWEST = 2  # months that are reckoned anew when the chain is not followed from its beginning


async def check(
    rt: Runtime, *, with_stripe: bool = True, whole: bool = True, rebuild: bool = False
) -> list[Finding]:
    """Prove every identity. `with_stripe` also compares with Stripe's own balance.

    The `whole` chain and every month that is kept, or what was added since it was last proven.
    """
    findings = []
    async with rt.sessions() as session:
        await session.execute(text("SET LOCAL statement_timeout = '30min'"))
        findings.append(Finding("chain", CHAIN, await _broken_links(session, whole=whole)))
        for identity, (says, query) in IDENTITIES.items():
            rows = await session.scalars(text(f"{query} LIMIT {WORST}"))
            findings.append(Finding(identity, says, tuple(str(row) for row in rows)))
        findings.append(
            Finding("recurring", month_snapshots.SAYS, await _recurring(session, whole=whole))
        )
    if with_stripe:
        findings.append(await _balance(rt))
    if rebuild:
        findings.append(Finding("rebuilt", REBUILT, await _rebuilt(rt)))
    return findings


class ChainHead(db.Base):
    """A row of the books up to which the chain was proven. Never changed."""

    __tablename__ = "chain_heads"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes]
    proven_at: Mapped[db.Moment]


async def _broken_links(session: AsyncSession, *, whole: bool) -> tuple[str, ...]:
    """The rows that do not follow from the one before, and what was proven and is not there."""
    head = None
    if not whole:
        head = await session.scalar(select(ChainHead).order_by(ChainHead.seq.desc()).limit(1))
    links = {
        "whole": head is None,
        "before_seq": 0 if head is None else head.seq,
        "before": hash_chain.FIRST if head is None else head.hash,
    }
    broken = list(await session.scalars(text(f"{integrity_checks.CHAIN} LIMIT {WORST}"), links))
    broken += await session.scalars(text(f"{integrity_checks.HEADS} LIMIT {WORST}"))
    return tuple(str(row) for row in broken[:WORST])


async def _recurring(session: AsyncSession, *, whole: bool) -> tuple[str, ...]:
    """The lines of months that are kept and not what the rows say."""
    told = []
    for kind in daily_totals.KINDS:
        told += await month_snapshots.differences(session, kind, newest=None if whole else NEWEST)
    return tuple(told[:WORST])


async def _last_row(session: AsyncSession) -> Row[Any] | None:
    query = text("SELECT seq, hash FROM ledger_entries ORDER BY seq DESC LIMIT 1")
    return (await session.execute(query)).one_or_none()


async def _rebuilt(rt: Runtime) -> tuple[str, ...]:
    """Make the books anew, in the order they were written; the first row that comes out otherwise.

    A row depends on nothing but its transaction and the contribution that is paid.
    """
    head, owed = hash_chain.FIRST, list[Posting]()
    async with rt.sessions() as session:
        await session.execute(text("SET LOCAL statement_timeout = '30min'"))
        rows = await session.stream(
            text(integrity_checks.SOURCES), execution_options={"yield_per": 1000}
        )
        row, other = None, ""
        async for row in rows:
            if row.type is None:
                other = f"row {row.seq}: {row.balance_transaction} is not Stripe's"
                break
            owed = owed or _expected(row)
            head = hash_chain.link(head, _frozen(row, owed.pop(0))) if owed else b""
            if head != row.hash:
                other = f"row {row.seq} ({row.balance_transaction}) would be another"
                break
        await rows.close()
    if other:
        return (other,)
    return (f"{row.balance_transaction} would have more rows",) if row and owed else ()


def _expected(row: Row[Any]) -> list[Posting]:
    """The rows that begin here: those of a transaction, or a payout's arrival in the bank."""
    if {row.debit, row.credit} == {Account.BANK, Account.IN_TRANSIT}:
        return [entries.arrival(row.amount)]
    fees = tuple((str(kind), int(amount)) for kind, amount in row.fees)
    if row.net != row.amount - row.fee or sum(amount for _, amount in fees) != row.fee:
        return []
    movement = Movement(
        type=row.type,
        amount=row.amount,
        fee=row.fee,
        net=row.net,
        fees=fees,
        category=row.reporting_category,
        balance=row.balance_type or "payments",
        is_converted=row.exchange_rate is not None,
    )
    owner = None if row.frequency is None else Owner(row.contribution_id, row.frequency)
    return postings(movement, owner)


def _frozen(row: Row[Any], posting: Posting) -> bytes:
    is_attributed = is_for_a_contribution(row.type, row.reporting_category)
    return hash_chain.row_bytes(
        row.seq,
        posting.debit,
        posting.credit,
        posting.amount,
        row.currency,
        row.occurred_at,
        row.balance_transaction,
        row.contribution_id if is_attributed else row.whose,
    )


async def _balance(rt: Runtime) -> Finding:
    """Compare with Stripe. What moved a moment ago is imported first, and then compared again."""
    differ: list[str] = []
    for attempt in range(COMPARISONS):
        if attempt > 0:
            await daily_totals.import_and_refresh(rt)
        theirs, ours = await importer.at_stripe(rt), await importer.in_the_books(rt)
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


async def check_and_alarm(
    rt: Runtime, *, whole: bool = True, rebuild: bool = False
) -> list[Finding]:
    """Check on a schedule: one alarm for each identity that fails, closed when it holds again."""
    await daily_totals.import_and_refresh(rt)
    async with rt.sessions() as session:
        last = await _last_row(session)
    findings = await check(rt, whole=whole, rebuild=rebuild)
    async with rt.sessions.begin() as session:
        if last is not None and all(f.holds for f in findings if f.identity == "chain"):
            proven = insert(ChainHead).values(seq=last.seq, hash=last.hash, proven_at=rt.now())
            await session.execute(proven.on_conflict_do_nothing())
        for finding in findings:
            seen = {"says": finding.says, "rows": list(finding.rows), "checked_at": rt.now()}
            await session.execute(
                insert(Proof)
                .values(identity=finding.identity, **seen)
                .on_conflict_do_update(index_elements=["identity"], set_=seen)
            )
            change = alerts.close if finding.holds else alerts.sound
            await change(session, AlarmKind.BOOKS, subject=finding.identity, now=rt.now())
    return findings


async def last_proof(session: AsyncSession) -> list[Proof]:
    """What the last check found, in the order of the identities."""
    found = {proof.identity: proof for proof in await session.scalars(select(Proof))}
    return [found[name] for name in ("chain", *IDENTITIES, *BESIDE) if name in found]
