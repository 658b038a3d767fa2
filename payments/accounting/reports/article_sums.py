"""Article sums: what came by the articles that gifts began from, where the newsroom keeps them.

A renewal counts for the article of its contribution. What is shown is made so that two reports, of
whatever periods, tell of no single gift:

* A sum is of a whole calendar month that is over, an article and a currency. A longer period is the
  sum of exactly these, and days of other months are part of "everything else".
* It is shown only of at least MIN_DONORS distinct donors, none of whom gave more than half of it.
  Those who gave without a known donor count as one.
* It is rounded down to a step of at least twice the average donor's part, so that a month with one
  donor more or less does not show what that one gave.

"Everything else" is what is left to the total of Overview: articles that are not shown, gifts that
began from none, donors who were erased, and what rounding leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import sql_text
from payments.accounting.booking_day import BOOKED_BEFORE_SQL, BOOKED_FROM_SQL
from payments.accounting.reports import period_totals
from payments.accounting.reports.period import Period
from payments.core.calendar import first_of_month, next_month

MIN_DONORS = 5
LARGEST_SHARE = 2  # nobody gave more than one half of a sum


@dataclass(frozen=True, slots=True)
class ArticleSum:
    """What came by an article, less what went back, in minor units.

    `article` None is everything else of the currency, which is exact.
    """

    article: str | None
    currency: str
    given: int


_DONOR_SUMS_SQL = """
    WITH donor_sums AS (
        SELECT CAST(date_trunc('month', booked_at(e.occurred_at, e.booked_on, :zone)) AS date)
                   AS month,
               e.currency,
               contribution.article,
               coalesce(contribution.donor_id, '') AS donor,
               sum(CASE WHEN e.credit LIKE 'income:%' OR e.credit IN ('refunds', 'disputes')
                        THEN e.amount ELSE 0 END)
               - sum(CASE WHEN e.debit LIKE 'income:%' OR e.debit IN ('refunds', 'disputes')
                          THEN e.amount ELSE 0 END) AS given
          FROM booked_entries e
          JOIN contributions contribution ON contribution.id = e.contribution_id
         WHERE contribution.article IS NOT NULL
           AND {conditions}
         GROUP BY month, e.currency, contribution.article, donor
    )
    SELECT article,
           currency,
           count(*) FILTER (WHERE given > 0) AS donors,
           CAST(sum(given) AS bigint) AS given,
           CAST(max(given) AS bigint) AS largest
      FROM donor_sums
     GROUP BY month, currency, article
     ORDER BY month, currency, article
"""


async def by_article(
    session: AsyncSession,
    zone: ZoneInfo,
    period: Period,
    *,
    today: date,
    currency: str | None = None,
) -> list[ArticleSum]:
    """Return the articles of each currency that may be shown, the largest first, then the rest.

    The sums of a currency add up to gross less refunds and disputes of Overview.
    """
    whole = _whole_months_over(period, today)
    shown: dict[tuple[str, str], int] = {}
    if whole.since is None or whole.until is None or whole.since < whole.until:
        conditions, params = sql_text.where(
            [
                ("since", BOOKED_FROM_SQL, whole.since),
                ("until", BOOKED_BEFORE_SQL, whole.until),
                ("currency", "e.currency = :currency", currency),
            ],
            {"zone": zone.key},
        )
        query = _DONOR_SUMS_SQL.format(conditions=conditions)
        for row in await session.execute(text(query), params):
            rounded = _published(row.given, row.donors, row.largest)
            key = (row.currency, row.article)
            shown[key] = shown.get(key, 0) + rounded
    totals = await period_totals.by_currency(session, zone, period)
    lines: list[ArticleSum] = []
    for code, total in totals.items():
        if currency in (None, code):
            of_code = [
                ArticleSum(article, code, given)
                for (its, article), given in shown.items()
                if its == code and given
            ]
            lines += sorted(of_code, key=lambda one: (-one.given, one.article))
            lines.append(ArticleSum(None, code, _rest(total.net + total.fees, of_code)))
    return lines


def _rest(total: int, shown: Sequence[ArticleSum]) -> int:
    return total - sum(one.given for one in shown)


def _whole_months_over(period: Period, today: date) -> Period:
    """Return the calendar months that are wholly in a period and over."""
    since = period.since
    if since is not None and since.day != 1:
        since = next_month(since)
    until = first_of_month(today)
    if period.until is not None:
        until = min(until, first_of_month(period.until))
    return Period(since, until)


def _published(given: int, donors: int, largest: int) -> int:
    """Return the sum that may be shown of an article in a month: 0 where none may."""
    if donors < MIN_DONORS or largest * LARGEST_SHARE > given:
        return 0
    step = _step(-(-2 * given // donors))
    return given // step * step


def _step(at_least: int) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, 50 … that is at least a number."""
    power: int = 10 ** (len(str(at_least)) - 1)
    return min(power * factor for factor in (1, 2, 5, 10) if power * factor >= at_least)
