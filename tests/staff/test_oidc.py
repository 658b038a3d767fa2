"""Sign-in by an account at the newsroom's own provider: for whoever was invited and linked it."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from payments.staff import accounts, administration
from payments.staff.accounts import Role
from payments.web.app import create_app
from payments.web.staff import guards
from tests.support.colleague import SITE, open_colleague_browser
from tests.support.http import routes_of
from tests.support.newsroom import Newsroom, open_newsroom, settings_for
from tests.support.oidc_provider import CLIENT, SECRET, OidcProvider
from tests.support.page import Page
from tests.support.secret_values import secret_named
from tests.support.sso import (
    CALLBACK_URL,
    SSO_URL,
    STEP_UP_URL,
    comes_back,
    continues_to,
    leaves_for_provider,
    links_account,
    refusal_outcomes,
    signs_on,
)

pytestmark = pytest.mark.anyio
EXPORT = "/finance/transactions.csv?period=2026-11"


# --- coming in ------------------------------------------------------------------------------------


async def test_who_was_invited_links_an_account_and_signs_in_by_it_from_then_on(
    sso_house: Newsroom,
) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        tied = await links_account(ada)
        assert (tied.status_code, continues_to(tied)) == (200, "/finance")
        await ada.opens("/finance")
        assert "Opens this door since" in (await ada.opens("/staff")).text
        await ada.sends("/staff/leave")

        sso_house.clock.advance(timedelta(days=30))
        page = await ada.opens("/finance/audit?who=Ada", status=401)
        again = await signs_on(ada, page.links["Sign in with 127.0.0.1"])
        assert continues_to(again) == "/finance/audit?who=Ada"
        shown = (await ada.opens("/staff")).text
        assert "last used 22 December 2026" in shown
        assert "You last signed in on 22 December 2026, 12:00 UTC, by 127.0.0.1." in shown
        assert "Before that: 22 November 2026, 12:00 UTC by a one-time link" in shown
        assert await ada.audit_actions() == [
            ("account_linked", "127.0.0.1", ""),
            ("signed_in", "", "by a one-time link"),
            ("signed_out", "", ""),
            ("signed_in", "", "by 127.0.0.1"),
        ]
    assert await sso_house.count("staff") == 1


async def test_the_link_that_linked_an_account_is_used_up(sso_house: Newsroom) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        link = await ada.invitation_link()
        address = f"{link}/sign-on"
        for _ in range(3):  # whoever only looks does not use it up
            back = await leaves_for_provider(ada, address)
        assert (await comes_back(ada, back)).status_code == 200
        assert (await ada.web.get(link)).status_code == 410
        assert (await ada.web.get(address)).status_code == 410
        assert (await ada.sends(link)).status_code == 410


async def test_the_service_is_asked_for_a_number_and_proved_to(
    sso_house: Newsroom, provider: OidcProvider
) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        (asked,) = (dict(one.query) for one in provider.requests if one.path == "/authorize")
        (form,) = provider.token_requests
        for one in ("state", "nonce", "code_challenge"):
            assert len(asked.pop(one)) == 43
        assert asked == {
            "response_type": "code",
            "scope": "openid",
            "client_id": CLIENT,
            "redirect_uri": SITE + CALLBACK_URL,
            "code_challenge_method": "S256",
            "prompt": "login",
        }
        assert 43 <= len(form["code_verifier"]) <= 128
        assert "client_secret" not in form


async def test_a_service_that_reads_our_proof_in_the_form_finds_it_there(
    sso_house: Newsroom, provider: OidcProvider
) -> None:
    provider.discovery_overrides = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        assert (await links_account(ada)).status_code == 200
        assert provider.token_requests[0]["client_secret"] == SECRET


async def test_nothing_about_a_person_is_stored(
    sso_house: Newsroom, provider: OidcProvider
) -> None:
    provider.subject = "subject-of-ada-at-the-service"
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
    tables = await sso_house.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        everything = str(await sso_house.rows(f"SELECT t::text FROM {table} AS t"))  # noqa: S608 - our tables
        for word in (provider.subject, "newsroom.example"):
            assert word not in everything, table
            assert word.encode().hex() not in everything, table


async def test_over_https_the_cookie_of_an_attempt_never_leaves_it(
    database: str, provider: OidcProvider
) -> None:
    https = "https://give.example.org"
    async with open_newsroom(database, base_url=https, **provider.settings) as room:
        off = await room.web.get(https + SSO_URL)
        pair, _, flags = off.headers["set-cookie"].partition("; ")
        assert pair.partition("=")[0] == "__Host-sign-on"
        assert set(flags.lower().split("; ")) == {
            "httponly", "path=/", "samesite=lax", "max-age=600", "secure",
        }  # fmt: skip
        assert "no-store" in off.headers["cache-control"]
        assert off.headers["referrer-policy"] == "same-origin"


async def test_what_an_account_may_see_is_ours_to_say(
    sso_house: Newsroom, provider: OidcProvider
) -> None:
    provider.claim_overrides = {"role": "admin", "groups": ["admin"]}
    async with open_colleague_browser(sso_house, "Bea", Role.SUPPORT) as bea:
        assert continues_to(await links_account(bea)) == "/support"
        assert (await bea.web.get("/finance")).status_code == 403
        async with sso_house.ctx.sessions.begin() as session:
            person = await accounts.get_by_name(session, "Bea")
            await administration.change_role(session, person, Role.FINANCE, now=sso_house.clock())
        assert continues_to(await signs_on(bea)) == "/finance"
        assert (await bea.web.get("/support")).status_code == 403


async def test_nobody_becomes_a_colleague_by_having_an_account(sso_house: Newsroom) -> None:
    async with open_colleague_browser(sso_house, "Eve", Role.ADMIN) as eve:
        answer = await signs_on(eve)
        assert answer.status_code == 403
        assert "A colleague is invited first" in Page(answer.text).text
        assert "staff" not in eve.web.cookies
    assert await sso_house.count("staff") == await sso_house.count("staff_linked_accounts") == 0
    assert await refusal_outcomes(sso_house) == ["unknown-account"]


async def test_a_newsroom_without_such_a_service_shows_nothing_of_it(database: str) -> None:
    async with (
        open_newsroom(database, base_url=SITE) as room,
        open_colleague_browser(room, "Ada", Role.ADMIN) as ada,
    ):
        link = await ada.invitation_link()
        for page in (await ada.opens("/staff/sign-in"), await ada.opens(link)):
            assert [one for one in page.links if "Sign in with" in one] == []
        await ada.opens_link(link)
        assert "Your account" not in (await ada.opens("/staff")).text
        for address in (
            SSO_URL,
            STEP_UP_URL,
            CALLBACK_URL,
            f"{await ada.invitation_link()}/sign-on",
        ):
            assert (await ada.web.get(address)).status_code == 404, address
        assert (await ada.sends(f"{SSO_URL}/remove")).status_code == 404


def test_each_of_its_routes_is_open_or_has_a_rule(service_settings: dict[str, Any]) -> None:
    app = create_app(service_settings["with"])
    served = routes_of(app)
    more = served - routes_of(create_app(service_settings["without"]))
    ruled = {"GET /staff/confirm/sign-on", "POST /staff/sign-on/remove"}
    open_ = {"GET /staff/sign-on", "GET /staff/sign-on/back", "GET /staff/enter/{token}/sign-on"}
    assert more == ruled | open_
    rules = {rule.route: rule for rule in guards.access_rules(app)}
    assert rules["POST /staff/sign-on/remove"].needs_step_up
    assert all(rules[route].roles == set(Role) for route in ruled)
    assert all(not rules[route].roles for route in open_)


@pytest.fixture
def service_settings(database: str) -> dict[str, Any]:
    without = settings_for(database, "http://127.0.0.1:1")
    more = OidcProvider(port=1).settings
    return {"without": without, "with": settings_for(database, "http://127.0.0.1:1", **more)}


# --- a recent proof -------------------------------------------------------------------------------


async def test_a_fresh_proof_is_given_there(sso_house: Newsroom, provider: OidcProvider) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        assert (await ada.web.get(EXPORT)).status_code == 200
        sso_house.clock.advance(timedelta(minutes=5))
        led = await ada.web.get(EXPORT)
        page = await ada.opens(led.headers["location"])
        confirmed = await signs_on(ada, page.links["Sign in with 127.0.0.1"])
        assert continues_to(confirmed) == EXPORT
        asked = dict(provider.requests[-2].query)
        assert (asked["prompt"], asked["max_age"]) == ("login", "0")
        assert (await ada.web.get(EXPORT)).status_code == 200
        assert ("reauthenticated", "", "") in await ada.audit_actions()
        sso_house.clock.advance(timedelta(minutes=5))
        assert (await ada.web.get(EXPORT)).status_code == 303


async def test_a_proof_that_is_not_fresh_or_does_not_say_so_is_none(
    sso_house: Newsroom, provider: OidcProvider
) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        sso_house.clock.advance(timedelta(minutes=6))
        provider.honours_prompt = False
        provider.signed_in_at = sso_house.clock() - timedelta(minutes=2)
        stale = await signs_on(ada, f"{STEP_UP_URL}?back=/finance")
        assert stale.status_code == 403
        assert "did not ask you again" in Page(stale.text).text
        provider.sends_auth_time = False
        silent = await signs_on(ada, f"{STEP_UP_URL}?back=/finance")
        assert silent.status_code == 403
        page = Page(silent.text)
        assert "Use a passkey or a one-time link" in page.text
        assert page.links["Try another way"] == "/staff/confirm?back=%2Ffinance"
        assert (await ada.web.get(EXPORT)).status_code == 303
        assert await refusal_outcomes(sso_house) == ["not-reauthenticated", "no-auth-time"]
        assert [action for action, *_ in await ada.audit_actions()][-2:] == [
            "reauthentication_failed"
        ] * 2


async def test_a_proof_is_as_old_as_it_was_there(
    sso_house: Newsroom, provider: OidcProvider
) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        await ada.sends("/staff/leave")
        for ago, status in ((timedelta(minutes=4), 200), (timedelta(minutes=5), 303)):
            provider.signed_in_at = sso_house.clock() - ago
            assert (await signs_on(ada)).status_code == 200
            assert (await ada.web.get(EXPORT)).status_code == status, ago
        provider.sends_auth_time = False
        assert (await signs_on(ada)).status_code == 200
        assert (await ada.web.get("/finance")).status_code == 200
        assert (await ada.web.get(EXPORT)).status_code == 303
        provider.sends_auth_time, provider.signed_in_at = (
            True,
            sso_house.clock() - timedelta(hours=9),
        )
        old = await signs_on(ada)
        assert old.status_code == 403
        assert "too long ago" in Page(old.text).text


async def test_the_account_of_a_colleague_proves_nothing_of_who_asks(
    sso_house: Newsroom, provider: OidcProvider
) -> None:
    async with (
        open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada,
        open_colleague_browser(sso_house, "Bea", Role.FINANCE) as bea,
    ):
        await links_account(ada)
        provider.subject = "0815"
        await links_account(bea)
        sso_house.clock.advance(timedelta(minutes=6))
        for stranger, why in (("0815", "account-of-another"), ("x", "unknown-account")):
            provider.subject = stranger
            assert (await signs_on(ada, STEP_UP_URL)).status_code == 403
            assert (await refusal_outcomes(sso_house))[-1] == why
        assert (await ada.web.get(EXPORT)).status_code == 303
        # nor does it open the door for two
        assert (await links_account(bea)).status_code == 200
        provider.subject = "4711"
        link = await bea.invitation_link()
        assert (await signs_on(bea, f"{link}/sign-on")).status_code == 403
        assert (await ada.web.get(link)).status_code == 200


async def test_whoever_signed_out_meanwhile_confirms_nothing(sso_house: Newsroom) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        sso_house.clock.advance(timedelta(minutes=6))
        back = await leaves_for_provider(ada, STEP_UP_URL)
        await ada.sends("/staff/leave")
        assert (await comes_back(ada, back)).status_code == 401
        assert (await ada.web.get("/staff")).status_code == 401
        assert (await ada.web.get(STEP_UP_URL)).status_code == 401


# --- losing it ------------------------------------------------------------------------------------


async def test_an_account_of_somebody_who_left_opens_nothing(sso_house: Newsroom) -> None:
    async with (
        open_colleague_browser(sso_house, "Ada", Role.ADMIN) as ada,
        open_colleague_browser(sso_house, "Bea", Role.FINANCE) as bea,
    ):
        await links_account(bea)
        back = await leaves_for_provider(bea, SSO_URL)
        await ada.opens_link()
        shown = await ada.opens("/staff/colleagues")
        assert "no passkey · 127.0.0.1" in shown.text
        (remove,) = (form.action for form in shown.forms if form.action.endswith("/remove"))
        assert (await ada.sends(remove)).status_code == 303
        assert (await comes_back(bea, back)).status_code == 403
        assert (await signs_on(bea)).status_code == 403
        assert await refusal_outcomes(sso_house) == ["unknown-account"] * 2
        # invited again they are as anybody who is new
        await bea.opens_link()
        await bea.sends("/staff/leave")
        assert (await signs_on(bea)).status_code == 403


async def test_a_lost_device_ends_the_account_as_well(sso_house: Newsroom) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        async with sso_house.ctx.sessions.begin() as session:
            person = await accounts.get_by_name(session, "Ada")
            await administration.revoke_credentials(session, person, now=sso_house.clock())
        assert (await ada.web.get("/finance")).status_code == 401
        assert (await signs_on(ada)).status_code == 403
        assert (await links_account(ada)).status_code == 200


async def test_a_colleague_removes_their_account_with_a_fresh_proof(
    sso_house: Newsroom,
) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        form = (await ada.opens("/staff")).form("/staff/sign-on/remove")
        sso_house.clock.advance(timedelta(minutes=5))
        late = await ada.sends(form.action)
        assert late.headers["location"] == "/staff/confirm?back=%2Fstaff"
        await signs_on(ada, STEP_UP_URL)
        for _ in range(2):  # twice is once
            assert (await ada.sends(form.action)).status_code == 303
        assert [action for action, *_ in await ada.audit_actions()].count("account_unlinked") == 1
        assert "can't be used to sign in here" in (await ada.opens("/staff")).text
        assert (await signs_on(ada)).status_code == 403


async def test_another_account_takes_the_place_of_the_first(
    sso_house: Newsroom, provider: OidcProvider
) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        provider.subject = "0815"
        await links_account(ada)
        assert (await signs_on(ada)).status_code == 200
        provider.subject = "4711"
        assert (await signs_on(ada)).status_code == 403
        assert await sso_house.count("staff_linked_accounts") == 1


async def test_an_account_is_known_after_our_keys_were_rolled(
    database: str, provider: OidcProvider
) -> None:
    new, old = SecretStr(secret_named("new")), SecretStr(secret_named("keys"))

    async def signed_in_under(*keys: SecretStr, first: bool = False) -> int:
        more = {"secret_keys": keys, "base_url": SITE, **provider.settings}
        async with (
            open_newsroom(database, **more) as room,
            open_colleague_browser(room, "Ada", Role.ADMIN) as ada,
        ):
            provider.now = room.clock
            if first:
                await links_account(ada)
            return (await signs_on(ada)).status_code

    assert await signed_in_under(old, first=True) == 200
    assert await signed_in_under(new, old) == 200  # and from now on by the new one
    assert await signed_in_under(new) == 200
    assert await signed_in_under(old) == 403
