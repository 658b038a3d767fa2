"""Workbooks: the transactions file once more as XLSX, typed, with its totals and what it is of.

The sheet is made from the file that PostgreSQL wrote, so that the two cannot differ. XlsxWriter
writes it row by row, with its working files beside it and nothing held in memory. Ten thousand rows
take a second or two, so it runs in a process of its own and pages are served meanwhile. Text is
always text, never a formula or a link. The same rows make the same bytes.
"""

import asyncio
import csv
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from payments.accounting.exports import ProgressCallback, transaction_totals
from payments.accounting.exports.transaction_totals import (
    OTHER_SUFFIX,
    SUMMED_COLUMNS,
    TransactionTotals,
)
from payments.core import money
from payments.core.money import Money

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.workbook import Workbook
    from xlsxwriter.worksheet import Worksheet

# Of one sheet: Excel takes twice as many, and a part of a zip has its limit too.
ROWS_MAX = 500_000
WORKBOOK_TIMEOUT = 30 * 60.0  # seconds, for a whole workbook
PROGRESS_EVERY_ROWS = 1000
NICENESS = 5  # of 19: pages come first
# A workbook says when it was created; the bytes must not change.
FIXED_CREATED_AT = datetime(2000, 1, 1)  # noqa: DTZ001 - XlsxWriter takes no zone
RICH_TEXT_PREFIX = "<r>"  # XlsxWriter would take it for markup of its own
FILTER_BUTTON_WIDTH = 4  # characters: a filter's button covers the end of a head
SPREADSHEET_EPOCH = date(1899, 12, 30).toordinal()  # a spreadsheet counts its days from here


def _parse_text(cell: str) -> str:
    return f"'{cell}" if cell.startswith(RICH_TEXT_PREFIX) else cell


def _parse_day(cell: str) -> int:
    return date.fromisoformat(cell).toordinal() - SPREADSHEET_EPOCH


class CellKind(NamedTuple):
    """How a cell is read from the file, how it is shown, and how wide its column is at least."""

    parse: Callable[[str], object]
    cell_format: Mapping[str, object]
    min_width: int


CELL_KINDS = {
    "text": CellKind(_parse_text, {}, 18),
    "whole": CellKind(int, {}, 12),
    "amount": CellKind(float, {"num_format": "#,##0.00##;-#,##0.00##"}, 14),
    "day": CellKind(_parse_day, {"num_format": "yyyy-mm-dd"}, 12),
    "head": CellKind(str, {"bold": True}, 0),
}


async def write_in_subprocess(
    path: Path,
    source: Path,
    columns: Sequence[tuple[str, str]],
    *,
    about: Sequence[tuple[str, str]],
    on_progress: ProgressCallback = lambda _: None,
) -> None:
    """Write a workbook from a CSV file, in another process.

    `columns` are names and kinds, `about` the lines of the last sheet. Raises RuntimeError or
    TimeoutError.
    """
    request = {"path": str(path), "source": str(source), "columns": columns, "about": about}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__), stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WORKBOOK_TIMEOUT):
            process.stdin.write(json.dumps(request).encode())
            process.stdin.close()
            async for line in process.stdout:
                on_progress(int(line))
            exit_code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if exit_code:
        raise RuntimeError(f"the process that writes sheets ended with {exit_code}")


def write_workbook(
    path: Path,
    source: Path,
    columns: Sequence[tuple[str, str]],
    *,
    about: Sequence[tuple[str, str]],
    rows_max: int = ROWS_MAX,
    on_progress: ProgressCallback = lambda _: None,
) -> int:
    """Write a workbook from a CSV file, in this process. Returns how many rows it has.

    Rows after the first `rows_max` go on to the next sheet.
    """
    import xlsxwriter  # noqa: PLC0415 - only the process that writes needs it

    workbook = xlsxwriter.Workbook(
        path,
        {
            "constant_memory": True,
            "tmpdir": str(path.parent),
            "strings_to_formulas": False,
            "strings_to_numbers": False,
            "strings_to_urls": False,
        },
    )
    workbook.set_properties({"created": FIXED_CREATED_AT})
    totals: TransactionTotals = {}
    with source.open(encoding="utf-8", newline="") as file:
        rows = transaction_totals.accumulate(csv.reader(file), totals)
        count = _write_rows(workbook, rows, columns, rows_max, on_progress)
    _write_totals(workbook, totals)
    _write_about(workbook, [*about, ("rows", str(count))])
    workbook.close()
    return count


def _write_rows(
    workbook: "Workbook",
    rows: Iterator[Sequence[str]],
    columns: Sequence[tuple[str, str]],
    rows_max: int,
    on_progress: ProgressCallback,
) -> int:
    """Write every sheet of rows. Returns how many rows there are."""
    assert list(next(rows)) == [name for name, _ in columns]
    formats = {
        name: workbook.add_format(dict(kind.cell_format)) for name, kind in CELL_KINDS.items()
    }
    sheet_number, line, count = 1, 0, 0
    sheet = _add_sheet(workbook, sheet_number, columns, formats)
    writers = _column_writers(sheet, columns)
    for count, row in enumerate(rows, 1):
        if line == rows_max:
            sheet.autofilter(0, 0, line, len(columns) - 1)
            sheet_number, line = sheet_number + 1, 0
            sheet = _add_sheet(workbook, sheet_number, columns, formats)
            writers = _column_writers(sheet, columns)
        line += 1
        for (column, write, parse), cell in zip(writers, row, strict=True):
            if cell:
                write(line, column, parse(cell))
        if count % PROGRESS_EVERY_ROWS == 0:
            on_progress(PROGRESS_EVERY_ROWS)
    sheet.autofilter(0, 0, line, len(columns) - 1)
    on_progress(count % PROGRESS_EVERY_ROWS)
    return count


def _add_sheet(
    workbook: "Workbook",
    number: int,
    columns: Sequence[tuple[str, str]],
    formats: Mapping[str, "Format"],
) -> "Worksheet":
    """Add a sheet with its heads: a filter on each, and none scrolls away."""
    sheet = workbook.add_worksheet(f"Ledger {number}" if number > 1 else "Ledger")
    sheet.freeze_panes(1, 1)
    for column, (name, kind) in enumerate(columns):
        width = max(CELL_KINDS[kind].min_width, len(name) + FILTER_BUTTON_WIDTH)
        sheet.set_column(column, column, width, formats[kind])
        sheet.write_string(0, column, name, formats["head"])
    return sheet


CellWriter = Callable[[int, int, Any], object]  # Any: a number, or text


def _column_writers(
    sheet: "Worksheet", columns: Sequence[tuple[str, str]]
) -> list[tuple[int, CellWriter, Callable[[str], object]]]:
    """For each column: its number, how a cell is written there, and how its text is parsed."""
    return [
        (
            column,
            sheet.write_string if kind == "text" else sheet.write_number,
            CELL_KINDS[kind].parse,
        )
        for column, (_, kind) in enumerate(columns)
    ]


def _write_totals(workbook: "Workbook", totals: TransactionTotals) -> None:
    """Write what all rows add up to, by currency and type, and each currency as a whole.

    Other income is in no figure of the months, so a currency that has any is also added up without.
    """
    sheet = workbook.add_worksheet("Totals")
    head = workbook.add_format(dict(CELL_KINDS["head"].cell_format))
    amount = workbook.add_format(dict(CELL_KINDS["amount"].cell_format))
    sheet.freeze_panes(1, 0)
    sheet.set_column(0, 1, 18)
    sheet.set_column(2, 2, 10)
    sheet.set_column(3, 2 + len(SUMMED_COLUMNS), 16, amount)
    for column, name in enumerate(("settlement_currency", "type", "transactions", *SUMMED_COLUMNS)):
        sheet.write_string(0, column, name, head)
    line = 0
    for currency, types in sorted(totals.items()):
        own = [sums for type_, sums in types.items() if not type_.endswith(OTHER_SUFFIX)]
        wholes = [("all", _add_up(types.values()))]
        if len(own) < len(types):
            wholes.insert(0, ("all but other income, as in the months", _add_up(own)))
        for type_, sums in [*sorted(types.items()), *wholes]:
            line += 1
            sheet.write_string(line, 0, currency)
            sheet.write_string(line, 1, type_)
            sheet.write_number(line, 2, sums["transactions"])
            for column, name in enumerate(SUMMED_COLUMNS, 3):
                major_units = money.to_decimal_string(Money(sums[name], currency))
                sheet.write_number(line, column, float(major_units))


def _add_up(sums: Iterable[Mapping[str, int]]) -> dict[str, int]:
    totals = dict.fromkeys(("transactions", *SUMMED_COLUMNS), 0)
    for one in sums:
        for name in totals:
            totals[name] += one[name]
    return totals


def _write_about(workbook: "Workbook", about: Sequence[tuple[str, str]]) -> None:
    sheet = workbook.add_worksheet("About")
    sheet.set_column(0, 0, 24, workbook.add_format(dict(CELL_KINDS["head"].cell_format)))
    sheet.set_column(1, 1, 80)
    for line, (name, value) in enumerate(about):
        sheet.write_string(line, 0, name)
        sheet.write_string(line, 1, value)


def _main() -> None:
    """Run the other process: it reads its request from stdin, and prints its progress to stdout."""
    os.nice(NICENESS)
    request = json.load(sys.stdin)
    write_workbook(
        Path(request["path"]),
        Path(request["source"]),
        request["columns"],
        about=request["about"],
        on_progress=lambda rows: print(rows, flush=True),  # noqa: T201 - for the parent process
    )


if __name__ == "__main__":
    _main()
