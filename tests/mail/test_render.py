"""Every letter in every language: neutral, small, complete, and the same in both of its parts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po

from payments.core import i18n, money
from payments.core.errors import PaymentsError
from payments.core.money import Money
from payments.mail import render, smtp
from payments.mail.outbox import MailKind
from payments.mail.render import RenderedMail
from payments.mail.smtp import Envelope
from tests.support.newsroom import settings_for

PAGES = Path(i18n.__file__).parent / "web" / "templates"
SETTINGS = settings_for(
    "postgresql+psycopg://nobody@localhost/none",
    "http://127.0.0.1:1",
    base_url="https://pay.lindenau.example",
    mail_from="Support <post@lindenau.example>",
    publication_name="The Example Courier",
)
# What would tell somebody at the donor's shoulder what the payment is for.
TELLTALE = re.compile(
    r"courier|donat|donor|\bgift|\bgiv(e|es|ing)\b|charit|newsroom|journalis|"
    r"newspaper|\bnews\b|\bmedia\b|reader|reporter|reporting|publish|publication|article|"
    r"membership|campaign|жертв|донат|донор|подар|журнал|газет|редакц|изда[нт]|новост|"
    r"читател|стать|благотвор|подписк|поддерж",
    re.IGNORECASE,
)
TAGS = {"html", "head", "meta", "title", "body", "p", "a"}
EVERY = [
    (kind, tongue, annual, bare)
    for kind in MailKind
    for tongue in i18n.SUPPORTED_LOCALES
    for annual in (False, True)
    for bare in (False, True)
    if not (bare and kind is MailKind.RENEWS_SOON)  # which is not sent without a date
]


def facts(locale: str, *, annual: bool, bare: bool) -> Mapping[str, object]:
    """Everything a letter may be told; `bare` leaves out what may be unknown."""
    amount = money.format(Money(500, "usd"), locale)
    signed = "W1t7IjE3OTU0MzIxMDAiOiJzdWJfMVNhbXBsZUlkIn1d" * 2

    def day(month: int) -> str:
        return i18n.format_day(date(2027, month, 22), locale)

    return {
        "annual": annual,
        "amount": amount,
        "amount_phrase": render.amount_phrase(amount, locale, annual=annual),
        "next_charge": None if bare else day(1),
        "skipped_on": day(2),
        "resumes_on": None if bare else day(3),
        "ends_on": day(7),
        "ended_on": day(4),
        "card_expires_on": day(5),
        "retry_on": None if bare else day(6),
        "confirm_link": None if bare else "https://invoice.stripe.com/i/acct_1/test_" + signed,
        "card_update_link": f"https://pay.lindenau.example/fix/{signed}",
        "cancel_link": f"https://pay.lindenau.example/stop/{signed}",
        "manage_link": "https://pay.lindenau.example/manage",
        "reference": "AB12CD34",
        "minutes": 10,
        "sign_in_link": f"https://pay.lindenau.example/manage/enter/{signed[:43]}",
        "code": "ABCDE-FGHJK",
    }


def mailed(locale: str, letter: RenderedMail) -> EmailMessage:
    envelope = Envelope(
        "0" * 32, "somebody@example.org", locale, datetime(2026, 11, 22, tzinfo=UTC)
    )
    written = smtp.build_message(SETTINGS, letter, envelope)
    assert written is not None
    return written


class Seen(HTMLParser):
    """The tags, links and words of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data.strip())


@pytest.mark.parametrize(("kind", "locale", "annual", "bare"), EVERY)
def test_a_letter_is_neutral_small_and_whole(
    kind: MailKind, locale: str, annual: bool, bare: bool
) -> None:
    letter = render.render(kind, locale, facts(locale, annual=annual, bare=bare))
    mail = mailed(locale, letter)
    raw = mail.as_bytes()
    assert len(raw) < 6 * 1024
    assert raw.isascii()
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    everything = "\n".join(
        [*(f"{name}: {value}" for name, value in mail.items()), letter.text, letter.html]
    )
    assert TELLTALE.search(everything) is None, TELLTALE.search(everything)
    assert "List-Unsubscribe" not in mail
    assert "None" not in letter.text
    assert "%(" not in everything
    assert "  " not in letter.text
    assert len(letter.subject) <= 70


@pytest.mark.parametrize(("kind", "locale", "annual", "bare"), EVERY)
def test_both_parts_say_the_same_and_fetch_nothing(
    kind: MailKind, locale: str, annual: bool, bare: bool
) -> None:
    letter = render.render(kind, locale, facts(locale, annual=annual, bare=bare))
    seen = Seen(letter.html)
    assert set(seen.tags) <= TAGS
    assert {(tag, name) for tag, name, _ in seen.attributes} <= {
        ("html", "lang"),
        ("html", "dir"),
        ("meta", "charset"),
        ("a", "href"),
    }
    links = [value for tag, _, value in seen.attributes if tag == "a"]
    lines = [line for line in letter.text.splitlines() if line]
    assert links == [line for line in lines if line.startswith("http")]
    said = [line.rstrip(":") for line in lines if not line.startswith("http")]
    assert [word.rstrip(":") for word in seen.words] == [letter.subject, *said]


def test_what_stripe_writes_cannot_become_markup() -> None:
    hostile = {**facts("en", annual=False, bare=False), "amount": '<img src="//x">&'}
    letter = render.render(MailKind.PAYMENT_FAILED, "en", hostile)
    assert "<img" not in letter.html
    assert "&lt;img src=&quot;//x&quot;&gt;&amp;" in letter.html


CHARGES = {
    *(MailKind.RENEWS_SOON, MailKind.RESUMED, MailKind.AMOUNT_CHANGED),
    *(MailKind.FREQUENCY_CHANGED, MailKind.SKIPPED, MailKind.PAUSED),
    *(MailKind.PAYMENT_FAILED, MailKind.ACTION_NEEDED, MailKind.CARD_EXPIRING),
    *(MailKind.NEEDS_CARD, MailKind.END_SCHEDULED, MailKind.END_CANCELLED),
}


@pytest.mark.parametrize("kind", MailKind)
def test_whoever_hears_of_a_charge_can_stop_it_from_the_mail(kind: MailKind) -> None:
    letter = render.render(kind, "en", facts("en", annual=False, bare=False))
    assert ("/stop/" in letter.text) is (kind in CHARGES)


@pytest.mark.parametrize("locale", i18n.SUPPORTED_LOCALES)
@pytest.mark.parametrize("kind", sorted(CHARGES | {MailKind.CANCELLED, MailKind.LAPSED}))
def test_a_letter_says_what_happens_to_the_money(kind: MailKind, locale: str) -> None:
    letter = render.render(kind, locale, facts(locale, annual=False, bare=False))
    nothing = {"en": r"[Nn]othing (is|was|will be|more)|we will take", "ru": r"списан|списыва|спиш"}
    assert re.search(nothing[locale], letter.text)


# --- languages ------------------------------------------------------------------------------------


def strings(*templates: Path) -> Iterator[tuple[str, ...]]:
    """What the templates ask to be translated: each with its plural, if it has one."""
    keywords = {"_": None, "gettext": None, "ngettext": (1, 2)}
    for template in templates:
        with template.open("rb") as file:
            for _line, message, _comments, _context in extract("jinja2", file, keywords):
                yield (message,) if isinstance(message, str) else tuple(message)


def catalogue(locale: str) -> Catalog:
    with (i18n.LOCALES_DIR / locale / i18n.CATALOGUE).open("rb") as file:
        return read_po(file, locale=locale)


OTHERS = [tongue for tongue in i18n.SUPPORTED_LOCALES if tongue != i18n.DEFAULT_LOCALE]


@pytest.mark.parametrize("locale", OTHERS)
def test_every_letter_is_translated(locale: str) -> None:
    written = strings(*sorted(render.TEMPLATE_DIR.glob("*.txt")))
    assert missing(locale, written) == []
    assert missing(locale, [("d MMMM y",), ("%(amount)s a month",), ("%(amount)s a year",)]) == []


# The newsroom's own pages are in its English.
STAFF = ("finance", "_finance", "staff_", "_staff", "support", "inbox", "campaign")
DONORS = [path.stem for path in sorted(PAGES.glob("*.html")) if not path.stem.startswith(STAFF)]


@pytest.mark.parametrize("locale", OTHERS)
@pytest.mark.parametrize("page", DONORS)
def test_every_page_of_a_donor_is_translated(locale: str, page: str) -> None:
    assert missing(locale, strings(PAGES / f"{page}.html")) == []


@pytest.mark.parametrize("page", DONORS)
def test_a_page_leads_on_in_the_language_it_is_read_in(page: str) -> None:
    leading = r'(?:href|action)="(?!\#|\{\{ base_path \}\}/static/)([^"]*)'
    written = (PAGES / f"{page}.html").read_text()
    bare = [found for found in re.findall(leading, written) if found.startswith("/")]
    # A form that is sent by GET drops its address's query and carries the language in a field.
    assert [found for found in bare if f'action="{found}"' not in written] == []


# What only programs, staff and the operator are told stays English.
ENGLISH_FILES = {
    "alarms.py",
    "api.py",
    "audit.py",
    "auth.py",
    "cli.py",
    "colleagues.py",
    "finance.py",
    "ops.py",
    "issuer.py",
    "oidc.py",
    "passkeys.py",
    "protection.py",
    "refunds.py",
    "retention.py",
    "settings.py",
    "sign_on.py",
    "staff.py",
    "staff_door.py",
    "stopping.py",
    "support.py",
}
ENGLISH_FILES |= {"campaigns.py", "cli_campaigns.py", "cli_export.py", "cli_period.py"}
ENGLISH_FILES |= {"packs.py", "periods.py"}
ENGLISH_FOLDERS = {"demo", "exports", "finance", "reports", "sandbox"}
ENGLISH_CODES = {
    "edit-conflict",
    "invalid-campaign",
    "no-signing-key",
    "not-a-pack",
    "period-not-ready",
    "journal-unbalanced",
}
ENGLISH_CODES |= {"bad-webhook", "idempotency-key-missing", "idempotency-key-reused"}
ENGLISH_CODES |= {"refund-not-possible", "refund-too-much"}
ENGLISH_CODES |= {"nobody-is-protected", "nothing-to-resume", "promises-live", "stop-under-way"}
ENGLISH_CODES |= {"confirm-first", "not-allowed", "passkey-refused", "too-many-cases"}
ENGLISH_CODES |= {"issuer-away", "sign-on-refused"}


def refusals(of: type[PaymentsError] = PaymentsError) -> Iterator[type[PaymentsError]]:
    yield of
    for kind in of.__subclasses__():
        yield from refusals(kind)


def words_of_code() -> Iterator[tuple[str, ...]]:
    """What the sources say to people: marked for later, said at once, or raised."""
    raised = {kind.__name__ for kind in refusals() if kind.code not in ENGLISH_CODES}
    keywords = dict.fromkeys({"later", "say", *raised})
    package = Path(i18n.__file__).parent
    for source in sorted(package.rglob("*.py")):
        if source.name in ENGLISH_FILES or ENGLISH_FOLDERS & set(source.parts):
            continue
        # an amount's refusals write their sentences where they call their parent
        mine = {**keywords, "__init__": None} if source.name == "money.py" else keywords
        with source.open("rb") as file:
            for _line, message, _comments, _context in extract("python", file, mine):
                yield (message,) if isinstance(message, str) else tuple(message)


@pytest.mark.parametrize("locale", OTHERS)
def test_every_word_of_the_code_is_translated(locale: str) -> None:
    assert missing(locale, list(words_of_code())) == []
    titles = {(kind.title,) for kind in refusals() if kind.code not in ENGLISH_CODES}
    assert missing(locale, sorted(titles)) == []
    assert ("The smallest amount is %(limit)s. Nothing was charged.",) in words_of_code()


def missing(locale: str, written: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> list[str]:
    known = catalogue(locale)
    found = {message[0]: known.get(message[0]) for message in written}
    return [
        said
        for said, entry in found.items()
        if entry is None or entry.fuzzy or not all(forms(entry.string))
    ]


@pytest.mark.parametrize("locale", OTHERS)
def test_a_translation_keeps_what_is_put_in(locale: str) -> None:
    for entry in catalogue(locale):
        if not entry.id:
            continue
        ids = forms(entry.id)
        for said in forms(entry.string):
            assert places(said) in [places(one) for one in ids], said
            assert re.findall(r"</?\w+", said) == re.findall(r"</?\w+", ids[-1]), said


def forms(written: str | Sequence[str] | None) -> list[str]:
    """A text, or each of its plural forms."""
    return [written or ""] if written is None or isinstance(written, str) else list(written)


def places(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)[sd]", text))


def test_a_language_is_chosen_by_whoever_asks_first() -> None:
    assert i18n.negotiate_locale() == "en"
    assert i18n.negotiate_locale("ru") == "ru"
    assert i18n.negotiate_locale("ru_RU") == "ru"
    assert i18n.negotiate_locale(None, "", "de", "RU-ru") == "ru"
    assert i18n.negotiate_locale("en", "ru") == "en"
    assert i18n.negotiate_locale("de-DE,de;q=0.9,ru;q=0.4,en;q=0.3") == "ru"
    assert i18n.negotiate_locale("ru;q=0.2, en-GB;q=0.8") == "en"
    assert i18n.negotiate_locale("ru;q=0, *") == "en"
    assert i18n.negotiate_locale("../../etc", "x" * 9000, ";;q=,,") == "en"
