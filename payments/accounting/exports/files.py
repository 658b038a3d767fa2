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

from payments.accounting.exports import journals, ledger_entries, transactions, xlsx
from payments.accounting.exports.journals import Customs, Format
from payments.accounting.reports.period import Period
from payments.accounting.reports.transactions import Filters
from payments.core.errors import InvalidField
from payments.infra.context import Runtime

Told = Callable[[int], object]  # how many rows more there are in the file
SHEET_TAKES = 4  # times as long as the CSV file, and is made from one


async def count(rt: Runtime, filters: Filters) -> int:
    """How many rows a ledger file will have."""
    async with rt.sessions() as session:
        return await transactions.count(session, rt.settings.zone, filters)


async def ledger_csv(rt: Runtime, filters: Filters, out: IO[bytes], *, told: Told) -> None:
    async with rt.sessions() as session:
        async for chunk in transactions.as_csv(session, rt.settings.zone, filters):
            out.write(chunk)
            told(chunk.count(b"\n"))


async def ledger_xlsx(
    rt: Runtime, filters: Filters, out: IO[bytes], *, told: Told = lambda _: None
) -> None:
    """The same file as a workbook. What is set aside lies in the system's temporary folder."""
    with TemporaryDirectory() as folder, NamedTemporaryFile(dir=folder) as source:
        await ledger_csv(rt, filters, source, told=told)
        source.flush()
        made = Path(folder, "lines.xlsx")
        await xlsx.make(
            made,
            Path(source.name),
            [(column.name, column.kind) for column in transactions.COLUMNS],
            about=transactions.about(filters, rt.settings.zone),
            told=lambda rows: told(rows * SHEET_TAKES),
        )
        with await asyncio.to_thread(made.open, "rb") as whole:
            await asyncio.to_thread(shutil.copyfileobj, whole, out)


async def totals(
    rt: Runtime, kind: Format, period: Period, *, currency: str | None, accounts: Path | None
) -> dict[str, tuple[int, int]]:
    """Debits and credits of a journal by currency. Raises JournalUnbalanced."""
    async with rt.sessions() as session:
        if kind is Format.CSV:
            return await ledger_entries.totals(session, rt.settings.zone, period, currency=currency)
        names = journals.names(accounts)
        made = await journals.read(
            session, rt.settings.zone, period, currency=currency, accounts=names
        )
    return journals.totals(made)


async def journal(
    rt: Runtime,
    kind: Format,
    period: Period,
    out: BinaryIO,
    *,
    currency: str | None,
    accounts: Path | None,
    customs: Customs = journals.PLAIN,
    more: Callable[[int], BinaryIO] | None = None,
) -> int:
    """Write a journal; `more` opens the second file and those after it. Gives how many there are.

    Raises InvalidField when there would be several and there is no place for them.
    """
    zone = rt.settings.zone
    about = f"journal {Filters(period, currency=currency).words()} zone={zone.key}"
    async with rt.sessions() as session:
        if kind is Format.CSV:
            rows = ledger_entries.as_csv(
                session, zone, period, currency=currency, exported_in=about
            )
            async for chunk in rows:
                out.write(chunk)
            return 1
        names = journals.names(accounts)
        made = await journals.read(session, zone, period, currency=currency, accounts=names)
    whole = period.since is None
    files = journals.files(kind, made, about=about, whole=whole, customs=customs)
    if len(files) > 1 and more is None:
        raise InvalidField(
            f"output: Xero takes {journals.XERO_LINES} lines in a file, and this makes "
            f"{len(files)} files. Name one with --output; the others are numbered.",
            field="output",
        )
    out.write(files[0])
    for number, data in enumerate(files[1:], 2):
        assert more is not None
        with more(number) as other:
            other.write(data)
    return len(files)


def as_json(sums: dict[str, tuple[int, int]]) -> str:
    return json.dumps(
        {code: {"debits": debits, "credits": given} for code, (debits, given) in sums.items()}
    )
