"""Other income: what the Stripe account takes for something else than contributions.

It is in no total of contributions (`giving.adoption` says what it is). Read from the daily
totals, in minor units of the settlement currency.
"""

from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.reports import monthly
from payments.accounting.reports.monthly import MonthlyTotal
from payments.core.frequency import Frequency

_MONTHLY = text("""
    WITH movements AS (
        SELECT CAST(date_trunc('month', day) AS date) AS month,
               currency,
               CASE WHEN debit LIKE 'stripe:%' THEN entries ELSE 0 END AS payments,
               CASE WHEN debit LIKE 'other:%' THEN debit ELSE credit END AS account,
               CASE WHEN debit LIKE 'other:%' THEN -amount ELSE amount END AS amount
          FROM daily_totals_now(:zone) AS days
         WHERE (debit LIKE 'other:%' OR credit LIKE 'other:%')
           AND (CAST(:since AS date) IS NULL OR day >= :since)
           AND (CAST(:until AS date) IS NULL OR day < :until)
           AND (CAST(:currency AS text) IS NULL OR currency = :currency)
    )
    SELECT month, currency,
           coalesce(sum(payments) FILTER (WHERE account = 'other:income'), 0) AS payments,
           coalesce(sum(amount) FILTER (WHERE account = 'other:income'), 0) AS gross,
           coalesce(-sum(amount) FILTER (WHERE account = 'other:fees'), 0) AS fees,
           coalesce(-sum(amount) FILTER (WHERE account = 'other:refunds'), 0) AS refunds,
           coalesce(-sum(amount) FILTER (WHERE account = 'other:disputes'), 0) AS disputes
      FROM movements
     GROUP BY month, currency
     ORDER BY month DESC, currency
     LIMIT 5000
""")


async def by_month(
    session: AsyncSession,
    zone: ZoneInfo,
    *,
    since: date | None = None,
    until: date | None = None,
    currency: str | None = None,
) -> list[MonthlyTotal]:
    """Return the months that have any, newest first, as lines of the frequency `other`."""
    params = {"zone": zone.key, "since": since, "until": until, "currency": currency}
    return [
        monthly.line_of(row, Frequency.OTHER) for row in await session.execute(_MONTHLY, params)
    ]


async def beside_contributions(
    session: AsyncSession,
    zone: ZoneInfo,
    *,
    since: date | None = None,
    until: date | None = None,
    currency: str | None = None,
    frequency: str | None = None,
) -> list[MonthlyTotal]:
    """Return the lines of `monthly.by_month` and those of other income, in the same order."""
    lines = await monthly.by_month(
        session, zone, since=since, until=until, currency=currency, frequency=frequency
    )
    if frequency in (None, Frequency.OTHER):
        lines += await by_month(session, zone, since=since, until=until, currency=currency)
    return sorted(lines, key=lambda line: (-line.month.toordinal(), line.currency, line.frequency))
