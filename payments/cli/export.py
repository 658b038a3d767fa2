"""The operator's exports. Data on stdout or in a file, a progress bar on stderr.

The period is the last complete month unless another is named; `all` is everything.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

if TYPE_CHECKING:
    from payments.accounting.reports.period import Period
    from payments.accounting.reports.transactions import Filters
    from payments.infra.context import Runtime

FORMATS = ("xero", "qbo", "beancount", "csv")
PROBLEMS = 4
TICK = 1000  # rows between two looks at the bar

_period = click.option("--period", default="", help="2026-10, 2026, or all; the last month if not.")
_currency = click.option("--currency", default="", help="Only this settlement currency.")
_output = click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file instead of stdout."
)


@click.group()
def export() -> None:
    """Take the books away: ledger lines, payouts, recurring revenue, journals."""


@export.command("ledger")
@_period
@click.option("--type", "type_", default="", help="charge, refund, dispute, fee, payout …")
@click.option("--frequency", default="", help="once, monthly, annual or none.")
@_currency
@click.option("--account", default="", help="One of our accounts, such as income:monthly.")
@click.option("--campaign", default="", help="Gifts that began with this campaign.")
@click.option("--format", "kind", type=click.Choice(["csv", "xlsx"]), default="csv")
@_output
def export_ledger(period: str, kind: str, output: Path | None, **asked: str) -> None:
    """One row for each movement of the Stripe balance, with no person in it.

    A workbook of a million lines takes minutes, and sets some gigabytes aside in TMPDIR.
    """
    from payments.accounting.exports import files
    from payments.cli import run_with

    if kind == "xlsx" and output is None:
        raise click.UsageError("--format xlsx needs --output: a workbook is not for a terminal.")
    asked["type"] = asked.pop("type_")

    async def write(rt: "Runtime") -> None:
        filters = _filters(rt, period, asked)
        count = await files.count(rt, filters)
        length = count * (1 + files.SHEET_TAKES) if kind == "xlsx" else count
        with _bar(length, "Ledger lines") as told, opened(output) as out:
            if kind == "xlsx":
                await files.ledger_xlsx(rt, filters, out, told=told)
            else:
                await files.ledger_csv(rt, filters, out, told=told)

    run_with(write)


@export.command("journal")
@click.option("--format", "kind", type=click.Choice(FORMATS), required=True)
@_period
@_currency
@click.option(
    "--accounts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='The accountant\'s names, as lines of TOML: "income:once" = "4000".',
)
@click.option("--tax-rate", default="Tax Exempt", help='Xero\'s name for none, such as "No VAT".')
@click.option("--day-first", is_flag=True, help="QuickBooks' company writes 31/10 and not 10/31.")
@_output
@click.option("--check", is_flag=True, help="Only prove that debits equal credits; exit 4 if not.")
def export_journal(
    kind: str,
    period: str,
    currency: str,
    accounts: Path | None,
    output: Path | None,
    *,
    tax_rate: str,
    day_first: bool,
    check: bool,
) -> None:
    """Journals for an accountant's program. Nothing is written unless debits equal credits."""
    from payments.accounting.exports import files
    from payments.accounting.exports.journals import Customs, Format, JournalUnbalanced
    from payments.cli import run_with, say

    customs = Customs(tax_rate, day_first)

    async def write(rt: "Runtime") -> dict[str, tuple[int, int]]:
        of = _parsed(rt, period)
        code, form = _code(currency), Format(kind)
        try:
            sums = await files.totals(rt, form, of, currency=code, accounts=accounts)
        except JournalUnbalanced as error:
            say(error.detail)
            sys.exit(PROBLEMS)
        if not check and all(debits == given for debits, given in sums.values()):
            with opened(output) as out:
                more = None if output is None else _numbered(output)
                count = await files.journal(
                    rt, form, of, out,
                    currency=code, accounts=accounts, customs=customs, more=more,
                )  # fmt: skip
            if count > 1:
                say(f"{count} files, as Xero takes so many lines in each.")
        return sums

    sums = run_with(write)
    if check:
        click.echo(files.as_json(sums))
    if any(debits != given for debits, given in sums.values()):
        say("Debits do not equal credits. Nothing was written. Run payments check.")
        sys.exit(PROBLEMS)


@export.command("payouts")
@_currency
@_output
def export_payouts(currency: str, output: Path | None) -> None:
    """Every payout with the sum of its lines, newest first."""
    from payments.accounting.exports import csv_tables
    from payments.accounting.reports import payouts
    from payments.cli import run_with

    async def write(rt: "Runtime") -> bytes:
        async with rt.sessions() as session:
            found = await payouts.all_of(session, currency=_code(currency))
        words = f"payouts period=all{f' currency={currency}' if currency else ''}"
        return csv_tables.payouts(found, exported_in=words)

    data = run_with(write)
    with opened(output) as out:
        out.write(data)


@export.command("recurring")
@click.option("--months", type=click.IntRange(1, 120), default=13, show_default=True)
@_currency
@_output
def export_recurring(months: int, currency: str, output: Path | None) -> None:
    """The roll-forward of monthly recurring revenue, of months that are over."""
    from payments.accounting.exports import csv_tables
    from payments.accounting.reports import period, recurring
    from payments.cli import run_with

    async def write(rt: "Runtime") -> bytes:
        until = _today(rt).date().replace(day=1)
        since = period.months_before(until, months)
        async with rt.sessions() as session:
            found = await recurring.forward(
                session, rt.settings.zone, since=since, until=until, currency=_code(currency)
            )
        words = f"recurring period={since}..{until}" + (f" currency={currency}" if currency else "")
        return csv_tables.recurring(
            found, exported_in=f"{words} zone={rt.settings.accounting_zone}"
        )

    data = run_with(write)
    with opened(output) as out:
        out.write(data)


# --- what they share ------------------------------------------------------------------------------


def _today(rt: "Runtime") -> datetime:
    return rt.now().astimezone(rt.settings.zone)


def _parsed(rt: "Runtime", words: str) -> "Period":
    from payments.accounting.reports import period

    today = _today(rt).date()
    if words == "all":
        return period.ALL
    words = words or f"{period.months_before(today, 1):%Y-%m}"
    return period.parse({"period": words}, today=today)


def _filters(rt: "Runtime", words: str, asked: dict[str, str]) -> "Filters":
    from payments.accounting.reports import transactions

    return transactions.parse(asked, _parsed(rt, words))


def _code(currency: str) -> str | None:
    from payments.accounting.reports import period, transactions

    return transactions.parse({"currency": currency}, period.ALL).currency


@contextmanager
def opened(output: Path | None) -> Iterator[BinaryIO]:
    """The file, or stdout. What a file had before it keeps until the new one is whole."""
    if output is None:
        yield sys.stdout.buffer
        return
    if output.exists() and not output.is_file():  # a pipe or a device
        with output.open("wb") as out:
            yield out
        return
    part = output.with_name(f".{output.name}.part")
    try:
        with part.open("wb") as out:
            yield out
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _numbered(output: Path) -> Callable[[int], BinaryIO]:
    def opened(number: int) -> BinaryIO:
        return output.with_stem(f"{output.stem}-{number}").open("wb")

    return opened


@contextmanager
def _bar(length: int, label: str) -> Iterator[Callable[[int], Any]]:
    """A bar that is told of rows, and looks up now and then."""
    held = 0
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:

        def told(rows: int) -> None:
            nonlocal held
            held += rows
            if held >= TICK:
                bar.update(held)
                held = 0

        yield told
        bar.update(held)
