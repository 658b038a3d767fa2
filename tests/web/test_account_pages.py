"""The account pages: forms from elsewhere change nothing, and no page shows who somebody is."""

import itertools
import re

import pytest

from tests.support.donor import (
    READER_EMAIL,
    SAME_ORIGIN_HEADERS,
    Donor,
    account_page,
    months_pass,
    subscription_requests,
    well_formed_page,
)
from tests.support.newsroom import BASE_URL, Newsroom

pytestmark = pytest.mark.anyio


# --- forms ----------------------------------------------------------------------------------------


FROM_ELSEWHERE: tuple[dict[str, str], ...] = (
    {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    {"sec-fetch-site": "cross-site", "origin": "null"},
    {"sec-fetch-site": "same-site", "origin": BASE_URL},
    {"sec-fetch-site": "none"},
    {"sec-fetch-site": "same-origin, cross-site"},
    {"origin": "https://evil.example"},
    {"origin": f"{BASE_URL}.evil.example"},
    {"origin": ""},
    {"origin": "null"},
    {},
)


async def test_a_form_from_elsewhere_changes_nothing(donor: Donor) -> None:
    gift = await donor.gives()
    await donor.signs_in()
    before = len(donor.room.sandbox.requests)
    changes = (
        "amount",
        "frequency",
        "skip",
        "pause",
        "resume",
        "end",
        "day",
        "fee",
        "card",
        "stop",
    )
    actions = [f"{account_page(gift)}/{change}" for change in changes]
    actions += ["/manage", "/manage/leave", "/manage/data/erase"]
    for headers, action in itertools.product(FROM_ELSEWHERE, actions):
        answer = await donor.web.post(action, data={"amount": "9"}, headers=headers)
        assert answer.status_code == 403, (headers, action)
        assert "Nothing was changed" in well_formed_page(answer).text
    assert len(donor.room.sandbox.requests) == before
    await donor.opens(account_page(gift))


async def test_a_form_that_cannot_be_read_changes_nothing(donor: Donor) -> None:
    gift = await donor.gives()
    await donor.signs_in()
    bodies = (
        (b"\xff\xfe=\x00", "application/x-www-form-urlencoded"),
        (b"amount=%ff%00&months=%ff&shown=%00", "application/x-www-form-urlencoded"),
        (b"amount=9&amount=8&intent=a&intent=b", "application/json"),
        (b"--x\r\n\r\n", "multipart/form-data"),
        (b"--x\r\ngarbage", "multipart/form-data; boundary=x"),
        (b"a" * 5000, "application/x-www-form-urlencoded"),
        (b"", ""),
    )
    links_before = await donor.room.count("sign_in_links")
    actions = [
        f"{account_page(gift)}/{change}"
        for change in ("amount", "frequency", "skip", "pause", "end", "day")
    ]
    for action, (body, kind) in itertools.product((*actions, "/manage"), bodies):
        headers = {**SAME_ORIGIN_HEADERS, "content-type": kind}
        answer = await donor.web.post(action, content=body, headers=headers)
        assert 400 <= answer.status_code < 500, (action, body[:20], answer.status_code)
    assert subscription_requests(donor.room) == []
    assert await donor.room.count("sign_in_links") == links_before


async def test_a_browser_too_old_to_say_where_from_is_not_shut_out(donor: Donor) -> None:
    gift = await donor.gives()
    await donor.signs_in()
    headers = {"origin": BASE_URL}  # its Referrer-Policy is same-origin, so it is not "null"
    answer = await donor.web.post(account_page(gift) + "/resume", headers=headers)
    assert answer.status_code == 303


# --- what the pages never show --------------------------------------------------------------------


async def test_no_page_shows_a_person_a_card_or_an_id_of_stripe(donor: Donor) -> None:
    gift = await donor.gives(500)
    await months_pass(donor.room, 1)
    await donor.signs_in()
    unvisited, pages = ["/manage/contributions"], {}
    while unvisited:
        address = unvisited.pop()
        answer = await donor.web.get(address)
        assert answer.status_code == 200, address
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        pages[address] = answer.text
        page = well_formed_page(answer)
        for link in page.links.values():
            if link.startswith("/manage/") and link not in pages and link not in unvisited:
                unvisited.append(link)
    assert len(pages) >= 14
    assert f"{account_page(gift)}/stop" in pages
    for address, text in pages.items():
        assert not re.search(r"(sub|cus|ch|pm|pi|in|cs|py|price)_\w{8,}", address + text), address
        for secret in (READER_EMAIL, r"(?<![0-9a-f])4242(?![0-9a-f])", "A Reader", "visa"):
            assert not re.search(secret, text, re.IGNORECASE), (address, secret)
        title = re.search("<title>(.*)</title>", text)
        assert title is not None
        assert donor.room.settings.publication_name not in title[1]
        assert "<script" not in text
        assert 'style="' not in text


async def test_the_donors_pages_keep_their_styles_out_of_the_form(newsroom: Newsroom) -> None:
    styles = await newsroom.web.get("/static/account.css")
    assert styles.status_code == 200
    assert "account.css" not in (await newsroom.web.get("/donate")).text
    assert "account.css" in (await newsroom.web.get("/manage")).text
