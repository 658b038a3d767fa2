"""Deferred income: what was paid for several months counts in the months it is paid for.

Cash is the books: an annual contribution is income on the day it is paid. Beside it stands the
accrual view, computed from the same entries: of a payment for n months an nth belongs to each of
the n months from the one its service begins in; of one for more than 31 days, to each month as many
parts as it has days of them. What is not earned yet is deferred income. Shares are whole minor
units, rounded down, and the last month takes the remainder.

What went back makes the payment smaller, as if it had been so from the beginning: of a refund or
dispute, the part that was not earned yet leaves deferred income, and the rest takes back what was
earned. A dispute that is won comes back the same way. A month counts what is booked in it, so that
a closed one never changes: a payment that is booked after its service began brings the months
before with it.

In each month and currency: opening + received - released - refunded - disputed = closing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

AMOUNTS = ("opening", "received", "released", "refunded", "disputed", "closing")


@dataclass(frozen=True, slots=True)
class DeferredMonth:
    """A month of one currency and one account of income, in minor units."""

    month: date
    currency: str
    account: str
    opening: int
    received: int  # paid for this and later months
    released: int  # earned in this month
    refunded: int  # what left deferred income because it was given back
    disputed: int
    closing: int


_BY_MONTH = text("""
    SELECT month, currency, account, opening, received, released, refunded, disputed, closing
      FROM deferred_months(:since, :until, :zone) AS months
     WHERE (CAST(:currency AS text) IS NULL OR currency = :currency)
       AND (opening, received, released, refunded, disputed, closing) <> (0, 0, 0, 0, 0, 0)
     ORDER BY month DESC, currency, account
""")
_FIRST_DAY = text("""
    SELECT CAST(min(occurred_at) AT TIME ZONE :zone AS date)
      FROM ledger_entries
     WHERE credit IN ('income:annual', 'income:periodic')
""")
# Takes nothing: the zone is that of the daily totals. What was received in all months, less what
# was released and given back, is what the payments left add up to; and months follow each other.
ROLLFORWARD_SQL = """
    WITH rolled AS (
        SELECT months.*,
               coalesce(lag(closing) OVER following, 0) AS closing_before,
               sum(received - released - refunded - disputed) OVER following AS left_over
          FROM daily_totals_positions totals_position
         CROSS JOIN LATERAL (
               SELECT max(occurred_at) AT TIME ZONE totals_position.zone AS moment
                 FROM ledger_entries) AS last
         CROSS JOIN LATERAL deferred_months(
               CAST('2000-01-01' AS date),
               CAST(date_trunc('month', last.moment) + interval '1 month' AS date),
               totals_position.zone) AS months
        WINDOW following AS (PARTITION BY currency, account ORDER BY month)
    )
    SELECT to_char(month, 'YYYY-MM ') || currency || ' ' || account || ': opening ' || opening
           || ' after ' || closing_before || ', closing ' || closing || ' of ' || left_over
      FROM rolled
     WHERE opening <> closing_before
        OR closing <> left_over
        OR closing <> opening + received - released - refunded - disputed
     ORDER BY 1
"""


async def by_month(
    session: AsyncSession,
    zone: ZoneInfo,
    *,
    since: date,
    until: date,
    currency: str | None = None,
) -> Sequence[DeferredMonth]:
    """Return the months from `since` up to `until`, first days of a month, newest first.

    Months to come show what will be released of what was received by now.
    """
    rows = await session.execute(
        _BY_MONTH, {"zone": zone.key, "since": since, "until": until, "currency": currency}
    )
    return [DeferredMonth(*row) for row in rows]


async def first_day(session: AsyncSession, zone: ZoneInfo) -> date | None:
    """Return the day of the first payment for more than a month, None where there is none."""
    day: date | None = await session.scalar(_FIRST_DAY, {"zone": zone.key})
    return day
