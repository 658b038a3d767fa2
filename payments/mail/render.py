"""Rendering: each kind of mail is one template, a subject and paragraphs of plain text.

Both parts of a mail, text and HTML, are made of the same paragraphs (`paragraphs`). One that ends
in a line with an address is a link, and the lines above it are its label. The texts are neutral: no
mail says what a payment is for or who receives it, because somebody its owner has to fear may read
the mailbox. Only where a newsroom has chosen so (`PAYMENTS_DONOR_MAILS`) they are branded.
"""

import functools
import html
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from payments.core import frequency, i18n, money
from payments.core.frequency import MONTH, YEAR, Interval
from payments.mail import paragraphs
from payments.mail.brand import Brand, frame_text, render_html
from payments.mail.outbox import MailKind
from payments.mail.paragraphs import Paragraph

TEMPLATE_DIR = Path(__file__).parent / "templates"
# Variables whose letters or digits are not of the mail's language.
OF_ANOTHER_DIRECTION = frozenset(
    {"code", "descriptor", "entity", "publication", "receipt_number", "reference", "tax_line"}
)


# Mails that are sent without the outbox, or in place of one of its mails.
DirectMailKind = Literal[
    "reminder",
    "reminder_confirm",
    "newsletter_confirm",
    "sign_in_invitation",
    "address_change_old",
    "address_change_new",
]


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """A mail without its envelope."""

    subject: str
    text: str
    html: str
    logo: bytes | None = None  # a PNG that the HTML shows


@dataclass(frozen=True, slots=True)
class AddressedMail:
    """A mail and where it goes. The address is in no row and no log."""

    address: str
    rendered: RenderedMail


def render(
    kind: MailKind | DirectMailKind,
    locale: str,
    variables: Mapping[str, object],
    brand: Brand | None = None,
) -> RenderedMail:
    """Return the mail of a kind in a language. Amounts and dates in `variables` are ready to print.

    It is neutral, or in the name of a brand. Raises UndefinedError for a variable that is missing.
    """
    template = _environment(locale).get_template(f"{kind}.txt")
    shown = dict(variables)
    if i18n.text_direction(locale) == "rtl":
        shown |= {name: money.isolate(str(shown[name])) for name in _isolated(variables)}
        brand = brand and _isolated_brand(brand)
    context = template.new_context(shown)
    subject = " ".join("".join(template.blocks["subject"](context)).split())
    body = "".join(template.blocks["text"](context))
    parsed = paragraphs.parse(body)
    text = paragraphs.as_text(parsed)
    if brand is None:
        return RenderedMail(subject, text, _render_html(subject, parsed, locale))
    html_part = render_html(brand, subject, parsed, locale)
    return RenderedMail(subject, frame_text(brand, text), html_part, brand.logo)


def render_text(subject: str, body: str, locale: str) -> RenderedMail:
    """Return a neutral mail of a text that is written already, as a template's is when rendered."""
    parsed = paragraphs.parse(body)
    return RenderedMail(subject, paragraphs.as_text(parsed), _render_html(subject, parsed, locale))


def amount_phrase(amount: str, locale: str, interval: Interval) -> str:
    """Return a formatted amount and how often it is charged, as it stands within a sentence."""
    phrase = {MONTH: "%(amount)s a month", YEAR: "%(amount)s a year"}.get(interval)
    if phrase is None:
        return f"{amount} {frequency.every(interval, locale)}"
    return i18n.translations(locale).gettext(phrase) % {"amount": amount}


def _isolated(variables: Mapping[str, object]) -> set[str]:
    """Return the names of the variables that are to be isolated from the sentence around them."""
    return {name for name in OF_ANOTHER_DIRECTION if variables.get(name)}


def _isolated_brand(brand: Brand) -> Brand:
    """Return a brand whose texts keep the direction they were written in."""
    lines = tuple(map(money.isolate, brand.lines))
    return replace(brand, name=money.isolate(brand.name), lines=lines)


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


def _render_html(subject: str, parsed: list[Paragraph], locale: str) -> str:
    lines = "\n".join(map(_render_paragraph, parsed))
    direction = i18n.text_direction(locale)
    if direction == "rtl":  # mail programs drop the direction of the page and of its body
        lines = f'<div dir="{direction}">\n{lines}\n</div>'
    return (
        f'<!doctype html>\n<html lang="{locale}" dir="{direction}">\n'
        f'<head><meta charset="utf-8"><title>{html.escape(subject)}</title></head>\n'
        f"<body>\n{lines}\n</body>\n</html>\n"
    )


def _render_paragraph(paragraph: Paragraph) -> str:
    if paragraph.facts:
        return "\n".join(
            f"<p>{html.escape(name)}: {html.escape(value)}</p>" for name, value in paragraph.facts
        )
    if paragraph.url is None:
        return f"<p>{html.escape(paragraph.text)}</p>"
    return f'<p><a href="{html.escape(paragraph.url)}">{html.escape(paragraph.label)}</a></p>'
