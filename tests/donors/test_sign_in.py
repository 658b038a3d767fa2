"""A donor signs in by a link in a mail: without a password, a script or a trace."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from payments.core.settings import Settings
from payments.ops import worker
from payments.web.app import create_app
from tests.support.donor import (
    READER_EMAIL,
    SAME_ORIGIN_HEADERS,
    Donor,
    code_in,
    link_in,
    newest_link,
    open_donor_browser,
    well_formed_page,
)
from tests.support.newsroom import BASE_URL, Newsroom
from tests.support.secret_values import secret_named

pytestmark = pytest.mark.anyio


@pytest.fixture
async def donor(newsroom: Newsroom) -> AsyncIterator[Donor]:
    async with open_donor_browser(newsroom) as browser:
        yield browser


async def test_a_donor_signs_in_by_a_link_and_sees_what_they_give(donor: Donor) -> None:
    await donor.gives(500, "monthly")
    await donor.gives(2500, "once")
    page = await donor.signs_in()
    assert "$5.00 every month Active · next payment on 22 December 2026" in page.text
    assert "One-time gifts 22 November 2026 $25.00" in page.text


async def test_the_cookies_are_for_this_browser_and_no_script(donor: Donor) -> None:
    await donor.gives()
    requested = await donor.opens_and_submits("/manage", address=READER_EMAIL)
    await donor.room.runs_due_jobs()
    entered = await donor.opens_and_submits(newest_link(donor.room, "/manage/enter/"))
    for answer, name, max_age in ((requested, "asked", 600), (entered, "donor", 1800)):
        (cookie,) = answer.headers.get_list("set-cookie")
        value, *attributes = cookie.split("; ")
        assert re.fullmatch(rf"{name}=[\w-]{{43}}", value)
        assert {attribute.casefold() for attribute in attributes} == {
            "httponly", "path=/", "samesite=lax", f"max-age={max_age}"
        }  # fmt: skip


async def test_over_https_no_other_host_can_set_them(newsroom: Newsroom) -> None:
    values = {**newsroom.settings.model_dump(), "base_url": "https://give.example.org"}
    app = create_app(Settings.model_validate(values), now=newsroom.clock)
    async with app.lifespan():
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # litestar's own ASGI
        async with httpx.AsyncClient(
            transport=transport, base_url="https://give.example.org"
        ) as web:
            answer = await web.post(
                "/manage", data={"address": READER_EMAIL}, headers=SAME_ORIGIN_HEADERS
            )
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-asked=")
    assert "Secure" in cookie
    assert "Domain" not in cookie


async def test_programs_that_look_into_mails_do_not_spend_the_link(donor: Donor) -> None:
    await donor.gives()
    link = link_in(await donor.requests_sign_in_link(), "/manage/enter/")
    async with open_donor_browser(donor.room) as scanner:
        for _ in range(10):
            await scanner.opens(link)
            await scanner.web.head(link)
            await scanner.web.options(link)
    page = await donor.follows_redirect(await donor.opens_and_submits(link))
    assert "$5.00" in page.text


async def test_a_link_works_once(donor: Donor) -> None:
    await donor.gives()
    link = link_in(await donor.requests_sign_in_link(), "/manage/enter/")
    button = await donor.opens(link)
    await donor.follows_redirect(await donor.submits(button, link))
    assert (await donor.submits(button, link)).status_code == 410
    assert (await donor.web.get(link)).status_code == 410


@pytest.mark.parametrize(
    ("typed", "mailbox"),
    [
        ("reader@gro\u00df.example", "reader@xn--gro-7ka.example"),  # another domain
        ("\uff52eader@gross.example", "reader@gross.example"),  # the donor's, in full width
    ],
)
async def test_no_lookalike_of_an_address_takes_its_mail(
    newsroom: Newsroom, typed: str, mailbox: str
) -> None:
    async with (
        open_donor_browser(newsroom) as somebody,
        open_donor_browser(newsroom) as donor,
    ):
        somebody.address, donor.address = typed, "reader@gross.example"
        await donor.gives(500, "once")
        await newsroom.advances_time(timedelta(minutes=1))
        await somebody.gives(700, "once")  # a mail to a guest goes where the newest gift came from
        for browser, address in ((donor, donor.address), (somebody, mailbox)):
            await browser.opens_and_submits("/manage", address=browser.address)
            await newsroom.runs_due_jobs()
            assert newsroom.mails()[-1].to == [address]
        page = await somebody.follows_redirect(
            await somebody.opens_and_submits(link_in(newsroom.mails()[-1], "/manage/enter/"))
        )
        assert ("$5.00" in page.text) is (mailbox == donor.address)


async def test_links_that_open_nothing_are_all_answered_alike(donor: Donor) -> None:
    await donor.gives()
    used = link_in(await donor.requests_sign_in_link(), "/manage/enter/")
    await donor.opens_and_submits(used)
    late = link_in(await donor.requests_sign_in_link(), "/manage/enter/")
    await donor.room.advances_time(timedelta(minutes=10, seconds=1))
    fresh = link_in(await donor.requests_sign_in_link(), "/manage/enter/")
    token = fresh.removeprefix("/manage/enter/")
    guesses = [
        token[:-1],
        token[:9],
        f"{token}x",
        token.swapcase(),
        "x",
        "A" * 43,
        "%00",
        "9" * 3000,
    ]
    broken = [used, late, *(f"/manage/enter/{guess}" for guess in guesses)]
    answers = [await donor.web.get(link) for link in broken]
    answers += [await donor.web.post(link, headers=SAME_ORIGIN_HEADERS) for link in broken]
    answers += [
        await donor.web.post(f"{link}/code", data={"code": "x"}, headers=SAME_ORIGIN_HEADERS)
        for link in broken
    ]
    assert {answer.status_code for answer in answers} == {410}
    # a page that was asked for offers other languages, and one that answers a form does not
    assert len({(answer.request.method, answer.text) for answer in answers}) == 2
    assert "Ask for a new link" in well_formed_page(answers[0]).links
    assert "$5.00" in (await donor.follows_redirect(await donor.opens_and_submits(fresh))).text


async def test_another_browser_is_asked_for_the_code_of_the_mail(donor: Donor) -> None:
    await donor.gives()
    mail = await donor.requests_sign_in_link()
    link, code = link_in(mail, "/manage/enter/"), code_in(mail)
    async with open_donor_browser(donor.room) as phone:
        asks = well_formed_page(await phone.opens_and_submits(link))
        assert "not the browser that asked" in asks.text
        wrong = await phone.submits(asks, f"{link}/code", code="WRONG WRONG")
        assert wrong.status_code == 422
        typed = "\u2068" + code.lower().replace("-", " ") + "\u2069"  # as a mail in Arabic has it
        entered = await phone.submits(well_formed_page(wrong), f"{link}/code", code=typed)
        assert "$5.00" in (await phone.follows_redirect(entered)).text
    assert (await donor.web.get(link)).status_code == 410


async def test_five_wrong_codes_end_the_link_for_everybody(donor: Donor) -> None:
    await donor.gives()
    mail = await donor.requests_sign_in_link()
    link, code = link_in(mail, "/manage/enter/"), code_in(mail)
    async with open_donor_browser(donor.room) as thief:
        asks = well_formed_page(await thief.opens_and_submits(link))
        for _ in range(5):
            assert (await thief.submits(asks, f"{link}/code", code="AAAAAAAAAA")).status_code == 422
        assert (await thief.submits(asks, f"{link}/code", code=code)).status_code == 410
    assert (await donor.web.post(link, headers=SAME_ORIGIN_HEADERS)).status_code == 410


async def test_nobody_learns_from_the_answer_who_gives(donor: Donor) -> None:
    await donor.gives()
    room, seen = donor.room, []
    form = await donor.opens("/manage")
    for address in (READER_EMAIL, "stranger@example.org"):
        before = {name: await room.count(name) for name in ("sign_in_links", "outbox_mails")}
        async with open_donor_browser(room, address) as somebody:
            answer = await somebody.submits(form, "/manage", address=address)
        headers = [
            (n, v) for n, v in answer.headers.items() if n not in ("set-cookie", "x-request-id")
        ]
        grown = {name: await room.count(name) - was for name, was in before.items()}
        seen.append((answer.status_code, answer.content, headers, grown))
    assert seen[0] == seen[1]
    assert seen[0][3] == {"sign_in_links": 1, "outbox_mails": 1}
    await room.runs_due_jobs()
    assert [mail.to for mail in room.mails()] == [[READER_EMAIL]]


async def test_what_is_no_address_is_said_so_beside_the_field(donor: Donor) -> None:
    for typed in ("", "reader", "@example.org", "a b@example.org", "a@b@c", "a@", "x" * 300):
        answer = await donor.opens_and_submits("/manage", address=typed)
        page = well_formed_page(answer)
        assert answer.status_code == 422, typed
        assert page.field("address")["aria-invalid"] == "true"
        assert page.field("address")["value"] == typed
    assert await donor.room.count("sign_in_links") == 0


async def test_however_the_address_is_typed_its_donor_is_found(donor: Donor) -> None:
    await donor.gives()
    await donor.opens_and_submits("/manage", address="  READER@Example.ORG ")
    await donor.room.runs_due_jobs()
    assert [mail.to for mail in donor.room.mails()] == [[READER_EMAIL]]


async def test_after_a_rotation_of_the_keys_a_donor_is_still_found(newsroom: Newsroom) -> None:
    async with open_donor_browser(newsroom) as donor:
        await donor.gives()
    old = newsroom.settings.secret_keys[0].get_secret_value()
    values = {**newsroom.settings.model_dump(), "secret_keys": f"{secret_named('newest')},{old}"}
    app = create_app(Settings.model_validate(values), now=newsroom.clock)
    async with app.lifespan():
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # litestar's own ASGI
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as web:
            await web.post("/manage", data={"address": READER_EMAIL}, headers=SAME_ORIGIN_HEADERS)
        await worker.run_due_jobs(app.state.ctx)
    assert [mail.to for mail in newsroom.mails()] == [[READER_EMAIL]]
    assert await newsroom.rows(
        "SELECT count(*) FROM sign_in_links JOIN donors USING (address_hash)"
    ) == [(1,)]


async def test_a_session_ends_after_half_an_hour(donor: Donor) -> None:
    gift = await donor.gives()
    await donor.signs_in()
    await donor.room.advances_time(timedelta(minutes=29))
    await donor.opens(f"/manage/contributions/{gift.id}")
    await donor.room.advances_time(timedelta(minutes=2))
    page = await donor.opens(f"/manage/contributions/{gift.id}", status=401)
    assert "You are signed out" in page.text
    assert "$" not in page.text
    assert page.form("/manage").fields[0].name == "address"


async def test_signing_out_ends_the_session_everywhere(donor: Donor) -> None:
    await donor.gives()
    page = await donor.signs_in()
    session_token = donor.web.cookies["donor"]
    answer = await donor.submits(page, "/manage/leave")
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    assert "E-mail address" in (await donor.follows_redirect(answer)).text
    assert "donor" not in donor.web.cookies
    donor.web.cookies.set("donor", session_token, domain="127.0.0.1")
    await donor.opens("/manage/contributions", status=401)


async def test_signing_in_and_out_leaves_no_older_session(donor: Donor) -> None:
    await donor.gives()
    await donor.signs_in()
    first = donor.web.cookies["donor"]
    async with open_donor_browser(donor.room) as elsewhere:
        await elsewhere.signs_in()
        link = link_in(await donor.requests_sign_in_link(), "/manage/enter/")
        donor.web.cookies.set("donor", first, domain="127.0.0.1")
        page = await donor.follows_redirect(await donor.opens_and_submits(link))
        assert await donor.room.count("donor_sessions") == 2  # the first was replaced
        assert donor.web.cookies["donor"] != first
        await donor.submits(page, "/manage/leave")
        await elsewhere.opens("/manage/contributions", status=401)
    assert await donor.room.count("donor_sessions") == 0


async def test_whoever_is_in_goes_straight_on(donor: Donor) -> None:
    await donor.gives()
    await donor.signs_in()
    assert (await donor.web.get("/manage")).headers["location"] == "/manage/contributions"
