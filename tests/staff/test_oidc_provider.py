"""A provider that answers oddly is not believed; one that is down leaves the other ways in."""

import json
from datetime import timedelta

import pytest
from aiohttp import web

from payments.ops import doctor
from payments.staff.accounts import Role
from tests.support.colleague import open_colleague_browser
from tests.support.newsroom import Newsroom
from tests.support.oidc_provider import OidcProvider
from tests.support.page import Page
from tests.support.sso import SSO_URL, comes_back, leaves_for_provider, signs_on

pytestmark = pytest.mark.anyio

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
    sso_house: Newsroom, provider: OidcProvider, odd: str
) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        link = await ada.invitation_link()
        provider.canned_responses["/.well-known/openid-configuration"] = ODD[odd]
        for address in (SSO_URL, f"{link}/sign-on"):
            answer = await ada.web.get(address)
            assert answer.status_code == 503
            page = Page(answer.text)
            assert page.problems == []
            assert "did not answer as it should. Nothing was done." in page.text
        provider.canned_responses.clear()
        for path in ("/token", "/keys"):
            sso_house.clock.advance(timedelta(hours=1))
            link = await ada.invitation_link()
            if path == "/token":
                back = await leaves_for_provider(ada, f"{link}/sign-on")
                provider.canned_responses[path] = ODD[odd]
                assert (await comes_back(ada, back)).status_code == 503
            else:
                provider.canned_responses[path] = ODD[odd]
                assert (await ada.web.get(f"{link}/sign-on")).status_code == 503
            provider.canned_responses.clear()
            assert (await signs_on(ada, f"{link}/sign-on")).status_code == 200  # the link is good


async def test_while_the_service_is_away_there_are_words_and_other_ways(
    sso_house: Newsroom, provider: OidcProvider
) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        link = await ada.invitation_link()
        back = await leaves_for_provider(ada, f"{link}/sign-on")
        await provider.aclose()
        answer = await comes_back(ada, back)
        assert answer.status_code == 503
        page = Page(answer.text)
        assert page.links["The link is still good: open it again"] == link
        assert (
            await sso_house.count("staff_linked_accounts")
            == await sso_house.count("staff_sessions")
            == 0
        )
        assert [action for action, *_ in await ada.audit_actions()] == ["sign_in_failed"]
        await provider.open()
        assert (await signs_on(ada, f"{link}/sign-on")).status_code == 200


async def test_the_doctor_asks_after_the_service(
    sso_house: Newsroom, provider: OidcProvider
) -> None:
    async def oidc_check() -> tuple[bool, str]:
        found = await doctor.run_checks(sso_house.ctx)
        ((ok, says),) = ((one.ok, one.description) for one in found if one.name == "oidc")
        return ok, says

    assert (await oidc_check())[0]
    provider.discovery_overrides = {"issuer": f"{provider.url}/another"}
    assert await oidc_check() == (False, "127.0.0.1 does not answer as it should: issuer-mismatch")
