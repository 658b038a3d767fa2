"""The sign-up form of the newsletter: agreed to by the reader alone, in their language."""

import pytest

from tests.support.donor import Donor, link_in, open_donor_browser
from tests.support.mail import TELLTALE
from tests.support.newsletter import (
    POLICY,
    READER,
    MailingSystem,
    asks,
    keys,
    reading,
    signs_up,
    works,
)
from tests.support.newsroom import (
    Newsroom,
    without_tokens,
)
from tests.support.page import Page

pytestmark = pytest.mark.anyio


async def test_the_box_stands_beside_the_appeal_and_apart_from_it(subscriber: Donor) -> None:
    for at in ("/donate", "/newsletter"):
        page = await subscriber.opens(at)
        box = page.form("/newsletter")
        assert box.submission() == {
            "privacy_version": "2026-05-01",
            "address": "",
        }  # nothing is ticked
        assert page.links["Read the privacy policy"] == POLICY["privacy_url"]
        assert "See a past issue" not in page.links
    contribution = await subscriber.gives(500, "once")
    thanks = await subscriber.follows_redirect(
        await subscriber.web.get(f"/thanks/{contribution.id}")
    )
    assert thanks.form("/newsletter").submission()["address"] == ""
    gift = (await subscriber.opens("/donate")).form("/donate")
    assert not {"consent", "address", "privacy_version"} & {one.name for one in gift.fields}


async def test_a_past_letter_can_be_looked_at_first(database: str, mailing: MailingSystem) -> None:
    preview = "https://lindenau.example/letters/12"
    async with reading(database, mailing, newsletter_preview_url=preview) as browser:
        page = await browser.opens("/newsletter")
        assert page.links["See a past issue"] == preview


async def test_where_nobody_takes_addresses_none_is_asked_for(newsroom: Newsroom) -> None:
    async with open_donor_browser(newsroom) as browser:
        page = await browser.opens("/donate")
        assert "newsletter" not in page.html
        assert (await browser.web.get("/newsletter")).status_code == 404
        sent = {"address": READER, "consent": "yes", "privacy_version": ""}
        assert (await browser.web.post("/newsletter", data=sent)).status_code == 404
        answer = await asks(newsroom)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
    assert keys(newsroom) == []


@pytest.mark.parametrize(
    ("sent", "says", "field"),
    [
        ({"consent": ""}, "Please agree to the privacy policy", "consent"),
        ({"privacy_version": "2019-01-01"}, "The privacy policy has changed", "consent"),
        ({"privacy_version": ""}, "The privacy policy has changed", "consent"),
        ({"address": "nonsense"}, "Please check the e-mail address.", "address"),
        ({"address": f"{READER}\r\nBcc: x@example.org"}, "Please check the e-mail", "address"),
        ({"address": "a" * 400 + "@example.org"}, "Please check the e-mail", "address"),
    ],
)
async def test_what_is_wrong_is_said_beside_its_field_and_nothing_is_stored(
    subscriber: Donor, sent: dict[str, str], says: str, field: str
) -> None:
    good = {"address": READER, "consent": "yes", "privacy_version": "2026-05-01"}
    answer = await subscriber.web.post("/newsletter", data=good | sent)
    assert answer.status_code == 422
    page = Page(answer.text)
    assert page.problems == []
    assert says in page.alerts[0]
    assert page.field(f"newsletter-{field}")["aria-invalid"] == "true"
    again = page.form("/newsletter").submission()
    assert again["privacy_version"] == "2026-05-01"
    assert ("consent" in again) is (field == "address")  # their own tick, for the same policy
    assert await subscriber.room.count("newsletter_signups") == 0
    assert keys(subscriber.room) == []


async def test_it_speaks_russian_from_the_box_to_the_last_page(
    subscriber: Donor, mailing: MailingSystem
) -> None:
    page = await signs_up(subscriber, at="/newsletter?lang=ru")
    assert "Проверьте почту" in page.text
    await works(subscriber.room)
    mail = subscriber.room.mails()[0]
    assert mail.parsed["Content-Language"] == "ru"
    link = link_in(mail, "/mailbox/confirm/")
    shown = await subscriber.opens(f"{link}?lang=ru")
    assert "Да, присылайте рассылку" in shown.text
    await subscriber.web.post(link)
    await works(subscriber.room)
    assert mailing.verified_messages()[0]["data"]["language"] == "ru"


@pytest.mark.parametrize("locale", ["en", "ru"])
async def test_its_mail_tells_nobody_at_the_readers_shoulder_of_what(
    subscriber: Donor, locale: str
) -> None:
    await signs_up(subscriber, at=f"/newsletter?lang={locale}")
    await works(subscriber.room)
    (mail,) = subscriber.room.mails()
    heads = "\n".join(f"{name}: {value}" for name, value in mail.parsed.items())
    everything = "\n".join([heads, mail.part(), mail.part("html")])
    everything = without_tokens(everything.replace(READER, ""))
    assert TELLTALE.search(everything) is None, TELLTALE.search(everything)
    for word in ("The Example", "newsletter", "рассылк", "<img"):
        assert word not in everything
    assert mail.parsed["Auto-Submitted"] == "auto-generated"
    assert len(mail.raw) < 6 * 1024


# --- for programs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"consent": None}, "consent"),
        ({"consent": False}, "consent"),
        ({"consent": "yes"}, "consent"),
        ({"consent": 1}, "consent"),
        ({"privacy_version": None}, "privacy_version"),
        ({"privacy_version": "2019-01-01"}, "privacy_version"),
        ({"address": None}, "address"),
        ({"address": "nonsense"}, "address"),
        ({"address": ["a@example.org"]}, "address"),
        ({"address": "иван@example.org"}, "address"),
        ({"locale": "../../etc"}, "locale"),
        ({"reminder": True}, "reminder"),
    ],
)
async def test_programs_learn_which_field_is_wrong(
    subscriber: Donor, body: dict[str, object], field: str
) -> None:
    answer = await asks(subscriber.room, **body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [f"/{field}"]
    assert await subscriber.room.count("newsletter_signups") == 0
    assert keys(subscriber.room) == []


async def test_the_description_for_programs_names_what_is_answered(subscriber: Donor) -> None:
    described = (await subscriber.room.web.get("/schema/openapi.json")).json()
    asking = described["paths"]["/api/newsletter"]["post"]
    assert set(asking["responses"]) >= {"202", "404", "422"}
    assert "application/problem+json" in asking["responses"]["422"]["content"]
