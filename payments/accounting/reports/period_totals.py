"""Period totals: gross, fees, refunds and net of any days, by currency.

Money comes from the daily totals. How many contributions paid is counted once over the whole
period, however often each of them paid.
"""

from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import sql_text
from payments.accounting.booking_day import BOOKED_BEFORE_SQL, BOOKED_FROM_SQL
from payments.accounting.reports import monthly
from payments.accounting.reports.monthly import MonthlyTotal
from payments.accounting.reports.period import Period
from payments.accounting.reports.transaction_filters import Filters


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


@dataclass(frozen=True, slots=True)
class SettledElsewhere:
    """Payments in one currency that Stripe settled in another: how many, and what donors paid, in
    minor units of the first.
    """

    settled_in: str
    payments: int
    amount: int


async def list_settled_elsewhere(
    session: AsyncSession, zone: ZoneInfo, period: Period, currency: str
) -> list[SettledElsewhere]:
    """Return by settlement currency the payments in a currency that were not settled in it."""
    conditions, params = Filters(period, type="charge").conditions(zone)
    query = f"""
    SELECT bt.currency, count(*) AS payments, CAST(sum(bt.charged_amount) AS bigint) AS amount
      FROM posted_transactions bt
     WHERE {conditions}
       AND bt.charged_currency = :paid_in
       AND bt.currency <> :paid_in
     GROUP BY bt.currency
     ORDER BY bt.currency
    """  # noqa: S608 - constants only; what was asked is a parameter
    rows = await session.execute(text(query), {**params, "paid_in": currency})
    return [SettledElsewhere(*row) for row in rows]
