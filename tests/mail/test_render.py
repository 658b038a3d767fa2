"""Every mail in every language: neutral, small, complete, and the same in both of its parts."""

import re
from datetime import UTC, datetime
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import get_args

import pytest

from payments.core import brand_settings, i18n
from payments.core.frequency import MONTH, YEAR, Interval
from payments.giving.change_log import ChangeKind
from payments.mail import render, smtp
from payments.mail.brand import Brand
from payments.mail.outbox import MailKind
from payments.mail.render import DirectMailKind, RenderedMail
from payments.mail.smtp import Envelope
from tests.support.mail import TELLTALE
from tests.support.mail_examples import variables_of_mails
from tests.support.newsroom import settings_for

SETTINGS = settings_for(
    "postgresql+psycopg://nobody@localhost/none",
    "http://127.0.0.1:1",
    base_url="https://pay.lindenau.example",
    mail_from="Support <post@lindenau.example>",
    publication_name="The Example Courier",
)
TAGS = {"html", "head", "meta", "title", "body", "p", "a"}
BRANDED = {MailKind.THANKS, MailKind.YEARLY_STATEMENT}  # sent in the newsroom's name alone
QUARTER = Interval.of("month", 3)
EVERY_VARIANT_LOCALES = ("en", "ru")  # every text is one of another's: the others need two variants
EVERY_MAIL = [
    (kind, locale, interval, bare)
    for kind in sorted(set(MailKind) - BRANDED)
    for locale in i18n.SUPPORTED_LOCALES
    for interval in (MONTH, YEAR, QUARTER)
    for bare in (False, True)
    if not (bare and kind is MailKind.RENEWS_SOON)  # which is not sent without a date
    if locale in EVERY_VARIANT_LOCALES or (interval, bare) in ((MONTH, False), (QUARTER, True))
] + [
    (kind, locale, MONTH, False)
    for kind in ("address_change_old", "address_change_new")
    for locale in i18n.SUPPORTED_LOCALES
]


def build_message(locale: str, rendered: RenderedMail) -> EmailMessage:
    envelope = Envelope(
        "0" * 32, "somebody@example.org", locale, datetime(2026, 11, 22, tzinfo=UTC)
    )
    message = smtp.build_message(SETTINGS, rendered, envelope)
    assert message is not None
    return message


class ParsedHtml(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())


@pytest.mark.parametrize(("kind", "locale", "interval", "bare"), EVERY_MAIL)
def test_a_mail_is_neutral_small_and_whole(
    kind: MailKind, locale: str, interval: Interval, bare: bool
) -> None:
    rendered = render.render(kind, locale, variables_of_mails(locale, interval=interval, bare=bare))
    mail = build_message(locale, rendered)
    raw = mail.as_bytes()
    assert len(raw) < 6 * 1024
    assert raw.isascii()
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    headers_and_parts = "\n".join(
        [*(f"{name}: {value}" for name, value in mail.items()), rendered.text, rendered.html]
    )
    assert TELLTALE.search(headers_and_parts) is None, TELLTALE.search(headers_and_parts)
    assert "List-Unsubscribe" not in mail
    assert "None" not in rendered.text
    assert "%(" not in headers_and_parts
    assert "  " not in rendered.text
    assert len(rendered.subject) <= 70


@pytest.mark.parametrize(("kind", "locale", "interval", "bare"), EVERY_MAIL)
def test_both_parts_say_the_same_and_fetch_nothing(
    kind: MailKind, locale: str, interval: Interval, bare: bool
) -> None:
    rendered = render.render(kind, locale, variables_of_mails(locale, interval=interval, bare=bare))
    page = ParsedHtml(rendered.html)
    is_rtl = i18n.text_direction(locale) == "rtl"
    assert set(page.tags) - TAGS == ({"div"} if is_rtl else set())
    assert page.tags.count("div") == is_rtl
    assert {(tag, name) for tag, name, _ in page.attributes} <= {
        ("html", "lang"),
        ("html", "dir"),
        ("div", "dir"),
        ("meta", "charset"),
        ("a", "href"),
    }
    links = [value for tag, _, value in page.attributes if tag == "a"]
    lines = [line for line in rendered.text.splitlines() if line]
    assert links == [line for line in lines if line.startswith("http")]
    labels = [line.rstrip(": \xa0") for line in lines if not line.startswith("http")]
    assert [text.rstrip(": \xa0") for text in page.texts] == [rendered.subject, *labels]
    assert not re.search(r"[:\s]</a>", rendered.html)


@pytest.mark.parametrize("locale", i18n.SUPPORTED_LOCALES)
@pytest.mark.parametrize("kind", sorted(set(MailKind) - {MailKind.SIGN_IN}))
def test_a_branded_mail_says_the_same_in_both_parts_and_fetches_nothing(
    kind: MailKind, locale: str
) -> None:
    logo = brand_settings.PNG_SIGNATURE + bytes(100)
    lines = ("1 Canal & Street, Amsterdam", "Charity no. <1>")
    brand = Brand("The Example Courier", "#1f3a5f", "#a8cbff", lines, logo)
    variables = variables_of_mails(locale, interval=MONTH, bare=False)
    rendered = render.render(kind, locale, variables, brand)
    page = ParsedHtml(rendered.html)
    words = re.sub(r"https?://\S+|[:|]", " ", rendered.text).split()
    shown = [text for text in page.texts if text != rendered.subject and "color-scheme" not in text]
    assert " ".join(shown).replace(":", " ").split() == words
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert links == re.findall(r"^https?://\S+$", rendered.text, re.MULTILINE)
    assert [value for _, name, value in page.attributes if name == "src"] == ["cid:logo"]
    assert "url(" not in rendered.html
    assert shown[0].strip("\u2068\u2069") == "The Example Courier"
    mail = build_message(locale, rendered)
    assert [part.get_content_type() for part in mail.walk()] == [
        *("multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png")
    ]
    assert [part["Content-ID"] for part in mail.walk()][-1] == "<logo>"
    assert mail.as_bytes().isascii()


def test_from_the_right_a_number_and_a_name_keep_their_own_direction() -> None:
    variables = variables_of_mails("ar", interval=MONTH, bare=False)
    thanks = render.render(MailKind.THANKS, "ar", variables)
    assert "\u20680123 4567 89AB CDEF\u2069" in thanks.text
    assert "\u2068\u200f5.00\u00a0\u2068US$\u2069\u2069" in thanks.text
    assert thanks.subject.endswith("\u2068The Example Courier\u2069")
    brand = Brand("Courier!", "#1f3a5f", "#a8cbff", ("1 Canal Street, Lindenau",), None)
    branded = render.render(MailKind.THANKS, "ar", variables, brand)
    for part in (branded.text, branded.html):
        assert "\u2068Courier!\u2069" in part
        assert "\u20681 Canal Street, Lindenau\u2069" in part
    english = variables_of_mails("en", interval=MONTH, bare=False)
    assert "\u2068" not in render.render(MailKind.THANKS, "en", english).text


def test_what_stripe_writes_cannot_become_markup() -> None:
    hostile = {**variables_of_mails("en", interval=MONTH, bare=False), "amount": '<img src="//x">&'}
    rendered = render.render(MailKind.PAYMENT_FAILED, "en", hostile)
    assert "<img" not in rendered.html
    assert "&lt;img src=&quot;//x&quot;&gt;&amp;" in rendered.html


CHARGES = {
    *(MailKind.RENEWS_SOON, MailKind.RESUMED, MailKind.AMOUNT_CHANGED),
    *(MailKind.FREQUENCY_CHANGED, MailKind.DAY_CHANGED, MailKind.SKIPPED, MailKind.PAUSED),
    *(MailKind.PAYMENT_FAILED, MailKind.ACTION_NEEDED, MailKind.CARD_EXPIRING),
    *(MailKind.NEEDS_CARD, MailKind.END_SCHEDULED, MailKind.END_MOVED, MailKind.END_CANCELLED),
    *(MailKind.SECOND_BEGUN, MailKind.THANKS),
}


@pytest.mark.parametrize("kind", MailKind)
def test_whoever_hears_of_a_charge_can_stop_it_from_the_mail(kind: MailKind) -> None:
    rendered = render.render(kind, "en", variables_of_mails("en", interval=MONTH, bare=False))
    assert ("/stop/" in rendered.text) is (kind in CHARGES)
    unproved = {"cancel_link": None, "card_update_link": None}
    variables = {**variables_of_mails("en", interval=MONTH, bare=False), **unproved}
    rendered = render.render(kind, "en", variables)  # to what may be a stranger's mailbox
    assert "no sign-in needed" not in rendered.text
    assert re.search("/(fix|stop)/", rendered.text) is None
    assert "/manage" in rendered.text


@pytest.mark.parametrize("locale", EVERY_VARIANT_LOCALES)
@pytest.mark.parametrize(
    "kind", sorted((CHARGES - BRANDED) | {MailKind.CANCELLED, MailKind.LAPSED})
)
def test_a_mail_says_what_happens_to_the_money(kind: MailKind, locale: str) -> None:
    rendered = render.render(kind, locale, variables_of_mails(locale, interval=MONTH, bare=False))
    phrases = {
        "en": r"[Nn]othing (is|was|will be|more|has been)|[Ww]on't be charged|we will charge",
        "ru": r"списан|списыва|спиш",
    }
    assert re.search(phrases[locale], rendered.text)


def test_every_kind_has_a_template_and_each_observed_change_a_kind() -> None:
    templates = {path.stem for path in render.TEMPLATE_DIR.glob("[!_]*.txt")}
    assert templates - set(MailKind) == set(get_args(DirectMailKind))
    assert set(MailKind) <= templates
    # these are mailed by their value; the others have kinds of their own
    by_value = set(ChangeKind) - {
        ChangeKind.AMOUNT,
        ChangeKind.FREQUENCY,
        ChangeKind.DAY,
        ChangeKind.CARD,
    }
    assert by_value <= set(MailKind)
