"""Accrual beside cash: what was received in a month, and what was earned in it.

Cash is the books. Income of the accrual view is gross less what is for later months, plus what
earlier payments were for this month; its net is net of the books less what deferred income grew by.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import deferred_income
from payments.accounting.deferred_income import DeferredMonth
from payments.accounting.reports import monthly
from payments.accounting.reports.period import Period, whole_months_of
from payments.core.calendar import first_of_month, next_month

ALL_ACCOUNTS = "all"
FUTURE_MONTHS = 36  # no payment is for longer


@dataclass(frozen=True, slots=True)
class AccrualMonth:
    """A month of a currency, in minor units."""

    month: date
    currency: str
    gross: int
    net: int
    deferred: DeferredMonth

    @property
    def earned(self) -> int:
        """Gross income of the accrual view."""
        return self.gross - self.deferred.received + self.deferred.released

    @property
    def net_earned(self) -> int:
        """Net of the accrual view."""
        return self.net + self.deferred.opening - self.deferred.closing


async def months_begun(
    session: AsyncSession, zone: ZoneInfo, period: Period, *, today: date, over: bool = False
) -> Period:
    """Return the whole months of a period that have begun, or with `over`, that are over.

    It may be empty: then both ends are the same day.
    """
    first = await deferred_income.first_day(session, zone) or today
    since, until = whole_months_of(period, first=first, last=today)
    until = min(until, first_of_month(today) if over else next_month(today))
    return Period(since, max(since, until))


async def by_month(
    session: AsyncSession, zone: ZoneInfo, months: Period, *, currency: str | None = None
) -> list[AccrualMonth]:
    """Return the months in which money was received or deferred, newest first by currency."""
    assert months.since is not None
    assert months.until is not None
    lines = await monthly.by_month(
        session, zone, since=months.since, until=months.until, currency=currency
    )
    cash: dict[tuple[str, date], tuple[int, int]] = {}
    for line in lines:
        gross, net = cash.get((line.currency, line.month), (0, 0))
        cash[line.currency, line.month] = gross + line.gross, net + line.net
    deferred = sum_by_currency(
        await deferred_income.by_month(
            session, zone, since=months.since, until=months.until, currency=currency
        )
    )
    found = sorted(cash.keys() | deferred.keys(), key=lambda key: (key[0], -key[1].toordinal()))
    return [
        AccrualMonth(
            month,
            code,
            *cash.get((code, month), (0, 0)),
            deferred.get((code, month))
            or DeferredMonth(month, code, ALL_ACCOUNTS, 0, 0, 0, 0, 0, 0),
        )
        for code, month in found
    ]


async def still_to_be_earned(
    session: AsyncSession, zone: ZoneInfo, *, today: date, currency: str | None = None
) -> list[DeferredMonth]:
    """Return the months to come in which what is deferred now will be earned, in their order."""
    since = next_month(today)
    until = since
    for _ in range(FUTURE_MONTHS):
        until = next_month(until)
    rows = await deferred_income.by_month(
        session, zone, since=since, until=until, currency=currency
    )
    return sorted(sum_by_currency(rows).values(), key=lambda one: (one.currency, one.month))


def sum_by_currency(rows: Sequence[DeferredMonth]) -> dict[tuple[str, date], DeferredMonth]:
    """Add up the accounts of income of each currency and month."""
    sums: dict[tuple[str, date], DeferredMonth] = {}
    for row in rows:
        old = sums.get((row.currency, row.month))
        sums[row.currency, row.month] = DeferredMonth(
            row.month,
            row.currency,
            ALL_ACCOUNTS,
            *(
                getattr(row, name) + (getattr(old, name) if old else 0)
                for name in deferred_income.AMOUNTS
            ),
        )
    return sums
