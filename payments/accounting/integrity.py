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
from payments.accounting.integrity_checks import CHECKS
from payments.infra import alerts, db
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.ledger import entries, hash_chain
from payments.ledger.posting_rules import (
    Attribution,
    LedgerAccount,
    Posting,
    TransactionFacts,
    needs_contribution,
    postings,
)
from payments.settlement import importer

MAX_FAILURES = 20  # rows named for one identity
BALANCE_ATTEMPTS = 3  # money may move while we look


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One identity and the rows that break it. `rows` is empty when it holds."""

    check_name: str
    description: str
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.failures


CHAIN_DESCRIPTION = "every row follows the one before it, and none was changed"
REPLAY_DESCRIPTION = "the books made anew from Stripe's transactions are the same to the last hash"
NON_SQL_CHECKS = ("recurring", "balance", "rebuilt")  # what is no question to the database
RECENT_MONTHS = 2  # months that are reckoned anew when the chain is not followed from its beginning


async def run_checks(
    ctx: Context, *, with_stripe: bool = True, full: bool = True, replay: bool = False
) -> list[CheckResult]:
    """Prove every identity. `with_stripe` also compares with Stripe's own balance.

    The `whole` chain and every month that is kept, or what was added since it was last proven.
    """
    findings = []
    async with ctx.sessions() as session:
        await session.execute(text("SET LOCAL statement_timeout = '30min'"))
        findings.append(
            CheckResult("chain", CHAIN_DESCRIPTION, await _broken_links(session, full=full))
        )
        for identity, (says, query) in CHECKS.items():
            rows = await session.scalars(text(f"{query} LIMIT {MAX_FAILURES}"))
            findings.append(CheckResult(identity, says, tuple(str(row) for row in rows)))
        findings.append(
            CheckResult(
                "recurring",
                month_snapshots.CHECK_DESCRIPTION,
                await _snapshot_failures(session, full=full),
            )
        )
    if with_stripe:
        findings.append(await _check_stripe_balance(ctx))
    if replay:
        findings.append(CheckResult("rebuilt", REPLAY_DESCRIPTION, await _replay_failures(ctx)))
    return findings


class VerifiedHead(db.Base):
    """A row of the books up to which the chain was proven. Never changed."""

    __tablename__ = "verified_heads"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes]
    verified_at: Mapped[db.Timestamp]


async def _broken_links(session: AsyncSession, *, full: bool) -> tuple[str, ...]:
    """The rows that do not follow from the one before, and what was proven and is not there."""
    head = None
    if not full:
        head = await session.scalar(select(VerifiedHead).order_by(VerifiedHead.seq.desc()).limit(1))
    links = {
        "whole": head is None,
        "before_seq": 0 if head is None else head.seq,
        "before": hash_chain.GENESIS_HASH if head is None else head.hash,
    }
    broken = list(
        await session.scalars(text(f"{integrity_checks.CHAIN_SQL} LIMIT {MAX_FAILURES}"), links)
    )
    broken += await session.scalars(
        text(f"{integrity_checks.VERIFIED_HEADS_SQL} LIMIT {MAX_FAILURES}")
    )
    return tuple(str(row) for row in broken[:MAX_FAILURES])


async def _snapshot_failures(session: AsyncSession, *, full: bool) -> tuple[str, ...]:
    """The lines of months that are kept and not what the rows say."""
    told = []
    for kind in daily_totals.SNAPSHOT_KINDS:
        told += await month_snapshots.find_differences(
            session, kind, newest_months=None if full else RECENT_MONTHS
        )
    return tuple(told[:MAX_FAILURES])


async def _last_entry(session: AsyncSession) -> Row[Any] | None:
    query = text("SELECT seq, hash FROM ledger_entries ORDER BY seq DESC LIMIT 1")
    return (await session.execute(query)).one_or_none()


async def _replay_failures(ctx: Context) -> tuple[str, ...]:
    """Make the books anew, in the order they were written; the first row that comes out otherwise.

    A row depends on nothing but its transaction and the contribution that is paid.
    """
    head, owed = hash_chain.GENESIS_HASH, list[Posting]()
    async with ctx.sessions() as session:
        await session.execute(text("SET LOCAL statement_timeout = '30min'"))
        rows = await session.stream(
            text(integrity_checks.REPLAY_SQL), execution_options={"yield_per": 1000}
        )
        row, other = None, ""
        async for row in rows:
            if row.type is None:
                other = f"row {row.seq}: {row.balance_transaction} is not Stripe's"
                break
            owed = owed or _expected_postings(row)
            head = hash_chain.next_hash(head, _entry_bytes(row, owed.pop(0))) if owed else b""
            if head != row.hash:
                other = f"row {row.seq} ({row.balance_transaction}) would be another"
                break
        await rows.close()
    if other:
        return (other,)
    return (f"{row.balance_transaction} would have more rows",) if row and owed else ()


def _expected_postings(row: Row[Any]) -> list[Posting]:
    """The rows that begin here: those of a transaction, or a payout's arrival in the bank."""
    if {row.debit, row.credit} == {LedgerAccount.BANK, LedgerAccount.IN_TRANSIT}:
        return [entries.payout_arrival_posting(row.amount)]
    fees = tuple((str(kind), int(amount)) for kind, amount in row.fees)
    if row.net != row.amount - row.fee or sum(amount for _, amount in fees) != row.fee:
        return []
    movement = TransactionFacts(
        type=row.type,
        amount=row.amount,
        fee=row.fee,
        net=row.net,
        fees=fees,
        reporting_category=row.reporting_category,
        balance_type=row.balance_type or "payments",
        is_converted=row.exchange_rate is not None,
    )
    owner = None if row.frequency is None else Attribution(row.contribution_id, row.frequency)
    return postings(movement, owner)


def _entry_bytes(row: Row[Any], posting: Posting) -> bytes:
    is_attributed = needs_contribution(row.type, row.reporting_category)
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


async def _check_stripe_balance(ctx: Context) -> CheckResult:
    """Compare with Stripe. What moved a moment ago is imported first, and then compared again."""
    differ: list[str] = []
    for attempt in range(BALANCE_ATTEMPTS):
        if attempt > 0:
            await daily_totals.import_and_refresh(ctx)
        theirs, ours = await importer.stripe_balance(ctx), await importer.ledger_balance(ctx)
        differ = [
            f"{currency}: Stripe {theirs.get(currency, 0)}, books {ours.get(currency, 0)}"
            for currency in sorted(theirs.keys() | ours.keys())
            if theirs.get(currency, 0) != ours.get(currency, 0)
        ]
        if not differ:
            break
    return CheckResult("balance", "the stripe account equals Stripe's own balance", tuple(differ))


class IntegrityCheck(db.Base):
    """What the last check found of one identity, for the page that shows it."""

    __tablename__ = "integrity_checks"

    check_name: Mapped[str] = mapped_column(String(40), primary_key=True)
    description: Mapped[str]
    failures: Mapped[list[str]] = mapped_column(JSONB)
    checked_at: Mapped[db.Timestamp]


async def run_and_alert(
    ctx: Context, *, full: bool = True, replay: bool = False
) -> list[CheckResult]:
    """Check on a schedule: one alarm for each identity that fails, closed when it holds again."""
    await daily_totals.import_and_refresh(ctx)
    async with ctx.sessions() as session:
        last = await _last_entry(session)
    findings = await run_checks(ctx, full=full, replay=replay)
    async with ctx.sessions.begin() as session:
        if last is not None and all(f.passed for f in findings if f.check_name == "chain"):
            proven = insert(VerifiedHead).values(
                seq=last.seq, hash=last.hash, verified_at=ctx.now()
            )
            await session.execute(proven.on_conflict_do_nothing())
        for finding in findings:
            seen = {
                "description": finding.description,
                "failures": list(finding.failures),
                "checked_at": ctx.now(),
            }
            await session.execute(
                insert(IntegrityCheck)
                .values(check_name=finding.check_name, **seen)
                .on_conflict_do_update(index_elements=["check_name"], set_=seen)
            )
            change = alerts.close if finding.passed else alerts.raise_alert
            await change(
                session,
                AlertKind.INTEGRITY_CHECK_FAILED,
                object_id=finding.check_name,
                now=ctx.now(),
            )
    return findings


async def latest_results(session: AsyncSession) -> list[IntegrityCheck]:
    """What the last check found, in the order of the identities."""
    found = {proof.check_name: proof for proof in await session.scalars(select(IntegrityCheck))}
    return [found[name] for name in ("chain", *CHECKS, *NON_SQL_CHECKS) if name in found]
