"""The journal of deferred income: a journal a month and currency, dated on the month's last day.

What was paid for several months leaves income for deferred income in the month it is received, and
comes back month by month. A refund or dispute of a part that was not earned yet takes it back from
there. Added to the daily journals, which are the cash view, it gives the accrual view.
"""

from collections.abc import Iterator
from datetime import date
from itertools import groupby
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import deferred_income
from payments.accounting.deferred_income import DeferredMonth
from payments.accounting.exports.journals import Journal, Movement
from payments.accounting.exports.program_rules import DEFERRED_INCOME
from payments.accounting.reports.period import Period
from payments.core.calendar import last_of_month, next_month
from payments.ledger.posting_rules import LedgerAccount

SERIES = "RPD"  # its numbers are none of the daily journals


async def build(
    session: AsyncSession, zone: ZoneInfo, period: Period, *, currency: str | None = None
) -> list[Journal]:
    """Return the journals of a period of whole months under our own names, oldest first."""
    if period.since is None or period.until is None:
        return []
    rows = await deferred_income.by_month(
        session, zone, since=period.since, until=period.until, currency=currency
    )
    in_order = sorted(rows, key=lambda row: (row.month, row.currency))
    built = [
        Journal(
            last_of_month(month), code, [one for row in group for one in _movements(row)], SERIES
        )
        for (month, code), group in groupby(in_order, key=lambda row: (row.month, row.currency))
    ]
    return [journal for journal in built if journal.movements]


async def balances_before(
    session: AsyncSession, zone: ZoneInfo, day: date, *, currency: str | None = None
) -> dict[tuple[str, str], int]:
    """Return by account and currency what was deferred when a month begins; a debit is above
    zero, so these are below.
    """
    rows = await deferred_income.by_month(
        session, zone, since=day, until=next_month(day), currency=currency
    )
    balances: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (DEFERRED_INCOME, row.currency)
        balances[key] = balances.get(key, 0) - row.opening
    return {key: amount for key, amount in balances.items() if amount}


def _movements(row: DeferredMonth) -> Iterator[Movement]:
    """Yield what moves in a month; an amount below zero moves the other way."""
    for debit, credit, amount in (
        (row.account, DEFERRED_INCOME, row.received),
        (DEFERRED_INCOME, row.account, row.released),
        (DEFERRED_INCOME, str(LedgerAccount.REFUNDS), row.refunded),
        (DEFERRED_INCOME, str(LedgerAccount.DISPUTES), row.disputed),
    ):
        if amount > 0:
            yield Movement(debit, credit, amount)
        elif amount < 0:
            yield Movement(credit, debit, -amount)
