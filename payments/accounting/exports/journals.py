"""Journals: the ledger under the names of an accounting program, one journal a day and currency.

Debits equal credits in every journal, for it is made of movements with two ends. The daily sums
come from the daily totals, so that a year is as quick as a month; the generic format has one pair
of lines for each ledger entry instead (`ledger_entries`). `program_files` writes them.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.exports.journal_format import Program
from payments.accounting.exports.program_rules import BANK, DEFERRED_INCOME, PROGRAM_LABELS, Names
from payments.accounting.reports.period import Period
from payments.core.errors import PaymentsError
from payments.ledger.posting_rules import LedgerAccount

# The accounts with a balance that goes on from one month to the next.
BALANCE_ACCOUNTS = (
    LedgerAccount.STRIPE, LedgerAccount.RESERVED, LedgerAccount.PREFUNDING, LedgerAccount.ISSUING,
    LedgerAccount.HELD, LedgerAccount.IN_TRANSIT, LedgerAccount.BANK, LedgerAccount.CLEARING,
    LedgerAccount.SUSPENSE, DEFERRED_INCOME,
)  # fmt: skip


class ProgramRefuses(PaymentsError):
    """An accounting program would refuse the file, so it is not written. The text says why."""

    status = 422
    code = "program-refuses"
    title = "The accounting program would refuse this file"


@dataclass(frozen=True, slots=True)
class Movement:
    """`amount` minor units, above zero, from the credited account to the debited one."""

    debit: str
    credit: str
    amount: int


@dataclass(frozen=True, slots=True)
class Journal:
    """One day of one currency. The accounts have the names of a program, or ours."""

    day: date
    currency: str
    movements: Sequence[Movement]
    series: str = "RP"  # what its number begins with

    @property
    def name(self) -> str:
        """The journal's number in the accountant's program."""
        return f"{self.series}-{self.day:%Y%m%d}-{self.currency.upper()}"

    @property
    def lines(self) -> list[tuple[str, int]]:
        """Each account's sum in minor units, a debit above zero."""
        sums: dict[str, int] = {}
        for movement in self.movements:
            sums[movement.debit] = sums.get(movement.debit, 0) + movement.amount
            sums[movement.credit] = sums.get(movement.credit, 0) - movement.amount
        return [(account, amount) for account, amount in sorted(sums.items()) if amount]

    @property
    def debits(self) -> int:
        """The sum of its debits, in minor units."""
        return sum(amount for _, amount in self.lines if amount > 0)

    @property
    def credits(self) -> int:
        """The sum of its credits, in minor units."""
        return -sum(amount for _, amount in self.lines if amount < 0)


_DAILY_MOVEMENTS = text("""
    SELECT day, currency, debit, credit, CAST(sum(amount) AS bigint) AS amount
      FROM daily_totals_now(:zone) AS days
     WHERE (CAST(:since AS date) IS NULL OR day >= :since)
       AND (CAST(:until AS date) IS NULL OR day < :until)
       AND (CAST(:currency AS text) IS NULL OR currency = :currency)
     GROUP BY day, currency, debit, credit
     ORDER BY day, currency, debit, credit
    """)
_BALANCES_BEFORE = text("""
    SELECT currency, side.account, CAST(sum(side.amount) AS bigint) AS amount
      FROM daily_totals_now(:zone) AS days
     CROSS JOIN LATERAL (VALUES (debit, days.amount), (credit, -days.amount))
             AS side(account, amount)
     WHERE day < :until
       AND (CAST(:currency AS text) IS NULL OR currency = :currency)
       AND side.account = ANY(:accounts)
     GROUP BY currency, side.account
    HAVING sum(side.amount) <> 0
     ORDER BY currency, side.account
    """)


async def build(
    session: AsyncSession,
    zone: ZoneInfo,
    period: Period,
    *,
    currency: str | None = None,
) -> list[Journal]:
    """Return the journals of a period under our own names, oldest first."""
    rows = await session.execute(
        _DAILY_MOVEMENTS,
        {"zone": zone.key, "since": period.since, "until": period.until, "currency": currency},
    )
    return [
        Journal(day, code, [Movement(row.debit, row.credit, row.amount) for row in group])
        for (day, code), group in itertools.groupby(rows, key=lambda row: (row.day, row.currency))
    ]


async def balances_before(
    session: AsyncSession, zone: ZoneInfo, day: date, *, currency: str | None = None
) -> dict[tuple[str, str], int]:
    """Return what accounts and currencies held before a day, in minor units, under our own names.

    Of BALANCE_ACCOUNTS only.
    """
    rows = await session.execute(
        _BALANCES_BEFORE,
        {
            "zone": zone.key,
            "until": day,
            "currency": currency,
            "accounts": [str(account) for account in BALANCE_ACCOUNTS],
        },
    )
    return {(row.account, row.currency): row.amount for row in rows}


def rename(journals: Sequence[Journal], names: Names, program: Program) -> list[Journal]:
    """Return the journals under the names of a program.

    Where the account of the bank has no name, what would move it moves the one of payouts in
    transit: the bank's own statement brings those lines. Raises ProgramRefuses with every account
    that has no name.
    """
    known = names[program]
    used = {
        account
        for journal in journals
        for movement in journal.movements
        for account in (movement.debit, movement.credit)
    }
    named: dict[str, str] = {}
    for account in sorted(used):
        place = LedgerAccount.IN_TRANSIT if account == BANK and BANK not in known else account
        if place in known:
            named[account] = known[place]
    missing = sorted({LedgerAccount.IN_TRANSIT.value if account == BANK else account
                      for account in used - named.keys()})  # fmt: skip
    if missing:
        raise ProgramRefuses(
            f"{PROGRAM_LABELS[program]}: the account map has no name for {', '.join(missing)}. "
            "Nothing was written. Finance names accounts on the page Accounts."
        )
    renamed = [
        replace(journal, movements=_rename_all(journal.movements, named)) for journal in journals
    ]
    return [journal for journal in renamed if journal.movements]


def _rename_all(movements: Iterable[Movement], named: Mapping[str, str]) -> list[Movement]:
    """Return the movements under new names; what would move an account to itself is no movement."""
    sums: dict[tuple[str, str], int] = {}
    for movement in movements:
        ends = named[movement.debit], named[movement.credit]
        sums[ends] = sums.get(ends, 0) + movement.amount
    return [
        Movement(debit, credit, amount)
        for (debit, credit), amount in sums.items()
        if debit != credit
    ]


def sum_by_currency(journals: Iterable[Journal]) -> dict[str, tuple[int, int]]:
    """Return debits and credits by currency, in minor units."""
    sums: dict[str, tuple[int, int]] = {}
    for journal in journals:
        debits, credits_ = sums.get(journal.currency, (0, 0))
        sums[journal.currency] = (debits + journal.debits, credits_ + journal.credits)
    return dict(sorted(sums.items()))
