"""Receipts and statements as PDF: one sheet, made here, in a font that travels with the code.

A PDF says what its page says, in the same order and language. It has a line for the name, because
none is held. A language that is written from the right has no PDF, nor has a newsroom whose name or
address has letters that the font lacks; but its page can be printed.
"""

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import TableBordersLayout, WrapMode, XPos, YPos
from fpdf.fonts import FontFace, TTFFont
from fpdf.image_parsing import get_img_info

from payments.core import i18n

FONT_FILE = Path(__file__).parents[1] / "fonts" / "DejaVuSans.ttf"
FONT = "DejaVu"
LINE = 6.5  # millimetres
FACT_WIDTH = 55
LOGO_HEIGHT = 12


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


def is_offered(language: str, *texts: str) -> bool:
    """Whether papers in a language can be made, and the font has each letter of these texts."""
    letters = _letters()
    return i18n.text_direction(language) == "ltr" and all(
        ord(letter) in letters or letter.isspace() for text in texts for letter in text
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
    pdf = FPDF(format="A4")
    pdf.set_title(paper.title)
    pdf.set_lang(paper.language)
    pdf.set_creation_date(paper.made_at)
    pdf.add_font(FONT, fname=FONT_FILE)
    pdf.set_margin(20)
    pdf.add_page()
    _write_head(pdf, paper)
    _write_facts(pdf, paper.facts)
    if paper.rows:
        _write_table(pdf, paper)
    pdf.set_font(FONT, size=9)
    for note in paper.notes:
        pdf.multi_cell(0, 5, note, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        pdf.ln(2)
    return bytes(pdf.output())


def _write_head(pdf: FPDF, paper: Paper) -> None:
    if paper.logo is not None:
        info = get_img_info(BytesIO(paper.logo))
        height = min(LOGO_HEIGHT, pdf.epw * info.height / info.width)
        pdf.image(BytesIO(paper.logo), h=height)
        pdf.ln(2)
    pdf.set_font(FONT, size=12)
    pdf.set_text_color(paper.colour)
    pdf.multi_cell(0, LINE, paper.issuer, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pdf.set_text_color(0)
    pdf.set_font(FONT, size=20)
    pdf.ln(4)
    pdf.multi_cell(0, 10, paper.title, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    pdf.ln(4)


def _write_facts(pdf: FPDF, facts: Sequence[tuple[str, str]]) -> None:
    """Write names and values; a value that is empty is a line to write on."""
    pdf.set_font(FONT, size=11)
    for name, value in facts:
        top = pdf.get_y()
        pdf.multi_cell(FACT_WIDTH, LINE, name, align="L", new_x=XPos.RIGHT, new_y=YPos.TOP)
        pdf.multi_cell(0, LINE, value or " ", align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        if not value:
            pdf.line(pdf.l_margin + FACT_WIDTH, top + LINE, pdf.w - pdf.r_margin, top + LINE)
        pdf.ln(1)
    pdf.ln(4)


def _write_table(pdf: FPDF, paper: Paper) -> None:
    pdf.set_font(FONT, size=9)
    amounts = len(paper.columns) - 3  # beside the date, the contribution and the reference
    align = ["LEFT"] * 3 + ["RIGHT"] * amounts
    with pdf.table(
        col_widths=(28, 20, 34) + (20,) * amounts,
        text_align=align,
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        headings_style=FontFace(fill_color=(240, 241, 243)),
        line_height=LINE,
        wrapmode=WrapMode.WORD,
    ) as table:
        table.row(paper.columns)
        for row in paper.rows:
            table.row(row)
        for name, amount in paper.totals:
            total = table.row()
            total.cell(name, colspan=len(paper.columns) - 1)
            total.cell(amount)
    pdf.ln(4)
