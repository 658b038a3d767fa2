"""What Stripe held: at the first of a month, all that moved it, and in the end, by currency.

From the daily roll-up; `payments verify-ledger` compares every month with Stripe's own transactions. Only
the balance that pays out is meant: what Stripe sets aside leaves it, and comes back.
"""

from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import daily_totals
from payments.core.calendar import next_month

_BALANCE = text(
    f"""
    WITH moved AS (
        SELECT day, currency, CASE debit WHEN 'stripe:balance' THEN credit ELSE debit END AS other,
               CASE debit WHEN 'stripe:balance' THEN amount ELSE -amount END AS amount
          FROM ({daily_totals.DAILY_TOTALS_SQL}) AS days
         WHERE 'stripe:balance' IN (debit, credit) AND day < :until),
    told AS (
        SELECT currency, amount, CASE
                   WHEN day < :since THEN 'opening'
                   WHEN other LIKE 'income:%' THEN 'gross'
                   WHEN other LIKE 'expense:%' THEN 'fees'
                   WHEN other LIKE 'stripe:%' THEN 'set_aside'
                   WHEN other IN ('bank', 'in-transit') THEN 'bank'
                   WHEN other = 'clearing:fx' THEN 'fx'
                   ELSE other END AS part
          FROM moved)
    SELECT currency, part, CAST(sum(amount) AS bigint) AS amount
      FROM told GROUP BY 1, 2 ORDER BY 1, 2
     LIMIT 2000
    """  # noqa: S608 - our own words
)
BALANCE_MOVEMENTS = ("gross", "fees", "refunds", "disputes", "fx", "set_aside", "bank", "suspense")


@dataclass(frozen=True, slots=True)
class BalanceMonth:
    """One month of one currency: closing = opening + every movement. What left is below zero."""

    currency: str
    opening: int = 0
    gross: int = 0
    fees: int = 0
    refunds: int = 0
    disputes: int = 0
    fx: int = 0
    reserved: int = 0
    bank: int = 0
    suspense: int = 0

    @property
    def closing(self) -> int:
        moved: list[int] = [getattr(self, name) for name in BALANCE_MOVEMENTS]
        return self.opening + sum(moved)


async def for_month(session: AsyncSession, zone: ZoneInfo, first: date) -> list[BalanceMonth]:
    """Every currency that Stripe held at the first of the month or that moved in it."""
    params = {"zone": zone.key, "since": first, "until": next_month(first)}
    found: dict[str, dict[str, int]] = {}
    for row in await session.execute(_BALANCE, params):
        found.setdefault(row.currency, {})[row.part] = row.amount
    return [BalanceMonth(currency, **parts) for currency, parts in found.items()]
