"""Journals as CSV for Xero (manual journals) and QuickBooks Online (journal entries).

Both take files of one currency and of so many lines, so that a long period is several files of
whole journals.
"""

from collections.abc import Sequence

from payments.accounting.exports.csv_cells import to_csv
from payments.accounting.exports.journal_format import Program
from payments.accounting.exports.journals import Journal, ProgramRefuses
from payments.accounting.exports.program_amounts import two_decimals
from payments.accounting.exports.program_rules import Names, setting

XERO_MAX_LINES = 300  # of a file, without its head
QBO_MAX_LINES = 1000
DATE_FORMATS = {"month-first": "%m/%d/%Y", "day-first": "%d/%m/%Y"}
_MEMO = "Payments through Stripe"


def xero(journals: Sequence[Journal], names: Names) -> list[bytes]:
    """Return the files of manual journals. Raises ProgramRefuses."""
    base_currency = setting(names, Program.XERO, "base_currency")
    for journal in journals:
        if journal.currency.upper() != base_currency:
            raise ProgramRefuses(
                f"Xero imports manual journals in the organisation's base currency, "
                f"{base_currency}: those of {journal.currency.upper()} would be taken for it. "
                f"Nothing was written. Import the bank statement of {journal.currency.upper()}."
            )
    rate = setting(names, Program.XERO, "tax_rate")
    tracking = [setting(names, Program.XERO, f"tracking_{part}") for part in ("name", "option")]
    has_sides = setting(names, Program.XERO, "columns") == "debit-credit"
    head = [
        *("*Narration", "*Date", "Description", "*AccountCode"),
        *(("*TaxType", "*Debit", "*Credit") if has_sides else ("*TaxRate", "*Amount")),
        *("TrackingName1", "TrackingOption1", "TrackingName2", "TrackingOption2"),
    ]
    return [
        to_csv(head, (
            [
                f"{journal.name} {_MEMO}", f"{journal.day:%d/%m/%Y}", _MEMO, account, rate,
                *(_sides(amount, journal.currency) if has_sides
                  else [two_decimals(amount, journal.currency)]),
                *tracking, "", "",
            ]
            for journal in part
            for account, amount in journal.lines
        ))
        for part in _split(journals, XERO_MAX_LINES)
    ]  # fmt: skip


def qbo(journals: Sequence[Journal], names: Names) -> list[bytes]:
    """Return the files of journal entries. Raises ProgramRefuses."""
    home = setting(names, Program.QBO, "base_currency")
    has_currency = setting(names, Program.QBO, "multicurrency") == "yes"
    for journal in journals:
        if journal.currency.upper() != home and not has_currency:
            raise ProgramRefuses(
                f"QuickBooks takes {journal.currency.upper()} only where multicurrency is switched "
                f"on, and the account map says it is not; the home currency is {home}. "
                "Nothing was written."
            )
    dates = DATE_FORMATS[setting(names, Program.QBO, "dates")]
    head = ["Journal No", "Journal Date", "Account Name", "Description", "Debits", "Credits"]
    return [
        to_csv([*head, "Currency"] if has_currency else head, (
            [
                journal.name, journal.day.strftime(dates), account, _MEMO,
                *_sides(amount, journal.currency),
                *([journal.currency.upper()] if has_currency else []),
            ]
            for journal in part
            for account, amount in journal.lines
        ))
        for part in _split(journals, QBO_MAX_LINES)
    ]  # fmt: skip


def _sides(amount: int, currency: str) -> list[str]:
    """Return an amount as debit and credit, one of which is empty."""
    text = two_decimals(abs(amount), currency)
    return [text, ""] if amount > 0 else ["", text]


def _split(journals: Sequence[Journal], most: int) -> list[list[Journal]]:
    """Split into files of whole journals, as many lines to a file as the program takes."""
    parts: list[list[Journal]] = [[]]
    for journal in journals:
        lines = sum(len(one.lines) for one in parts[-1])
        if parts[-1] and lines + len(journal.lines) > most:
            parts.append([])
        parts[-1].append(journal)
    return parts
