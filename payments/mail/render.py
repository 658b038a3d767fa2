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
from payments.mail.outbox import MailKind

TEMPLATE_DIR = Path(__file__).parent / "templates"
PARAGRAPH_BREAK = re.compile(r"\n\s*\n")


# These are owed by no outbox.
DirectMailKind = Literal["reminder", "reminder_confirm", "newsletter_confirm"]


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """A mail before it has an envelope."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Some words or, with an address, a link."""

    text: str
    url: str | None


def render(
    kind: MailKind | DirectMailKind, locale: str, variables: Mapping[str, object]
) -> RenderedMail:
    """The letter of this kind in this language. Amounts and dates in `facts` are ready to print."""
    template = _environment(locale).get_template(f"{kind}.txt")
    context = template.new_context(dict(variables))
    subject = " ".join("".join(template.blocks["subject"](context)).split())
    body = "".join(template.blocks["text"](context))
    paragraphs = [_parse_paragraph(part) for part in PARAGRAPH_BREAK.split(body.strip())]
    return RenderedMail(
        subject, _render_text(paragraphs), _render_html(subject, paragraphs, locale)
    )


def amount_phrase(amount: str, locale: str, *, annual: bool) -> str:
    """An amount and how often, as it stands within a sentence."""
    words = i18n.translations(locale)
    each = words.gettext("%(amount)s a year") if annual else words.gettext("%(amount)s a month")
    return each % {"amount": amount}


@functools.cache
def _environment(locale: str) -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATE_DIR),
        autoescape=False,  # noqa: S701 - the templates are plain text; _as_html escapes all of it
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
    )
    words = i18n.translations(locale)
    made.install_gettext_translations(words, newstyle=True)  # type: ignore[attr-defined]  # from the i18n extension
    return made


def _parse_paragraph(source: str) -> Paragraph:
    *label, last = (line.strip() for line in source.splitlines())
    if re.match("https?://", last):
        return Paragraph(" ".join(label), last)
    return Paragraph(" ".join([*label, last]), None)


def _render_text(paragraphs: list[Paragraph]) -> str:
    parts = (f"{p.text}\n{p.url}" if p.url else p.text for p in paragraphs)
    return "\n\n".join(parts) + "\n"


def _render_html(subject: str, paragraphs: list[Paragraph], locale: str) -> str:
    lines = "\n".join(map(_render_paragraph, paragraphs))
    return (
        f'<!doctype html>\n<html lang="{locale}" dir="{i18n.text_direction(locale)}">\n'
        f'<head><meta charset="utf-8"><title>{html.escape(subject)}</title></head>\n'
        f"<body>\n{lines}\n</body>\n</html>\n"
    )


def _render_paragraph(paragraph: Paragraph) -> str:
    words = html.escape(paragraph.text)
    if paragraph.url is None:
        return f"<p>{words}</p>"
    return f'<p><a href="{html.escape(paragraph.url)}">{words.rstrip(":")}</a></p>'
