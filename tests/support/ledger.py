"""Helpers for tests of the ledger: its failed checks, a forger's hashes, and lost webhooks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from payments.accounting import integrity
from payments.accounting.correction_checks import CORRECTION_DIGEST_SQL, JOIN_CORRECTIONS_SQL
from payments.infra.context import Context, open_context
from payments.ledger import hash_chain
from payments.ledger.hash_chain import ChainedEntry
from tests.support.database_owner import Connection
from tests.support.newsroom import Newsroom, settings_for

NOWHERE = "http://127.0.0.1:9"
CONTRIBUTIONS = [
    (2500, "once", "usd"),
    (500, "monthly", "usd"),
    (200, "annual", "usd"),
    (900, "once", "eur"),
    (1500, "once", "jpy"),  # settles in dollars
]
UNKNOWN_MOVEMENT = {"type": "tax_fund", "amount": -77, "currency": "usd"}
BALANCES_SQL = """
    SELECT account, currency, sum(amount)
      FROM (SELECT debit AS account, currency, amount FROM ledger_entries
             UNION ALL
            SELECT credit, currency, -amount FROM ledger_entries) AS sides
     GROUP BY 1, 2
     ORDER BY 1, 2
"""
# The checks of what reports read from: they fail, too, where a ledger entry was changed.
DERIVED_CHECKS = {"daily_totals", "balance_rollforward", "month_snapshots"}


def every_row_of(table: str) -> str:
    return f"SELECT * FROM {table} ORDER BY 1"  # noqa: S608 - a table of ours


@asynccontextmanager
async def without_stripe(url: str) -> AsyncIterator[Context]:
    """A context on this database whose Stripe cannot be reached."""
    async with open_context(settings_for(url, NOWHERE)) as ctx:
        yield ctx


async def failed_checks(url: str) -> dict[str, list[str]]:
    """The integrity checks that fail, and the rows they name."""
    async with without_stripe(url) as ctx:
        results = await integrity.run_checks(ctx, with_stripe=False)
    return {result.check_name: list(result.failures) for result in results if not result.passed}


async def failed_checks_now(room: Newsroom) -> list[str]:
    """What the integrity checks report as things are, with no import before."""
    results = await integrity.run_checks(room.ctx)
    return [f"{result.check_name}: {result.failures}" for result in results if not result.passed]


def rehash_chain(owner: Connection) -> None:
    """Number and hash every entry anew, as if nothing had been done."""
    head = hash_chain.GENESIS_HASH
    query = f"""
        SELECT e.seq, e.debit, e.credit, e.amount, e.currency, e.occurred_at,
               e.balance_transaction, e.contribution_id, e.posting_version,
               CASE WHEN e.correction_id IS NOT NULL THEN {CORRECTION_DIGEST_SQL} END
          FROM ledger_entries e{JOIN_CORRECTIONS_SQL}
         ORDER BY 1
    """  # noqa: S608 - constants only
    rows = owner.execute(query.encode())
    for seq, (old, *rest) in enumerate(rows.fetchall(), 1):
        entry = hash_chain.row_bytes(ChainedEntry(seq, *rest))  # type: ignore[arg-type]  # as the columns are
        head = hash_chain.next_hash(head, entry)
        owner.execute(
            "UPDATE ledger_entries SET seq = %s, hash = %s WHERE seq = %s", [seq, head, old]
        )


async def loses_webhooks(room: Newsroom) -> None:
    """Captures happen at Stripe, and no webhook about them arrives."""
    await room.sandbox.advance_to_captures()
    room.sandbox.take_deliveries()


async def refunds_at_stripe(room: Newsroom, contribution_id: str, amount: int) -> None:
    """Finance refunds a part of a contribution, in Stripe's dashboard."""
    [charge] = [
        row["id"]
        for row in room.sandbox.account.store.of_kind("charge")
        if row["metadata"].get("contribution_id") == contribution_id
    ]
    await room.stripe_owner.v1.refunds.create_async({"charge": charge, "amount": amount})
