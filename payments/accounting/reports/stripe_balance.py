"""Stripe's balance by month and currency: opening, what moved it, and closing.

Read from the daily totals; the check `balance_rollforward` compares every month with Stripe's own
transactions. Only the balance that is paid out: what Stripe reserves leaves it, and comes back.
What colleagues corrected counts as what they say it was, from the day of the correction.
"""

from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.calendar import next_month

_BALANCE = text("""
    WITH balance_changes AS (
        SELECT days.day, days.currency, side.contra_account, side.amount
          FROM daily_totals_now(:zone) AS days
         CROSS JOIN LATERAL (VALUES (days.credit, days.amount), (days.debit, -days.amount))
                 AS side(contra_account, amount)
         WHERE days.day < :until
           AND side.contra_account <> 'stripe:balance'
           AND ('stripe:balance' IN (days.debit, days.credit)
                OR days.debit NOT LIKE 'stripe:%' AND days.credit NOT LIKE 'stripe:%')
    ),
    movements AS (
        SELECT currency,
               amount,
               CASE WHEN day < :since THEN 'opening'
                    WHEN contra_account LIKE 'income:%' THEN 'gross'
                    WHEN contra_account LIKE 'expense:%' THEN 'fees'
                    WHEN contra_account LIKE 'other:%' THEN 'other'
                    WHEN contra_account LIKE 'stripe:%' THEN 'reserved'
                    WHEN contra_account IN ('bank', 'in-transit') THEN 'bank'
                    WHEN contra_account = 'clearing:fx' THEN 'fx'
                    ELSE contra_account END AS movement
          FROM balance_changes
    )
    SELECT currency, movement, CAST(sum(amount) AS bigint) AS amount
      FROM movements
     GROUP BY currency, movement
     ORDER BY currency, movement
     LIMIT 2000
    """)
BALANCE_MOVEMENTS = (
    "gross", "fees", "refunds", "disputes", "other", "fx", "reserved", "bank", "suspense",
    "unexplained",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BalanceMonth:
    """One month of one currency, in minor units: closing = opening + every movement.

    What left the balance is below zero.
    """

    currency: str
    opening: int = 0
    gross: int = 0
    fees: int = 0
    refunds: int = 0
    disputes: int = 0
    other: int = 0  # the net of what is no contribution
    fx: int = 0
    reserved: int = 0
    bank: int = 0
    suspense: int = 0
    unexplained: int = 0

    @property
    def closing(self) -> int:
        """The balance at the end of the month, or now."""
        movements: list[int] = [getattr(self, name) for name in BALANCE_MOVEMENTS]
        return self.opening + sum(movements)


async def for_month(session: AsyncSession, zone: ZoneInfo, first: date) -> list[BalanceMonth]:
    """Return every currency with an opening balance or a movement in the month."""
    return await for_days(session, zone, first, next_month(first))


async def for_days(
    session: AsyncSession, zone: ZoneInfo, since: date, until: date
) -> list[BalanceMonth]:
    """Return the same of the days from `since` up to and not including `until`."""
    params = {"zone": zone.key, "since": since, "until": until}
    amounts: dict[str, dict[str, int]] = {}
    for row in await session.execute(_BALANCE, params):
        amounts.setdefault(row.currency, {})[row.movement] = row.amount
    return [BalanceMonth(currency, **movements) for currency, movements in amounts.items()]
