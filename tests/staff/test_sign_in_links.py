"""One-time links and the sessions they start: used once, in time, and out again when idle."""

import asyncio
import itertools
from datetime import timedelta

import httpx
import pytest

from payments.core.errors import NotFound
from payments.ops import worker
from payments.staff import accounts
from payments.staff.accounts import Role
from tests.support.colleague import (
    invitation_path,
    open_colleague_browser,
    redeems_link,
    sees,
    signs_in,
)
from tests.support.donor import SAME_ORIGIN_HEADERS
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.page import Page
from tests.support.past import has_given

pytestmark = pytest.mark.anyio

HTTPS = "https://give.example.org"
PRIVATE = ("/finance", "/finance/audit", "/support", "/staff", "/staff/alerts?x=1")


async def test_a_link_is_opened_often_and_used_once(newsroom: Newsroom) -> None:
    link = await invitation_path(newsroom, "Ada & Lovelace")
    for _ in range(3):
        shown = await newsroom.web.get(link)
        assert shown.status_code == 200
        page = Page(shown.text)
        assert page.problems == []
        assert "Hello, Ada & Lovelace" in page.text
    form = page.form(link)
    entered = await newsroom.web.post(link, data=form.submission(), headers=SAME_ORIGIN_HEADERS)
    assert entered.status_code == 303
    cookie = entered.headers["set-cookie"].partition(";")[0]
    assert (await sees(newsroom, cookie)).status_code == 200
    for again in (await redeems_link(newsroom, link), await newsroom.web.get(link)):
        assert again.status_code == 410
        assert "set-cookie" not in again.headers
        assert "This link no longer works" in Page(again.text).text
    assert (await sees(newsroom, cookie)).status_code == 200


async def test_of_two_who_press_at_once_one_comes_in(newsroom: Newsroom) -> None:
    link = await invitation_path(newsroom)
    answers = await asyncio.gather(*(redeems_link(newsroom, link) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [303] + [410] * 7
    assert await newsroom.count("staff_sessions") == 1


async def test_an_hour_later_a_link_is_spent(newsroom: Newsroom) -> None:
    link, later = await invitation_path(newsroom), await invitation_path(newsroom)
    newsroom.clock.advance(timedelta(minutes=59, seconds=59))
    assert (await redeems_link(newsroom, link)).status_code == 303
    newsroom.clock.advance(timedelta(seconds=1))
    assert (await newsroom.web.get(later)).status_code == 410
    assert (await redeems_link(newsroom, later)).status_code == 410
    assert await newsroom.rows("SELECT name FROM staff") == [("Ada",)]


async def test_a_guessed_link_opens_nothing_and_learns_nothing(newsroom: Newsroom) -> None:
    link = await invitation_path(newsroom)
    spent = await invitation_path(newsroom)
    assert (await redeems_link(newsroom, spent)).status_code == 303
    newsroom.web.cookies.clear()
    guesses = [
        link[:-1],
        link + "A",
        link.swapcase().replace("/STAFF/ENTER", "/staff/enter"),
        spent,
    ]
    guesses += [f"/staff/enter/{word}" for word in ("x", "%00", "%ff", "a" * 5000, "%F0%9F%94%91")]
    bodies = set()
    for guess in guesses:
        for answer in (await newsroom.web.get(guess), await redeems_link(newsroom, guess)):
            assert answer.status_code == 410, guess
            assert "set-cookie" not in answer.headers
            bodies.add(answer.text)
    assert len(bodies) == 1
    assert (await redeems_link(newsroom, link)).status_code == 303


async def test_without_a_session_nobody_sees_the_books(newsroom: Newsroom) -> None:
    await has_given(newsroom, 98765)
    link = await invitation_path(newsroom)
    token = link.rsplit("/", 1)[1]
    key = await signs_in(newsroom)
    forged = ["", "staff=", "staff=x", f"staff={token}", key[:-1], f"{key}A", f"other{key[5:]}"]
    forged += [f"__Host-{key}", "staff=" + "a" * 3000, "staff=%00", f'staff="{token}"']
    for cookie, address in itertools.product(forged, PRIVATE):
        answer = await sees(newsroom, cookie, address)
        assert answer.status_code == 401, cookie
        page = Page(answer.text)
        assert page.problems == []
        assert "This page is for staff" in page.text
        assert "$987" not in answer.text
    assert (await sees(newsroom, key)).status_code == 200


async def test_a_session_lasts_a_working_day_of_work(newsroom: Newsroom) -> None:
    cookie = await signs_in(newsroom)
    for _ in range(33):  # a request every 14 minutes and a half
        newsroom.clock.advance(timedelta(minutes=14, seconds=30))
        assert (await sees(newsroom, cookie, "/staff")).status_code == 200
    newsroom.clock.advance(timedelta(minutes=1, seconds=29))
    assert (await sees(newsroom, cookie, "/staff")).status_code == 200
    newsroom.clock.advance(timedelta(seconds=1))
    assert (await sees(newsroom, cookie, "/staff")).status_code == 401


async def test_whoever_is_away_for_a_quarter_of_an_hour_is_out(newsroom: Newsroom) -> None:
    cookie, other = await signs_in(newsroom), await signs_in(newsroom)
    newsroom.clock.advance(timedelta(minutes=14, seconds=59))
    assert (await sees(newsroom, cookie, "/staff")).status_code == 200
    newsroom.clock.advance(timedelta(seconds=1))
    assert (await sees(newsroom, cookie, "/staff")).status_code == 200
    for _ in range(2):  # it does not come back by being asked for
        assert (await sees(newsroom, other, "/staff")).status_code == 401


async def test_what_no_longer_opens_anything_is_removed_at_night(newsroom: Newsroom) -> None:
    await signs_in(newsroom)
    await invitation_path(newsroom)
    newsroom.clock.advance(timedelta(hours=9))
    cookie = await signs_in(newsroom)
    async with worker.open_engine(newsroom.ctx) as engine:
        await engine.tasks["purge_expired"].defer_async(timestamp=0)
        await engine.run_worker_async(
            queues=["schedule"],
            wait=False,
            listen_notify=False,
            install_signal_handlers=False,
            additional_context={"ctx": newsroom.ctx},
        )
    assert await newsroom.count("staff_sessions") == 1
    assert await newsroom.count("staff_links") == 0
    assert (await sees(newsroom, cookie)).status_code == 200


async def test_the_database_holds_no_key_to_anything(newsroom: Newsroom) -> None:
    link = await invitation_path(newsroom)
    cookie = await signs_in(newsroom)
    keys = [link.rsplit("/", 1)[1], cookie.partition("=")[2]]
    assert all(len(key) == 43 for key in keys)
    tables = await newsroom.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        everything = str(await newsroom.rows(f"SELECT t::text FROM {table} AS t"))  # noqa: S608 - our tables
        for key in keys:
            assert key not in everything, table
            assert key.encode().hex() not in everything, table


async def test_the_cookie_is_for_the_browser_and_this_place_only(newsroom: Newsroom) -> None:
    answer = await redeems_link(newsroom, await invitation_path(newsroom))
    assert cookie_of(answer) == (
        "staff",
        {"httponly", "path=/", "samesite=strict", "max-age=28800"},
    )


def cookie_of(answer: httpx.Response) -> tuple[str, set[str]]:
    """The name and the flags of the one cookie that is set."""
    pair, _, flags = answer.headers["set-cookie"].partition("; ")
    return pair.partition("=")[0], set(flags.lower().split("; "))


async def test_over_https_the_cookie_never_leaves_it(database: str) -> None:
    async with open_newsroom(database, base_url=HTTPS) as room:
        answer = await redeems_link(room, HTTPS + await invitation_path(room))
        assert cookie_of(answer) == (
            "__Host-staff",
            {"httponly", "path=/", "samesite=strict", "max-age=28800", "secure"},
        )
        cookie = await signs_in(room, HTTPS)
        assert (await sees(room, cookie, f"{HTTPS}/finance")).status_code == 200
        plain = cookie.removeprefix("__Host-")
        assert (await sees(room, plain, f"{HTTPS}/finance")).status_code == 401


async def test_an_invitation_ends_after_an_hour_and_a_link_after_ten_minutes(
    newsroom: Newsroom,
) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.invitation_link()
        good, late = await ada.sign_in_link(), await ada.sign_in_link()
        newsroom.clock.advance(timedelta(minutes=9, seconds=59))
        assert (await ada.opens_link(good)).status_code == 303
        newsroom.clock.advance(timedelta(seconds=1))
        assert (await ada.opens_link(late)).status_code == 410
        with pytest.raises(NotFound):
            async with newsroom.ctx.sessions.begin() as session:
                await accounts.create_link(session, "Nobody", now=newsroom.clock())


async def test_signing_out_is_for_good(newsroom: Newsroom) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        key = ada.web.cookies["staff"]
        page = await ada.opens("/staff")
        assert page.form("/staff/leave")
        answer = await ada.sends("/staff/leave")
        assert (answer.status_code, answer.headers["location"]) == (303, "/staff/sign-in")
        assert "max-age=-" in answer.headers["set-cookie"].lower()
        assert answer.headers["clear-site-data"] == '"cache", "storage"'
        assert "staff" not in ada.web.cookies
        for path in ("/staff", "/finance"):
            assert (await sees(newsroom, f"staff={key}", path)).status_code == 401
        assert (await ada.sends("/staff/leave")).status_code == 303  # twice is once
        assert [action for action, *_ in await ada.audit_actions()] == ["signed_in", "signed_out"]
