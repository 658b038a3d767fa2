"""What a campaign says on a page of ours, ready to print, in the language that it is in."""

from collections.abc import Mapping

from payments.core import i18n, message_markup
from payments.core.campaign_schema import FormOptions, text_for

TextView = dict[str, str]


def text_view(text: tuple[str, str] | None, *, in_paragraphs: bool = False) -> TextView | None:
    """Return a text and its locale as a template prints them; None for none."""
    if text is None:
        return None
    written, locale = text
    parsed = message_markup.to_html(message_markup.parse(written)) if in_paragraphs else written
    return {"text": parsed, **i18n.html_lang_attrs(locale)}


def form_texts(options: FormOptions, locale: str) -> Mapping[str, TextView | None]:
    """Return the message, headline and button of the donation page; None where it sets none."""
    return {
        "message": text_view(options.message_for(locale), in_paragraphs=True),
        "headline": text_view(text_for(options.headline, locale)),
        "button": text_view(text_for(options.button, locale)),
    }
