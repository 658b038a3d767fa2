"""No page is the answer to a form: Back and Reload ask for a page, and find what was typed."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from payments.infra import shown_pages
from payments.ops import schedules
from payments.staff.accounts import Role
from payments.web import csrf, rendering
from payments.web.app import create_app
from tests.support.colleague import open_colleague_browser
from tests.support.donor import SAME_ORIGIN_HEADERS, account_page, open_donor_browser
from tests.support.http import app_of, safe
from tests.support.newsroom import BASE_URL, Newsroom, open_newsroom
from tests.support.page import Page

pytestmark = pytest.mark.anyio
AS_BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", **SAME_ORIGIN_HEADERS}
TYPED = {"frequency": "once", "currency": "usd", "amount_once": "other", "other_once": "1.250"}


@pytest.fixture
async def room(database: str) -> AsyncIterator[Newsroom]:
    async with open_newsroom(database, environment="demo") as newsroom:
        yield newsroom


def another_browser(room: Newsroom) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=room.web._transport, base_url=BASE_URL)


async def test_no_form_of_anybody_is_answered_with_a_page(room: Newsroom) -> None:
    forms = sorted({path for path, _ in csrf.unsafe_routes(create_app(room.settings))})
    forms = [path for path in forms if not path.startswith(("/api/", "/webhooks/"))]
    assert len(forms) > 40
    async with (
        open_donor_browser(room) as donor,
        open_colleague_browser(room, "Ada", Role.ADMIN) as ada,
    ):
        gift = await donor.gives()
        await donor.signs_in()
        await ada.opens_link()
        sent_to: set[str] = set()
        shown, last = 0, [path for path in forms if path.endswith("/leave")]
        for path in [*(path for path in forms if path not in last), *last]:
            address = re.sub(r"{[^}]+}", gift.id, path)
            for web in (room.web, donor.web, ada.web):
                answer = await web.post(address, data={"nonsense": "x"}, headers=AS_BROWSER)
                kind = answer.headers.get("content-type", "")
                is_page = kind.startswith("text/html") and answer.status_code != 404
                assert answer.is_redirect or not is_page, address
                safe(answer, room)
                if answer.headers.get("location", "").startswith("/shown/"):
                    page = await web.get(answer.headers["location"], headers=AS_BROWSER)
                    assert Page(page.text).problems == [], address
                    safe(page, room)
                    sent_to |= {
                        urljoin(str(page.url), form.action)
                        for form in Page(page.text).forms
                        if form.method == "post"
                    }
                    shown += 1
        assert shown > 60
    assert len(sent_to) > 10
    for url in sorted(sent_to):  # a form works where it is shown
        answer = await room.web.post(url, data={"nonsense": "x"}, headers=SAME_ORIGIN_HEADERS)
        assert answer.status_code not in (404, 405), url


async def test_a_form_that_is_shown_again_can_be_sent(room: Newsroom) -> None:
    async with open_colleague_browser(room, "Ada", Role.ADMIN) as ada:
        await ada.opens_link()
        url, name = "/staff/colleagues", ""
        for status in (422, 200, 422):  # corrected, and once more on the page of who was invited
            sent = await ada.web.post(
                url, data={"name": name, "role": "support"}, headers=AS_BROWSER
            )
            shown = await ada.web.get(sent.headers["location"], headers=AS_BROWSER)
            assert shown.status_code == status
            forms = Page(shown.text).forms
            (form,) = (form for form in forms if "replace" in [one.name for one in form.fields])
            url, name = urljoin(str(shown.url), form.action), "Bea" if name == "" else ""


def test_every_form_of_a_template_says_where_it_is_sent() -> None:
    forms = [
        (path.name, form)
        for path in sorted(Path(rendering.__file__).parent.joinpath("templates").glob("*.html"))
        for form in re.findall("<form[^>]*>", path.read_text())
    ]
    assert len(forms) > 40
    assert [one for one in forms if "action=" not in one[1]] == []


async def test_what_was_typed_is_there_again_for_that_browser_alone(room: Newsroom) -> None:
    sent = await room.web.post("/donate", data=TYPED, headers=AS_BROWSER)
    assert (sent.status_code, sent.content) == (303, b"")
    where = sent.headers["location"]
    for _ in range(2):  # and again, when the reader is back from the next page
        answer = await room.web.get(where, headers=AS_BROWSER)
        assert answer.status_code == 422
        page = Page(answer.text)
        assert "Did you mean $1,250.00 or $1.25?" in page.text
        assert page.form("/donate").submission()["other_once"] == "1.250"
    async with another_browser(room) as stranger:
        for _ in range(2):  # without a key, and with one of their own
            nothing = await stranger.get(where, headers=AS_BROWSER)
            assert nothing.status_code == 410
            assert "1.250" not in nothing.text
            await stranger.post("/donate", data=TYPED, headers=AS_BROWSER)
    sealed = await room.rows("SELECT sealed FROM shown_pages")
    assert len(sealed) == 3
    assert not any(word in repr(sealed) for word in ("1.250", "<html"))
    await schedules.purge_requests(room.ctx)
    assert await room.count("shown_pages") == 3
    room.clock.advance(shown_pages.LIFETIME)
    gone = await room.web.get(where, headers=AS_BROWSER)
    assert gone.status_code == 410
    assert "This page has expired" in gone.text
    await schedules.purge_requests(room.ctx)  # whether anybody sends another form or not
    assert await room.count("shown_pages") == 0
    # A program reads its answer at once; so does a browser while there is no room for more.
    assert (await room.web.post("/donate", data=TYPED)).status_code == 422


async def test_what_is_no_form_of_ours_or_fails_is_answered_at_once(room: Newsroom) -> None:
    elsewhere = {"accept": "text/html", "sec-fetch-site": "cross-site"}
    large = "x" * 10_000_000
    for path, typed, headers, status in (
        ("/nothing/here", TYPED, AS_BROWSER, 404),
        ("/safety", TYPED, AS_BROWSER, 405),
        ("/donate", TYPED, elsewhere, 422),
        ("/donate", TYPED, {"accept": "text/html"}, 422),
        ("/donate", {**TYPED, "currency": large}, AS_BROWSER, 413),
    ):
        answer = await room.web.post(path, data=typed, headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (status, False), path
    room.sandbox.faults.add("POST", "/v1/checkout/sessions", "status_500", remaining=99)
    gift = {"frequency": "once", "currency": "usd", "amount_once": "other", "other_once": "5"}
    failed = await room.web.post("/donate", data=gift, headers=AS_BROWSER)
    assert failed.status_code >= 500
    assert await room.count("shown_pages") == 0
    app_of(room).state.recent_pages.limit = 1
    stored = await room.web.post("/donate", data=TYPED, headers=AS_BROWSER)
    assert stored.headers["location"].startswith("/shown/")
    full = await room.web.post("/donate", data=TYPED, headers=AS_BROWSER)
    assert (full.status_code, await room.count("shown_pages")) == (422, 1)
    room.clock.advance(shown_pages.LIFETIME)
    again = await room.web.post("/donate", data=TYPED, headers=AS_BROWSER)
    assert again.headers["location"].startswith("/shown/")


async def test_a_browser_that_takes_no_cookie_sees_its_mistakes_and_links_of_mails_work(
    room: Newsroom,
) -> None:
    for typed in ("1.250", "five"):  # a second mistake, in the form that was shown
        sent = await room.web.post(
            "/donate", data={**TYPED, "other_once": typed}, headers=AS_BROWSER
        )
        room.web.cookies.clear()
        where = sent.headers["location"]
        for guess in (where.partition("?")[0], f"{where[:-1]}{'ab'[where[-1] == 'a']}"):
            assert (await room.web.get(guess)).status_code == 410
        answer = await room.web.get(where, headers=AS_BROWSER)
        assert answer.status_code == 422
        assert Page(answer.text).form("/donate").submission()["other_once"] == typed
        again = await room.web.get(where, headers=AS_BROWSER)  # an address in a history opens none
        assert again.status_code == 410
    assert await room.count("shown_pages") == 0
    sent = await room.web.post("/donate", data=TYPED, headers=AS_BROWSER)
    assert (await room.web.get(sent.headers["location"])).status_code == 422
    async with another_browser(room) as stranger:  # the browser took the key: the ticket is void
        assert (await stranger.get(sent.headers["location"])).status_code == 410
    for _ in range(2):  # and it needs none any more
        sent = await room.web.post("/donate", data=TYPED, headers=AS_BROWSER)
        assert "?" not in sent.headers["location"]
    russian = await room.web.post("/donate?lang=ru", data=TYPED, headers=AS_BROWSER)
    room.clock.advance(shown_pages.LIFETIME)
    assert (await room.web.get(sent.headers["location"])).status_code == 410
    expired = await room.web.get(russian.headers["location"])  # in the language that was chosen
    assert expired.status_code == 410
    assert '<html lang="ru"' in expired.text
    await schedules.purge_requests(room.ctx)
    room.web.cookies.clear()
    links = [path for path, why in csrf.EXEMPT_ROUTES.items() if why == csrf.SIGNED_LINK]
    assert len(links) > 6
    for path in links:
        pressed = await room.web.post(re.sub("{.*}", "x.y", path), headers=AS_BROWSER)
        assert pressed.headers["content-type"].startswith("text/html"), path
        assert "set-cookie" not in pressed.headers
    assert await room.count("shown_pages") == 0


async def test_a_page_of_somebody_signed_in_is_lost_with_their_session(room: Newsroom) -> None:
    async with open_donor_browser(room) as donor:
        gift = await donor.gives()
        await donor.signs_in()
        url = f"{account_page(gift)}/amount"
        form = (await donor.opens(url)).form(url).submission(amount="0")
        sent = await donor.web.post(url, data=form, headers=AS_BROWSER)
        where = sent.headers["location"]
        assert "The smallest amount is $2.00" in (await donor.web.get(where)).text
        left = await donor.web.post("/manage/leave", headers=AS_BROWSER)
        assert left.status_code == 303
        assert (await donor.web.get(where)).status_code == 410
        room.clock.advance(timedelta(minutes=1))
