"""Workbooks: rows as XLSX, written as they come into the zip that a workbook is, so that memory
stays the same however many there are.

Text is always text and never a formula. The last sheet says what the first is of. The same rows
make the same bytes. It is written by hand because that is several times as quick as any library
that keeps cells: a row is one line of XML, and a number is the digits that PostgreSQL gave.
"""

import asyncio
import re
import zipfile
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import IO
from zoneinfo import ZoneInfo

from payments.exports.ledger import Column
from payments.reports.lines import Filters

BATCH = 500
ROWS_MAX = 500_000  # of one sheet: Excel takes twice as many, and a part of a zip has its limit too
EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's own beginning: the bytes must not change
QUICK = 3  # of zlib's levels: XML of rows that are alike shrinks well anyhow
MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"
XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
BOLD, AMOUNT = 1, 2  # places in the list of formats of _STYLES
_STYLES = f"""{XML}<styleSheet {MAIN}>\
<numFmts count="1"><numFmt numFmtId="164" formatCode="#,##0.00##;-#,##0.00##"/></numFmts>\
<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>\
<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>\
<fills count="2"><fill><patternFill patternType="none"/></fill>\
<fill><patternFill patternType="gray125"/></fill></fills>\
<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>\
<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>\
<cellXfs count="3"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>\
<xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/>\
<xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/></cellXfs>\
<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>"""
_FROZEN = """<sheetViews><sheetView workbookViewId="0"><pane xSplit="1" ySplit="1" \
topLeftCell="B2" activePane="bottomRight" state="frozen"/></sheetView></sheetViews>"""
# What XML cannot hold or would read as something else; a workbook writes it as _x000D_.
_AWKWARD = re.compile(r"[&<>\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


async def write(
    path: Path,
    columns: Sequence[Column],
    rows: AsyncIterator[tuple[str | None, ...]],
    *,
    about: Sequence[tuple[str, str]],
) -> int:
    """Write a workbook. Gives how many rows it has; more than a sheet holds go on to the next."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=QUICK) as packed:
        book = _Book(packed, columns)
        batch: list[tuple[str | None, ...]] = []
        async for row in rows:
            batch.append(row)
            if len(batch) == BATCH:
                await asyncio.to_thread(book.add, batch)
                batch = []
        await asyncio.to_thread(book.add, batch)
        book.close([*about, ("rows", str(book.rows))])
    return book.rows


class _Book:
    """The sheets that rows go to, one after the other, and the parts that name them."""

    def __init__(self, packed: zipfile.ZipFile, columns: Sequence[Column]) -> None:
        self.packed = packed
        self.columns = columns
        self.marks = [_mark(place, column.kind) for place, column in enumerate(columns)]
        self.rows = 0
        self.names: list[str] = []
        self._begin()

    def _begin(self) -> None:
        """Open the next sheet. A zip takes one part at a time."""
        self.names.append(f"Ledger {len(self.names) + 1}" if self.names else "Ledger")
        widths = (14 if column.kind != "text" else 18 for column in self.columns)
        self.sheet = self._open(widths, _FROZEN)
        heads = [_mark(place, "text", BOLD) for place in range(len(self.columns))]
        self.sheet.write(_row(1, heads, [column.name for column in self.columns]).encode())

    def _open(self, widths: Iterable[int], view: str) -> IO[bytes]:
        sheet = self.packed.open(_part(f"xl/worksheets/sheet{len(self.names)}.xml"), "w")
        wide = "".join(
            f'<col min="{n}" max="{n}" width="{width}" customWidth="1"/>'
            for n, width in enumerate(widths, 1)
        )
        sheet.write(f"{XML}<worksheet {MAIN}>{view}<cols>{wide}</cols><sheetData>".encode())
        return sheet

    def _end(self) -> None:
        self.sheet.write(b"</sheetData></worksheet>")
        self.sheet.close()

    def add(self, rows: Sequence[tuple[str | None, ...]]) -> None:
        written: list[str] = []
        for row in rows:
            if self.rows and self.rows % ROWS_MAX == 0:
                self.sheet.write("".join(written).encode())
                written = []
                self._end()
                self._begin()
            written.append(_row(self.rows % ROWS_MAX + 2, self.marks, row))
            self.rows += 1
        self.sheet.write("".join(written).encode())

    def close(self, about: Sequence[tuple[str, str]]) -> None:
        """The sheet that tells of the others, and what makes parts a workbook."""
        self._end()
        self.names.append("About")
        self.sheet = self._open((24, 80), "")
        marks = [_mark(0, "text", BOLD), _mark(1, "text")]
        for line, pair in enumerate(about, 1):
            self.sheet.write(_row(line, marks, pair).encode())
        self._end()
        for name, content in _parts(self.names):
            self.packed.writestr(_part(name), content)


def _part(name: str) -> zipfile.ZipInfo:
    part = zipfile.ZipInfo(name, EPOCH)
    part.compress_type = zipfile.ZIP_DEFLATED
    return part


# --- cells ----------------------------------------------------------------------------------------

Mark = tuple[str, str, str, bool]  # before the number of the line, after it, after the value; text


def _mark(place: int, kind: str, style: int = 0) -> Mark:
    style = AMOUNT if kind == "amount" else style
    styled = f' s="{style}"' if style else ""
    before = f'<c r="{_letters(place)}'
    if kind == "text":
        return (
            before,
            f'"{styled} t="inlineStr"><is><t xml:space="preserve">',
            "</t></is></c>",
            True,
        )
    return before, f'"{styled}><v>', "</v></c>", False


def _letters(place: int) -> str:
    """A, B, … Z, AA, …"""
    more, last = divmod(place, 26)
    return (_letters(more - 1) if more else "") + chr(ord("A") + last)


def _row(line: int, marks: Sequence[Mark], row: Sequence[str | None]) -> str:
    cells = [
        f"{before}{line}{between}{_AWKWARD.sub(_escaped, value) if is_text else value}{after}"
        for (before, between, after, is_text), value in zip(marks, row, strict=True)
        if value is not None
    ]
    return f'<row r="{line}">{"".join(cells)}</row>'


def _escaped(found: re.Match[str]) -> str:
    return _NAMED.get(found[0], f"_x{ord(found[0]):04X}_")


# --- what makes parts a workbook ------------------------------------------------------------------


_TYPES = f"""<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" \
ContentType="application/vnd.openxmlformats-package.relationships+xml"/>\
<Default Extension="xml" ContentType="application/xml"/>"""


def _parts(names: Sequence[str]) -> Iterable[tuple[str, str]]:
    numbered = list(enumerate(names, 1))
    sheets = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"/>' for n, name in numbered)
    related = "".join(_related(n, "worksheet", f"worksheets/sheet{n}.xml") for n, _ in numbered)
    kinds = "".join(_kind(f"/xl/worksheets/sheet{n}.xml", "worksheet") for n, _ in numbered)
    kinds += _kind("/xl/workbook.xml", "sheet.main") + _kind("/xl/styles.xml", "styles")
    yield "[Content_Types].xml", f"{XML}{_TYPES}{kinds}</Types>"
    yield "_rels/.rels", _relations(_related(1, "officeDocument", "xl/workbook.xml"))
    root = f'<workbook {MAIN} xmlns:r="{OFFICE}">'
    yield "xl/workbook.xml", f"{XML}{root}<sheets>{sheets}</sheets></workbook>"
    styles = _related(len(names) + 1, "styles", "styles.xml")
    yield "xl/_rels/workbook.xml.rels", _relations(related + styles)
    yield "xl/styles.xml", _STYLES


def _kind(part: str, kind: str) -> str:
    return f'<Override PartName="{part}" ContentType="{KIND}.{kind}+xml"/>'


def _related(number: int, kind: str, target: str) -> str:
    return f'<Relationship Id="rId{number}" Type="{OFFICE}/{kind}" Target="{target}"/>'


def _relations(related: str) -> str:
    return f'{XML}<Relationships xmlns="{PACKAGE}/relationships">{related}</Relationships>'


def about(filters: Filters, zone: ZoneInfo) -> list[tuple[str, str]]:
    """What the last sheet of a ledger says."""
    return [
        ("what", "one line for each movement of the Stripe balance, oldest first"),
        *((part.partition("=")[0], part.partition("=")[2]) for part in filters.words().split()),
        ("zone", zone.key),
        ("amounts", "major units of the currency beside them; *_minor in its smallest unit"),
        ("empty cells", "not known, or not kept: no person, country or card is held"),
    ]
