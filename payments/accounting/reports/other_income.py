"""Other income: what the Stripe account takes for something else than contributions.

It is in no total of contributions (`giving.adoption` says what it is). Read from the daily
totals, in minor units of the settlement currency.
"""

from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_MONTHLY = text("""
    WITH movements AS (
        SELECT CAST(date_trunc('month', day) AS date) AS month,
               currency,
               CASE WHEN debit LIKE 'other:%' THEN debit ELSE credit END AS account,
               CASE WHEN debit LIKE 'other:%' THEN -amount ELSE amount END AS amount
          FROM daily_totals_now(:zone) AS days
         WHERE (debit LIKE 'other:%' OR credit LIKE 'other:%')
           AND (CAST(:since AS date) IS NULL OR day >= :since)
           AND (CAST(:until AS date) IS NULL OR day < :until)
           AND (CAST(:currency AS text) IS NULL OR currency = :currency)
    )
    SELECT month, currency,
           CAST(coalesce(sum(amount) FILTER (WHERE account = 'other:income'), 0) AS bigint)
               AS gross,
           CAST(coalesce(-sum(amount) FILTER (WHERE account = 'other:fees'), 0) AS bigint)
               AS fees,
           CAST(coalesce(-sum(amount) FILTER
               (WHERE account IN ('other:refunds', 'other:disputes')), 0) AS bigint) AS returned
      FROM movements
     GROUP BY month, currency
     ORDER BY month DESC, currency
     LIMIT 5000
    """)


@dataclass(frozen=True, slots=True)
class OtherIncomeMonth:
    """One month of one currency. `returned` is refunds and disputes."""

    month: date
    currency: str
    gross: int
    fees: int
    returned: int

    @property
    def net(self) -> int:
        """gross - fees - returned."""
        return self.gross - self.fees - self.returned


async def by_month(
    session: AsyncSession,
    zone: ZoneInfo,
    *,
    since: date | None = None,
    until: date | None = None,
    currency: str | None = None,
) -> list[OtherIncomeMonth]:
    """Return the months that have any, newest first."""
    params = {"zone": zone.key, "since": since, "until": until, "currency": currency}
    rows = await session.execute(_MONTHLY, params)
    return [OtherIncomeMonth(*row) for row in rows]
