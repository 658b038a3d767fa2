"""Rendering: each kind of mail is one template, a subject and paragraphs of plain text.

Both parts of a mail, text and HTML, are made of the same paragraphs. One that ends in a line with
an address is a link, and the lines above it are its label. The texts are neutral: no mail says what
a payment is for or who receives it, because somebody its owner has to fear may read the mailbox.
"""

import functools
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from payments.core import frequency, i18n
from payments.core.frequency import MONTH, YEAR, Interval
from payments.mail.outbox import MailKind

TEMPLATE_DIR = Path(__file__).parent / "templates"
PARAGRAPH_BREAK = re.compile(r"\n\s*\n")


# Mails that are sent without the outbox, or in place of one of its mails.
DirectMailKind = Literal["reminder", "reminder_confirm", "newsletter_confirm", "sign_in_invitation"]


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """A mail without its envelope."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class AddressedMail:
    """A mail and where it goes. The address is in no row and no log."""

    address: str
    rendered: RenderedMail


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A text or, with an address, a link and its label."""

    text: str
    url: str | None


def render(
    kind: MailKind | DirectMailKind, locale: str, variables: Mapping[str, object]
) -> RenderedMail:
    """Return the mail of a kind in a language. Amounts and dates in `variables` are ready to print.

    Raises UndefinedError for a variable that is missing.
    """
    template = _environment(locale).get_template(f"{kind}.txt")
    context = template.new_context(dict(variables))
    subject = " ".join("".join(template.blocks["subject"](context)).split())
    body = "".join(template.blocks["text"](context))
    paragraphs = [_parse_paragraph(part) for part in PARAGRAPH_BREAK.split(body.strip())]
    return RenderedMail(
        subject, _render_text(paragraphs), _render_html(subject, paragraphs, locale)
    )


def amount_phrase(amount: str, locale: str, interval: Interval) -> str:
    """Return a formatted amount and how often it is charged, as it stands within a sentence."""
    phrase = {MONTH: "%(amount)s a month", YEAR: "%(amount)s a year"}.get(interval)
    if phrase is None:
        return f"{amount} {frequency.every(interval, locale)}"
    return i18n.translations(locale).gettext(phrase) % {"amount": amount}


@functools.cache
def _environment(locale: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE_DIR),
        autoescape=False,  # noqa: S701 - the templates are plain text; _as_html escapes all of it
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(  # type: ignore[attr-defined]  # the i18n extension's
        i18n.translations(locale), newstyle=True
    )
    return environment


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
    label = html.escape(paragraph.text)
    if paragraph.url is None:
        return f"<p>{label}</p>"
    return f'<p><a href="{html.escape(paragraph.url)}">{label.rstrip(":")}</a></p>'
