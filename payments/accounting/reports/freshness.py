"""Freshness: how old the figures are, and what they leave out. Every report says so."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.settlement.importer import IMPORT_COMPLETED

STALE_AFTER = timedelta(minutes=30)  # the importer runs every five


@dataclass(frozen=True, slots=True)
class Freshness:
    """When an import last read all of Stripe's list, and how many transactions it is short of."""

    imported_at: datetime | None
    unposted: int  # transactions without ledger entries
    suspense: int  # open alerts about the suspense account
    now: datetime

    @property
    def is_stale(self) -> bool:
        """Whether the last import is too long ago."""
        return self.imported_at is None or self.now - self.imported_at > STALE_AFTER


_FRESHNESS = text(
    """
    SELECT (SELECT reached_at FROM import_cursors WHERE name = :import_completed) AS imported_at,
           (SELECT count(*) FROM unposted_transactions) AS unposted,
           (SELECT count(*) FROM alerts WHERE kind = 'suspense' AND closed_at IS NULL) AS suspense
    """
)


async def get(session: AsyncSession, now: datetime) -> Freshness:
    """Return how fresh every figure is."""
    row = (await session.execute(_FRESHNESS, {"import_completed": IMPORT_COMPLETED})).one()
    return Freshness(row.imported_at, int(row.unposted), int(row.suspense), now)
