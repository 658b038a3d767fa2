"""The letters: one file for each kind of mail, written once, in paragraphs.

Both parts of a mail are made of the same paragraphs. One that ends in a line with an address is a
link, and the lines above it are its label. The words are neutral: no letter says what a payment is
for or who receives it, because a mailbox may be read by somebody its owner has to fear.
"""

import functools
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from payments.core import i18n
from payments.mail.outbox import MessageKind

HERE = Path(__file__).parent / "templates"
GAP = re.compile(r"\n\s*\n")


# These are owed by no outbox.
OtherLetter = Literal["reminder", "reminder_confirm", "newsletter_confirm"]


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail before it has an envelope."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Some words or, with an address, a link."""

    words: str
    address: str | None


def compose(kind: MessageKind | OtherLetter, tongue: str, facts: Mapping[str, object]) -> Letter:
    """The letter of this kind in this language. Amounts and dates in `facts` are ready to print."""
    template = _templates(tongue).get_template(f"{kind}.txt")
    context = template.new_context(dict(facts))
    subject = " ".join("".join(template.blocks["subject"](context)).split())
    body = "".join(template.blocks["text"](context))
    paragraphs = [_paragraph(part) for part in GAP.split(body.strip())]
    return Letter(subject, _as_text(paragraphs), _as_html(subject, paragraphs, tongue))


def pledge(amount: str, tongue: str, *, annual: bool) -> str:
    """An amount and how often, as it stands within a sentence."""
    words = i18n.translations(tongue)
    each = words.gettext("%(amount)s a year") if annual else words.gettext("%(amount)s a month")
    return each % {"amount": amount}


@functools.cache
def _templates(tongue: str) -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=False,  # noqa: S701 - the templates are plain text; _as_html escapes all of it
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
    )
    words = i18n.translations(tongue)
    made.install_gettext_translations(words, newstyle=True)  # type: ignore[attr-defined]  # from the i18n extension
    return made


def _paragraph(part: str) -> Paragraph:
    *label, last = (line.strip() for line in part.splitlines())
    if re.match("https?://", last):
        return Paragraph(" ".join(label), last)
    return Paragraph(" ".join([*label, last]), None)


def _as_text(paragraphs: list[Paragraph]) -> str:
    parts = (f"{p.words}\n{p.address}" if p.address else p.words for p in paragraphs)
    return "\n\n".join(parts) + "\n"


def _as_html(subject: str, paragraphs: list[Paragraph], tongue: str) -> str:
    lines = "\n".join(map(_as_line, paragraphs))
    return (
        f'<!doctype html>\n<html lang="{tongue}" dir="{i18n.direction(tongue)}">\n'
        f'<head><meta charset="utf-8"><title>{html.escape(subject)}</title></head>\n'
        f"<body>\n{lines}\n</body>\n</html>\n"
    )


def _as_line(paragraph: Paragraph) -> str:
    words = html.escape(paragraph.words)
    if paragraph.address is None:
        return f"<p>{words}</p>"
    return f'<p><a href="{html.escape(paragraph.address)}">{words.rstrip(":")}</a></p>'
