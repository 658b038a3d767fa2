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

LOCALES = Path(__file__).parents[1] / "web" / "locales"
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
    for candidate in candidates:
        for wanted in _preferred(candidate or ""):
            if (found := known(wanted)) is not None:
                return found
    return SOURCE


def known(wanted: str) -> str | None:
    """The language of ours that a tag such as `ru` or `ru-RU` names."""
    ours = {tag(name).casefold(): name for name in LANGUAGES}
    whole = tag(wanted).casefold()
    return ours.get(whole) or ours.get(whole.partition("-")[0])


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


def in_address(address: str, language: str | None) -> str:
    """An address of ours whose page speaks this language, whatever the browser prefers."""
    if language is None:
        return address
    rest, mark, fragment = address.partition("#")
    return f"{rest}{'&' if '?' in rest else '?'}lang={tag(language)}{mark}{fragment}"


def later(text: str) -> str:
    """Marks words of the code for the translators. Whoever prints them looks them up."""
    return text


def tag(language: str) -> str:
    """A language's name as addresses, HTML and Stripe write it: `pt-BR`."""
    return language.replace("_", "-")


def own_name(language: str) -> str:
    """A language's name for itself, as a reader looks for it: `Русский`."""
    name = str(Locale.parse(language).get_display_name(language))
    return name[:1].upper() + name[1:]


def direction(language: str) -> str:
    """`ltr` or `rtl`, for the `dir` of a page."""
    return str(Locale.parse(language).text_direction)


def marked(language: str) -> dict[str, str]:
    """What HTML has to know of a text in a language other than its page's."""
    return {"lang": tag(language), "dir": direction(language)}


def day(on: date, language: str) -> str:
    """A date as it stands within a sentence, by the pattern in the language's catalogue."""
    # Babel's own long form ends in an abbreviation in Russian, and no sentence can end with that.
    pattern = translations(language).gettext("d MMMM y")
    return format_date(on, pattern, locale=language if language in LANGUAGES else SOURCE)
