"""Journals: the ledger in the format of an accountant's program, one journal a day and currency.

Debits equal credits in every journal, and that is checked before a byte is written. The daily sums
come from the daily totals, so that a year is as quick as a month; the generic format has one pair
of lines for each ledger entry instead (`ledger_entries`).
"""

import csv
import io
import itertools
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.exports.csv_cells import escape_formula
from payments.accounting.exports.journal_format import JournalFormat
from payments.accounting.reports.period import Period
from payments.core import money
from payments.core.errors import InvalidField, PaymentsError
from payments.core.money import Money
from payments.ledger.posting_rules import LedgerAccount

XERO_MAX_LINES = 300  # in one file, by Xero's help


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
    LedgerAccount.INCOME_PERIODIC: "Income:Donations:Periodic",
    LedgerAccount.OTHER_INCOME: "Income:Other",
    LedgerAccount.OTHER_REFUNDS: "Income:Other:Refunds",
    LedgerAccount.OTHER_DISPUTES: "Income:Other:Disputes",
    LedgerAccount.OTHER_FEES: "Expenses:Stripe:Other",
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
    """One day of one currency: each account's sum in minor units, a debit above zero."""

    day: date
    currency: str
    lines: Sequence[tuple[str, int]]  # name of an account, minor units

    @property
    def name(self) -> str:
        """The journal's number in the accountant's program."""
        return f"RP-{self.day:%Y%m%d}-{self.currency.upper()}"

    @property
    def debits(self) -> int:
        """The sum of its debits, in minor units."""
        return sum(amount for _, amount in self.lines if amount > 0)

    @property
    def credits(self) -> int:
        """The sum of its credits, in minor units."""
        return -sum(amount for _, amount in self.lines if amount < 0)


@dataclass(frozen=True, slots=True)
class JournalOptions:
    """How the accountant's program is set up, which depends on its country."""

    tax_rate: str = "Tax Exempt"  # Xero's full name for none: "No VAT", "BAS Excluded"
    day_first: bool = False  # QuickBooks reads dates as its company writes them


DEFAULT_OPTIONS = JournalOptions()
_DAILY_ACCOUNT_SUMS = text("""
    SELECT day, currency, side.account, CAST(sum(side.amount) AS bigint) AS amount
      FROM daily_totals_now(:zone) AS days
     CROSS JOIN LATERAL (VALUES (debit, days.amount), (credit, -days.amount))
             AS side(account, amount)
     WHERE (CAST(:since AS date) IS NULL OR day >= :since)
       AND (CAST(:until AS date) IS NULL OR day < :until)
       AND (CAST(:currency AS text) IS NULL OR currency = :currency)
     GROUP BY day, currency, side.account
    HAVING sum(side.amount) <> 0
     ORDER BY day, currency, side.account
    """)


def account_names(file: Path | None) -> Mapping[str, str]:
    """Return the accountant's names of our accounts.

    `file` is TOML with lines such as `"income:once" = "4000"`; an account it leaves out has its
    default name. Raises InvalidField.
    """
    known = {str(account): name for account, name in DEFAULT_ACCOUNT_NAMES.items()}
    if file is None:
        return known
    try:
        named = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidField(f"accounts: {file} cannot be read: {error}.", field="accounts") from None
    for ours, theirs in named.items():
        if ours not in known or not isinstance(theirs, str) or not theirs.strip():
            raise InvalidField(
                f'accounts: "{ours}" is not an account with a name. The accounts are '
                f"{', '.join(known)}.",
                field="accounts",
            )
    return {**known, **named}


async def build(
    session: AsyncSession,
    zone: ZoneInfo,
    period: Period,
    *,
    currency: str | None = None,
    accounts: Mapping[str, str],
) -> list[Journal]:
    """Return the journals of a period, oldest first. Raises JournalUnbalanced."""
    rows = await session.execute(
        _DAILY_ACCOUNT_SUMS,
        {"zone": zone.key, "since": period.since, "until": period.until, "currency": currency},
    )
    built = []
    for (day, code), group in itertools.groupby(rows, key=lambda row: (row.day, row.currency)):
        sums: dict[str, int] = {}
        for row in group:
            name = accounts[row.account]
            sums[name] = sums.get(name, 0) + row.amount
        lines = [(name, amount) for name, amount in sums.items() if amount]
        built.append(Journal(day, code, lines))
    ensure_balanced(built)
    return built


def ensure_balanced(journals: Iterable[Journal]) -> None:
    """Raise JournalUnbalanced for the first journal whose debits are not its credits."""
    for journal in journals:
        if journal.debits != journal.credits:
            raise JournalUnbalanced(
                f"{journal.name}: debits {journal.debits}, credits {journal.credits}. "
                "Nothing was written. Run payments verify-ledger."
            )


def sum_by_currency(journals: Iterable[Journal]) -> dict[str, tuple[int, int]]:
    """Return debits and credits by currency, in minor units."""
    sums: dict[str, tuple[int, int]] = {}
    for journal in journals:
        debits, credits_ = sums.get(journal.currency, (0, 0))
        sums[journal.currency] = (debits + journal.debits, credits_ + journal.credits)
    return dict(sorted(sums.items()))


def render(
    journal_format: JournalFormat,
    journals: Sequence[Journal],
    *,
    description: str,
    is_complete: bool = False,
    options: JournalOptions = DEFAULT_OPTIONS,
) -> list[bytes]:
    """Return the journals in a program's format: one file, or several where it takes few lines.

    `description` says what they are of; `is_complete` that nothing lies before them. Raises
    InvalidField for several currencies where a program takes one, and JournalUnbalanced.
    """
    ensure_balanced(journals)
    if journal_format is JournalFormat.BEANCOUNT:
        return [_beancount(journals, description=description, is_complete=is_complete)]
    codes = {journal.currency for journal in journals}
    if len(codes) > 1:
        program = "Xero" if journal_format is JournalFormat.XERO else "QuickBooks"
        raise InvalidField(
            f"currency: {program} takes journals of one currency. "
            f"Choose one of {', '.join(sorted(codes))}.",
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
    """Split into files of whole journals, as many lines to a file as Xero takes."""
    parts: list[list[Journal]] = [[]]
    for journal in journals:
        lines = sum(len(one.lines) for one in parts[-1])
        if parts[-1] and lines + len(journal.lines) > XERO_MAX_LINES:
            parts.append([])
        parts[-1].append(journal)
    return parts


def _xero(journals: Sequence[Journal], *, description: str, options: JournalOptions) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["*Narration", "*Date", "Description", "*AccountCode", "*TaxRate", "*Amount",
                    "TrackingName1", "TrackingOption1", "TrackingName2",
                    "TrackingOption2"])  # fmt: skip
    for journal in journals:
        for account, amount in journal.lines:
            writer.writerow([
                f"{journal.name} payments through Stripe", f"{journal.day:%d/%m/%Y}", description,
                escape_formula(account), escape_formula(options.tax_rate),
                _major_units(amount, journal.currency), "", "", "", "",
            ])  # fmt: skip
    return out.getvalue().encode()


def _qbo(journals: Sequence[Journal], *, description: str, options: JournalOptions) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        ["Journal No.", "Journal Date", "Account Name", "Description", "Debits", "Credits"]
    )
    dates = "%d/%m/%Y" if options.day_first else "%m/%d/%Y"
    for journal in journals:
        for account, amount in journal.lines:
            major_units = _major_units(abs(amount), journal.currency)
            writer.writerow([
                journal.name, journal.day.strftime(dates), escape_formula(account), description,
                major_units if amount > 0 else "", major_units if amount < 0 else "",
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
        # What is before the period is not in the file: only a complete file asserts its balances.
        mark = "" if is_complete else "; "
        for (account, currency), amount in sorted(_closing_balances(journals).items()):
            if account.startswith("Assets:"):
                major_units = _major_units(amount, currency)
                out.append(f"{mark}{last} balance {account}  {major_units} {currency.upper()}")
    return ("\n".join(out) + "\n").encode()


def _closing_balances(journals: Iterable[Journal]) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = {}
    for journal in journals:
        for account, amount in journal.lines:
            key = (account, journal.currency)
            sums[key] = sums.get(key, 0) + amount
    return sums
