"""Integrity checks of the ledger: rules that hold with no tolerance, and what breaks them.

Every failure names the row that breaks a rule; a check without failures has passed. Each hour the
hash chain is verified from the last entry that was verified before; each night all of it, and then
the ledger is replayed from Stripe's transactions alone: the last hash must be the same.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Row, String, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.accounting import (
    daily_totals,
    integrity_checks,
    month_snapshots,
    statement_timeout,
)
from payments.accounting.integrity_checks import CHECKS
from payments.infra import alerts, db
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.ledger import balance_transactions, entries, hash_chain
from payments.ledger.posting_rules import (
    Attribution,
    LedgerAccount,
    Posting,
    needs_contribution,
    postings,
)
from payments.settlement import importer

MAX_FAILURES = 20  # rows named by one check
BALANCE_ATTEMPTS = 3  # comparisons with Stripe: money may move between our look and theirs
RECENT_MONTHS = 2  # snapshots that are computed again when the chain is not verified in full
CHAIN_DESCRIPTION = "every row follows the one before it, and none was changed"
REPLAY_DESCRIPTION = "the books made anew from Stripe's transactions are the same to the last hash"
BALANCE_DESCRIPTION = "the stripe account equals Stripe's own balance"
NON_SQL_CHECKS = ("month_snapshots", "stripe_balance", "replay")


class VerifiedHead(db.Base):
    """A ledger entry up to which the chain was verified. Never changed."""

    __tablename__ = "verified_heads"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes]
    verified_at: Mapped[db.Timestamp]


class IntegrityCheck(db.Base):
    """The last result of one check, for the page that shows it."""

    __tablename__ = "integrity_checks"

    check_name: Mapped[str] = mapped_column(String(40), primary_key=True)
    description: Mapped[str]
    failures: Mapped[list[str]] = mapped_column(JSONB)
    checked_at: Mapped[db.Timestamp]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check. `failures` names the rows that break its rule, at most 20."""

    check_name: str
    description: str
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing breaks the rule."""
        return not self.failures


async def run_checks(
    ctx: Context, *, with_stripe: bool = True, full: bool = True, replay: bool = False
) -> list[CheckResult]:
    """Run every check and return its result.

    `with_stripe` also compares with Stripe's own balance. `full` verifies the whole chain and every
    stored snapshot, otherwise only what was added since the last time. `replay` also computes the
    ledger from Stripe's transactions.
    """
    results = []
    async with ctx.sessions() as session:
        await statement_timeout.extend(session)
        broken_links = await _broken_links(session, full=full)
        results.append(CheckResult("chain", CHAIN_DESCRIPTION, broken_links))
        for check_name, (description, query) in CHECKS.items():
            failures = await session.scalars(text(f"{query} LIMIT {MAX_FAILURES}"))
            results.append(
                CheckResult(check_name, description, tuple(str(failure) for failure in failures))
            )
        differences = await _snapshot_failures(session, full=full)
        results.append(
            CheckResult("month_snapshots", month_snapshots.CHECK_DESCRIPTION, differences)
        )
    if with_stripe:
        results.append(await _check_stripe_balance(ctx))
    if replay:
        results.append(CheckResult("replay", REPLAY_DESCRIPTION, await _replay_failures(ctx)))
    return results


async def run_and_alert(
    ctx: Context, *, full: bool = True, replay: bool = False
) -> list[CheckResult]:
    """Import, run every check, store the results, and open or close an alert for each check."""
    await daily_totals.import_and_refresh(ctx)
    async with ctx.sessions() as session:
        last_entry = await _last_entry(session)
    results = await run_checks(ctx, full=full, replay=replay)
    async with ctx.sessions.begin() as session:
        if last_entry is not None and all(r.passed for r in results if r.check_name == "chain"):
            head = insert(VerifiedHead).values(
                seq=last_entry.seq, hash=last_entry.hash, verified_at=ctx.now()
            )
            await session.execute(head.on_conflict_do_nothing())
        for result in results:
            changing = {
                "description": result.description,
                "failures": list(result.failures),
                "checked_at": ctx.now(),
            }
            await session.execute(
                insert(IntegrityCheck)
                .values(check_name=result.check_name, **changing)
                .on_conflict_do_update(index_elements=["check_name"], set_=changing)
            )
            change = alerts.close if result.passed else alerts.raise_alert
            await change(
                session,
                AlertKind.INTEGRITY_CHECK_FAILED,
                object_id=result.check_name,
                now=ctx.now(),
            )
    return results


async def latest_results(session: AsyncSession) -> list[IntegrityCheck]:
    """Return the last result of each check, in the order they are run."""
    by_name = {check.check_name: check for check in await session.scalars(select(IntegrityCheck))}
    return [by_name[name] for name in ("chain", *CHECKS, *NON_SQL_CHECKS) if name in by_name]


# --- the chain ------------------------------------------------------------------------------------


async def _broken_links(session: AsyncSession, *, full: bool) -> tuple[str, ...]:
    """The entries that do not follow from the one before, and verified ones that are gone."""
    head = None
    if not full:
        head = await session.scalar(select(VerifiedHead).order_by(VerifiedHead.seq.desc()).limit(1))
    params = {
        "whole_chain": head is None,
        "after_seq": 0 if head is None else head.seq,
        "after_hash": hash_chain.GENESIS_HASH if head is None else head.hash,
    }
    broken = list(
        await session.scalars(text(f"{integrity_checks.CHAIN_SQL} LIMIT {MAX_FAILURES}"), params)
    )
    broken += await session.scalars(
        text(f"{integrity_checks.VERIFIED_HEADS_SQL} LIMIT {MAX_FAILURES}")
    )
    return tuple(str(row) for row in broken[:MAX_FAILURES])


async def _last_entry(session: AsyncSession) -> Row[Any] | None:
    query = text("SELECT seq, hash FROM ledger_entries ORDER BY seq DESC LIMIT 1")
    return (await session.execute(query)).one_or_none()


# --- the snapshots --------------------------------------------------------------------------------


async def _snapshot_failures(session: AsyncSession, *, full: bool) -> tuple[str, ...]:
    """The figures of stored months that differ from what the rows give."""
    differences = []
    for kind in daily_totals.SNAPSHOT_KINDS:
        differences += await month_snapshots.find_differences(
            session, kind, newest_months=None if full else RECENT_MONTHS
        )
    return tuple(differences[:MAX_FAILURES])


# --- the replay -----------------------------------------------------------------------------------


async def _replay_failures(ctx: Context) -> tuple[str, ...]:
    """Compute the ledger in the order it was written; return the first entry that differs.

    An entry depends on nothing but its transaction and the contribution that was paid.
    """
    head, expected = hash_chain.GENESIS_HASH, list[Posting]()
    async with ctx.sessions() as session:
        await statement_timeout.extend(session)
        rows = await session.stream(
            text(integrity_checks.REPLAY_SQL), execution_options={"yield_per": 1000}
        )
        row, failure = None, ""
        async for row in rows:
            if row.type is None:
                failure = f"row {row.seq}: {row.balance_transaction} is not Stripe's"
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
    """The postings that begin at this entry: of a transaction, or of a payout's arrival."""
    if {row.debit, row.credit} == {LedgerAccount.BANK, LedgerAccount.IN_TRANSIT}:
        return [entries.payout_arrival_posting(row.amount)]
    facts = balance_transactions.transaction_facts(row)
    if facts.net != facts.amount - facts.fee or sum(amount for _, amount in facts.fees) != row.fee:
        return []
    attribution = None if row.frequency is None else Attribution(row.contribution_id, row.frequency)
    return postings(facts, attribution)


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
        row.contribution_id if is_attributed else row.posted_contribution_id,
    )


# --- Stripe's balance -----------------------------------------------------------------------------


async def _check_stripe_balance(ctx: Context) -> CheckResult:
    """Compare with Stripe's balance. If they differ, import what just moved and compare again."""
    differences: list[str] = []
    for attempt in range(BALANCE_ATTEMPTS):
        if attempt > 0:
            await daily_totals.import_and_refresh(ctx)
        theirs, ours = await importer.stripe_balance(ctx), await importer.ledger_balance(ctx)
        differences = [
            f"{currency}: Stripe {theirs.get(currency, 0)}, books {ours.get(currency, 0)}"
            for currency in sorted(theirs.keys() | ours.keys())
            if theirs.get(currency, 0) != ours.get(currency, 0)
        ]
        if not differences:
            break
    return CheckResult("stripe_balance", BALANCE_DESCRIPTION, tuple(differences))
