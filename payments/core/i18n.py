"""Locales: the languages of pages and mails, their catalogues, and how they write a date.

The source of every text is English. Another language is one catalogue in `web/locales` and nothing
else: it is found by its folder, read as the translator wrote it, and not compiled to a file.
"""

import functools
import io
from datetime import date
from pathlib import Path

from babel import Locale
from babel.dates import format_date
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

LOCALES_DIR = Path(__file__).parents[1] / "web" / "locales"
CATALOGUE = Path("LC_MESSAGES", "messages.po")
DEFAULT_LOCALE = "en"
SUPPORTED_LOCALES = (
    DEFAULT_LOCALE,
    *sorted(path.parts[-3] for path in LOCALES_DIR.glob(f"*/{CATALOGUE}")),
)
"""English, and the names of the folders: `ru`, or `pt_BR` where the country matters."""


MAX_ACCEPTED_TAGS = 20  # of an Accept-Language header that are read: a browser sends a few


def translations(locale: str) -> NullTranslations:
    """Return the catalogue of a locale; the English one for a locale without a catalogue."""
    return _load_catalogue(locale if locale in SUPPORTED_LOCALES else DEFAULT_LOCALE)


@functools.cache
def _load_catalogue(locale: str) -> NullTranslations:
    if locale == DEFAULT_LOCALE:
        return NullTranslations()
    compiled = io.BytesIO()
    with (LOCALES_DIR / locale / CATALOGUE).open("rb") as file:
        write_mo(compiled, read_po(file, locale=locale))
    compiled.seek(0)
    return Translations(compiled)


def negotiate_locale(*candidates: str | None, offered: tuple[str, ...] = SUPPORTED_LOCALES) -> str:
    """Return the locale of the first candidate that names one of those offered, else their first.

    A candidate is a tag, `ru` or `ru-RU`, or a whole Accept-Language header.
    """
    for candidate in candidates:
        for tag in _accepted_tags(candidate or ""):
            if (locale := find_locale(tag, offered=offered)) is not None:
                return locale
    return offered[0]


def find_locale(tag: str, *, offered: tuple[str, ...] = SUPPORTED_LOCALES) -> str | None:
    """Return the offered locale that a tag such as `ru` or `ru-RU` names; None if none does."""
    names = {language_tag(name).casefold(): name for name in offered}
    folded = language_tag(tag).casefold()
    return names.get(folded) or names.get(folded.partition("-")[0])


def _accepted_tags(header: str) -> list[str]:
    """Return the tags of an Accept-Language header by quality, highest first."""
    tags, parts = [], header.replace("_", "-").casefold().split(",", MAX_ACCEPTED_TAGS)
    for part in parts[:MAX_ACCEPTED_TAGS]:
        tag, _, weight = part.partition(";")
        tags.append((_quality(weight), tag.strip()))
    return [tag for quality, tag in sorted(tags, key=lambda pair: -pair[0]) if quality > 0]


def _quality(text: str) -> float:
    """Return the number of a `q=0.8`; 1 where there is none, 0 where it is malformed."""
    value = text.strip().removeprefix("q=")
    if not value:
        return 1.0
    return float(value) if value.isascii() and value.replace(".", "", 1).isdigit() else 0.0


def with_lang(url: str, locale: str | None) -> str:
    """Return a URL of ours with a `lang` parameter, which overrides the browser's preference.

    Unchanged where `locale` is None.
    """
    if locale is None:
        return url
    rest, mark, fragment = url.partition("#")
    return f"{rest}{'&' if '?' in rest else '?'}lang={language_tag(locale)}{mark}{fragment}"


def gettext_noop(text: str) -> str:
    """Mark a text for extraction and return it. Whoever prints it looks up the translation."""
    return text


def language_tag(locale: str) -> str:
    """Return a locale as URLs, HTML and Stripe write it: `pt-BR`."""
    return locale.replace("_", "-")


def native_name(locale: str) -> str:
    """Return a language's name in that language: `Русский`."""
    name = str(Locale.parse(locale).get_display_name(locale))
    return name[:1].upper() + name[1:]


def text_direction(locale: str) -> str:
    """Return `ltr` or `rtl`, for the `dir` attribute of a page."""
    return str(Locale.parse(locale).text_direction)


def comma(locale: str) -> str:
    """Return the comma of a language with the space after it."""
    return "\N{ARABIC COMMA} " if text_direction(locale) == "rtl" else ", "


def semicolon(locale: str) -> str:
    """Return the semicolon of a language with the space after it."""
    return "\N{ARABIC SEMICOLON} " if text_direction(locale) == "rtl" else "; "


def html_lang_attrs(locale: str) -> dict[str, str]:
    """Return the HTML attributes of a text in a language other than its page's."""
    return {"lang": language_tag(locale), "dir": text_direction(locale)}


def format_day(on: date, locale: str) -> str:
    """Return a date as it stands within a sentence, by the pattern in the locale's catalogue."""
    # Babel's own long form ends in an abbreviation in Russian, which no sentence can end with.
    return _format_date(on, translations(locale).gettext("d MMMM y"), locale)


def format_month(on: date, locale: str) -> str:
    """Return the month and year of a date, as they stand alone: `December 2026`."""
    return _format_date(on, "LLLL y", locale)


def month_name(month: int, locale: str) -> str:
    """Return the name of a month, 1 to 12, as it stands alone."""
    return _format_date(date(2000, month, 1), "LLLL", locale)


def _format_date(on: date, pattern: str, locale: str) -> str:
    known = locale if locale in SUPPORTED_LOCALES else DEFAULT_LOCALE
    return format_date(on, pattern, locale=known)
