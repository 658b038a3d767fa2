"""Period totals: gross, fees, refunds and net of any days, by currency.

Money comes from the daily totals. How many contributions paid is counted once over the whole
period, however often each of them paid.
"""

from dataclasses import replace
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import sql_text
from payments.accounting.booking_day import BOOKED_BEFORE_SQL, BOOKED_FROM_SQL
from payments.accounting.reports import monthly
from payments.accounting.reports.monthly import MonthlyTotal
from payments.accounting.reports.period import Period


async def by_currency(
    session: AsyncSession, zone: ZoneInfo, period: Period
) -> dict[str, MonthlyTotal]:
    """Return the totals of a period by currency, in minor units; `month` is the last one."""
    lines = await monthly.by_month(session, zone, since=period.since, until=period.until)
    totals = monthly.sum_by_currency(lines)
    if period.whole_months != 1 and totals:
        payers = await _count_payers(session, zone, period)
        return {code: replace(total, payers=payers.get(code, 0)) for code, total in totals.items()}
    return totals


async def _count_payers(session: AsyncSession, zone: ZoneInfo, period: Period) -> dict[str, int]:
    """Return by currency how many contributions paid in a period, each counted once."""
    conditions, params = sql_text.where(
        [
            ("since", BOOKED_FROM_SQL, period.since),
            ("until", BOOKED_BEFORE_SQL, period.until),
        ],
        {"zone": zone.key},
    )
    query = f"""
    SELECT currency, count(DISTINCT contribution_id) AS payers
      FROM booked_entries e
     WHERE credit LIKE 'income:%'
       AND {conditions}
     GROUP BY currency
    """  # noqa: S608 - constants only
    return {row.currency: row.payers for row in await session.execute(text(query), params)}
