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

from payments.accounting.exports import totals
from payments.accounting.exports.totals import SUMMED, Sums
from payments.core import money
from payments.core.money import Money

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.workbook import Workbook
    from xlsxwriter.worksheet import Worksheet

ROWS_MAX = 500_000  # of one sheet: Excel takes twice as many, and a part of a zip has its limit too
PATIENCE = 30 * 60.0  # seconds, for a whole workbook
TICK = 1000  # rows between two words of how far it is
KINDNESS = 5  # of 19: pages come first
MADE = datetime(2000, 1, 1)  # noqa: DTZ001 - a workbook says when it was made: the bytes must not change
MARKUP = "<r>"  # XlsxWriter would take it for its own, and write it as it stands
FILTER = 4  # characters: a filter's button covers the end of a head
DAY_NOUGHT = date(1899, 12, 30).toordinal()  # a spreadsheet counts its days from here
Told = Callable[[int], object]  # how many rows more there are


def _text(cell: str) -> str:
    return f"'{cell}" if cell.startswith(MARKUP) else cell


def _day(cell: str) -> int:
    return date.fromisoformat(cell).toordinal() - DAY_NOUGHT


class Kind(NamedTuple):
    """How a cell is read from the file, how it is shown, and how wide its column is at least."""

    read: Callable[[str], object]
    shown: Mapping[str, object]
    wide: int


KINDS = {
    "text": Kind(_text, {}, 18),
    "whole": Kind(int, {}, 12),
    "amount": Kind(float, {"num_format": "#,##0.00##;-#,##0.00##"}, 14),
    "day": Kind(_day, {"num_format": "yyyy-mm-dd"}, 12),
    "head": Kind(str, {"bold": True}, 0),
}


async def make(
    path: Path,
    source: Path,
    columns: Sequence[tuple[str, str]],
    *,
    about: Sequence[tuple[str, str]],
    told: Told = lambda _: None,
) -> None:
    """Write a workbook from a CSV file, in another process. `columns` are names and kinds."""
    asked = {"path": str(path), "source": str(source), "columns": columns, "about": about}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__), stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            process.stdin.write(json.dumps(asked).encode())
            process.stdin.close()
            async for line in process.stdout:
                told(int(line))
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code:
        raise RuntimeError(f"the process that writes sheets ended with {code}")


def write(
    path: Path,
    source: Path,
    columns: Sequence[tuple[str, str]],
    *,
    about: Sequence[tuple[str, str]],
    rows_max: int = ROWS_MAX,
    told: Told = lambda _: None,
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
    book.set_properties({"created": MADE})
    found: Sums = {}
    with source.open(encoding="utf-8", newline="") as file:
        count = _lines(book, totals.added(csv.reader(file), found), columns, rows_max, told)
    _totals(book, found)
    _about(book, [*about, ("rows", str(count))])
    book.close()
    return count


def _lines(
    book: "Workbook",
    rows: Iterator[Sequence[str]],
    columns: Sequence[tuple[str, str]],
    rows_max: int,
    told: Told,
) -> int:
    """Every sheet of lines. Gives how many there are."""
    assert list(next(rows)) == [name for name, _ in columns]
    shown = {name: book.add_format(dict(kind.shown)) for name, kind in KINDS.items()}
    sheet, number, line, count = _sheet(book, 1, columns, shown), 1, 0, 0
    cells = _cells(sheet, columns)
    for count, row in enumerate(rows, 1):
        if line == rows_max:
            sheet.autofilter(0, 0, line, len(columns) - 1)
            number, line = number + 1, 0
            sheet = _sheet(book, number, columns, shown)
            cells = _cells(sheet, columns)
        line += 1
        for (place, put, read), cell in zip(cells, row, strict=True):
            if cell:
                put(line, place, read(cell))
        if count % TICK == 0:
            told(TICK)
    sheet.autofilter(0, 0, line, len(columns) - 1)
    told(count % TICK)
    return count


def _sheet(
    book: "Workbook",
    number: int,
    columns: Sequence[tuple[str, str]],
    shown: Mapping[str, "Format"],
) -> "Worksheet":
    """The next sheet, with its heads: a filter on each, and none scrolls away."""
    sheet = book.add_worksheet(f"Ledger {number}" if number > 1 else "Ledger")
    sheet.freeze_panes(1, 1)
    for place, (name, kind) in enumerate(columns):
        wide = max(KINDS[kind].wide, len(name) + FILTER)
        sheet.set_column(place, place, wide, shown[kind])
        sheet.write_string(0, place, name, shown["head"])
    return sheet


Put = Callable[[int, int, Any], object]  # Any: a number, or text


def _cells(
    sheet: "Worksheet", columns: Sequence[tuple[str, str]]
) -> list[tuple[int, Put, Callable[[str], object]]]:
    """For each column: its place, how a cell is put there, and how it is read."""
    return [
        (place, sheet.write_string if kind == "text" else sheet.write_number, KINDS[kind].read)
        for place, (_, kind) in enumerate(columns)
    ]


def _totals(book: "Workbook", found: Sums) -> None:
    """What all lines add up to, by currency and type, and each currency as a whole."""
    sheet, head = book.add_worksheet("Totals"), book.add_format(dict(KINDS["head"].shown))
    sheet.freeze_panes(1, 0)
    sheet.set_column(0, 1, 18)
    sheet.set_column(2, 2, 10)
    sheet.set_column(3, 2 + len(SUMMED), 16, book.add_format(dict(KINDS["amount"].shown)))
    for place, name in enumerate(("settlement_currency", "type", "lines", *SUMMED)):
        sheet.write_string(0, place, name, head)
    line = 0
    for currency, types in sorted(found.items()):
        whole = {name: sum(of[name] for of in types.values()) for name in ("lines", *SUMMED)}
        for type_, of in [*sorted(types.items()), ("all", whole)]:
            line += 1
            sheet.write_string(line, 0, currency)
            sheet.write_string(line, 1, type_)
            sheet.write_number(line, 2, of["lines"])
            for place, name in enumerate(SUMMED, 3):
                sheet.write_number(line, place, float(money.plain(Money(of[name], currency))))


def _about(book: "Workbook", about: Sequence[tuple[str, str]]) -> None:
    sheet = book.add_worksheet("About")
    sheet.set_column(0, 0, 24, book.add_format(dict(KINDS["head"].shown)))
    sheet.set_column(1, 1, 80)
    for line, (name, says) in enumerate(about):
        sheet.write_string(line, 0, name)
        sheet.write_string(line, 1, says)


def _main() -> None:
    """The other process: what is asked for on its input, how far it is on its output."""
    os.nice(KINDNESS)
    asked = json.load(sys.stdin)
    write(
        Path(asked["path"]),
        Path(asked["source"]),
        asked["columns"],
        about=asked["about"],
        told=lambda rows: print(rows, flush=True),  # noqa: T201 - for the process that waits
    )


if __name__ == "__main__":
    _main()
