"""A recent proof: what takes data away asks for one, and nobody is led elsewhere after it."""

from datetime import timedelta

import pytest

from payments.staff.accounts import Role
from tests.support.colleague import SITE, open_colleague_browser, passkey_options_of, sees
from tests.support.newsroom import Newsroom
from tests.support.page import Page

pytestmark = pytest.mark.anyio


EXPORTS = ("/finance/transactions.csv", "/finance/transactions.xlsx", "/finance/journal?format=csv")


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
        exported = [
            url for action, url, _ in await ada.audit_actions() if action == "data_exported"
        ]
        assert exported == ["/finance/transactions.csv?period=2026-11"] * 2


async def test_without_a_passkey_a_fresh_link_is_the_proof(newsroom: Newsroom) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        newsroom.clock.advance(timedelta(minutes=5))
        assert (await ada.web.get(EXPORTS[0])).status_code == 303
        page = await ada.opens("/staff/confirm?back=/finance/transactions.csv")
        assert 'payments staff link "Ada"' in page.text
        assert (await ada.sends("/staff/confirm", answer="")).status_code == 403
        await ada.opens_link(await ada.sign_in_link())
        assert (await ada.web.get(EXPORTS[0])).status_code == 200


async def test_each_proof_gives_a_token_that_nobody_has_seen(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        ada.web.cookies.set("staff", "planted", domain="localhost.local")
        await ada.enrols()
        tokens = [ada.web.cookies["staff"]]
        house.clock.advance(timedelta(minutes=5))
        await ada.confirms()
        tokens.append(ada.web.cookies["staff"])
        await ada.opens_link(await ada.sign_in_link())
        tokens.append(ada.web.cookies["staff"])
        question = Page((await house.web.get(f"{SITE}/staff/sign-in")).text)
        answer = ada.device.get_assertion(passkey_options_of(question, "/staff/sign-in"))
        assert (await ada.sends("/staff/sign-in", answer=answer)).status_code == 303
        tokens.append(ada.web.cookies["staff"])
        assert len({"planted", *tokens}) == 5
        assert await house.count("staff_sessions") == 1
        for token, status in zip(tokens, (401, 401, 401, 200), strict=True):
            assert (await sees(house, f"staff={token}", f"{SITE}/finance")).status_code == status


async def test_a_colleague_sees_where_they_are_signed_in_and_ends_the_others(
    house: Newsroom,
) -> None:
    async with (
        open_colleague_browser(house, "Ada", Role.FINANCE) as ada,
        open_colleague_browser(house, "Ada", Role.FINANCE) as elsewhere,
        open_colleague_browser(house, "Bob", Role.FINANCE) as bob,
    ):
        await ada.enrols()
        await elsewhere.opens_link(await ada.sign_in_link())
        await bob.opens_link()
        page = await ada.opens("/staff")
        assert "In this browser" in page.text
        assert "In another browser" in page.text
        house.clock.advance(timedelta(minutes=5))
        refused = await ada.sends("/staff/sessions/end")
        assert (refused.status_code, refused.headers["location"]) == (
            303,
            "/staff/confirm?back=%2Fstaff",
        )
        assert (await elsewhere.web.get("/finance")).status_code == 200
        await ada.confirms("/staff")
        await ada.sends("/staff/sessions/end")
        assert (await elsewhere.web.get("/finance")).status_code == 401
        assert (await bob.web.get("/finance")).status_code == 200
        assert "In another browser" not in (await ada.opens("/staff")).text
        assert (await ada.audit_actions())[-1][0] == "signed_out"


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
