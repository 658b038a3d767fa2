"""The catalogues: every text that a reader may see is translated, whole and with its places."""

import ast
import functools
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from gettext import c2py
from pathlib import Path

import pytest
from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po

import payments.web.app  # which loads every class of errors
from payments.core import i18n
from payments.core.errors import PaymentsError
from payments.mail import render

PACKAGE = Path(payments.__file__).parent
PAGES = PACKAGE / "web" / "templates"
TRANSLATED_LOCALES = [name for name in i18n.SUPPORTED_LOCALES if name != i18n.DEFAULT_LOCALE]
# The newsroom's own pages are in its English.
STAFF_PAGES = ("finance_", "_finance", "staff_", "_staff", "support", "demo_inbox")
READERS_PAGES = [
    path.stem for path in sorted(PAGES.glob("*.html")) if not path.stem.startswith(STAFF_PAGES)
]
# What only programs, staff and the operator read stays English: rooms and files below the package.
ENGLISH = (
    "accounting",
    "cli",
    "ops",
    "sandbox",
    "settlement",
    "staff",
    "web/finance",
    "web/finance_api",
    "web/staff",
    "web/support",
    "core/campaign_parser.py",
    "giving/campaign_attribution.py",
    "giving/campaigns.py",
    "infra/audit_log.py",
    "infra/outgoing_events",
    "infra/second_person.py",
    "safety/emergency_stop.py",
    "safety/global_erasure.py",
    "safety/quarantine_response.py",
    "safety/stop_enforcement.py",
    "safety/stop_lists.py",
    "safety/support_cases.py",
)
ENGLISH_CODES = {
    *("bad-webhook", "idempotency-key-missing", "idempotency-key-reused"),
    *("edit-conflict", "invalid-campaign", "decision-refused"),
    *("account-map-changed", "program-refuses", "no-signing-key", "not-a-pack", "period-not-ready"),
    "another-accounting-zone",
    *(
        "adoption-undecided",
        "live-subscriptions-remain",
        "stripe-worklist-open",
        "no-protected-group",
        "nothing-to-resume",
        "stop-in-progress",
    ),
    *("not-yet-attributed", "not-yet-stopped", "wrong-stripe-account"),
    "stripe-account-not-verified",  # of a job: it is raised where an object is missing
    *("passkey-refused", "permission-denied", "step-up-required", "too-many-searches"),
    *("provider-unavailable", "sso-refused"),
    *("refund-not-possible", "refund-too-much", "refunded-meanwhile"),
    *("token-refused", "scope-missing", "too-many-calls"),
}
# An amount's errors write their sentences where they call their parent.
AMOUNT_ERRORS = {"money.py", "amount_input.py"}


def test_there_are_pages_to_look_at() -> None:
    assert len(READERS_PAGES) > 50
    assert {"donate", "account_overview", "remind", "newsletter"} <= set(READERS_PAGES)
    assert len(texts_of_mails()) > 100
    assert len(list(code_strings())) > 100
    assert len(list(texts_of_errors())) > 10
    assert ("The smallest amount is %(limit)s. Nothing was charged.",) in texts_of_code()


def template_strings(*templates: Path) -> Iterator[tuple[str, ...]]:
    """Yield what templates ask to be translated: each text with its plural, if it has one."""
    keywords = {"_": None, "gettext": None, "ngettext": (1, 2)}
    for template in templates:
        with template.open("rb") as file:
            for _line, message, _comments, _context in extract("jinja2", file, keywords):
                yield (message,) if isinstance(message, str) else tuple(message)


def errors(parent: type[PaymentsError] = PaymentsError) -> Iterator[type[PaymentsError]]:
    yield parent
    for child in parent.__subclasses__():
        yield from errors(child)


def readers_errors() -> list[type[PaymentsError]]:
    return [error for error in errors() if error.code not in ENGLISH_CODES]


PLURALS = {"ngettext": (1, 2)}


def code_strings() -> Iterator[tuple[str, ...]]:
    """Yield what the sources say to readers: marked for later, translated at once, or raised."""
    keywords = dict.fromkeys(
        {"gettext_noop", "translate", *(error.__name__ for error in readers_errors())}
    )
    for source in sorted(PACKAGE.rglob("*.py")):
        place = source.relative_to(PACKAGE)
        if any(place.is_relative_to(name) for name in ENGLISH):
            continue
        amount = {"__init__": None} if source.name in AMOUNT_ERRORS else {}
        wanted = {**keywords, **amount, **PLURALS}
        with source.open("rb") as file:
            for _line, message, _comments, _context in extract("python", file, wanted):
                yield (message,) if isinstance(message, str) else tuple(message)


def texts_of_errors() -> Iterator[tuple[str]]:
    """Yield what the readers' errors say of themselves, in their own constructors."""
    names = {error.__name__ for error in readers_errors()}
    for source in sorted(PACKAGE.rglob("*.py")):
        for kind in ast.walk(ast.parse(source.read_text())):
            if isinstance(kind, ast.ClassDef) and kind.name in names:
                for call in ast.walk(kind):
                    if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__":
                        for part in ast.walk(call.args[0]) if call.args else ():
                            if isinstance(part, ast.Constant) and " " in str(part.value):
                                yield (str(part.value),)


@functools.cache
def catalogue(locale: str) -> Catalog:
    with (i18n.LOCALES_DIR / locale / i18n.CATALOGUE).open("rb") as file:
        return read_po(file, locale=locale, abort_invalid=True)


def entries(locale: str) -> list[tuple[list[str], list[str]]]:
    """Return each text of a catalogue with its translation, and the plural forms of both."""
    return [(forms(one.id), forms(one.string)) for one in catalogue(locale) if one.id]


def untranslated(locale: str, messages: Iterable[tuple[str, ...]]) -> list[str]:
    """Return the messages that a catalogue lacks, leaves empty or marks as doubtful."""
    known = catalogue(locale)
    found = {message[0]: known.get(message[0]) for message in messages}
    return [
        text
        for text, entry in found.items()
        if entry is None or entry.fuzzy or not all(forms(entry.string))
    ]


def forms(text: str | Sequence[str] | None) -> list[str]:
    """Return a text, or each of its plural forms."""
    return [text or ""] if text is None or isinstance(text, str) else list(text)


def places(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)[sd]|\{\w+\}", text))


@functools.cache
def strings_by_page() -> dict[str, list[tuple[str, ...]]]:
    return {page: list(template_strings(PAGES / f"{page}.html")) for page in READERS_PAGES}


@functools.cache
def texts_of_mails() -> list[tuple[str, ...]]:
    phrases = ["d MMMM y", "%(amount)s a month", "%(amount)s a year"]
    templates = sorted(render.TEMPLATE_DIR.glob("*.*"))
    return [*template_strings(*templates), *((phrase,) for phrase in phrases)]


@functools.cache
def texts_of_code() -> list[tuple[str, ...]]:
    """Return what the sources say to readers, the constructors of errors, and their titles."""
    titles = sorted({(error.title,) for error in readers_errors()})
    return [*code_strings(), *texts_of_errors(), *titles]


@pytest.mark.parametrize("locale", TRANSLATED_LOCALES)
def test_every_mail_and_every_page_of_a_reader_is_translated(locale: str) -> None:
    assert untranslated(locale, texts_of_mails()) == []
    lacking = {page: untranslated(locale, found) for page, found in strings_by_page().items()}
    assert {page: texts for page, texts in lacking.items() if texts} == {}


@pytest.mark.parametrize("page", READERS_PAGES)
def test_a_page_leads_on_in_the_language_it_is_read_in(page: str) -> None:
    links = r'(?:href|action)="(?!\#|\{\{ base_path \}\}/static/)([^"]*)'
    source = (PAGES / f"{page}.html").read_text()
    bare = [link for link in re.findall(links, source) if link.startswith("/")]
    # A form that is sent by GET drops its address's query and carries the language in a field.
    assert [link for link in bare if f'action="{link}"' not in source] == []
    # An Arabic comma is another one: `comma`.
    assert re.findall(r"[^{]*(?:[%}]\}|</\w+>), ?(?:\{[{%]|<)[^}]*", source) == []


@pytest.mark.parametrize("locale", TRANSLATED_LOCALES)
def test_every_text_of_the_code_is_translated(locale: str) -> None:
    assert untranslated(locale, texts_of_code()) == []


@pytest.mark.parametrize("locale", TRANSLATED_LOCALES)
def test_a_catalogue_holds_each_text_once_and_none_that_nothing_shows(locale: str) -> None:
    texts = [ids[0] for ids, _ in entries(locale)]
    pages = itertools.chain.from_iterable(strings_by_page().values())
    shown = {message[0] for message in (*texts_of_mails(), *texts_of_code(), *pages)}
    assert sorted(set(texts) - shown) == []
    source = (i18n.LOCALES_DIR / locale / i18n.CATALOGUE).read_text()
    assert len(re.findall(r"^msgid ", source, re.MULTILINE)) == len(texts) + 1  # and its header
    assert not re.search(r"^#~|^msgctxt", source, re.MULTILINE)


def plural_forms(locale: str) -> list[set[int]]:
    """Return the numbers of each plural form of a catalogue, which must be those of CLDR."""
    header, plural = catalogue(locale), Locale.parse(locale).plural_form
    form_of, by_cldr = c2py(header.plural_expr), defaultdict(set)
    for number in range(201):
        by_cldr[plural(number)].add(number)
    forms = [{n for n in range(201) if form_of(n) == i} for i in range(header.num_plurals)]
    assert sorted(forms, key=min) == sorted(by_cldr.values(), key=min)
    return forms


@pytest.mark.parametrize("locale", TRANSLATED_LOCALES)
def test_a_translation_keeps_what_is_put_in(locale: str) -> None:
    numbers_of_form = plural_forms(locale)
    for ids, strings in entries(locale):
        assert len(strings) == (1 if len(ids) == 1 else len(numbers_of_form)), ids
        for text, numbers in zip(strings, numbers_of_form, strict=False):
            expected = [places(one) for one in ids]
            if len(ids) > 1 and len(numbers) == 1:  # a form for one number can say it in words
                expected.append([place for place in expected[-1] if place != "%(count)s"])
            assert places(text) in expected, text
            assert re.findall(r"</?\w+", text) == re.findall(r"</?\w+", ids[-1]), text
            assert any("%" in one for one in ids) or "%" not in text, text
            assert re.sub(r"%\(\w+\)[sd]|%%", "", text).count("%") == 0, text


# What no publisher prints: quotes of a typewriter, three full stops, two spaces, a space at an end,
# and marks of direction by hand, which `money.format` and the pages put where they are needed.
MARKS_OF_DIRECTION = "\u200e\u200f\u202a-\u202e\u2066-\u2069"
UNPRINTED = re.compile(rf"[\"{MARKS_OF_DIRECTION}]|\w'\w|\.\.\.|  |^\s|\s$")
QUOTES = {**dict.fromkeys(("ru", "uk", "es", "fr", "ar"), "«»"), "de": "„“", "pl": "„”"}
BREAKING_BEFORE_A_DOUBLE_MARK = re.compile(
    "(?<![\u00a0\u202f!?])[!?;»]|(?<![\u00a0\u202f]):(?!\\w)"
)


@pytest.mark.parametrize("locale", TRANSLATED_LOCALES)
def test_a_translation_is_set_as_its_language_is_printed(locale: str) -> None:
    of_others = set("«»„“”‟") - set(QUOTES.get(locale, "«»„“”‟"))
    texts = [
        re.sub(r"<[^>]+>", "", text)
        for ids, strings in entries(locale)
        for text in strings
        if ids[0] != "d MMMM y"
    ]
    assert [text for text in texts if UNPRINTED.search(text) or of_others & set(text)] == []
    if locale == "fr":
        assert [text for text in texts if BREAKING_BEFORE_A_DOUBLE_MARK.search(text)] == []


def test_a_language_is_chosen_by_whoever_asks_first() -> None:
    choose = functools.partial(i18n.negotiate_locale, offered=("en", "ru"))
    assert choose() == "en"
    assert choose("ru") == "ru"
    assert choose("ru_RU") == "ru"
    assert choose(None, "", "de", "RU-ru") == "ru"
    assert choose("en", "ru") == "en"
    assert choose("de-DE,de;q=0.9,ru;q=0.4,en;q=0.3") == "ru"
    assert choose("ru;q=0.2, en-GB;q=0.8") == "en"
    assert choose("ru;q=0, *") == "en"
    assert choose("../../etc", "x" * 9000, ";;q=,,") == "en"
    assert choose("x," * 19 + "ru") == "ru"
    assert choose("x," * 20 + "ru") == "en", "as much is read as a browser sends"
    assert i18n.negotiate_locale("en-GB, de", offered=("ru", "uk")) == "ru", "the newsroom's own"
    assert i18n.find_locale("en", offered=("ru", "uk")) is None
