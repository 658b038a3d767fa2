"""A reader reads and writes their own language from the first page to the last mail.

An address decides, then the browser, then the newsroom's first language; no cookie remembers it.
"""

import re
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest

from tests.support.app_pool import lend_app
from tests.support.donor import (
    READER_EMAIL,
    SAME_ORIGIN_HEADERS,
    link_in,
    open_donor_browser,
    well_formed_page,
)
from tests.support.locales import NEWSROOM_LOCALES
from tests.support.newsroom import BASE_URL, Newsroom
from tests.support.page import Page

pytestmark = pytest.mark.anyio

RUSSIAN = {"accept-language": "ru-RU,ru;q=0.9,en;q=0.5"}
CYRILLIC = re.compile("[\u0400-\u04ff]")
# What an English page says in places that a Russian one must have translated.
LEFT_OVER = re.compile(r"\b(the|you|your|charge|month|every|nothing|from|to)\b", re.IGNORECASE)


async def opens(room: Newsroom, address: str, **headers: str) -> tuple[httpx.Response, Page]:
    answer = await room.web.get(
        address, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    return answer, well_formed_page(answer)


def language_and_direction(page: Page) -> tuple[str, str]:
    (html,) = (named for tag, named in page.attributes if tag == "html")
    return html["lang"], html["dir"]


def in_english(page: Page) -> str | None:
    """A word that a page has in English, names apart."""
    words = re.sub(r"The Example|EXAMPLE MEDIA|Apple Pay|Google Pay|English", "", page.text)
    found = LEFT_OVER.search(words)
    return None if found is None else words[max(found.start() - 40, 0) : found.end() + 40]


def form_of(page: Page, path: str) -> tuple[str, dict[str, str]]:
    """The address and the fields of the one form that is sent to this path."""
    (form,) = (f for f in page.forms if f.method == "post" and f.action.split("?")[0] == path)
    return form.action, form.submission()


# --- which language -------------------------------------------------------------------------------


async def test_the_browser_asks_and_an_address_decides(newsroom: Newsroom) -> None:
    for address, headers, language in (
        ("/donate", {}, "en"),
        ("/donate", RUSSIAN, "ru"),
        ("/donate?lang=ru", {}, "ru"),
        ("/donate?lang=en", RUSSIAN, "en"),
        ("/donate?locale=ru", {}, "ru"),
        ("/donate?lang=RU-ru", {}, "ru"),
        ("/thanks/unknown", RUSSIAN, "ru"),
        ("/nowhere", RUSSIAN, "ru"),
        ("/manage/contributions", RUSSIAN, "ru"),
    ):
        answer = await newsroom.web.get(address, headers=headers)
        assert language_and_direction(well_formed_page(answer)) == (language, "ltr"), address
        assert answer.headers["content-language"] == language
        assert answer.headers["vary"] == "Accept-Language"
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "wanted",
    [
        "xx",
        "",
        "de",
        "../../etc/passwd",
        "r" * 4000,
        "ru%0d%0aSet-Cookie:%20x=1",
        "%00",
        "%ff",
        "<b>",
    ],
)
async def test_a_language_nobody_has_is_quietly_left_out(newsroom: Newsroom, wanted: str) -> None:
    answer, page = await opens(newsroom, f"/donate?lang={wanted}")
    assert answer.status_code == 200
    assert language_and_direction(page) == ("en", "ltr")
    assert answer.headers["content-language"] == "en"
    assert "set-cookie" not in answer.headers
    for reflected in ("passwd", "x=1", "r" * 40, "<b>"):
        assert reflected not in answer.text


async def test_a_page_leads_to_itself_in_the_other_language(newsroom: Newsroom) -> None:
    address = "/donate?amount=1500&frequency=annual&x=https://evil.example"
    answer, page = await opens(newsroom, address)
    other = page.links["Русский"]
    assert other == "?amount=1500&frequency=annual&lang=ru"
    links = [named for tag, named in page.attributes if named.get("hreflang")]
    assert [(link["lang"], link["hreflang"]) for link in links] == [
        (one, one) for one in NEWSROOM_LOCALES if one != "en"
    ]
    _, russian = await opens(newsroom, "/donate" + other)
    assert language_and_direction(russian) == ("ru", "ltr")
    assert russian.form("/donate?lang=ru").submission()["amount_annual"] == "other"
    assert russian.form("/donate?lang=ru").submission()["other_annual"] == "15,00"
    assert russian.links["English"] == "?amount=1500&frequency=annual&lang=en"
    assert answer.headers["cache-control"] == "no-store"


async def test_staff_pages_and_programs_are_answered_in_english(newsroom: Newsroom) -> None:
    page = await newsroom.web.get("/finance?lang=ru", headers=RUSSIAN)
    assert language_and_direction(Page(page.text)) == ("en", "ltr")
    answer = await newsroom.web.post(
        "/api/contributions",
        json={"amount": 1, "currency": "usd", "frequency": "once", "locale": "ru"},
        headers={**RUSSIAN, "Idempotency-Key": uuid4().hex},
    )
    assert answer.json()["detail"] == "The smallest amount is 2.00 USD. Nothing was charged."


# --- the way of a gift ----------------------------------------------------------------------------


async def test_a_reader_gives_and_changes_in_russian_from_the_first_page_to_the_mail(
    newsroom: Newsroom,
) -> None:
    _, page = await opens(newsroom, "/donate?lang=ru&frequency=monthly&amount=500")
    assert "5,00\N{NO-BREAK SPACE}$" in page.html
    assert in_english(page) is None
    action, fields = form_of(page, "/donate")
    assert (action, fields["locale"]) == ("/donate?lang=ru", "ru")
    sent = await newsroom.web.post(action, data=fields)
    assert sent.status_code == 303, sent.text
    params = newsroom.sandbox.requests[-1].params
    assert params["locale"] == "ru"
    back = await newsroom.pays(sent.headers["location"])
    assert back is not None
    assert back == f"{BASE_URL}/thanks?lang=ru"
    waiting, _ = await opens(newsroom, back)
    assert waiting.headers["refresh"].endswith("?poll=1&lang=ru")
    await newsroom.runs_until_idle()
    _, thanks = await opens(newsroom, back)
    assert "5,00 $ каждый месяц" in thanks.text
    assert "22 декабря 2026" in thanks.text
    assert in_english(thanks) is None
    ours = [link for link in thanks.links.values() if link.startswith("/")]
    assert ours
    assert [link for link in ours if "lang=ru" not in link] == []

    await changes_what_they_give(newsroom, thanks.links["Посмотреть или изменить свои платежи"])


async def changes_what_they_give(newsroom: Newsroom, manage: str) -> None:
    async with open_donor_browser(newsroom) as donor:
        sign_in_page = await donor.opens(manage)
        action, fields = form_of(sign_in_page, "/manage")
        answer = await donor.web.post(
            action, data={**fields, "address": READER_EMAIL}, headers=SAME_ORIGIN_HEADERS
        )
        assert language_and_direction(well_formed_page(answer)) == ("ru", "ltr")
        await newsroom.runs_due_jobs()
        mail = newsroom.mails()[-1]
        assert mail.parsed["Content-Language"] == "ru"
        assert CYRILLIC.search(mail.subject)
        entered = await donor.opens(link_in(mail, "/manage/enter/") + "?lang=ru")
        assert f"{link_in(mail, '/manage/enter/')}?lang=ru" in mail.part()
        action, fields = form_of(entered, action_path(entered))
        answer = await donor.web.post(action, data=fields, headers=SAME_ORIGIN_HEADERS)
        overview = await donor.follows_redirect(answer)
        assert "следующее списание 22 декабря 2026" in overview.text
        gift = next(link for words, link in overview.links.items() if "5,00" in words)
        subscription_page = await donor.opens(gift)
        await every_page_is_russian(donor, subscription_page)
        amount = await donor.opens(subscription_page.links["Изменить сумму"])
        action, fields = form_of(amount, action_path(amount))
        assert fields["amount"] == "5,00"
        refused = await donor.web.post(
            action, data={**fields, "amount": "1,50"}, headers=SAME_ORIGIN_HEADERS
        )
        assert refused.status_code == 422
        assert "Наименьшая сумма — 2,00 $. Деньги не списаны." in Page(refused.text).text
        answer = await donor.web.post(
            action, data={**fields, "amount": "7,50"}, headers=SAME_ORIGIN_HEADERS
        )
        changed = await donor.follows_redirect(answer)
        assert "7,50 $ каждый месяц" in changed.text
        await newsroom.runs_until_idle()
        mail = newsroom.mails()[-1]
        assert mail.parsed["Content-Language"] == "ru"
        assert "7,50" in mail.part()


def action_path(page: Page) -> str:
    """Where the last form of a page is sent: the first is the way out."""
    return [form for form in page.forms if form.method == "post"][-1].action.split("?")[0]


async def every_page_is_russian(donor: object, start: Page) -> None:
    """Follow each link of ours once: the language stays, and nothing is left in English."""
    seen: set[str] = set()
    waiting = list(start.links.values())
    while waiting:
        address = waiting.pop()
        is_file = "file.json" in address or "/pdf" in address
        if not address.startswith("/manage/") or address in seen or is_file:
            continue
        seen.add(address)
        assert "lang=ru" in address, address
        page = await donor.opens(address)  # type: ignore[attr-defined]  # a Donor
        assert language_and_direction(page) == ("ru", "ltr")
        assert in_english(page) is None, address
        waiting += page.links.values()
    assert len(seen) > 8


async def test_what_is_refused_is_refused_in_the_language_of_the_form(newsroom: Newsroom) -> None:
    _, page = await opens(newsroom, "/donate")
    fields = {**page.form("/donate").submission(), "locale": "ru", "frequency": "once"}
    for typed, message in (
        ("1", "Наименьшая сумма — 2,00 $. Деньги не списаны."),
        ("1.250", "Вы имели в виду 1\N{NO-BREAK SPACE}250,00 $ или 1,25 $? Деньги не списаны."),
        ("пять", "Укажите, пожалуйста, сумму в USD цифрами. Деньги не списаны."),
    ):
        sent = {**fields, "amount_once": "other", "other_once": typed}
        answer = await newsroom.web.post("/donate", data=sent)
        assert answer.status_code == 422
        refusal = well_formed_page(answer)
        assert language_and_direction(refusal) == ("ru", "ltr")
        flat = message.replace("\N{NO-BREAK SPACE}", " ")
        assert flat in refusal.text.replace("\N{NO-BREAK SPACE}", " ")
        assert "Русский" not in refusal.links  # and to switch would lose what was typed
        assert "English" not in refusal.links


async def test_a_program_asks_for_a_gift_in_russian(newsroom: Newsroom) -> None:
    answer = await newsroom.requests_contribution(500, "monthly", locale="ru")
    assert newsroom.sandbox.requests[-1].params["locale"] == "ru"
    assert newsroom.sandbox.requests[-1].params["success_url"].endswith("?lang=ru")
    gift = await newsroom.contribution(answer.json()["id"])
    assert gift.language == "ru"
    other = await newsroom.requests_contribution(500, "monthly", locale="pt-BR")
    assert newsroom.sandbox.requests[-1].params["locale"] == "pt-BR"
    assert "lang=" not in newsroom.sandbox.requests[-1].params["success_url"]
    assert (await newsroom.contribution(other.json()["id"])).language == "en"


async def test_a_newsroom_offers_the_languages_of_its_readers_alone(newsroom: Newsroom) -> None:
    settings = newsroom.settings.model_copy(update={"locales": ("ru", "en")})
    with lend_app(replace(newsroom.ctx, settings=settings)) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # litestar's own ASGI
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as web:
            for address, headers, language in (
                ("/donate", {}, "ru"),
                ("/donate", {"accept-language": "ar, en-GB;q=0.5"}, "en"),
                ("/donate?lang=ar", {}, "ru"),
                ("/nowhere?lang=en", {}, "en"),
            ):
                page = well_formed_page(await web.get(address, headers=headers))
                assert language_and_direction(page) == (language, "ltr"), address
                other = {"ru": "English", "en": "Русский"}[language]
                links = [a for tag, a in page.attributes if "hreflang" in a]
                assert len(links) == 1
                assert other in page.links
            script = await web.get("/embed/ar.js")
            assert '"lang":"ru"' in script.text
            asked = {"amount": 500, "currency": "usd", "frequency": "once", "locale": "ar"}
            keyed = {"Idempotency-Key": uuid4().hex}
            answer = await web.post("/api/contributions", json=asked, headers=keyed)
            assert (await newsroom.contribution(answer.json()["id"])).language == "ru"
