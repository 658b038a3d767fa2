"""How old the figures are, and what they leave out. A report that is stale or partial says so."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

STALE_AFTER = timedelta(minutes=30)  # the importer comes every five


@dataclass(frozen=True, slots=True)
class Freshness:
    """When Stripe's balance was last walked to its end, and how much waits to be posted."""

    imported_at: datetime | None
    unposted: int
    suspense: int
    now: datetime

    @property
    def is_stale(self) -> bool:
        return self.imported_at is None or self.now - self.imported_at > STALE_AFTER


_FRESHNESS = text(
    """
    SELECT (SELECT reached_at FROM import_cursors WHERE name = 'import_completed') AS imported_at,
           (SELECT count(*) FROM unposted_transactions) AS waiting,
           (SELECT count(*) FROM alerts WHERE kind = 'suspense' AND closed_at IS NULL) AS suspense
    """
)


async def get(session: AsyncSession, now: datetime) -> Freshness:
    """How fresh every figure is."""
    row = (await session.execute(_FRESHNESS)).one()
    return Freshness(row.imported_at, int(row.waiting), int(row.suspense), now)
