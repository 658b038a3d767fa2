"""Receipts, statements and reports as PDF, made here, in a font that travels with the code.

A PDF says what its page says, in the same order and language, from the right where one writes so:
letters are joined by HarfBuzz, and their order is Unicode's (TR9). It has a line for the name,
because none is held. A newsroom whose name or address has letters that the font lacks has no PDF;
but its page can be printed.

A report has sections, each with a table: their headings are the outline of the file and marked in
its structure, its title is in the title bar, and its pages are numbered. Nothing is said by colour
alone. Tables are text in reading order; the library cannot mark their cells.
"""

import asyncio
import functools
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import Align, TableBordersLayout, WrapMode, XPos, YPos
from fpdf.fonts import FontFace, TextStyle, TTFFont
from fpdf.image_parsing import get_img_info
from fpdf.prefs import ViewerPreferences

from payments.core import i18n, money

FONT_FILE = Path(__file__).parents[1] / "fonts" / "DejaVuSans.ttf"
FONT = "DejaVu"
LINE = 6.5  # millimetres
FACT_WIDTH = 55
LOGO_HEIGHT = 12
MANY_COLUMNS = 3  # beside the first, from which on that is narrower
SECTION_HEIGHT = 32  # of a heading with the first lines of its table


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and a table; all columns but the first are set to the right where `numeric`."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    footer: Sequence[Sequence[str]] = ()
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Paper:
    """What stands on one sheet, ready to print."""

    title: str
    issuer: str
    colour: str  # #rrggbb, of the name on top
    logo: bytes | None
    language: str
    made_at: datetime
    facts: Sequence[tuple[str, str]]
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    totals: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = field(default=())
    sections: Sequence[Section] = ()

    @property
    def is_rtl(self) -> bool:
        """Whether it is written from the right."""
        return i18n.text_direction(self.language) == "rtl"

    @property
    def start(self) -> str:
        """Where its lines begin: L or R."""
        return "R" if self.is_rtl else "L"

    @property
    def end(self) -> str:
        """Where its lines end."""
        return "L" if self.is_rtl else "R"

    def isolate(self, text: str) -> str:
        """Return a text that keeps its own direction on this paper: "1 Canal Street"."""
        isolated = not text or not self.is_rtl or "\N{FIRST STRONG ISOLATE}" in text
        return text if isolated else money.isolate(text)

    def texts(self) -> Iterator[str]:
        """Yield everything that stands on it."""
        yield from (self.title, self.issuer, *self.columns, *self.notes)
        for row in (*self.facts, *self.rows, *self.totals):
            yield from row
        for section in self.sections:
            yield section.heading
            for row in (section.columns, *section.rows, *section.footer):
                yield from row


def is_offered(*texts: str) -> bool:
    """Whether the font has each letter of these texts."""
    letters = _letters()
    return all(
        ord(letter) in letters or letter.isspace() or unicodedata.category(letter) == "Cf"
        for text in texts
        for letter in text
    )


@functools.cache
def _letters() -> frozenset[int]:
    pdf = FPDF()
    pdf.add_font(FONT, fname=FONT_FILE)
    font = pdf.fonts[FONT.lower()]
    assert isinstance(font, TTFFont)
    font.close()
    return frozenset(font.cmap)


async def render(paper: Paper) -> bytes:
    """Return a paper as a PDF. It is made on a thread, since it takes a tenth of a second."""
    return await asyncio.to_thread(_render, paper)


def _render(paper: Paper) -> bytes:
    pdf = _Numbered(paper.title) if paper.sections else FPDF(format="A4")
    pdf.viewer_preferences = ViewerPreferences(display_doc_title=True)
    pdf.set_title(paper.title)
    pdf.set_lang(paper.language)
    pdf.set_creation_date(paper.made_at)
    pdf.add_font(FONT, fname=FONT_FILE)
    letters = {unicodedata.bidirectional(letter) for text in paper.texts() for letter in text}
    if paper.is_rtl or letters & {"R", "AL"}:
        pdf.set_text_shaping(direction="rtl" if paper.is_rtl else "ltr")
    pdf.set_margin(20)
    pdf.add_page()
    _write_head(pdf, paper)
    _write_facts(pdf, paper)
    if paper.rows:
        _write_table(pdf, paper)
    for section in paper.sections:
        _write_section(pdf, section)
    pdf.set_font(FONT, size=9)
    for note in paper.notes:
        pdf.multi_cell(0, 5, note, align=paper.start, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        pdf.ln(2)
    return bytes(pdf.output())


def _write_head(pdf: FPDF, paper: Paper) -> None:
    if paper.logo is not None:
        info = get_img_info(BytesIO(paper.logo))
        height = min(LOGO_HEIGHT, pdf.epw * info.height / info.width)
        pdf.image(BytesIO(paper.logo), x=Align.R if paper.is_rtl else Align.L, h=height)
        pdf.ln(2)
    pdf.set_font(FONT, size=12)
    pdf.set_text_color(paper.colour)
    pdf.multi_cell(0, LINE, paper.issuer, align=paper.start, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pdf.set_text_color(0)
    pdf.set_font(FONT, size=20)
    pdf.ln(4)
    pdf.multi_cell(0, 10, paper.title, align=paper.start, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pdf.ln(4)


def _write_facts(pdf: FPDF, paper: Paper) -> None:
    """Write names and values; a value that is empty is a line to write on."""
    pdf.set_font(FONT, size=11)
    value_width = pdf.epw - FACT_WIDTH
    name_x, value_x = pdf.l_margin, pdf.l_margin + FACT_WIDTH
    if paper.is_rtl:
        name_x, value_x = pdf.l_margin + value_width, pdf.l_margin
    for name, value in paper.facts:
        top, ends = pdf.get_y(), []
        printed = paper.isolate(value) or " "
        for x, width, text in ((name_x, FACT_WIDTH, name), (value_x, value_width, printed)):
            pdf.set_xy(x, top)
            pdf.multi_cell(width, LINE, text, align=paper.start, new_y=YPos.NEXT)
            ends.append(pdf.get_y())
        if not value:
            pdf.line(value_x, top + LINE, value_x + value_width, top + LINE)
        pdf.set_xy(pdf.l_margin, max(ends) + 1)
    pdf.ln(4)


def _write_table(pdf: FPDF, paper: Paper) -> None:
    pdf.set_font(FONT, size=9)
    amounts = len(paper.columns) - 3  # beside the date, the contribution and the reference
    order = slice(None, None, -1 if paper.is_rtl else 1)
    aligns = [paper.start] * 3 + [paper.end] * amounts
    with pdf.table(
        col_widths=((28, 20, 34) + (20,) * amounts)[order],
        text_align=aligns[order],
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        headings_style=FontFace(fill_color=(240, 241, 243)),
        line_height=LINE,
        wrapmode=WrapMode.WORD,
    ) as table:
        for cells in (paper.columns, *paper.rows):
            table.row([paper.isolate(cell) for cell in cells[order]])
        for name, amount in paper.totals:
            total = table.row()
            ends = [(name, len(paper.columns) - 1, paper.start), (amount, 1, paper.end)]
            for text, colspan, align in ends[order]:
                total.cell(text, colspan=colspan, align=align)
    pdf.ln(4)


class _Numbered(FPDF):
    """Pages of a report: its title and the page's number stand below each."""

    def __init__(self, title: str) -> None:
        super().__init__(format="A4")
        self._printed_title = title

    def footer(self) -> None:
        """Write the last line of a page."""
        self.set_y(-14)
        self.set_font(FONT, size=8)
        self.cell(0, 5, f"{self._printed_title} \N{MIDDLE DOT} {self.page_no()}/{{nb}}", align="R")


def _write_section(pdf: FPDF, section: Section) -> None:
    """Write a heading, which begins a page rather than stand alone below one, and its table."""
    if pdf.will_page_break(SECTION_HEIGHT):
        pdf.add_page()
    pdf.set_font(FONT, size=12)
    pdf.set_section_title_styles(
        TextStyle(font_family=FONT, font_size_pt=12, t_margin=2, b_margin=2)
    )
    pdf.start_section(section.heading)
    pdf.set_font(FONT, size=8)
    others = len(section.columns) - 1
    align = Align.R if section.numeric else Align.L
    first = 0.24 if not section.numeric else 0.28 if others > MANY_COLUMNS else 0.4
    with pdf.table(
        col_widths=(pdf.epw * first, *[pdf.epw * (1 - first) / others] * others),
        text_align=(Align.L, *[align] * others),
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        headings_style=FontFace(fill_color=(240, 241, 243)),
        line_height=5,
        padding=0.6,
        wrapmode=WrapMode.WORD,
    ) as table:
        for cells in (section.columns, *section.rows):
            table.row(cells)
        for cells in section.footer:
            table.row(cells, style=FontFace(fill_color=(240, 241, 243)))
    pdf.ln(3)
