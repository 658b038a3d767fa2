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

LOCALES_DIR = Path(__file__).parents[1] / "web" / "locales"
CATALOGUE = Path("LC_MESSAGES", "messages.po")
DEFAULT_LOCALE = "en"
SUPPORTED_LOCALES = (
    DEFAULT_LOCALE,
    *sorted(path.parts[-3] for path in LOCALES_DIR.glob(f"*/{CATALOGUE}")),
)
"""The names of the folders: `ru`, or `pt_BR` where the country matters."""


def translations(locale: str) -> NullTranslations:
    """The words of a language; English for one we do not have."""
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


def negotiate_locale(*candidates: str | None) -> str:
    """The first of our languages that somebody asks for, English if none does.

    A candidate is a tag, `ru` or `ru-RU`, or a whole Accept-Language header. The first that names
    a language of ours decides.
    """
    for candidate in candidates:
        for wanted in _accepted_tags(candidate or ""):
            if (found := find_locale(wanted)) is not None:
                return found
    return DEFAULT_LOCALE


def find_locale(wanted: str) -> str | None:
    """The language of ours that a tag such as `ru` or `ru-RU` names."""
    ours = {language_tag(name).casefold(): name for name in SUPPORTED_LOCALES}
    whole = language_tag(wanted).casefold()
    return ours.get(whole) or ours.get(whole.partition("-")[0])


def _accepted_tags(header: str) -> list[str]:
    """The tags of an Accept-Language header, the most wanted first."""
    wanted = []
    for part in header.replace("_", "-").casefold().split(","):
        tag, _, weight = part.partition(";")
        wanted.append((_quality(weight), tag.strip()))
    return [tag for weight, tag in sorted(wanted, key=lambda one: -one[0]) if weight > 0]


def _quality(text: str) -> float:
    """The `q=0.8` of a header; 1 where there is none, 0 where it makes no sense."""
    value = text.strip().removeprefix("q=")
    if not value:
        return 1.0
    return float(value) if value.isascii() and value.replace(".", "", 1).isdigit() else 0.0


def with_lang(url: str, locale: str | None) -> str:
    """An address of ours whose page speaks this language, whatever the browser prefers."""
    if locale is None:
        return url
    rest, mark, fragment = url.partition("#")
    return f"{rest}{'&' if '?' in rest else '?'}lang={language_tag(locale)}{mark}{fragment}"


def gettext_noop(text: str) -> str:
    """Marks words of the code for the translators. Whoever prints them looks them up."""
    return text


def language_tag(locale: str) -> str:
    """A language's name as addresses, HTML and Stripe write it: `pt-BR`."""
    return locale.replace("_", "-")


def native_name(locale: str) -> str:
    """A language's name for itself, as a reader looks for it: `Русский`."""
    name = str(Locale.parse(locale).get_display_name(locale))
    return name[:1].upper() + name[1:]


def text_direction(locale: str) -> str:
    """`ltr` or `rtl`, for the `dir` of a page."""
    return str(Locale.parse(locale).text_direction)


def html_lang_attrs(locale: str) -> dict[str, str]:
    """What HTML has to know of a text in a language other than its page's."""
    return {"lang": language_tag(locale), "dir": text_direction(locale)}


def format_day(on: date, locale: str) -> str:
    """A date as it stands within a sentence, by the pattern in the language's catalogue."""
    # Babel's own long form ends in an abbreviation in Russian, and no sentence can end with that.
    pattern = translations(locale).gettext("d MMMM y")
    return format_date(
        on, pattern, locale=locale if locale in SUPPORTED_LOCALES else DEFAULT_LOCALE
    )
