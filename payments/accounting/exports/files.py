"""Whole files, for a page or the command line: with a word for every row that is written.

What a page sends and what a command writes are the same bytes.
"""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import IO, BinaryIO

from payments.accounting.exports import journals, ledger_entries, transactions_csv, xlsx
from payments.accounting.exports.journals import JournalFormat, JournalOptions
from payments.accounting.reports.period import Period
from payments.accounting.reports.transactions import Filters
from payments.core.errors import InvalidField
from payments.infra.context import Context

ProgressCallback = Callable[[int], object]  # how many rows more there are in the file
XLSX_COST_FACTOR = 4  # times as long as the CSV file, and is made from one


async def count_rows(ctx: Context, filters: Filters) -> int:
    """How many rows a ledger file will have."""
    async with ctx.sessions() as session:
        return await transactions_csv.count_rows(session, ctx.settings.accounting_zoneinfo, filters)


async def write_ledger_csv(
    ctx: Context, filters: Filters, out: IO[bytes], *, on_progress: ProgressCallback
) -> None:
    async with ctx.sessions() as session:
        async for chunk in transactions_csv.stream_csv(
            session, ctx.settings.accounting_zoneinfo, filters
        ):
            out.write(chunk)
            on_progress(chunk.count(b"\n"))


async def write_ledger_xlsx(
    ctx: Context,
    filters: Filters,
    out: IO[bytes],
    *,
    on_progress: ProgressCallback = lambda _: None,
) -> None:
    """The same file as a workbook. What is set aside lies in the system's temporary folder."""
    with TemporaryDirectory() as folder, NamedTemporaryFile(dir=folder) as source:
        await write_ledger_csv(ctx, filters, source, on_progress=on_progress)
        source.flush()
        made = Path(folder, "lines.xlsx")
        await xlsx.write_in_subprocess(
            made,
            Path(source.name),
            [(column.name, column.kind) for column in transactions_csv.COLUMNS],
            about=transactions_csv.about_sheet(filters, ctx.settings.accounting_zoneinfo),
            on_progress=lambda rows: on_progress(rows * XLSX_COST_FACTOR),
        )
        with await asyncio.to_thread(made.open, "rb") as whole:
            await asyncio.to_thread(shutil.copyfileobj, whole, out)


async def journal_totals(
    ctx: Context,
    journal_format: JournalFormat,
    period: Period,
    *,
    currency: str | None,
    accounts_file: Path | None,
) -> dict[str, tuple[int, int]]:
    """Debits and credits of a journal by currency. Raises JournalUnbalanced."""
    async with ctx.sessions() as session:
        if journal_format is JournalFormat.CSV:
            return await ledger_entries.sum_by_currency(
                session, ctx.settings.accounting_zoneinfo, period, currency=currency
            )
        names = journals.account_names(accounts_file)
        made = await journals.build(
            session, ctx.settings.accounting_zoneinfo, period, currency=currency, accounts=names
        )
    return journals.sum_by_currency(made)


async def write_journal(
    ctx: Context,
    journal_format: JournalFormat,
    period: Period,
    out: BinaryIO,
    *,
    currency: str | None,
    accounts_file: Path | None,
    options: JournalOptions = journals.DEFAULT_OPTIONS,
    open_next_file: Callable[[int], BinaryIO] | None = None,
) -> int:
    """Write a journal; `more` opens the second file and those after it. Gives how many there are.

    Raises InvalidField when there would be several and there is no place for them.
    """
    zone = ctx.settings.accounting_zoneinfo
    about = f"journal {Filters(period, currency=currency).describe()} zone={zone.key}"
    async with ctx.sessions() as session:
        if journal_format is JournalFormat.CSV:
            rows = ledger_entries.stream_csv(
                session, zone, period, currency=currency, exported_in=about
            )
            async for chunk in rows:
                out.write(chunk)
            return 1
        names = journals.account_names(accounts_file)
        made = await journals.build(session, zone, period, currency=currency, accounts=names)
    whole = period.since is None
    files = journals.render(
        journal_format, made, description=about, is_complete=whole, options=options
    )
    if len(files) > 1 and open_next_file is None:
        raise InvalidField(
            f"output: Xero takes {journals.XERO_MAX_LINES} lines in a file, and this makes "
            f"{len(files)} files. Name one with --output; the others are numbered.",
            field="output",
        )
    out.write(files[0])
    for number, data in enumerate(files[1:], 2):
        assert open_next_file is not None
        with open_next_file(number) as other:
            other.write(data)
    return len(files)


def totals_as_json(totals: dict[str, tuple[int, int]]) -> str:
    return json.dumps(
        {code: {"debits": debits, "credits": given} for code, (debits, given) in totals.items()}
    )
