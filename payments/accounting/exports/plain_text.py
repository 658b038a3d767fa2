"""Plain-text accounting: journals for beancount and hledger, which take several currencies.

The accounts are in a file of their own, so that months can be read one after another: each is a
file without them, and ends with the balances of that day, which are absolute. What was there before
the first month is a file of opening balances. `main` includes what one download holds; whoever
keeps several includes the accounts once, the opening balances of the first, and every month.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from itertools import groupby

from payments.accounting.exports.journal_format import JournalFormat, Program
from payments.accounting.exports.journals import (
    BALANCE_ACCOUNTS,
    Journal,
)
from payments.accounting.exports.program_amounts import all_decimals
from payments.accounting.exports.program_rules import MAPPED_ACCOUNTS, Names, setting

SUFFIXES = {JournalFormat.BEANCOUNT: "beancount", JournalFormat.HLEDGER: "journal"}
OPENED_ON = date(2010, 1, 1)  # before anything was paid through Stripe; the same in every download
Balances = Mapping[tuple[str, str], int]  # our account, currency -> minor units


def plain_text(
    journal_format: JournalFormat,
    journals: Sequence[Journal],
    names: Names,
    *,
    before: Balances,
    until: date,
    description: str,
    prefix: str = "",
) -> dict[str, bytes]:
    """Return the files by name; `prefix` begins the names of what the accounts are not.

    `before` is what accounts held before the first day, `until` the day after the last one.
    """
    suffix, is_hledger = SUFFIXES[journal_format], journal_format is JournalFormat.HLEDGER
    known = names[Program.PLAIN]
    balances = _renamed_balances(before, known)
    files = {f"accounts.{suffix}": _accounts(names, is_hledger=is_hledger)}
    if balances and journals:
        # The day before the month of the first journal, so that a month sums up by itself.
        day = journals[0].day.replace(day=1) - timedelta(days=1)
        name = f"{prefix}opening-{journals[0].day:%Y-%m}.{suffix}"
        files[name] = _opening(balances, names, day, is_hledger=is_hledger)
    for month, group in groupby(journals, key=lambda journal: journal.day.replace(day=1)):
        of_month = list(group)
        next_month = (month + timedelta(days=31)).replace(day=1)
        lines = [*_head(description), *_transactions(of_month, is_hledger=is_hledger)]
        _add_up(balances, of_month, known)
        lines += _assertions(balances, min(next_month, until), is_hledger=is_hledger)
        files[f"{prefix}{month:%Y-%m}.{suffix}"] = _joined(lines)
    main = _head(description) + [
        f"include {name}" if is_hledger else f'include "{name}"' for name in files
    ]
    return {f"{prefix}main.{suffix}": _joined(main), **files}


def _head(description: str) -> list[str]:
    return [f"; {description}", ""]


def _joined(lines: Sequence[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _accounts(names: Names, *, is_hledger: bool) -> bytes:
    used = {names[Program.PLAIN][account] for account in MAPPED_ACCOUNTS}
    used.add(setting(names, Program.PLAIN, "opening_balances"))
    return _joined([
        *_head("the accounts, which several months share"),
        *(f"account {account}" if is_hledger else f"{OPENED_ON} open {account}"
          for account in sorted(used)),
    ])  # fmt: skip


def _renamed_balances(before: Balances, known: Mapping[str, str]) -> dict[tuple[str, str], int]:
    balances: dict[tuple[str, str], int] = {}
    names = _with_balance(known)
    for (account, currency), amount in before.items():
        key = (known[account], currency)
        if key[0] not in names:
            continue
        balances[key] = balances.get(key, 0) + amount
    return balances


def _with_balance(known: Mapping[str, str]) -> set[str]:
    """Return the names whose balance is stated: those of no account of income or expense."""
    others = {known[account] for account in MAPPED_ACCOUNTS if account not in BALANCE_ACCOUNTS}
    return {known[account] for account in BALANCE_ACCOUNTS} - others


def _add_up(
    balances: dict[tuple[str, str], int], journals: Sequence[Journal], known: Mapping[str, str]
) -> None:
    """Add the journals to the balances of the accounts that have one."""
    with_balance = _with_balance(known)
    for journal in journals:
        for account, amount in journal.lines:
            if account in with_balance:
                key = (account, journal.currency)
                balances[key] = balances.get(key, 0) + amount


def _opening(balances: Balances, names: Names, day: date, *, is_hledger: bool) -> bytes:
    source = setting(names, Program.PLAIN, "opening_balances")
    lines = _head("what was there before the first month; not needed with the months before it")
    for currency in sorted({currency for _, currency in balances}):
        held = [(account, amount) for (account, code), amount in sorted(balances.items())
                if code == currency and amount]  # fmt: skip
        if held:
            lines += _transaction(
                day, "Opening balances", [*held, (source, -sum(amount for _, amount in held))],
                currency, is_hledger=is_hledger,
            )  # fmt: skip
    return _joined(lines)


def _transactions(journals: Sequence[Journal], *, is_hledger: bool) -> Iterator[str]:
    for journal in journals:
        yield from _transaction(
            journal.day, journal.name, journal.lines, journal.currency, is_hledger=is_hledger
        )


def _transaction(
    day: date, name: str, lines: Sequence[tuple[str, int]], currency: str, *, is_hledger: bool
) -> list[str]:
    head = f"{day} * Stripe | {name}" if is_hledger else f'{day} * "Stripe" "{name}"'
    return [
        head,
        *(f"  {account}  {all_decimals(amount, currency)} {currency.upper()}"
          for account, amount in lines),
        "",
    ]  # fmt: skip


def _assertions(balances: Balances, day: date, *, is_hledger: bool) -> list[str]:
    """Return what the accounts hold when a day begins."""
    held = [(account, currency, f"{all_decimals(amount, currency)} {currency.upper()}")
            for (account, currency), amount in sorted(balances.items())]  # fmt: skip
    if not is_hledger:
        return [f"{day} balance {account}  {amount}" for account, _, amount in held]
    if not held:
        return []
    return [
        f"{day - timedelta(days=1)} * Stripe | Balances",
        *(f"  {account}  0 {currency.upper()} = {amount}" for account, currency, amount in held),
        "",
    ]
