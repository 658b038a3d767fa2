"""Whole files, for a page or the command line, with progress as they are written.

What a page sends and what a command writes are the same bytes.
"""

import asyncio
import json
import re
import shutil
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import IO
from zoneinfo import ZoneInfo

from payments.accounting import deferred_income
from payments.accounting.exports import (
    ProgressCallback,
    account_map,
    csv_tables,
    journals,
    ledger_entries,
    program_files,
    transactions_csv,
    xlsx,
)
from payments.accounting.exports.journal_format import JournalFormat
from payments.accounting.reports.period import Period
from payments.accounting.reports.transaction_filters import Filters
from payments.infra.context import Context

XLSX_COST_FACTOR = 4  # a workbook takes so many times as long as the CSV file it is made from


def export_filename(kind: str, description: str, zone: ZoneInfo, suffix: str) -> str:
    """Return a name that says what is in a file: payments-payouts_2026-10_usd_Europe-Berlin.csv.

    `description` holds filters such as `period=2026-10 currency=usd`.
    """
    values = [part.partition("=")[2] for part in description.split()]
    parts = [f"payments-{kind}", *values, zone.key]
    return re.sub(r"[^A-Za-z0-9_.-]", "-", "_".join(parts)) + suffix


async def count_rows(ctx: Context, filters: Filters) -> int:
    """Return how many rows a transactions file will have."""
    async with ctx.sessions() as session:
        return await transactions_csv.count_rows(session, ctx.settings.accounting_zoneinfo, filters)


async def write_transactions_csv(
    ctx: Context, filters: Filters, out: IO[bytes], *, on_progress: ProgressCallback
) -> None:
    """Write the transactions as CSV."""
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
    """Write the same file as a workbook. Its working files are in the temporary folder."""
    with TemporaryDirectory() as folder, NamedTemporaryFile(dir=folder) as source:
        await write_transactions_csv(ctx, filters, source, on_progress=on_progress)
        source.flush()
        workbook = Path(folder, "lines.xlsx")
        await xlsx.write_in_subprocess(
            workbook,
            Path(source.name),
            [(column.name, column.kind) for column in transactions_csv.COLUMNS],
            about=transactions_csv.about_sheet(filters, ctx.settings.accounting_zoneinfo),
            on_progress=lambda rows: on_progress(rows * XLSX_COST_FACTOR),
        )
        with await asyncio.to_thread(workbook.open, "rb") as file:
            await asyncio.to_thread(shutil.copyfileobj, file, out)


async def journal_totals(
    ctx: Context, journal_format: JournalFormat, period: Period, *, currency: str | None
) -> dict[str, tuple[int, int]]:
    """Return debits and credits of a journal by currency."""
    zone = ctx.settings.accounting_zoneinfo
    async with ctx.sessions() as session:
        if journal_format is JournalFormat.CSV:
            return await ledger_entries.sum_by_currency(session, zone, period, currency=currency)
        return journals.sum_by_currency(
            await journals.build(session, zone, period, currency=currency)
        )


async def write_journal(
    ctx: Context,
    journal_format: JournalFormat,
    period: Period,
    out: IO[bytes],
    *,
    currency: str | None,
) -> str:
    """Write a journal or a statement, of several files an archive. Returns the name's ending.

    Raises InvalidField for several currencies where the program takes one, and ProgramRefuses.
    """
    zone = ctx.settings.accounting_zoneinfo
    description = f"journal {Filters(period, currency=currency).describe()} zone={zone.key}"
    async with ctx.sessions() as session:
        if journal_format is JournalFormat.CSV:
            rows = ledger_entries.stream_csv(
                session, zone, period, currency=currency, exported_in=description
            )
            async for chunk in rows:
                out.write(chunk)
            return ".csv"
        made = await program_files.make(
            session,
            zone,
            journal_format,
            period,
            await account_map.current_names(session),
            currency=currency,
            description=description,
        )
    suffix, data = program_files.to_one_file(made)
    out.write(data)
    return suffix


async def write_deferred(
    ctx: Context,
    journal_format: JournalFormat,
    months: Period,
    out: IO[bytes],
    *,
    currency: str | None,
) -> str:
    """Write the journal of deferred income of whole months. Returns the name's ending.

    Raises as `write_journal` does, and InvalidField for a bank statement.
    """
    zone = ctx.settings.accounting_zoneinfo
    description = f"deferred {Filters(months, currency=currency).describe()} zone={zone.key}"
    async with ctx.sessions() as session:
        if journal_format is JournalFormat.CSV:
            assert months.since is not None
            assert months.until is not None
            rows = await deferred_income.by_month(
                session, zone, since=months.since, until=months.until, currency=currency
            )
            out.write(csv_tables.deferred_csv(rows, exported_in=description))
            return ".csv"
        made = await program_files.make(
            session,
            zone,
            journal_format,
            months,
            await account_map.current_names(session),
            currency=currency,
            description=description,
            deferred=True,
        )
    suffix, data = program_files.to_one_file(made)
    out.write(data)
    return suffix


def totals_as_json(totals: dict[str, tuple[int, int]]) -> str:
    """Return debits and credits by currency as JSON."""
    return json.dumps(
        {
            currency: {"debits": debits, "credits": credits_}
            for currency, (debits, credits_) in totals.items()
        }
    )
