"""Journals: the books in the words of an accountant's program, a journal for each day and currency.

Debits equal credits in every journal, and that is checked before a byte is written. The daily sums
come from the roll-up, so a year is as quick as a month; the generic form has one pair of lines for
each row of the books instead.
"""

import csv
import io
import itertools
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import daily_totals
from payments.accounting.exports import escape_formula
from payments.accounting.reports.period import Period
from payments.core import money
from payments.core.errors import InvalidField, PaymentsError
from payments.core.money import Money
from payments.ledger.posting_rules import LedgerAccount

XERO_MAX_LINES = 300  # in one file, says Xero's help


class JournalFormat(StrEnum):
    XERO = "xero"
    QBO = "qbo"
    BEANCOUNT = "beancount"
    CSV = "csv"


class JournalUnbalanced(PaymentsError):
    """Debits do not equal credits. No journal was written."""

    status = 500
    code = "journal-unbalanced"
    title = "The journal does not balance"


# The names of our accounts at the accountant's, unless a file says otherwise.
DEFAULT_ACCOUNT_NAMES: Mapping[LedgerAccount, str] = {
    LedgerAccount.STRIPE: "Assets:Stripe:Balance",
    LedgerAccount.RESERVED: "Assets:Stripe:Reserved",
    LedgerAccount.PREFUNDING: "Assets:Stripe:Prefunding",
    LedgerAccount.ISSUING: "Assets:Stripe:Issuing",
    LedgerAccount.HELD: "Assets:Stripe:Held",
    LedgerAccount.IN_TRANSIT: "Assets:In-Transit",
    LedgerAccount.BANK: "Assets:Bank",
    LedgerAccount.INCOME_ONCE: "Income:Donations:Once",
    LedgerAccount.INCOME_MONTHLY: "Income:Donations:Monthly",
    LedgerAccount.INCOME_ANNUAL: "Income:Donations:Annual",
    LedgerAccount.REFUNDS: "Income:Refunds",
    LedgerAccount.DISPUTES: "Income:Disputes",
    LedgerAccount.PROCESSING: "Expenses:Stripe:Processing",
    LedgerAccount.DISPUTE_FEES: "Expenses:Stripe:Disputes",
    LedgerAccount.BILLING: "Expenses:Stripe:Billing",
    LedgerAccount.TAX: "Expenses:Stripe:Tax",
    LedgerAccount.FX: "Expenses:Stripe:FX",
    LedgerAccount.CLEARING: "Equity:Clearing:FX",
    LedgerAccount.SUSPENSE: "Equity:Suspense",
}


@dataclass(frozen=True, slots=True)
class Journal:
    """One day of one currency: what each account gains (above zero) or gives (below)."""

    day: date
    currency: str
    lines: Sequence[tuple[str, int]]  # name of an account, minor units

    @property
    def name(self) -> str:
        return f"RP-{self.day:%Y%m%d}-{self.currency.upper()}"

    @property
    def debits(self) -> int:
        return sum(amount for _, amount in self.lines if amount > 0)

    @property
    def credits(self) -> int:
        return -sum(amount for _, amount in self.lines if amount < 0)


@dataclass(frozen=True, slots=True)
class JournalOptions:
    """How the accountant's program is set: by its country."""

    tax_rate: str = "Tax Exempt"  # Xero's full name for none: "No VAT", "BAS Excluded"
    day_first: bool = False  # QuickBooks reads dates as its company writes them


DEFAULT_OPTIONS = JournalOptions()
_DAILY_ACCOUNT_SUMS = text(
    f"""
    SELECT day, currency, account, CAST(sum(amount) AS bigint) AS amount
      FROM (SELECT day, currency, debit AS account, amount FROM ({daily_totals.DAILY_TOTALS_SQL}) AS d
             UNION ALL
            SELECT day, currency, credit, -amount FROM ({daily_totals.DAILY_TOTALS_SQL}) AS c) AS ends
     WHERE (CAST(:since AS date) IS NULL OR day >= :since)
       AND (CAST(:until AS date) IS NULL OR day < :until)
       AND (CAST(:currency AS text) IS NULL OR currency = :currency)
     GROUP BY 1, 2, 3
    HAVING sum(amount) <> 0
     ORDER BY 1, 2, 3
    """  # noqa: S608 - our own words
)


def account_names(file: Path | None) -> Mapping[str, str]:
    """Our accounts by the accountant's names: a TOML file of `"income:once" = "4000"` lines, where
    anything that is not said keeps its name. Raises InvalidField.
    """
    known = {str(account): name for account, name in DEFAULT_ACCOUNT_NAMES.items()}
    if file is None:
        return known
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidField(f"accounts: {file} cannot be read: {error}.", field="accounts") from None
    for ours, theirs in given.items():
        if ours not in known or not isinstance(theirs, str) or not theirs.strip():
            raise InvalidField(
                f'accounts: "{ours}" is not an account with a name. The accounts are '
                f"{', '.join(known)}.",
                field="accounts",
            )
    return {**known, **given}


async def build(
    session: AsyncSession,
    zone: ZoneInfo,
    period: Period,
    *,
    currency: str | None = None,
    accounts: Mapping[str, str],
) -> list[Journal]:
    """The journals of a period, oldest first. Raises JournalUnbalanced."""
    rows = await session.execute(
        _DAILY_ACCOUNT_SUMS,
        {"zone": zone.key, "since": period.since, "until": period.until, "currency": currency},
    )
    made = []
    for (day, code), group in itertools.groupby(rows, key=lambda row: (row.day, row.currency)):
        sums: dict[str, int] = {}
        for row in group:
            name = accounts[row.account]
            sums[name] = sums.get(name, 0) + row.amount
        made.append(Journal(day, code, [(name, n) for name, n in sums.items() if n]))
    ensure_balanced(made)
    return made


def ensure_balanced(journals: Iterable[Journal]) -> None:
    """Raises JournalUnbalanced for the first whose debits are not its credits."""
    for journal in journals:
        if journal.debits != journal.credits:
            raise JournalUnbalanced(
                f"{journal.name}: debits {journal.debits}, credits {journal.credits}. "
                "Nothing was written. Run payments verify-ledger."
            )


def sum_by_currency(journals: Iterable[Journal]) -> dict[str, tuple[int, int]]:
    """Debits and credits by currency, in minor units."""
    sums: dict[str, tuple[int, int]] = {}
    for journal in journals:
        had = sums.get(journal.currency, (0, 0))
        sums[journal.currency] = (had[0] + journal.debits, had[1] + journal.credits)
    return dict(sorted(sums.items()))


def render(
    journal_format: JournalFormat,
    journals: Sequence[Journal],
    *,
    description: str,
    is_complete: bool = False,
    options: JournalOptions = DEFAULT_OPTIONS,
) -> list[bytes]:
    """The journals in the form of a program: one file, or several where it takes only so many
    lines. `about` says what they are of; `whole` that nothing lies before them.
    """
    ensure_balanced(journals)
    if journal_format is JournalFormat.BEANCOUNT:
        return [_beancount(journals, description=description, is_complete=is_complete)]
    codes = {journal.currency for journal in journals}
    if len(codes) > 1:
        raise InvalidField(
            f"currency: {'Xero' if journal_format is JournalFormat.XERO else 'QuickBooks'} takes journals of one "
            f"currency. Choose one of {', '.join(sorted(codes))}.",
            field="currency",
        )
    if journal_format is JournalFormat.QBO:
        return [_qbo(journals, description=description, options=options)]
    assert journal_format is JournalFormat.XERO
    return [
        _xero(part, description=description, options=options) for part in _split_for_xero(journals)
    ]


def _major_units(minor: int, currency: str) -> str:
    return money.to_decimal_string(Money(minor, currency))


def _split_for_xero(journals: Sequence[Journal]) -> list[list[Journal]]:
    """Whole journals, as many to a file as Xero takes."""
    parts: list[list[Journal]] = [[]]
    for journal in journals:
        held = sum(len(one.lines) for one in parts[-1])
        if parts[-1] and held + len(journal.lines) > XERO_MAX_LINES:
            parts.append([])
        parts[-1].append(journal)
    return parts


def _xero(journals: Sequence[Journal], *, description: str, options: JournalOptions) -> bytes:
    out = io.StringIO()
    write = csv.writer(out)
    write.writerow(["*Narration", "*Date", "Description", "*AccountCode", "*TaxRate", "*Amount",
                    "TrackingName1", "TrackingOption1", "TrackingName2",
                    "TrackingOption2"])  # fmt: skip
    for journal in journals:
        for account, amount in journal.lines:
            write.writerow([
                f"{journal.name} donations through Stripe", f"{journal.day:%d/%m/%Y}", description,
                escape_formula(account), escape_formula(options.tax_rate), _major_units(amount, journal.currency),
                "", "", "", "",
            ])  # fmt: skip
    return out.getvalue().encode()


def _qbo(journals: Sequence[Journal], *, description: str, options: JournalOptions) -> bytes:
    out = io.StringIO()
    write = csv.writer(out)
    write.writerow(
        ["Journal No.", "Journal Date", "Account Name", "Description", "Debits", "Credits"]
    )
    dates = "%d/%m/%Y" if options.day_first else "%m/%d/%Y"
    for journal in journals:
        for account, amount in journal.lines:
            written = _major_units(abs(amount), journal.currency)
            write.writerow([
                journal.name, journal.day.strftime(dates), escape_formula(account), description,
                written if amount > 0 else "", written if amount < 0 else "",
            ])  # fmt: skip
    return out.getvalue().encode()


def _beancount(journals: Sequence[Journal], *, description: str, is_complete: bool) -> bytes:
    out = [f"; {description}", ""]
    if journals:
        first, last = journals[0].day, journals[-1].day + timedelta(days=1)
        used = sorted({account for journal in journals for account, _ in journal.lines})
        out += [f"{first} open {account}" for account in used] + [""]
        for journal in journals:
            out.append(f'{journal.day} * "Stripe" "{journal.name}"')
            out += [
                f"  {account}  {_major_units(amount, journal.currency)} {journal.currency.upper()}"
                for account, amount in journal.lines
            ]
            out.append("")
        # What went before a period is not in the file, so only a whole book asserts its balances.
        mark = "" if is_complete else "; "
        for (account, currency), amount in sorted(_closing_balances(journals).items()):
            if account.startswith("Assets:"):
                written = _major_units(amount, currency)
                out.append(f"{mark}{last} balance {account}  {written} {currency.upper()}")
    return ("\n".join(out) + "\n").encode()


def _closing_balances(journals: Iterable[Journal]) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = {}
    for journal in journals:
        for account, amount in journal.lines:
            key = (account, journal.currency)
            sums[key] = sums.get(key, 0) + amount
    return sums
