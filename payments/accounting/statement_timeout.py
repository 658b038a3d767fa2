"""The statement timeout of what reads the whole ledger: checks, snapshots, totals and exports."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

LONG_STATEMENT_TIMEOUT = "30min"  # PostgreSQL's notation; every other statement has 60 seconds


async def extend(session: AsyncSession) -> None:
    """Give the statements of this transaction half an hour each."""
    await session.execute(
        text("SELECT set_config('statement_timeout', :timeout, true)"),
        {"timeout": LONG_STATEMENT_TIMEOUT},
    )
