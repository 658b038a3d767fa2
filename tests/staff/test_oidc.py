"""A colleague signs in by their account at the newsroom's own sign-in service: if they were invited
and tied it to themselves, in the browser that began it, once, by a token that is signed for us.
"""

import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from aiohttp import web
from joserfc import jwk
from joserfc.errors import SecurityWarning
from pydantic import SecretStr

from payments.ops import doctor
from payments.staff import accounts, passkeys
from payments.staff.accounts import Role
from payments.web.app import create_app
from payments.web.staff import auth
from tests.support.colleague import SITE, Colleague, open_colleague_browser
from tests.support.newsroom import Newsroom, open_newsroom, settings_for
from tests.support.oidc_provider import (
    CLIENT,
    NEXT_KEY,
    OTHER_RSA,
    RSA,
    SECRET,
    OidcProvider,
    b64url_json,
    running_provider,
)
from tests.support.page import Page
from tests.web.test_owner_matrix import routes_of

pytestmark = pytest.mark.anyio
GO, TO_CONFIRM, BACK = "/staff/sign-on", "/staff/confirm/sign-on", "/staff/sign-on/back"
EXPORT = "/finance/lines.csv?period=2026-11"


@pytest.fixture
async def service() -> AsyncIterator[OidcProvider]:
    async with running_provider() as one:
        yield one


@pytest.fixture
async def house(database: str, service: OidcProvider) -> AsyncIterator[Newsroom]:
    """A newsroom that has such a service."""
    async with open_newsroom(database, base_url=SITE, **service.settings) as room:
        service.now = room.clock
        yield room


async def leaves(one: Colleague, address: str) -> str:
    """Follow a link of ours to the service. Gives where the service sends the browser."""
    off = await one.web.get(address)
    assert off.status_code == 303, off.text
    async with httpx.AsyncClient() as elsewhere:
        answer = await elsewhere.get(off.headers["location"])
    assert answer.status_code == 302, answer.text
    back: str = answer.headers["location"]
    assert back.startswith(SITE + BACK)
    return back


async def comes_back(one: Colleague, address: str) -> httpx.Response:
    """From another site, so that no `strict` cookie comes along."""
    lax = one.web.cookies.get("sign-on") or ""
    transport = one.web._transport
    async with httpx.AsyncClient(transport=transport, base_url=one.web.base_url) as alone:
        answer = await alone.get(address, headers={"cookie": f"sign-on={lax}"})
    one.web.cookies.extract_cookies(answer)
    page = Page(answer.text)
    assert page.problems == []
    assert "sign-on" not in one.web.cookies
    return answer


async def signs_on(one: Colleague, address: str = GO) -> httpx.Response:
    return await comes_back(one, await leaves(one, address))


async def links_account(one: Colleague) -> httpx.Response:
    """Follow an invitation, and choose the account on its page."""
    link = await one.invitation_link()
    page = await one.opens(link)
    return await signs_on(one, page.links["Sign in with 127.0.0.1"])


def onward(answer: httpx.Response) -> str:
    """Where the page goes on to by itself."""
    (said,) = re.findall(r'http-equiv="refresh" content="0; url=([^"]+)"', answer.text)
    return str(said)


async def refused(room: Newsroom) -> list[object]:
    """Why nobody came in, as the audit has it, oldest first."""
    found = await room.rows(
        "SELECT object_id FROM audit_entries WHERE action LIKE '%refused' ORDER BY seq"
    )
    return [str(about).partition(": ")[2] for (about,) in found]


# --- coming in ------------------------------------------------------------------------------------


async def test_who_was_invited_links_an_account_and_signs_in_by_it_from_then_on(
    house: Newsroom,
) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        tied = await links_account(ada)
        assert (tied.status_code, onward(tied)) == (200, "/finance")
        await ada.opens("/finance")
        assert "Opens this door since" in (await ada.opens("/staff")).text
        await ada.sends("/staff/leave")

        house.clock.advance(timedelta(days=30))
        page = await ada.opens("/finance/audit?who=Ada", status=401)
        again = await signs_on(ada, page.links["Sign in with 127.0.0.1"])
        assert onward(again) == "/finance/audit?who=Ada"
        shown = (await ada.opens("/staff")).text
        assert "last used 22 December 2026" in shown
        assert "You last signed in on 22 December 2026, 12:00 UTC, by 127.0.0.1." in shown
        assert "Before that: 22 November 2026, 12:00 UTC by a one-time link" in shown
        assert await ada.audit_actions() == [
            ("account_tied", "127.0.0.1", ""),
            ("signed_in", "", "by a one-time link"),
            ("signed_out", "", ""),
            ("signed_in", "", "by 127.0.0.1"),
        ]
    assert await house.count("staff") == 1


async def test_the_link_that_linked_an_account_is_used_up(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        link = await ada.invitation_link()
        address = f"{link}/sign-on"
        for _ in range(3):  # whoever only looks does not use it up
            back = await leaves(ada, address)
        assert (await comes_back(ada, back)).status_code == 200
        assert (await ada.web.get(link)).status_code == 410
        assert (await ada.web.get(address)).status_code == 410
        assert (await ada.sends(link)).status_code == 410


async def test_the_service_is_asked_for_a_number_and_proved_to(
    house: Newsroom, service: OidcProvider
) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        (asked,) = (dict(one.query) for one in service.requests if one.path == "/authorize")
        (form,) = service.token_requests
        for one in ("state", "nonce", "code_challenge"):
            assert len(asked.pop(one)) == 43
        assert asked == {
            "response_type": "code",
            "scope": "openid",
            "client_id": CLIENT,
            "redirect_uri": SITE + BACK,
            "code_challenge_method": "S256",
            "prompt": "login",
        }
        assert 43 <= len(form["code_verifier"]) <= 128
        assert "client_secret" not in form


async def test_a_service_that_reads_our_proof_in_the_form_finds_it_there(
    house: Newsroom, service: OidcProvider
) -> None:
    service.discovery_overrides = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        assert (await links_account(ada)).status_code == 200
        assert service.token_requests[0]["client_secret"] == SECRET


async def test_nothing_about_a_person_is_stored(house: Newsroom, service: OidcProvider) -> None:
    service.subject = "subject-of-ada-at-the-service"
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
    tables = await house.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        everything = str(await house.rows(f"SELECT t::text FROM {table} AS t"))  # noqa: S608 - our tables
        for word in (service.subject, "newsroom.example"):
            assert word not in everything, table
            assert word.encode().hex() not in everything, table


async def test_over_https_the_cookie_of_an_attempt_never_leaves_it(
    database: str, service: OidcProvider
) -> None:
    https = "https://give.example.org"
    async with open_newsroom(database, base_url=https, **service.settings) as room:
        off = await room.web.get(https + GO)
        pair, _, flags = off.headers["set-cookie"].partition("; ")
        assert pair.partition("=")[0] == "__Host-sign-on"
        assert set(flags.lower().split("; ")) == {
            "httponly", "path=/", "samesite=lax", "max-age=600", "secure",
        }  # fmt: skip
        assert "no-store" in off.headers["cache-control"]
        assert off.headers["referrer-policy"] == "no-referrer"


async def test_what_an_account_may_see_is_ours_to_say(
    house: Newsroom, service: OidcProvider
) -> None:
    service.claim_overrides = {"role": "admin", "groups": ["admin"]}
    async with open_colleague_browser(house, "Bea", Role.SUPPORT) as bea:
        assert onward(await links_account(bea)) == "/support"
        assert (await bea.web.get("/finance")).status_code == 403
        async with house.ctx.sessions.begin() as session:
            person = await accounts.get_by_name(session, "Bea")
            await accounts.change_role(session, person, Role.FINANCE, now=house.clock())
        assert onward(await signs_on(bea)) == "/finance"
        assert (await bea.web.get("/support")).status_code == 403


async def test_nobody_becomes_a_colleague_by_having_an_account(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Eve", Role.ADMIN) as eve:
        answer = await signs_on(eve)
        assert answer.status_code == 403
        assert "A colleague is invited first" in Page(answer.text).text
        assert "staff" not in eve.web.cookies
    assert await house.count("staff") == await house.count("staff_linked_accounts") == 0
    assert await refused(house) == ["unknown-account"]


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
        for address in (GO, TO_CONFIRM, BACK, f"{await ada.invitation_link()}/sign-on"):
            assert (await ada.web.get(address)).status_code == 404, address
        assert (await ada.sends(f"{GO}/remove")).status_code == 404


def test_each_of_its_routes_is_open_or_has_a_rule(service_settings: dict[str, Any]) -> None:
    served = routes_of(create_app(service_settings["with"]))
    more = served - routes_of(create_app(service_settings["without"]))
    ruled = {"GET /staff/confirm/sign-on", "POST /staff/sign-on/remove"}
    open_ = {"GET /staff/sign-on", "GET /staff/sign-on/back", "GET /staff/enter/{token}/sign-on"}
    assert more == ruled | open_
    removing = auth.rule_for_route("/staff/sign-on/remove")
    assert removing is not None
    assert removing.step_up


@pytest.fixture
def service_settings(database: str) -> dict[str, Any]:
    without = settings_for(database, "http://127.0.0.1:1")
    more = OidcProvider(port=1).settings
    return {"without": without, "with": settings_for(database, "http://127.0.0.1:1", **more)}


# --- tokens that lie ------------------------------------------------------------------------------

SHARED = jwk.OctKey.import_key(SECRET, {"kid": "first"})
WRONG: dict[str, dict[str, Any]] = {
    "another nonce": {"lies": {"nonce": "x" * 43}},
    "no nonce": {"lies": {"nonce": None}},
    "another issuer": {"lies": {"iss": "http://127.0.0.1:9"}},
    "another issuer by a slash": {"lies": {"iss": "slash"}},
    "another audience": {"lies": {"aud": "somebody-else"}},
    "no audience": {"lies": {"aud": []}},
    "an audience beside us": {"lies": {"aud": [CLIENT, "somebody-else"]}},
    "another party": {"lies": {"azp": "somebody-else"}},
    "an audience and another party": {"lies": {"aud": [CLIENT, "b"], "azp": "b"}},
    "expired": {"lies": {"exp": -61}},
    "no end": {"lies": {"exp": None}},
    "an end that is no number": {"lies": {"exp": "tomorrow"}},
    "made long ago": {"lies": {"iat": -601}},
    "made tomorrow": {"lies": {"iat": 86400}},
    "signed in there tomorrow": {"lies": {"auth_time": 86400}},
    "no subject": {"lies": {"sub": None}},
    "an empty subject": {"lies": {"sub": ""}},
    "a subject that is a number": {"lies": {"sub": 4711}},
    "unsigned": {"algorithm": "none"},
    "signed by the secret we share": {"algorithm": "HS256", "signs": SHARED},
    "signed by another's key": {"signs": OTHER_RSA},
    "signed by a key nobody knows": {"algorithm": "ES256", "signs": NEXT_KEY},
    "an algorithm that is not ours": {"algorithm": "RS512"},
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_token_that_is_not_right_opens_nothing(
    house: Newsroom, service: OidcProvider, wrong: str
) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        await ada.sends("/staff/leave")
        told = dict(WRONG[wrong])
        if "lies" in told:
            told["lies"] = {n: timed(house, service, n, v) for n, v in told["lies"].items()}
        for name, value in told.items():
            setattr(service, name, value)
        answer = await signs_on(ada)
        assert answer.status_code == 403
        assert "did not prove who you are" in Page(answer.text).text
        assert "staff" not in ada.web.cookies
        assert len(await refused(house)) == 1
        assert await house.count("staff_sessions") == 0

        # in the same way no account is tied
        link = await ada.invitation_link()
        assert (await signs_on(ada, f"{link}/sign-on")).status_code == 403
        assert (await ada.web.get(link)).status_code == 200
        assert (await ada.opens_link(link)).status_code == 303


def timed(room: Newsroom, service: OidcProvider, name: str, value: object) -> object:
    """A time is so many seconds from now."""
    if name in ("exp", "iat", "auth_time") and isinstance(value, int):
        return int(room.clock().timestamp()) + value
    return f"{service.url}/" if value == "slash" else value


async def test_what_stands_beside_a_token_proves_nothing(
    house: Newsroom, service: OidcProvider
) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        await ada.sends("/staff/leave")
        claims = {"sub": "4711", "iss": service.url, "aud": CLIENT}
        for said in (
            claims,
            {"access_token": "x", "userinfo": claims},
            {"id_token": claims},
            {"id_token": ""},
            {"id_token": "x.y.z"},
            {"id_token": f"{b64url_json({'alg': 'RS256', 'kid': 'first'})}.{b64url_json(claims)}."},
            {
                "id_token": f"{b64url_json({'alg': 'RS256', 'kid': 'first', 'jwk': {}})}.{b64url_json(claims)}.AA"
            },
            {"id_token": "." * 5000},
            {"id_token": "a" * 200_000},
        ):
            service.canned_responses["/token"] = web.json_response(said)
            answer = await signs_on(ada)
            assert answer.status_code in (403, 503), said
            assert "staff" not in ada.web.cookies
        assert await house.count("staff_sessions") == 0


async def test_a_token_for_two_that_names_us_as_the_party_is_ours(
    house: Newsroom, service: OidcProvider
) -> None:
    service.claim_overrides = {"aud": [CLIENT, "another"], "azp": CLIENT}
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        assert (await links_account(ada)).status_code == 200


async def test_a_new_key_of_the_service_is_fetched_once(
    house: Newsroom, service: OidcProvider
) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        assert service.request_count("/keys") == 1
        service.keys, service.signing_key, service.algorithm = [NEXT_KEY, RSA], NEXT_KEY, "ES256"
        assert (await signs_on(ada)).status_code == 200
        assert (await signs_on(ada)).status_code == 200
        assert service.request_count("/keys") == 2
        service.keys = [RSA]
        house.clock.advance(timedelta(hours=1))  # what it said of itself is asked for anew
        assert (await signs_on(ada)).status_code == 403
        assert service.request_count("/keys") == 4
        assert service.request_count("/.well-known/openid-configuration") == 2


async def test_short_keys_and_keys_for_other_things_verify_nothing(
    house: Newsroom, service: OidcProvider
) -> None:
    with pytest.warns(SecurityWarning):
        short = jwk.RSAKey.generate_key(1024, {"kid": "first"})
    sealing = jwk.RSAKey.import_key(OTHER_RSA.as_pem(private=False), {"kid": "first", "use": "enc"})
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        for public, secret in ((short, short), (sealing, OTHER_RSA)):
            service.keys, service.signing_key = [public], secret
            house.clock.advance(timedelta(hours=1))
            link = await ada.invitation_link()
            assert (await signs_on(ada, f"{link}/sign-on")).status_code == 403
        assert await house.count("staff_linked_accounts") == 0


# --- whose attempt it is --------------------------------------------------------------------------


async def test_an_answer_is_taken_once(house: Newsroom, service: OidcProvider) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        await ada.sends("/staff/leave")
        back = await leaves(ada, GO)
        cookie = ada.web.cookies["sign-on"]
        assert (await comes_back(ada, back)).status_code == 200
        await ada.sends("/staff/leave")
        asked = len(service.token_requests)
        for _ in range(2):
            ada.web.cookies.set("sign-on", cookie, domain="localhost.local")
            again = await comes_back(ada, back)
            assert again.status_code == 403
            assert "answered before" in Page(again.text).text
        assert len(service.token_requests) == asked  # the service is not even asked
        assert await house.count("staff_sessions") == 0


async def test_another_browser_cannot_finish_what_one_began(house: Newsroom) -> None:
    async with (
        open_colleague_browser(house, "Ada", Role.FINANCE) as ada,
        open_colleague_browser(house, "Eve", Role.FINANCE) as eve,
    ):
        await links_account(ada)
        await ada.sends("/staff/leave")
        back = await leaves(ada, GO)
        assert (await comes_back(eve, back)).status_code == 403  # with no cookie
        await leaves(eve, GO)
        assert (await comes_back(eve, back)).status_code == 403  # with one of her own
        assert (await comes_back(ada, back)).status_code == 200
        assert await refused(house) == ["no-attempt", "another-state"]


async def test_an_attempt_that_is_forged_late_or_answered_by_nobody_is_refused(
    house: Newsroom, service: OidcProvider
) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        await ada.sends("/staff/leave")
        back = await leaves(ada, GO)
        good = ada.web.cookies["sign-on"]
        middle = len(good) // 2
        forged = good[:middle] + ("A" if good[middle] != "A" else "B") + good[middle + 1 :]
        for cookie in ("", "x", "%00", forged, good[:middle], "a" * 3000, '"é"'.encode().hex()):
            ada.web.cookies.set("sign-on", cookie, domain="localhost.local")
            assert (await comes_back(ada, back)).status_code == 403, cookie
        state = parse_qs(urlsplit(back).query)["state"][0]
        for query in ("", "code=x", "code=x&state=", f"code=x&state={state[:-5]}", "state=%C3%A9",
                      "code=x&state=%00", f"code=x&state={state[1:]}A"):  # fmt: skip
            ada.web.cookies.set("sign-on", good, domain="localhost.local")
            assert (await comes_back(ada, f"{BACK}?{query}")).status_code == 403, query
        ada.web.cookies.set("sign-on", good, domain="localhost.local")
        house.clock.advance(timedelta(minutes=10, seconds=1))
        late = await comes_back(ada, back)
        assert late.status_code == 403
        assert "too long ago" in Page(late.text).text
        service.subject = None
        gone = await signs_on(ada)
        assert gone.status_code == 403
        assert "you went back" in Page(gone.text).text
        assert await house.count("staff_sessions") == 0


async def test_the_answer_of_another_service_is_not_taken(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        for iss, status in (("https://evil.example", 403), (house.settings.oidc_issuer, 200)):
            back = await leaves(ada, GO)
            assert (await comes_back(ada, f"{back}&iss={iss}")).status_code == status, iss


async def test_nobody_is_sent_off_by_another_site_or_led_elsewhere(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        link = await ada.invitation_link()
        for site in ("cross-site", "same-site"):
            shown = await ada.web.get(GO, headers={"sec-fetch-site": site})
            assert (shown.status_code, "sign-on" in ada.web.cookies) == (200, False)
            led = await ada.web.get(f"{link}/sign-on", headers={"sec-fetch-site": site})
            assert (led.status_code, led.headers["location"]) == (303, link)
        await links_account(ada)
        for elsewhere in ("https://evil.example/finance", "//evil.example", "/manage"):
            assert onward(await signs_on(ada, f"{GO}?back={elsewhere}")) == "/finance"
        assert onward(await signs_on(ada, f"{GO}?back=/finance/audit")) == "/finance/audit"


# --- a service that is away -----------------------------------------------------------------------

ODD: dict[str, web.Response] = {
    "an error": web.Response(status=500),
    "a redirect": web.Response(status=302, headers={"location": "http://127.0.0.1:1/"}),
    "nothing": web.Response(body=b""),
    "no JSON": web.Response(text="<html>"),
    "a list": web.Response(text="[]"),
    "depth": web.Response(text="[" * 100_000),
    "too much": web.Response(text=json.dumps({"issuer": "x" * 300_000})),
    "another issuer": web.Response(
        text=json.dumps(
            {
                "issuer": "https://accounts.evil.example",
                "authorization_endpoint": "https://accounts.evil.example/authorize",
                "token_endpoint": "https://accounts.evil.example/token",
                "jwks_uri": "https://accounts.evil.example/keys",
            }
        )
    ),
}


@pytest.mark.parametrize("odd", ODD)
async def test_a_service_that_is_odd_is_not_believed(
    house: Newsroom, service: OidcProvider, odd: str
) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        link = await ada.invitation_link()
        service.canned_responses["/.well-known/openid-configuration"] = ODD[odd]
        for address in (GO, f"{link}/sign-on"):
            answer = await ada.web.get(address)
            assert answer.status_code == 503
            page = Page(answer.text)
            assert page.problems == []
            assert "did not answer as it should. Nothing was done." in page.text
        service.canned_responses.clear()
        for path in ("/token", "/keys"):
            house.clock.advance(timedelta(hours=1))
            link = await ada.invitation_link()
            if path == "/token":
                back = await leaves(ada, f"{link}/sign-on")
                service.canned_responses[path] = ODD[odd]
                assert (await comes_back(ada, back)).status_code == 503
            else:
                service.canned_responses[path] = ODD[odd]
                assert (await ada.web.get(f"{link}/sign-on")).status_code == 503
            service.canned_responses.clear()
            assert (await signs_on(ada, f"{link}/sign-on")).status_code == 200  # the link is good


async def test_while_the_service_is_away_there_are_words_and_other_ways(
    house: Newsroom, service: OidcProvider
) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        link = await ada.invitation_link()
        back = await leaves(ada, f"{link}/sign-on")
        await service.aclose()
        answer = await comes_back(ada, back)
        assert answer.status_code == 503
        page = Page(answer.text)
        assert page.links["The link is still good: open it again"] == link
        assert (
            await house.count("staff_linked_accounts") == await house.count("staff_sessions") == 0
        )
        assert [deed for deed, *_ in await ada.audit_actions()] == ["sign_in_refused"]
        await service.open()
        assert (await signs_on(ada, f"{link}/sign-on")).status_code == 200


async def test_the_doctor_asks_after_the_service(house: Newsroom, service: OidcProvider) -> None:
    async def told() -> tuple[bool, str]:
        found = await doctor.run_checks(house.ctx)
        ((ok, says),) = ((one.ok, one.description) for one in found if one.name == "oidc")
        return ok, says

    assert (await told())[0]
    service.discovery_overrides = {"issuer": f"{service.url}/another"}
    assert await told() == (False, "127.0.0.1 does not answer as it should: another-issuer")


# --- a fresh proof --------------------------------------------------------------------------------


async def test_a_fresh_proof_is_given_there(house: Newsroom, service: OidcProvider) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        assert (await ada.web.get(EXPORT)).status_code == 200
        house.clock.advance(timedelta(minutes=5))
        led = await ada.web.get(EXPORT)
        page = await ada.opens(led.headers["location"])
        confirmed = await signs_on(ada, page.links["Sign in with 127.0.0.1"])
        assert onward(confirmed) == EXPORT
        asked = dict(service.requests[-2].query)
        assert (asked["prompt"], asked["max_age"]) == ("login", "0")
        assert (await ada.web.get(EXPORT)).status_code == 200
        assert ("confirmed", "", "") in await ada.audit_actions()
        house.clock.advance(timedelta(minutes=5))
        assert (await ada.web.get(EXPORT)).status_code == 303


async def test_a_proof_that_is_not_fresh_or_does_not_say_so_is_none(
    house: Newsroom, service: OidcProvider
) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        house.clock.advance(timedelta(minutes=6))
        service.honours_prompt = False
        service.signed_in_at = house.clock() - timedelta(minutes=2)
        stale = await signs_on(ada, f"{TO_CONFIRM}?back=/finance")
        assert stale.status_code == 403
        assert "did not ask you again" in Page(stale.text).text
        service.sends_auth_time = False
        silent = await signs_on(ada, f"{TO_CONFIRM}?back=/finance")
        assert silent.status_code == 403
        page = Page(silent.text)
        assert "Use a passkey or a one-time link" in page.text
        assert page.links["Try another way"] == "/staff/confirm?back=%2Ffinance"
        assert (await ada.web.get(EXPORT)).status_code == 303
        assert await refused(house) == ["not-asked-again", "no-auth-time"]
        assert [deed for deed, *_ in await ada.audit_actions()][-2:] == ["confirm_refused"] * 2


async def test_a_proof_is_as_old_as_it_was_there(house: Newsroom, service: OidcProvider) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        await ada.sends("/staff/leave")
        for ago, status in ((timedelta(minutes=4), 200), (timedelta(minutes=5), 303)):
            service.signed_in_at = house.clock() - ago
            assert (await signs_on(ada)).status_code == 200
            assert (await ada.web.get(EXPORT)).status_code == status, ago
        service.sends_auth_time = False
        assert (await signs_on(ada)).status_code == 200
        assert (await ada.web.get("/finance")).status_code == 200
        assert (await ada.web.get(EXPORT)).status_code == 303
        service.sends_auth_time, service.signed_in_at = True, house.clock() - timedelta(hours=9)
        old = await signs_on(ada)
        assert old.status_code == 403
        assert "too long ago" in Page(old.text).text


async def test_the_account_of_a_colleague_proves_nothing_of_who_asks(
    house: Newsroom, service: OidcProvider
) -> None:
    async with (
        open_colleague_browser(house, "Ada", Role.FINANCE) as ada,
        open_colleague_browser(house, "Bea", Role.FINANCE) as bea,
    ):
        await links_account(ada)
        service.subject = "0815"
        await links_account(bea)
        house.clock.advance(timedelta(minutes=6))
        for stranger, why in (("0815", "a-colleagues"), ("x", "unknown-account")):
            service.subject = stranger
            assert (await signs_on(ada, TO_CONFIRM)).status_code == 403
            assert (await refused(house))[-1] == why
        assert (await ada.web.get(EXPORT)).status_code == 303
        # nor does it open the door for two
        assert (await links_account(bea)).status_code == 200
        service.subject = "4711"
        link = await bea.invitation_link()
        assert (await signs_on(bea, f"{link}/sign-on")).status_code == 403
        assert (await ada.web.get(link)).status_code == 200


async def test_whoever_signed_out_meanwhile_confirms_nothing(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        house.clock.advance(timedelta(minutes=6))
        back = await leaves(ada, TO_CONFIRM)
        await ada.sends("/staff/leave")
        assert (await comes_back(ada, back)).status_code == 401
        assert (await ada.web.get("/staff")).status_code == 401
        assert (await ada.web.get(TO_CONFIRM)).status_code == 401


# --- losing it ------------------------------------------------------------------------------------


async def test_an_account_of_somebody_who_left_opens_nothing(house: Newsroom) -> None:
    async with (
        open_colleague_browser(house, "Ada", Role.ADMIN) as ada,
        open_colleague_browser(house, "Bea", Role.FINANCE) as bea,
    ):
        await links_account(bea)
        back = await leaves(bea, GO)
        await ada.opens_link()
        shown = await ada.opens("/staff/colleagues")
        assert "no passkey · 127.0.0.1" in shown.text
        (remove,) = (form.action for form in shown.forms if form.action.endswith("/remove"))
        assert (await ada.sends(remove)).status_code == 303
        assert (await comes_back(bea, back)).status_code == 403
        assert (await signs_on(bea)).status_code == 403
        assert await refused(house) == ["unknown-account"] * 2
        # invited again they are as anybody who is new
        await bea.opens_link()
        await bea.sends("/staff/leave")
        assert (await signs_on(bea)).status_code == 403


async def test_a_lost_device_ends_the_account_as_well(house: Newsroom) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        async with house.ctx.sessions.begin() as session:
            person = await accounts.get_by_name(session, "Ada")
            await passkeys.revoke_all(session, person, now=house.clock())
        assert (await ada.web.get("/finance")).status_code == 401
        assert (await signs_on(ada)).status_code == 403
        assert (await links_account(ada)).status_code == 200


async def test_a_colleague_removes_their_account_with_a_fresh_proof(
    house: Newsroom,
) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        form = (await ada.opens("/staff")).form("/staff/sign-on/remove")
        house.clock.advance(timedelta(minutes=5))
        late = await ada.sends(form.action)
        assert late.headers["location"] == "/staff/confirm?back=%2Fstaff"
        await signs_on(ada, TO_CONFIRM)
        for _ in range(2):  # twice is once
            assert (await ada.sends(form.action)).status_code == 303
        assert [deed for deed, *_ in await ada.audit_actions()].count("account_untied") == 1
        assert "does not open this door" in (await ada.opens("/staff")).text
        assert (await signs_on(ada)).status_code == 403


async def test_another_account_takes_the_place_of_the_first(
    house: Newsroom, service: OidcProvider
) -> None:
    async with open_colleague_browser(house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        service.subject = "0815"
        await links_account(ada)
        assert (await signs_on(ada)).status_code == 200
        service.subject = "4711"
        assert (await signs_on(ada)).status_code == 403
        assert await house.count("staff_linked_accounts") == 1


async def test_an_account_is_known_after_our_keys_were_rolled(
    database: str, service: OidcProvider
) -> None:
    new, old = SecretStr("n" * 40), SecretStr("k" * 40)

    async def signed_in_under(*keys: SecretStr, first: bool = False) -> int:
        more = {"secret_keys": keys, "base_url": SITE, **service.settings}
        async with (
            open_newsroom(database, **more) as room,
            open_colleague_browser(room, "Ada", Role.ADMIN) as ada,
        ):
            service.now = room.clock
            if first:
                await links_account(ada)
            return (await signs_on(ada)).status_code

    assert await signed_in_under(old, first=True) == 200
    assert await signed_in_under(new, old) == 200  # and from now on by the new one
    assert await signed_in_under(new) == 200
    assert await signed_in_under(old) == 403
