"""A colleague comes in by a passkey or a one-time link, sees what their role opens and nothing
else, and is out again when they were idle or are gone.
"""

import asyncio
import itertools
import os
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from payments.core.errors import NotFound
from payments.infra import alerts, audit_log, db
from payments.infra.alerts import AlertKind
from payments.infra.audit_log import AuditAction
from payments.ops import worker
from payments.staff import accounts, passkeys
from payments.staff.accounts import Role
from payments.web.staff import auth
from payments.web.staff.alerts import INSTRUCTIONS
from tests.support.colleague import (
    SITE,
    Colleague,
    Device,
    open_colleague_browser,
    passkey_options_of,
)
from tests.support.donor import SAME_ORIGIN_HEADERS, open_donor_browser
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.page import Page
from tests.web.test_owner_matrix import routes_of

pytestmark = pytest.mark.anyio

HTTPS = "https://give.example.org"
PRIVATE = ("/finance", "/finance/audit", "/support", "/staff", "/staff/alarms?x=1")


async def invited(room: Newsroom, name: str = "Ada") -> str:
    """What `payments staff invite` does. Gives the path of the link."""
    async with room.ctx.sessions.begin() as session:
        token = await accounts.invite(session, name, role=Role.FINANCE, now=room.clock())
    return f"/staff/enter/{token}"


async def signs_in(room: Newsroom, base_url: str = "") -> str:
    """A colleague follows a new link and presses the button. Gives the cookie they hold."""
    answer = await room.web.post(base_url + await invited(room))
    assert (answer.status_code, answer.headers["location"]) == (303, "/finance")
    room.web.cookies.clear()
    cookie: str = answer.headers["set-cookie"].partition(";")[0]
    return cookie


async def sees(room: Newsroom, cookie: str, address: str = "/finance") -> httpx.Response:
    return await room.web.get(address, headers={"cookie": cookie})


# --- coming in ------------------------------------------------------------------------------------


async def test_a_link_is_opened_often_and_used_once(newsroom: Newsroom) -> None:
    link = await invited(newsroom, "Ada <Lovelace>")
    for _ in range(3):
        shown = await newsroom.web.get(link)
        assert shown.status_code == 200
        page = Page(shown.text)
        assert page.problems == []
        assert "Hello, Ada <Lovelace>" in page.text
    form = page.form("")
    entered = await newsroom.web.post(link, data=form.submission())
    assert entered.status_code == 303
    cookie = entered.headers["set-cookie"].partition(";")[0]
    assert (await sees(newsroom, cookie)).status_code == 200
    for again in (await newsroom.web.post(link), await newsroom.web.get(link)):
        assert again.status_code == 410
        assert "set-cookie" not in again.headers
        assert "This link no longer works" in Page(again.text).text
    assert (await sees(newsroom, cookie)).status_code == 200


async def test_of_two_who_press_at_once_one_comes_in(newsroom: Newsroom) -> None:
    link = await invited(newsroom)
    answers = await asyncio.gather(*(newsroom.web.post(link) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [303] + [410] * 7
    assert await newsroom.count("staff_sessions") == 1


async def test_an_hour_later_a_link_is_spent(newsroom: Newsroom) -> None:
    link, later = await invited(newsroom), await invited(newsroom)
    newsroom.clock.advance(timedelta(minutes=59, seconds=59))
    assert (await newsroom.web.post(link)).status_code == 303
    newsroom.clock.advance(timedelta(seconds=1))
    assert (await newsroom.web.get(later)).status_code == 410
    assert (await newsroom.web.post(later)).status_code == 410
    assert await newsroom.rows("SELECT name FROM staff") == [("Ada",)]


async def test_a_guessed_link_opens_nothing_and_learns_nothing(newsroom: Newsroom) -> None:
    link = await invited(newsroom)
    spent = await invited(newsroom)
    assert (await newsroom.web.post(spent)).status_code == 303
    newsroom.web.cookies.clear()
    guesses = [
        link[:-1],
        link + "A",
        link.swapcase().replace("/STAFF/ENTER", "/staff/enter"),
        spent,
    ]
    guesses += [f"/staff/enter/{word}" for word in ("x", "%00", "%ff", "a" * 5000, "%F0%9F%94%91")]
    told = set()
    for guess in guesses:
        for answer in (await newsroom.web.get(guess), await newsroom.web.post(guess)):
            assert answer.status_code == 410, guess
            assert "set-cookie" not in answer.headers
            told.add(answer.text)
    assert len(told) == 1
    assert (await newsroom.web.post(link)).status_code == 303


async def test_without_a_session_nobody_sees_the_books(newsroom: Newsroom) -> None:
    await newsroom.gives(98765)
    await newsroom.runs_until_idle()
    link = await invited(newsroom)
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
    await invited(newsroom)
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
    link = await invited(newsroom)
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
    answer = await newsroom.web.post(await invited(newsroom))
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
        answer = await room.web.post(HTTPS + await invited(room))
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
        assert "staff" not in ada.web.cookies
        for path in ("/staff", "/finance"):
            assert (await sees(newsroom, f"staff={key}", path)).status_code == 401
        assert (await ada.sends("/staff/leave")).status_code == 303  # twice is once
        assert [deed for deed, *_ in await ada.audit_actions()] == ["signed_in", "signed_out"]


# --- passkeys -------------------------------------------------------------------------------------


@pytest.fixture
async def house(database: str) -> AsyncIterator[Newsroom]:
    """A newsroom that is reached by a name."""
    async with open_newsroom(database, base_url=SITE) as room:
        yield room


async def test_an_invitation_makes_a_passkey_and_a_passkey_opens_the_door(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        entered = await ada.enrols()
        assert (entered.status_code, entered.headers["location"]) == (303, "/finance")
        await ada.sends("/staff/leave")
        page = await ada.opens("/finance/audit?who=Ada", status=401)
        (back,) = (one for one in page.forms if one.action == "/staff/sign-in")
        assert back.submission()["back"] == "/finance/audit?who=Ada"

        house.clock.advance(timedelta(days=30))
        again = await ada.signs_in(back="/finance/audit")
        assert (again.status_code, again.headers["location"]) == (303, "/finance/audit")
        shown = await ada.opens("/staff")
        assert "last used" in shown.text
        assert "You last signed in on 22 December 2026, 12:00 UTC, by a passkey." in shown.text
        assert "22 November 2026, 12:00 UTC by a one-time link" in shown.text
        assert await ada.audit_actions() == [
            ("passkey_added", name_of(ada), ""),
            ("signed_in", "", "by a one-time link"),
            ("signed_out", "", ""),
            ("signed_in", "", "by a passkey"),
        ]


def name_of(of: Colleague) -> str:
    return passkeys.StaffPasskey(credential_id=of.device.id).fingerprint


async def test_a_passkey_that_lies_opens_nothing(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await ada.enrols()
        await ada.sends("/staff/leave")
        honest = ada.device
        lies: list[Device] = [
            Device(honest.id, honest.key, 5, origin="https://localhost.evil.example"),
            Device(honest.id, honest.key, 5, origin="http://localhost:8001"),
            Device(honest.id, honest.key, 5, host="evil.example"),
            Device(honest.id, honest.key, 5, flags=0x01),  # present, not verified
            Device(honest.id, honest.key, 5, flags=0x04),  # verified, not present
            Device(honest.id, ec.generate_private_key(ec.SECP256R1()), 5),  # another key
            Device(key=honest.key, count=5),  # an id that was never kept
        ]
        for liar in lies:
            ada.device = liar
            answer = await ada.signs_in()
            assert answer.status_code == 403, liar
            assert "staff" not in ada.web.cookies
            assert Page(answer.text).problems == []
        ada.device = honest
        assert (await ada.signs_in(type="webauthn.create")).status_code == 403
        assert (await ada.signs_in()).status_code == 303
        refused = [deed for deed, *_ in await ada.audit_actions() if deed == "sign_in_refused"]
        assert len(refused) == 7  # all but the one that is nobody's
        strangers = await house.rows("SELECT action FROM audit_entries WHERE name = 'somebody'")
        assert strangers == [("sign_in_refused",)]


async def test_a_challenge_is_answered_once_in_time_and_is_ours(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await ada.enrols()
        await ada.sends("/staff/leave")
        options = passkey_options_of(await ada.opens("/staff/sign-in"), "/staff/sign-in")
        answer = ada.device.get_assertion(options)
        assert (await ada.sends("/staff/sign-in", answer=answer)).status_code == 303
        await ada.sends("/staff/leave")
        # replayed as it was, and answered anew with a higher count
        for replayed in (answer, ada.device.get_assertion(options)):
            assert (await ada.sends("/staff/sign-in", answer=replayed)).status_code == 403
        old = passkey_options_of(await ada.opens("/staff/sign-in"), "/staff/sign-in")
        house.clock.advance(timedelta(minutes=10, seconds=1))
        late = await ada.sends("/staff/sign-in", answer=ada.device.get_assertion(old))
        assert late.status_code == 403
        assert "open for too long" in Page(late.text).text
        for forged in ("", "AAAA", old["challenge"][:-4] + "AAAA", "A" * 75):
            made_up = {**old, "challenge": forged}
            answer = ada.device.get_assertion(made_up)
            assert (await ada.sends("/staff/sign-in", answer=answer)).status_code == 403
        assert await house.count("staff_sessions") == 0


async def test_a_challenge_for_one_thing_is_none_for_another(house: Newsroom) -> None:
    async with (
        open_colleague_browser(house, "Ada", Role.ADMIN) as ada,
        open_colleague_browser(house, "Bea", Role.FINANCE) as bea,
    ):
        await ada.enrols()
        await bea.enrols()
        house.clock.advance(timedelta(minutes=6))
        mine = passkey_options_of(await ada.opens("/staff/confirm"), "/staff/confirm")
        hers = passkey_options_of(await bea.opens("/staff/confirm"), "/staff/confirm")
        async with open_colleague_browser(house, "Ada", Role.ADMIN) as stranger:
            door = passkey_options_of(await stranger.opens("/staff/sign-in"), "/staff/sign-in")
            for other in (mine, hers):
                answer = ada.device.get_assertion(other)
                refused = await stranger.sends("/staff/sign-in", answer=answer)
                assert refused.status_code == 403
        for other in (door, hers):
            answer = ada.device.get_assertion(other)
            assert (await ada.sends("/staff/confirm", answer=answer)).status_code == 403
        # the right question, answered by a colleague
        answer = bea.device.get_assertion(mine)
        assert (await ada.sends("/staff/confirm", answer=answer)).status_code == 403
        assert (await ada.confirms("/staff/colleagues")).status_code == 303
        link = await ada.invitation_link()
        hers_too = await bea.invitation_link()
        options = passkey_options_of(await ada.opens(link), link)
        stolen = await bea.sends(hers_too, answer=Device().create_credential(options))
        assert stolen.status_code == 403
        assert (await bea.opens_link(hers_too)).status_code == 303  # the link is still good


async def test_a_copied_passkey_is_refused_and_opens_an_alert(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await ada.enrols()
        copy = Device(ada.device.id, ada.device.key, ada.device.count)
        for _ in range(3):
            await ada.sends("/staff/leave")
            assert (await ada.signs_in()).status_code == 303
        honest, ada.device = ada.device, copy
        await ada.sends("/staff/leave")
        for _ in range(3):  # behind, behind, and level
            answer = await ada.signs_in()
            assert answer.status_code == 403
            assert "may have been copied" in Page(answer.text).text
        async with house.ctx.sessions() as session:
            (alarm,) = await alerts.list_open(session)
        assert alarm.kind is AlertKind.PASSKEY_CLONED
        ada.device = honest
        assert (await ada.signs_in()).status_code == 303


async def test_a_device_that_does_not_count_is_as_good(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        ada.device.increments_count = False
        await ada.enrols()
        for _ in range(2):
            await ada.sends("/staff/leave")
            assert (await ada.signs_in()).status_code == 303


async def test_an_answer_that_is_no_answer_is_refused(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await ada.enrols()
        await ada.sends("/staff/leave")
        good = ada.device.get_assertion(
            passkey_options_of(await ada.opens("/staff/sign-in"), "/staff/sign-in")
        )
        odd = ["", "{}", "[]", "null", "1", "x" * 9000, '"', "{" * 5000, good[:-20], "\x00", "é"]
        odd += [good.replace('"public-key"', '"x"'), good.replace("signature", "nothing")]
        odd += [good.replace(written, "") for written in re.findall(r'": "([\w-]{30,})"', good)]
        for answer in odd:
            refused = await ada.sends("/staff/sign-in", answer=answer)
            assert refused.status_code == 403, answer[:80]
            link = await ada.invitation_link()
            if answer:
                assert (await ada.sends(link, answer=answer)).status_code == 403, answer[:80]
        assert (await ada.sends("/staff/sign-in", answer="x" * 20_000)).status_code == 413
        assert await house.count("staff_passkeys") == 1


async def test_a_passkey_is_stored_once_and_ten_are_the_most(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await ada.enrols()
        options = passkey_options_of(await ada.opens("/staff"), "/staff/passkeys")
        assert [key["id"] for key in options["excludeCredentials"]]
        twice = await ada.sends("/staff/passkeys", answer=ada.device.create_credential(options))
        assert twice.status_code == 403
        assert "known already" in Page(twice.text).text
        for number in range(10):
            options = passkey_options_of(await ada.opens("/staff"), "/staff/passkeys")
            added = await ada.sends("/staff/passkeys", answer=Device().create_credential(options))
            assert added.status_code == (303 if number < 9 else 403)
        name = name_of(ada)
        assert (await ada.sends(f"/staff/passkeys/{name}/remove")).status_code == 303
        assert await house.count("staff_passkeys") == 9
        await ada.sends("/staff/leave")
        assert (await ada.signs_in()).status_code == 403


async def test_a_lost_device_is_replaced_and_opens_nothing_more(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await ada.enrols()
        async with house.ctx.sessions.begin() as session:
            person = await accounts.get_by_name(session, "Ada")
            await passkeys.revoke_all(session, person, now=house.clock())
        assert (await ada.web.get("/finance")).status_code == 401
        assert (await ada.signs_in()).status_code == 403
        ada.device = Device()
        assert (await ada.enrols()).status_code == 303
        await ada.sends("/staff/leave")
        assert (await ada.signs_in()).status_code == 303


async def test_by_an_ip_there_are_links_and_no_passkeys(newsroom: Newsroom) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        for page in (
            await ada.opens("/staff/sign-in"),
            await ada.opens(await ada.invitation_link()),
        ):
            assert not [1 for _, found in page.attributes if "data-options" in found]
        await ada.opens_link()
        assert "by an IP address" in (await ada.opens("/staff")).text


# --- a fresh proof --------------------------------------------------------------------------------

EXPORTS = ("/finance/lines.csv", "/finance/lines.xlsx", "/finance/journal?format=csv")


async def test_taking_data_away_asks_for_a_proof_of_the_last_minutes(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await ada.enrols()
        assert (await ada.web.get(f"{EXPORTS[0]}?period=2026-11")).status_code == 200
        house.clock.advance(timedelta(minutes=5))
        for export in EXPORTS:
            answer = await ada.web.get(export)
            assert answer.status_code == 303, export
            assert answer.headers["location"].startswith("/staff/confirm?back=%2Ffinance")
        assert (await ada.web.get("/finance")).status_code == 200  # reading goes on
        led = await ada.confirms(EXPORTS[0])
        assert (led.status_code, led.headers["location"]) == (303, EXPORTS[0])
        house.clock.advance(timedelta(minutes=4, seconds=59))
        assert (await ada.web.get(f"{EXPORTS[0]}?period=2026-11")).status_code == 200
        exported = [about for deed, about, _ in await ada.audit_actions() if deed == "exported"]
        assert exported == ["/finance/lines.csv?period=2026-11"] * 2


async def test_without_a_passkey_a_fresh_link_is_the_proof(newsroom: Newsroom) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        newsroom.clock.advance(timedelta(minutes=5))
        assert (await ada.web.get(EXPORTS[0])).status_code == 303
        page = await ada.opens("/staff/confirm?back=/finance/lines.csv")
        assert 'payments staff link "Ada"' in page.text
        assert (await ada.sends("/staff/confirm", answer="")).status_code == 403
        await ada.opens_link(await ada.sign_in_link())
        assert (await ada.web.get(EXPORTS[0])).status_code == 200


async def test_nobody_is_led_elsewhere(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await ada.enrols()
        for elsewhere in (
            "https://evil.example/finance", "//evil.example", "/finance\\@evil.example",
            "/\\evil.example", "/finance//../evil", "javascript:alert(1)", "/manage",
            "/finance\r\nset-cookie: x=1", "/finance" + "a" * 2000, "/financed",
        ):  # fmt: skip
            await ada.sends("/staff/leave")
            answer = await ada.sends(
                "/staff/sign-in",
                back=elsewhere,
                answer=ada.device.get_assertion(
                    passkey_options_of(await ada.opens("/staff/sign-in"), "/staff/sign-in")
                ),
            )
            assert answer.status_code == 303
            assert answer.headers["location"] in ("/finance", "/finance//../evil"), elsewhere


# --- whose page it is -----------------------------------------------------------------------------

OPEN = {"GET /staff/sign-in", "POST /staff/sign-in", "POST /staff/leave",
        "GET /staff/enter/{token}", "POST /staff/enter/{token}"}  # fmt: skip
MATRIX = {
    "fsa": {
        "GET /staff", "POST /staff/passkeys", "POST /staff/passkeys/{name}/remove",
        "GET /staff/confirm", "POST /staff/confirm",
    },
    "f-a": {
        "GET /finance/refund/{charge_id}", "POST /finance/refund/{charge_id}",
        "GET /staff/alarms", "POST /staff/alarms/{alarm_id}", "GET /finance/audit",
        "GET /staff/campaigns", "POST /staff/campaigns", "GET /staff/campaigns/new",
        "GET /staff/campaigns/{campaign_id}", "POST /staff/campaigns/{campaign_id}",
        "POST /finance/periods/{month}/close", "POST /finance/periods/{month}/reopen",
    },
    "-sa": {
        "GET /support", "POST /support", "GET /support/{case_id}", "POST /support/{case_id}/link",
        "GET /support/{case_id}/erase", "POST /support/{case_id}/erase",
        *(f"POST /support/{{case_id}}/{{contribution_id}}/{deed}"
          for deed in ("stop", "skip", "pause", "resume")),
    },
    "--a": {
        "GET /staff/colleagues", "POST /staff/colleagues",
        "POST /staff/colleagues/{staff_id}/role", "POST /staff/colleagues/{staff_id}/remove",
    },
}  # fmt: skip
FILLED = {"token": "x" * 43, "case_id": "0" * 32, "contribution_id": "0" * 32, "alarm_id": "1",
          "staff_id": "0" * 32, "name": "0" * 16, "month": "2026-11"}  # fmt: skip
AREAS = ("/finance", "/staff", "/support")


def staff_routes(room: Newsroom) -> set[str]:
    app = room.web._transport.app  # type: ignore[attr-defined]  # httpx's ASGI transport
    return {route for route in routes_of(app) if route.split(" ")[1].startswith(AREAS)}


async def test_every_route_of_the_staff_has_a_rule_and_a_line_in_the_matrix(
    newsroom: Newsroom,
) -> None:
    served = staff_routes(newsroom)
    told = OPEN.union(*MATRIX.values())
    books = {route for route in served if route.startswith("GET /finance")} - told
    assert served - told - books == set(), "say in MATRIX who opens these"
    assert told - served == set(), "these are no longer served"
    for route in served - OPEN:
        assert auth.rule_for_route(route.split(" ")[1]) is not None, route
    assert auth.rule_for_route("/elsewhere") is None


async def test_each_role_opens_its_own_and_is_turned_away_from_the_rest(
    newsroom: Newsroom,
) -> None:
    routes = staff_routes(newsroom) - OPEN
    whose = {route: roles for roles, of in MATRIX.items() for route in of}
    for letter, role in zip("fsa", Role, strict=True):
        async with open_colleague_browser(newsroom, f"A {role}", role) as one:
            await one.opens_link()
            for route in sorted(routes):
                method, path = route.split(" ")
                address = re.sub(r"{(\w+)}", lambda m: FILLED.get(m[1], "x"), path)
                answer = await one.web.request(method, address, headers=SAME_ORIGIN_HEADERS)
                opens = letter in whose.get(route, "f-a")
                assert (answer.status_code == 403) == (
                    not opens or route in ("POST /staff/passkeys", "POST /staff/confirm")
                ), (role, route, answer.status_code)
                assert answer.status_code not in (401, 500), (role, route)
            away = {about for deed, about, _ in await one.audit_actions() if deed == "turned_away"}
            assert away == {route for route in routes if letter not in whose.get(route, "f-a")}


async def test_nobody_and_no_donor_opens_any_of_them(newsroom: Newsroom) -> None:
    async with open_donor_browser(newsroom) as donor:
        await donor.gives()
        await donor.signs_in()
        key = donor.web.cookies["donor"]
        for route in sorted(staff_routes(newsroom) - OPEN):
            method, path = route.split(" ")
            address = re.sub(r"{(\w+)}", lambda m: FILLED.get(m[1], "x"), path)
            for cookie in ("", f"donor={key}", f"staff={key}"):
                headers = {**SAME_ORIGIN_HEADERS, "cookie": cookie}
                answer = await newsroom.web.request(method, address, headers=headers)
                assert answer.status_code == 401, (route, cookie)


async def test_a_form_of_another_site_does_nothing(newsroom: Newsroom) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.ADMIN) as ada:
        link = await ada.invitation_link()
        for foreign in (
            {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
            {"sec-fetch-site": "none"}, {"origin": "https://evil.example"}, {"origin": "null"},
            {"origin": "http://127.0.0.1:8001"},
            {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "cross-site"},
        ):  # fmt: skip
            assert (await ada.web.post(link, headers=foreign)).status_code == 403, foreign
            answer = await ada.web.post("/staff/sign-in", headers=foreign)
            assert answer.status_code == 403
        await ada.opens_link(link)
        before = await newsroom.count("audit_entries")
        for address in ("/staff/leave", "/staff/colleagues", "/support", "/staff/alarms/1"):
            answer = await ada.web.post(address, headers={"sec-fetch-site": "cross-site"})
            assert answer.status_code == 403, address
        assert await newsroom.count("audit_entries") == before
        assert (await ada.web.get("/staff")).status_code == 200


async def test_another_role_begins_with_signing_in_anew(newsroom: Newsroom) -> None:
    async with (
        open_colleague_browser(newsroom, "Ada", Role.ADMIN) as ada,
        open_colleague_browser(newsroom, "Bea", Role.FINANCE) as bea,
    ):
        await ada.opens_link()
        await bea.opens_link()
        page = await ada.opens("/staff/colleagues")
        ((action, filled),) = [
            (form.action, form.submission(role="support"))
            for form in page.forms
            if form.action.endswith("/role")
        ]
        assert (await ada.sends(action, **filled)).status_code == 303
        assert (await bea.web.get("/finance")).status_code == 401
        assert (await ada.sends(action, role="owner")).status_code == 422
        bea.role = Role.SUPPORT
        assert (await bea.opens_link()).headers["location"] == "/support"
        assert (await bea.web.get("/finance")).status_code == 403
        assert ("role_changed", "Bea", "finance to support") in await ada.audit_actions()


async def test_who_is_removed_is_out_at_once_and_stays_in_the_audit(newsroom: Newsroom) -> None:
    async with (
        open_colleague_browser(newsroom, "Ada", Role.ADMIN) as ada,
        open_colleague_browser(newsroom, "Bea", Role.FINANCE) as bea,
    ):
        await ada.opens_link()
        await bea.opens_link()
        spare = await bea.invitation_link()
        page = await ada.opens("/staff/colleagues")
        (action,) = (form.action for form in page.forms if form.action.endswith("/remove"))
        assert (await ada.sends(action)).status_code == 303
        assert (await bea.web.get("/finance")).status_code == 401
        assert (await bea.opens_link(spare)).status_code == 410
        assert (await ada.sends(action)).status_code == 404
        assert "Bea" not in (await ada.opens("/staff/colleagues")).text
        assert await bea.audit_actions() == [("signed_in", "", "by a one-time link")]
        assert (await bea.opens_link()).status_code == 303  # invited anew


async def test_nobody_does_it_to_themselves(newsroom: Newsroom) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.ADMIN) as ada:
        await ada.opens_link()
        ((own,),) = await newsroom.rows("SELECT id FROM staff")
        for deed in ("role", "remove"):
            answer = await ada.sends(f"/staff/colleagues/{own}/{deed}", role="finance")
            assert answer.status_code == 403
        again = await ada.sends("/staff/colleagues", name="Ada", role="admin", replace="yes")
        assert again.status_code == 403
        assert (await ada.web.get("/staff")).status_code == 200


async def test_an_administrator_invites(newsroom: Newsroom) -> None:
    async with (
        open_colleague_browser(newsroom, "Ada", Role.ADMIN) as ada,
        open_colleague_browser(newsroom, "Bea", Role.SUPPORT) as bea,
    ):
        await ada.opens_link()
        made = await ada.sends("/staff/colleagues", name="Bea", role="support")
        (link,) = re.findall(r"/staff/enter/[\w-]{43}", made.text)
        assert (await bea.opens_link(link)).headers["location"] == "/support"
        for name, role in (("", "finance"), ("x" * 81, "finance"), ("Bea", "finance"),
                           ("Cleo", "owner"), ("Cleo", ""), ("\u202eadA", "finance"),
                           ("the command line", "admin"), ("\x00", "admin")):  # fmt: skip
            answer = await ada.sends("/staff/colleagues", name=name, role=role)
            assert answer.status_code == 422, (name, role)
            assert "/staff/enter/" not in answer.text
        assert await newsroom.count("staff") == 2
        newsroom.clock.advance(timedelta(minutes=5))
        late = await ada.sends("/staff/colleagues", name="Cleo", role="admin")
        assert late.headers["location"] == "/staff/confirm?back=%2Fstaff%2Fcolleagues"
        assert await newsroom.count("staff") == 2


# --- alarms ---------------------------------------------------------------------------------------


def test_each_alert_says_what_to_do() -> None:
    assert set(INSTRUCTIONS) == set(alerts.MESSAGES) == set(AlertKind)


async def test_an_alert_is_acknowledged_with_a_reason_once(newsroom: Newsroom) -> None:
    async def sound() -> None:
        async with newsroom.ctx.sessions.begin() as session:
            await alerts.raise_alert(
                session, AlertKind.RETRIES_EXHAUSTED, object_id="ch_1", now=newsroom.clock()
            )

    await sound()
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        page = await ada.opens("/staff/alarms")
        assert "was not read" in page.text
        (action,) = (form.action for form in page.forms if "/alarms/" in form.action)
        for wrong in ("", " ", "x" * 201, "reader@example.org asked", "card 4242 4242 4242 4242"):
            answer = await ada.sends(action, reason=wrong)
            assert answer.status_code == 422, wrong
            assert Page(answer.text).problems == []
        for reason in ("Stripe was away", "twice"):
            assert (await ada.sends(action, reason=reason)).status_code == 303
        assert "Nothing needs attention" in (await ada.opens("/staff/alarms")).text
        closed = [deed for deed in await ada.audit_actions() if deed[0] == "alarm_closed"]
        assert closed == [("alarm_closed", "stuck: ch_1", "Stripe was away")]
        await sound()  # its cause is still there
        assert "was not read" in (await ada.opens("/staff/alarms")).text
        assert (await ada.sends("/staff/alarms/" + "9" * 30, reason="x")).status_code == 303


async def test_what_the_books_point_to_is_not_closed(newsroom: Newsroom) -> None:
    async with newsroom.ctx.sessions.begin() as session:
        await alerts.raise_alert(
            session, AlertKind.SUSPENSE, object_id="txn_1", now=newsroom.clock()
        )
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        page = await ada.opens("/staff/alarms")
        assert [form for form in page.forms if "/alarms/" in form.action] == []
        ((number,),) = await newsroom.rows("SELECT id FROM alerts")
        answer = await ada.sends(f"/staff/alarms/{number}", reason="seen")
        assert answer.status_code == 422
        assert "txn_1" in (await ada.opens("/staff/alarms")).text


# --- the audit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_owner", [False, True])
@pytest.mark.parametrize(
    "change",
    ["UPDATE audit_entries SET name = 'x'", "DELETE FROM audit_entries", "TRUNCATE audit_entries"],
)
async def test_what_is_in_the_audit_stays(newsroom: Newsroom, change: str, as_owner: bool) -> None:
    await signs_in(newsroom)
    before = await newsroom.rows("SELECT * FROM audit_entries ORDER BY seq")
    assert before
    role = "SET ROLE NONE" if as_owner else f"SET ROLE {db.APP_ROLE}"
    async with newsroom.ctx.engine.connect() as connection:
        await connection.execute(text(role))
        with pytest.raises(DBAPIError, match=r"append-only|permission denied"):
            await connection.execute(text(change))
    assert await newsroom.rows("SELECT * FROM audit_entries ORDER BY seq") == before


async def test_the_audit_is_read_by_who_and_what_a_page_at_a_time(newsroom: Newsroom) -> None:
    async with newsroom.ctx.sessions.begin() as session:
        for number in range(250):
            deed = AuditAction.DATA_EXPORTED if number % 2 else AuditAction.REAUTHENTICATED
            await audit_log.record(
                session, deed, name="Bea", object_id=f"n{number}", now=newsroom.clock()
            )
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        address, seen = "/finance/audit?who=Bea&what=exported", list[str]()
        while True:
            page = await ada.opens(address)
            seen += [row[3] for row in page.cells if len(row) == 5 and row[3].startswith("n")]
            if "Older" not in page.links:
                break
            address = "/finance/audit" + page.links["Older"]
        assert seen == [f"n{number}" for number in range(249, 0, -2)]
        assert "never changed" in page.text
        for wrong in ("before=x", "before=-1", "before=" + "9" * 40, "what=x", "who=%00"):
            assert (await ada.web.get(f"/finance/audit?{wrong}")).status_code == 422, wrong


async def test_strangers_cannot_fill_the_audit(newsroom: Newsroom) -> None:
    for _ in range(audit_log.MAX_ANONYMOUS_PER_HOUR + 20):
        await newsroom.web.post("/staff/enter/x")
    assert await newsroom.count("audit_entries") == audit_log.MAX_ANONYMOUS_PER_HOUR
    newsroom.clock.advance(timedelta(hours=1))
    await newsroom.web.post("/staff/enter/x")
    assert await newsroom.count("audit_entries") == audit_log.MAX_ANONYMOUS_PER_HOUR + 1


# --- refunds --------------------------------------------------------------------------------------


async def test_finance_refunds_a_part_of_a_gift_once_however_often_they_press(
    newsroom: Newsroom,
) -> None:
    await newsroom.gives(2500)
    await newsroom.runs_until_idle()
    ((charge,),) = await newsroom.rows("SELECT stripe_charge_id FROM charges")
    page_of = f"/finance/refund/{charge}"
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        page = await ada.opens(page_of)
        sent = page.form(page_of).submission(amount="10", reason="duplicate")
        answers = await asyncio.gather(*(ada.sends(page_of, **sent) for _ in range(2)))
        assert [answer.status_code for answer in answers] == [303, 303]
        await newsroom.runs_until_idle()
        shown = await ada.opens(answers[0].headers["location"])
        assert "The refund is asked for" in shown.text
        assert "Can be refunded $15.00" in shown.text
        assert len(await newsroom.rows("SELECT 1 FROM refunds")) == 1
        for changes, words in (
            ({"amount": "15.01"}, "Only $15.00 of this payment"),
            ({"amount": "0"}, "Nothing was refunded"),
            ({"amount": "-1"}, "Type an amount such as 12.50"),
            ({"amount": "ten"}, "Type an amount such as 12.50"),
            ({"reason": ""}, "Choose why"),
        ):
            form = (await ada.opens(page_of)).form(page_of)
            answer = await ada.sends(page_of, **{**form.submission(reason="duplicate"), **changes})
            assert answer.status_code == 422, changes
            assert words in Page(answer.text).text
        assert len(await newsroom.rows("SELECT 1 FROM refunds")) == 1
        for nobody in ("ch_x", "x", "%00", "ch_" + "0" * 300):
            assert (await ada.web.get(f"/finance/refund/{nobody}")).status_code == 404
        assert ("refund_asked", charge, "$10.00, duplicate") in await ada.audit_actions()
        newsroom.clock.advance(timedelta(minutes=5))
        late = await ada.sends(page_of, **sent)
        assert late.headers["location"].startswith("/staff/confirm?back=%2Ffinance%2Frefund")


async def test_of_two_who_refund_the_same_contribution_at_once_one_gets_an_error(
    newsroom: Newsroom,
) -> None:
    await newsroom.gives(2500)
    await newsroom.runs_until_idle()
    ((charge,),) = await newsroom.rows("SELECT stripe_charge_id FROM charges")
    page_of = f"/finance/refund/{charge}"
    async with (
        open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada,
        open_colleague_browser(newsroom, "Bea", Role.FINANCE) as bea,
    ):
        await ada.opens_link()
        await bea.opens_link()
        forms = [(await one.opens(page_of)).form(page_of) for one in (ada, bea)]
        answers = await asyncio.gather(
            *(
                one.sends(page_of, **form.submission(amount="20", reason="duplicate"))
                for one, form in zip((ada, bea), forms, strict=True)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [303, 422]


# --- the command line -----------------------------------------------------------------------------


async def test_the_operator_invites_links_changes_and_removes(newsroom: Newsroom) -> None:
    async def says(*words: str, code: int = 0) -> str:
        chosen = {
            "PAYMENTS_DATABASE_URL": newsroom.settings.database_url.get_secret_value(),
            "PAYMENTS_STRIPE_API_KEY": newsroom.settings.stripe_api_key.get_secret_value(),
            "PAYMENTS_STRIPE_API_BASE": newsroom.settings.stripe_api_base,
            "PAYMENTS_BASE_URL": newsroom.settings.base_url,
        }
        command = [sys.executable, "-m", "payments.cli", "staff", *words]
        run = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **chosen}, stdout=PIPE, stderr=PIPE
        )
        out, err = await run.communicate()
        assert run.returncode == code, err
        return out.decode().strip()

    newsroom.clock.current = datetime.now(UTC)  # the command line goes by the real clock
    base = newsroom.settings.base_url
    made = (await says("invite", "Ada", "--role", "support")).removeprefix(base)
    async with open_colleague_browser(newsroom, "Ada", Role.SUPPORT) as ada:
        assert (await ada.opens_link(made)).headers["location"] == "/support"
        await says("set-role", "Ada", "finance")
        assert (await ada.web.get("/staff")).status_code == 401
        link = (await says("link", "Ada")).removeprefix(base)
        assert (await ada.opens_link(link)).headers["location"] == "/finance"
        await says("invite", "Ada", "--revoke-existing")
        assert (await ada.web.get("/staff")).status_code == 401
        assert await says("list", "--json") == '[{"name": "Ada", "role": "finance"}]'
        await says("invite", "Ada", "--role", "admin", code=1)  # a role is changed by name
        await says("remove", "Ada")
        await says("link", "Ada", code=1)
        assert await says("list", "--json") == "[]"
    deeds = await newsroom.rows(
        "SELECT action FROM audit_entries WHERE name = 'the command line' ORDER BY seq"
    )
    assert [deed for (deed,) in deeds] == [
        "invited", "role_changed", "link_made", "passkey_removed", "invited", "passkey_removed",
        "removed",
    ]  # fmt: skip
