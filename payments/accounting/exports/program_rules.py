"""Program rules: which names of accounts and which settings each accounting program accepts.

The rules are those of the makers' own pages; docs/accounting-programs.md says which is from where.
Pure functions.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from payments.accounting.exports.csv_cells import FORMULA_PREFIXES
from payments.accounting.exports.journal_format import Program
from payments.ledger.posting_rules import LedgerAccount

Names = Mapping[Program, Mapping[str, str]]  # program -> account or setting -> name
SETTING_PREFIX = "setting:"
XERO_CODE_LENGTH = 10
QBO_NAME_LENGTH = 100  # of each part of Parent:Sub
QBO_LEVELS = 5
MAX_LENGTH = 200  # characters of any cell
PLAIN_ROOTS = ("Assets", "Liabilities", "Equity", "Income", "Expenses")
# The account of the money at the bank. Where it has no name, the bank's own statement brings these
# lines, and a payout stays in transit until that statement is booked.
BANK = LedgerAccount.BANK
# No account of the books: what was paid for months to come, in the journal of deferred income.
DEFERRED_INCOME = "deferred:income"
MAPPED_ACCOUNTS = (*LedgerAccount, DEFERRED_INCOME)


@dataclass(frozen=True, slots=True)
class Setting:
    """What else a file for a program must say. `pattern` is what it may be."""

    label: str
    pattern: str
    hint: str
    default: str = ""
    is_required: bool = True


_ANY_NAME = r"[^\x00-\x1f]{1,100}"
SETTINGS: Mapping[tuple[Program, str], Setting] = {
    (Program.XERO, "base_currency"): Setting(
        "Base currency", "[A-Z]{3}", "the organisation's, such as EUR"
    ),
    (Program.XERO, "tax_rate"): Setting(
        "Tax rate", _ANY_NAME, "its full name in the organisation's settings, such as No VAT"
    ),
    (Program.XERO, "columns"): Setting(
        "Columns", "amount|debit-credit",
        "amount or debit-credit, as in the template your organisation downloads", "amount",
    ),
    **{
        (Program.XERO, name): Setting(label, _ANY_NAME, "if you track", is_required=False)
        for name, label in (
            ("tracking_name", "Tracking category"),
            ("tracking_option", "Tracking option"),
        )
    },
    (Program.QBO, "base_currency"): Setting(
        "Home currency", "[A-Z]{3}", "the company's, such as USD"
    ),
    (Program.QBO, "multicurrency"): Setting(
        "Multicurrency", "yes|no", "yes where it is switched on", "no"
    ),
    (Program.QBO, "dates"): Setting(
        "Dates", "month-first|day-first", "month-first or day-first, as the company writes them",
        "month-first",
    ),
    (Program.DATEV, "base_currency"): Setting(
        "Base currency", "[A-Z]{3}", "of the client's books", "EUR"
    ),
    (Program.DATEV, "adviser"): Setting(
        "Adviser number", "[1-9][0-9]{3,6}", "Beraternummer, four to seven digits"
    ),
    (Program.DATEV, "client"): Setting(
        "Client number", "[1-9][0-9]{0,4}", "Mandantennummer, at most five digits"
    ),
    (Program.DATEV, "account_length"): Setting(
        "Length of accounts", "[4-8]", "Sachkontenlänge, 4 to 8", "4"
    ),
    (Program.DATEV, "fiscal_year_begins"): Setting(
        "Fiscal year begins", "(0[1-9]|1[0-2])-01", "month and day, such as 01-01", "01-01"
    ),
    (Program.PLAIN, "opening_balances"): Setting(
        "Opening balances", _ANY_NAME, "the account they come from", "Equity:Opening-Balances"
    ),
}  # fmt: skip
DEFAULT_PLAIN_NAMES: Mapping[str, str] = {
    DEFERRED_INCOME: "Liabilities:Deferred-Income",
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
    LedgerAccount.UNEXPLAINED: "Expenses:Unexplained",
}
# The others have no names but the newsroom's own: a guess would be booked.
DEFAULTS: Mapping[Program, Mapping[str, str]] = {
    program: {
        **({str(key): name for key, name in DEFAULT_PLAIN_NAMES.items()}
           if program is Program.PLAIN else {}),
        **{
            SETTING_PREFIX + name: setting.default
            for (of, name), setting in SETTINGS.items()
            if of is program and setting.default
        },
    }
    for program in Program
}  # fmt: skip
PROGRAM_LABELS = {
    Program.XERO: "Xero",
    Program.QBO: "QuickBooks Online",
    Program.DATEV: "DATEV",
    Program.PLAIN: "beancount and hledger",
}


def setting(names: Names, program: Program, name: str) -> str:
    """Return a setting of a program, empty where it has none."""
    return names[program].get(SETTING_PREFIX + name, "")


def problems(names: Names) -> list[str]:
    """Return a sentence for each name or setting that its program would refuse."""
    return [
        f"{PROGRAM_LABELS[program]}, {key}: {problem}."
        for program in Program
        for key, value in names[program].items()
        if (problem := _problem(names, program, key, value))
    ] + _tracking_problems(names)


def missing_settings(names: Names, program: Program) -> list[str]:
    """Return the names of the settings that a file for a program cannot do without."""
    return [
        SETTING_PREFIX + name
        for (of, name), one in SETTINGS.items()
        if of is program and one.is_required and not setting(names, program, name)
    ]


def _problem(names: Names, program: Program, key: str, value: str) -> str:
    """Return what is wrong with a cell; empty for nothing."""
    if len(value) > MAX_LENGTH or not value.isprintable():
        return f"a name has at most {MAX_LENGTH} characters on one line"
    if value[0] in FORMULA_PREFIXES:
        return f'"{value}" begins as a formula of a spreadsheet does'
    if key.startswith(SETTING_PREFIX):
        return _setting_problem(program, key.removeprefix(SETTING_PREFIX), value)
    if key not in MAPPED_ACCOUNTS:
        return "there is no such account"
    return _NAME_RULES[program](key, value, names)


def _setting_problem(program: Program, name: str, value: str) -> str:
    found = SETTINGS.get((program, name))
    if found is None:
        return "there is no such setting of this program"
    if not re.fullmatch(found.pattern, value):
        return f'"{value}" is not {found.hint}'
    return _plain_problem(value) if name == "opening_balances" else ""


def _xero_problem(key: str, value: str, _names: Names) -> str:
    if key == BANK:
        return (
            "a manual journal of Xero cannot touch a bank account; leave it empty, and book the "
            "bank's own statement against the account of in-transit"
        )
    if len(value) > XERO_CODE_LENGTH:
        return (
            f'"{value}" has {len(value)} characters, and a code has at most {XERO_CODE_LENGTH}; '
            "it is the code alone, such as 200"
        )
    return ""


def _qbo_problem(_key: str, value: str, _names: Names) -> str:
    parts = value.split(":")
    if len(parts) > QBO_LEVELS:
        return f'"{value}" has {len(parts)} levels, and an account has at most {QBO_LEVELS}'
    for part in parts:
        if not part.strip() or part != part.strip():
            return f'"{value}" has an empty part; a sub-account is Parent:Sub'
        if len(part) > QBO_NAME_LENGTH or '"' in part:
            return f'"{part}" has more than {QBO_NAME_LENGTH} characters, or a quotation mark'
    return ""


def _datev_problem(_key: str, value: str, names: Names) -> str:
    length = setting(names, Program.DATEV, "account_length")
    most = int(length) if re.fullmatch("[4-8]", length) else 8
    if not re.fullmatch("[0-9]+", value) or not int(value):
        return f'"{value}" is no account number of digits alone'
    if len(value) > most:
        return f'"{value}" has {len(value)} digits, and this client\'s accounts have {most}'
    return ""


def _plain_problem(value: str) -> str:
    root, *parts = value.split(":")
    if root not in PLAIN_ROOTS or not parts:
        return f'"{value}" does not begin with one of {", ".join(PLAIN_ROOTS)}, and a colon'
    for part in parts:
        if not re.fullmatch("[A-Z0-9][A-Za-z0-9-]*", part):
            return (
                f'"{value}": each part begins with a capital letter or a digit, and has letters, '
                "digits and hyphens"
            )
    return ""


def _plain_name_problem(_key: str, value: str, _names: Names) -> str:
    return _plain_problem(value)


_NAME_RULES: Mapping[Program, Callable[[str, str, Names], str]] = {
    Program.XERO: _xero_problem,
    Program.QBO: _qbo_problem,
    Program.DATEV: _datev_problem,
    Program.PLAIN: _plain_name_problem,
}


def _tracking_problems(names: Names) -> list[str]:
    pair = [bool(setting(names, Program.XERO, f"tracking_{part}")) for part in ("name", "option")]
    return ["Xero: a tracking category needs its option, and the other way round."] * (
        pair[0] is not pair[1]
    )


def settings_of(program: Program) -> Iterator[tuple[str, Setting]]:
    """Yield the settings of a program with their names."""
    for (of, name), one in SETTINGS.items():
        if of is program:
            yield name, one
