"""Workbooks: the ledger's CSV file once more, typed, with its totals and what it is of.

The sheet is made from the file that PostgreSQL wrote, so the two cannot differ. XlsxWriter writes
it row by row, and what it sets aside lies beside the file, never in memory. It is busy for a second
or two with ten thousand lines, so it has a process of its own and pages are served meanwhile. Text
is always text, never a formula or a link. The same rows make the same bytes.
"""

import asyncio
import csv
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from payments.accounting.exports import ledger_totals
from payments.accounting.exports.ledger_totals import SUMMED_COLUMNS, LedgerTotals
from payments.core import money
from payments.core.money import Money

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.workbook import Workbook
    from xlsxwriter.worksheet import Worksheet

ROWS_MAX = 500_000  # of one sheet: Excel takes twice as many, and a part of a zip has its limit too
WORKBOOK_TIMEOUT = 30 * 60.0  # seconds, for a whole workbook
PROGRESS_EVERY_ROWS = 1000  # rows between two words of how far it is
NICENESS = 5  # of 19: pages come first
FIXED_CREATED_AT = datetime(2000, 1, 1)  # noqa: DTZ001 - a workbook says when it was made: the bytes must not change
RICH_TEXT_PREFIX = "<r>"  # XlsxWriter would take it for its own, and write it as it stands
FILTER_BUTTON_WIDTH = 4  # characters: a filter's button covers the end of a head
SPREADSHEET_EPOCH = date(1899, 12, 30).toordinal()  # a spreadsheet counts its days from here
ProgressCallback = Callable[[int], object]  # how many rows more there are


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
    """Write a workbook from a CSV file, in another process. `columns` are names and kinds."""
    asked = {"path": str(path), "source": str(source), "columns": columns, "about": about}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__), stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WORKBOOK_TIMEOUT):
            process.stdin.write(json.dumps(asked).encode())
            process.stdin.close()
            async for line in process.stdout:
                on_progress(int(line))
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code:
        raise RuntimeError(f"the process that writes sheets ended with {code}")


def write_workbook(
    path: Path,
    source: Path,
    columns: Sequence[tuple[str, str]],
    *,
    about: Sequence[tuple[str, str]],
    rows_max: int = ROWS_MAX,
    on_progress: ProgressCallback = lambda _: None,
) -> int:
    """The same, here and now. Gives how many rows; more than `rows_max` go on to the next sheet."""
    import xlsxwriter  # noqa: PLC0415 - only the process that writes needs it

    book = xlsxwriter.Workbook(
        path,
        {
            "constant_memory": True,
            "tmpdir": str(path.parent),
            "strings_to_formulas": False,
            "strings_to_numbers": False,
            "strings_to_urls": False,
        },
    )
    book.set_properties({"created": FIXED_CREATED_AT})
    found: LedgerTotals = {}
    with source.open(encoding="utf-8", newline="") as file:
        count = _write_rows(
            book, ledger_totals.accumulate(csv.reader(file), found), columns, rows_max, on_progress
        )
    _write_totals(book, found)
    _write_about(book, [*about, ("rows", str(count))])
    book.close()
    return count


def _write_rows(
    book: "Workbook",
    rows: Iterator[Sequence[str]],
    columns: Sequence[tuple[str, str]],
    rows_max: int,
    on_progress: ProgressCallback,
) -> int:
    """Every sheet of lines. Gives how many there are."""
    assert list(next(rows)) == [name for name, _ in columns]
    shown = {name: book.add_format(dict(kind.cell_format)) for name, kind in CELL_KINDS.items()}
    sheet, number, line, count = _add_sheet(book, 1, columns, shown), 1, 0, 0
    cells = _column_writers(sheet, columns)
    for count, row in enumerate(rows, 1):
        if line == rows_max:
            sheet.autofilter(0, 0, line, len(columns) - 1)
            number, line = number + 1, 0
            sheet = _add_sheet(book, number, columns, shown)
            cells = _column_writers(sheet, columns)
        line += 1
        for (place, put, read), cell in zip(cells, row, strict=True):
            if cell:
                put(line, place, read(cell))
        if count % PROGRESS_EVERY_ROWS == 0:
            on_progress(PROGRESS_EVERY_ROWS)
    sheet.autofilter(0, 0, line, len(columns) - 1)
    on_progress(count % PROGRESS_EVERY_ROWS)
    return count


def _add_sheet(
    book: "Workbook",
    number: int,
    columns: Sequence[tuple[str, str]],
    formats: Mapping[str, "Format"],
) -> "Worksheet":
    """The next sheet, with its heads: a filter on each, and none scrolls away."""
    sheet = book.add_worksheet(f"Ledger {number}" if number > 1 else "Ledger")
    sheet.freeze_panes(1, 1)
    for place, (name, kind) in enumerate(columns):
        wide = max(CELL_KINDS[kind].min_width, len(name) + FILTER_BUTTON_WIDTH)
        sheet.set_column(place, place, wide, formats[kind])
        sheet.write_string(0, place, name, formats["head"])
    return sheet


CellWriter = Callable[[int, int, Any], object]  # Any: a number, or text


def _column_writers(
    sheet: "Worksheet", columns: Sequence[tuple[str, str]]
) -> list[tuple[int, CellWriter, Callable[[str], object]]]:
    """For each column: its place, how a cell is put there, and how it is read."""
    return [
        (
            place,
            sheet.write_string if kind == "text" else sheet.write_number,
            CELL_KINDS[kind].parse,
        )
        for place, (_, kind) in enumerate(columns)
    ]


def _write_totals(book: "Workbook", ledger_totals: LedgerTotals) -> None:
    """What all lines add up to, by currency and type, and each currency as a whole."""
    sheet, head = (
        book.add_worksheet("Totals"),
        book.add_format(dict(CELL_KINDS["head"].cell_format)),
    )
    sheet.freeze_panes(1, 0)
    sheet.set_column(0, 1, 18)
    sheet.set_column(2, 2, 10)
    sheet.set_column(
        3, 2 + len(SUMMED_COLUMNS), 16, book.add_format(dict(CELL_KINDS["amount"].cell_format))
    )
    for place, name in enumerate(("settlement_currency", "type", "lines", *SUMMED_COLUMNS)):
        sheet.write_string(0, place, name, head)
    line = 0
    for currency, types in sorted(ledger_totals.items()):
        whole = {
            name: sum(of[name] for of in types.values()) for name in ("lines", *SUMMED_COLUMNS)
        }
        for type_, of in [*sorted(types.items()), ("all", whole)]:
            line += 1
            sheet.write_string(line, 0, currency)
            sheet.write_string(line, 1, type_)
            sheet.write_number(line, 2, of["lines"])
            for place, name in enumerate(SUMMED_COLUMNS, 3):
                sheet.write_number(
                    line, place, float(money.to_decimal_string(Money(of[name], currency)))
                )


def _write_about(book: "Workbook", about: Sequence[tuple[str, str]]) -> None:
    sheet = book.add_worksheet("About")
    sheet.set_column(0, 0, 24, book.add_format(dict(CELL_KINDS["head"].cell_format)))
    sheet.set_column(1, 1, 80)
    for line, (name, says) in enumerate(about):
        sheet.write_string(line, 0, name)
        sheet.write_string(line, 1, says)


def _main() -> None:
    """The other process: what is asked for on its input, how far it is on its output."""
    os.nice(NICENESS)
    asked = json.load(sys.stdin)
    write_workbook(
        Path(asked["path"]),
        Path(asked["source"]),
        asked["columns"],
        about=asked["about"],
        on_progress=lambda rows: print(rows, flush=True),  # noqa: T201 - for the process that waits
    )


if __name__ == "__main__":
    _main()
