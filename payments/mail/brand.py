"""Branded mails: the same paragraphs as in the plain text, in the newsroom's name and colour.

One table with its styles inline, which is what mail programs show alike, from 320 pixels on, and a
second set of colours where the reader's are dark. Nothing is loaded from anywhere: the logo travels
in the mail.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from payments.core import i18n
from payments.core.settings import Settings
from payments.mail.paragraphs import Paragraph

LOGO_ID = "logo"  # of the part with the picture
FONT = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
DARK = """:root{color-scheme:light dark}
@media (prefers-color-scheme:dark){
.page{background:#131517!important}
.card{background:#1d2023!important;color:#f2f2f2!important}
.quiet{color:#b9bec4!important}
.line{border-color:#3b4046!important}
a{color:DARK_COLOUR!important}
}"""


@dataclass(frozen=True, slots=True)
class Brand:
    """Who writes: the name on top, its colour, and the lines below."""

    name: str
    colour: str
    dark_colour: str  # of links where the reader's screen is dark
    lines: tuple[str, ...]
    logo: bytes | None


def brand_of(settings: Settings) -> Brand:
    """Return the brand of the settings."""
    return Brand(
        settings.publication_name,
        settings.brand_color,
        settings.dark_color,
        settings.brand_lines,
        settings.brand_logo_png,
    )


def frame_text(brand: Brand, text: str) -> str:
    """Return a plain text with the name above it and the lines of the brand below."""
    return "\n\n".join([brand.name, text.strip(), *brand.lines]) + "\n"


def render_html(brand: Brand, subject: str, paragraphs: Sequence[Paragraph], locale: str) -> str:
    """Return the HTML part: exactly the words of the plain text."""
    direction = i18n.text_direction(locale)
    logo = (
        f'<img src="cid:{LOGO_ID}" alt="" height="32" style="vertical-align:middle;'
        'background:#ffffff;padding:4px;border-radius:3px;margin-inline-end:12px">'
        if brand.logo
        else ""
    )
    body = "\n".join(_render_paragraph(paragraph, brand.colour) for paragraph in paragraphs)
    below = "\n".join(f'<p style="margin:0 0 8px">{html.escape(line)}</p>' for line in brand.lines)
    return f"""<!doctype html>
<html lang="{locale}" dir="{direction}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>{html.escape(subject)}</title>
<style>{DARK.replace("DARK_COLOUR", brand.dark_colour)}</style></head>
<body style="margin:0;padding:0">
<table role="presentation" dir="{direction}" width="100%" cellspacing="0" cellpadding="0"
 class="page" style="background:#f1f2f4"><tr><td align="center" style="padding:16px 8px">
<table role="presentation" width="100%" cellspacing="0" cellpadding="0" class="card"
 style="max-width:560px;background:#ffffff;color:#1b1d20;{FONT};font-size:16px;line-height:1.5">
<tr><td style="background:{brand.colour};color:#ffffff;padding:16px 20px;font-size:18px;\
font-weight:bold">{logo}{html.escape(brand.name)}</td></tr>
<tr><td style="padding:20px">
{body}
</td></tr>
<tr><td class="quiet" style="padding:0 20px 16px;color:#54595f;font-size:14px">
{below}
</td></tr>
</table></td></tr></table>
</body>
</html>
"""


def _render_paragraph(paragraph: Paragraph, colour: str) -> str:
    if paragraph.facts:
        return _render_facts(paragraph)
    if paragraph.url is None:
        return f'<p style="margin:0 0 16px">{html.escape(paragraph.text)}</p>'
    return (
        f'<p style="margin:0 0 16px"><a href="{html.escape(paragraph.url)}"'
        f' style="color:{colour}">{html.escape(paragraph.label)}</a></p>'
    )


def _render_facts(paragraph: Paragraph) -> str:
    cell = "padding:6px 0;border-bottom:1px solid #d7dade;vertical-align:top"
    rows = "\n".join(
        f'<tr><td class="quiet line" style="{cell};color:#54595f;padding-inline-end:16px">'
        f'{html.escape(name)}</td><td class="line" style="{cell}">{html.escape(value)}</td></tr>'
        for name, value in paragraph.facts
    )
    return (
        '<table role="presentation" cellspacing="0" cellpadding="0" width="100%"'
        f' style="margin:0 0 16px;font-size:16px">\n{rows}\n</table>'
    )
