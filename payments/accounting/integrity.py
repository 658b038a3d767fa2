"""Integrity checks of the ledger: rules that hold with no tolerance, and what breaks them.

Every failure names the row that breaks a rule; a check without failures has passed. Each hour the
hash chain is verified from the last entry that was verified before; each night all of it, and then
the ledger is replayed from Stripe's transactions alone: the last hash must be the same.
"""

from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import String, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.accounting import (
    chain_verification,
    daily_totals,
    month_snapshots,
    statement_timeout,
)
from payments.accounting.integrity_checks import CHECKS
from payments.core.errors import StripeUnavailable
from payments.infra import alerts, db, isolation
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.settlement import importer

BALANCE_ATTEMPTS = 3  # comparisons with Stripe: money may move between our look and theirs
RECENT_MONTHS = 2  # snapshots that are computed again when the chain is not verified in full
CHAIN_DESCRIPTION = "every row follows the one before it, and none was changed"
REPLAY_DESCRIPTION = "the books made anew from Stripe's transactions are the same to the last hash"
BALANCE_DESCRIPTION = "the stripe account equals Stripe's own balance"
NON_SQL_CHECKS = ("month_snapshots", "stripe_balance", "replay")


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
        broken_links = await chain_verification.broken_links(session, full=full)
        results.append(CheckResult("chain", CHAIN_DESCRIPTION, broken_links))
        results += await _run_sql_checks(session)
        differences = await _snapshot_failures(session, full=full)
        results.append(
            CheckResult("month_snapshots", month_snapshots.CHECK_DESCRIPTION, differences)
        )
    if with_stripe:
        with suppress(StripeUnavailable):  # whether they are equal is not known
            results.append(await _check_stripe_balance(ctx))
    if replay:
        results.append(
            CheckResult("replay", REPLAY_DESCRIPTION, await chain_verification.replay_failures(ctx))
        )
    return results


_SQL_CHECKS = [
    (check_name, description, text(f"{query} LIMIT {chain_verification.MAX_FAILURES}"))
    for check_name, (description, query) in CHECKS.items()
]


async def _run_sql_checks(session: AsyncSession) -> list[CheckResult]:
    """Return what breaks each rule of `CHECKS`. A check that cannot be made is a failure itself.

    They share a savepoint; those after one that cannot be made share another.
    """
    results: list[CheckResult] = []
    while len(results) < len(_SQL_CHECKS):
        try:
            async with session.begin_nested():
                for check_name, description, query in _SQL_CHECKS[len(results) :]:
                    failures = [str(failure) for failure in await session.scalars(query)]
                    results.append(CheckResult(check_name, description, tuple(failures)))
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            check_name, description, _ = _SQL_CHECKS[len(results)]
            failure = f"the check cannot be made: {type(error.orig).__name__}"
            results.append(CheckResult(check_name, description, (failure,)))
    return results


async def run_and_alert(
    ctx: Context, *, full: bool = True, replay: bool = False
) -> list[CheckResult]:
    """Import, run every check, store the results, and open or close an alert for each check.

    What is here is checked even where nothing can be imported; that is raised in the end.
    """
    results: list[CheckResult] = []

    async def check() -> None:
        results.extend(await _check_and_alert(ctx, full=full, replay=replay))

    await isolation.run_steps(lambda: daily_totals.import_and_refresh(ctx), check)
    return results


async def _check_and_alert(ctx: Context, *, full: bool, replay: bool) -> list[CheckResult]:
    async with ctx.sessions() as session:
        last_entry = await chain_verification.last_entry(session)
    results = await run_checks(ctx, full=full, replay=replay)
    async with ctx.sessions.begin() as session:
        if last_entry is not None and all(r.passed for r in results if r.check_name == "chain"):
            await chain_verification.store_verified_head(session, last_entry, ctx)
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


# --- the snapshots --------------------------------------------------------------------------------


async def _snapshot_failures(session: AsyncSession, *, full: bool) -> tuple[str, ...]:
    """Return the figures of stored months that differ from what the rows give."""
    differences = []
    for kind in daily_totals.SNAPSHOT_KINDS:
        differences += await month_snapshots.find_differences(
            session, kind, newest_months=None if full else RECENT_MONTHS
        )
    return tuple(differences[: chain_verification.MAX_FAILURES])


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
