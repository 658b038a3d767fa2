"""Languages: what pages and mails are written in.

The source of every text is English. Another language is one catalogue in `web/locales` and nothing
else: it is found by its folder, read once as a translator wrote it, and never compiled to a file.
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

LOCALES = Path(__file__).parent / "web" / "locales"
CATALOGUE = Path("LC_MESSAGES", "messages.po")
SOURCE = "en"
LANGUAGES = (SOURCE, *sorted(path.parts[-3] for path in LOCALES.glob(f"*/{CATALOGUE}")))
"""The names of the folders: `ru`, or `pt_BR` where the country matters."""


def translations(language: str) -> NullTranslations:
    """The words of a language; English for one we do not have."""
    return _read(language if language in LANGUAGES else SOURCE)


@functools.cache
def _read(language: str) -> NullTranslations:
    if language == SOURCE:
        return NullTranslations()
    compiled = io.BytesIO()
    with (LOCALES / language / CATALOGUE).open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return Translations(compiled)


def negotiate(*candidates: str | None) -> str:
    """The first of our languages that somebody asks for, English if none does.

    A candidate is a tag, `ru` or `ru-RU`, or a whole Accept-Language header. The first that names
    a language of ours decides.
    """
    known = {name.replace("_", "-").casefold(): name for name in LANGUAGES}
    for candidate in candidates:
        for tag in _preferred(candidate or ""):
            for form in (tag, tag.partition("-")[0]):
                if form in known:
                    return known[form]
    return SOURCE


def _preferred(header: str) -> list[str]:
    """The tags of an Accept-Language header, the most wanted first."""
    wanted = []
    for part in header.replace("_", "-").casefold().split(","):
        tag, _, weight = part.partition(";")
        wanted.append((_weight(weight), tag.strip()))
    return [tag for weight, tag in sorted(wanted, key=lambda one: -one[0]) if weight > 0]


def _weight(text: str) -> float:
    """The `q=0.8` of a header; 1 where there is none, 0 where it makes no sense."""
    value = text.strip().removeprefix("q=")
    if not value:
        return 1.0
    return float(value) if value.isascii() and value.replace(".", "", 1).isdigit() else 0.0


def direction(language: str) -> str:
    """`ltr` or `rtl`, for the `dir` of a page."""
    return str(Locale.parse(language).text_direction)


def day(on: date, language: str) -> str:
    """A date as it stands within a sentence, by the pattern in the language's catalogue."""
    # Babel's own long form ends in an abbreviation in Russian, and no sentence can end with that.
    pattern = translations(language).gettext("d MMMM y")
    return format_date(on, pattern, locale=language if language in LANGUAGES else SOURCE)
