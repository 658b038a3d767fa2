"""An ID token that is not right in every claim signs nobody in, and neither does an attempt that is
another browser's, late, or answered before.
"""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from joserfc import jwk
from joserfc.errors import SecurityWarning

from payments.staff.accounts import Role
from tests.support.colleague import open_colleague_browser
from tests.support.newsroom import Newsroom
from tests.support.oidc_provider import (
    CLIENT,
    NEXT_KEY,
    OTHER_RSA,
    RSA,
    SECRET,
    OidcProvider,
    b64url_json,
)
from tests.support.page import Page
from tests.support.sso import (
    CALLBACK_URL,
    SSO_URL,
    comes_back,
    continues_to,
    leaves_for_provider,
    links_account,
    refusal_outcomes,
    signs_on,
)

pytestmark = pytest.mark.anyio

# --- tokens ---------------------------------------------------------------------------------------

SHARED = jwk.OctKey.import_key(SECRET, {"kid": "first"})
WRONG: dict[str, dict[str, Any]] = {
    "another nonce": {"claim_overrides": {"nonce": "x" * 43}},
    "no nonce": {"claim_overrides": {"nonce": None}},
    "another issuer": {"claim_overrides": {"iss": "http://127.0.0.1:9"}},
    "another issuer by a slash": {"claim_overrides": {"iss": "slash"}},
    "another audience": {"claim_overrides": {"aud": "somebody-else"}},
    "no audience": {"claim_overrides": {"aud": []}},
    "an audience beside us": {"claim_overrides": {"aud": [CLIENT, "somebody-else"]}},
    "another party": {"claim_overrides": {"azp": "somebody-else"}},
    "an audience and another party": {"claim_overrides": {"aud": [CLIENT, "b"], "azp": "b"}},
    "expired": {"claim_overrides": {"exp": -61}},
    "no end": {"claim_overrides": {"exp": None}},
    "an end that is no number": {"claim_overrides": {"exp": "tomorrow"}},
    "made long ago": {"claim_overrides": {"iat": -601}},
    "made tomorrow": {"claim_overrides": {"iat": 86400}},
    "signed in there tomorrow": {"claim_overrides": {"auth_time": 86400}},
    "no subject": {"claim_overrides": {"sub": None}},
    "an empty subject": {"claim_overrides": {"sub": ""}},
    "a subject that is a number": {"claim_overrides": {"sub": 4711}},
    "unsigned": {"algorithm": "none"},
    "signed by the secret we share": {"algorithm": "HS256", "signing_key": SHARED},
    "signed by another's key": {"signing_key": OTHER_RSA},
    "signed by a key nobody knows": {"algorithm": "ES256", "signing_key": NEXT_KEY},
    "an algorithm that is not ours": {"algorithm": "RS512"},
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_token_that_is_not_right_opens_nothing(
    sso_house: Newsroom, provider: OidcProvider, wrong: str
) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        await ada.sends("/staff/leave")
        changes = dict(WRONG[wrong])
        claims = changes.pop("claim_overrides", {}).items()
        provider.claim_overrides = {n: timed(sso_house, provider, n, v) for n, v in claims}
        for name, value in changes.items():
            setattr(provider, name, value)
        answer = await signs_on(ada)
        assert answer.status_code == 403
        assert "did not prove who you are" in Page(answer.text).text
        assert "staff" not in ada.web.cookies
        assert len(await refusal_outcomes(sso_house)) == 1
        assert await sso_house.count("staff_sessions") == 0

        # in the same way no account is tied
        link = await ada.invitation_link()
        assert (await signs_on(ada, f"{link}/sign-on")).status_code == 403
        assert (await ada.web.get(link)).status_code == 200
        assert (await ada.opens_link(link)).status_code == 303


def timed(room: Newsroom, provider: OidcProvider, name: str, value: object) -> object:
    """A time is so many seconds from now."""
    if name in ("exp", "iat", "auth_time") and isinstance(value, int):
        return int(room.clock().timestamp()) + value
    return f"{provider.url}/" if value == "slash" else value


async def test_what_stands_beside_a_token_proves_nothing(
    sso_house: Newsroom, provider: OidcProvider
) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        await ada.sends("/staff/leave")
        header = {"alg": "RS256", "kid": "first"}
        claims = {"sub": "4711", "iss": provider.url, "aud": CLIENT}
        for response in (
            claims,
            {"access_token": "x", "userinfo": claims},
            {"id_token": claims},
            {"id_token": ""},
            {"id_token": "x.y.z"},
            {"id_token": f"{b64url_json(header)}.{b64url_json(claims)}."},
            {"id_token": f"{b64url_json({**header, 'jwk': {}})}.{b64url_json(claims)}.AA"},
            {"id_token": "." * 5000},
            {"id_token": "a" * 200_000},
        ):
            provider.canned_responses["/token"] = web.json_response(response)
            answer = await signs_on(ada)
            assert answer.status_code in (403, 503), response
            assert "staff" not in ada.web.cookies
        assert await sso_house.count("staff_sessions") == 0


async def test_a_token_for_two_that_names_us_as_the_party_is_ours(
    sso_house: Newsroom, provider: OidcProvider
) -> None:
    provider.claim_overrides = {"aud": [CLIENT, "another"], "azp": CLIENT}
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        assert (await links_account(ada)).status_code == 200


async def test_a_new_key_of_the_service_is_fetched_once(
    sso_house: Newsroom, provider: OidcProvider
) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        assert provider.request_count("/keys") == 1
        provider.keys, provider.signing_key, provider.algorithm = [NEXT_KEY, RSA], NEXT_KEY, "ES256"
        assert (await signs_on(ada)).status_code == 200
        assert (await signs_on(ada)).status_code == 200
        assert provider.request_count("/keys") == 2
        provider.keys = [RSA]
        sso_house.clock.advance(timedelta(hours=1))  # its metadata and keys are fetched anew
        assert (await signs_on(ada)).status_code == 403
        assert provider.request_count("/keys") == 4
        assert provider.request_count("/.well-known/openid-configuration") == 2


async def test_short_keys_and_keys_for_other_things_verify_nothing(
    sso_house: Newsroom, provider: OidcProvider
) -> None:
    with pytest.warns(SecurityWarning):
        short = jwk.RSAKey.generate_key(1024, {"kid": "first"})
    sealing = jwk.RSAKey.import_key(OTHER_RSA.as_pem(private=False), {"kid": "first", "use": "enc"})
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        for public, secret in ((short, short), (sealing, OTHER_RSA)):
            provider.keys, provider.signing_key = [public], secret
            sso_house.clock.advance(timedelta(hours=1))
            link = await ada.invitation_link()
            assert (await signs_on(ada, f"{link}/sign-on")).status_code == 403
        assert await sso_house.count("staff_linked_accounts") == 0


# --- attempts -------------------------------------------------------------------------------------


async def test_an_answer_is_taken_once(sso_house: Newsroom, provider: OidcProvider) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        await ada.sends("/staff/leave")
        back = await leaves_for_provider(ada, SSO_URL)
        cookie = ada.web.cookies["sign-on"]
        assert (await comes_back(ada, back)).status_code == 200
        await ada.sends("/staff/leave")
        asked = len(provider.token_requests)
        for _ in range(2):
            ada.web.cookies.set("sign-on", cookie, domain="localhost.local")
            again = await comes_back(ada, back)
            assert again.status_code == 403
            assert "answered before" in Page(again.text).text
        assert len(provider.token_requests) == asked  # the service is not even asked
        assert await sso_house.count("staff_sessions") == 0


async def test_another_browser_cannot_finish_what_one_began(sso_house: Newsroom) -> None:
    async with (
        open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada,
        open_colleague_browser(sso_house, "Eve", Role.FINANCE) as eve,
    ):
        await links_account(ada)
        await ada.sends("/staff/leave")
        back = await leaves_for_provider(ada, SSO_URL)
        assert (await comes_back(eve, back)).status_code == 403  # with no cookie
        await leaves_for_provider(eve, SSO_URL)
        assert (await comes_back(eve, back)).status_code == 403  # with one of her own
        assert (await comes_back(ada, back)).status_code == 200
        assert await refusal_outcomes(sso_house) == ["no-attempt", "state-mismatch"]


async def test_an_attempt_that_is_forged_late_or_answered_by_nobody_is_refused(
    sso_house: Newsroom, provider: OidcProvider
) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        await ada.sends("/staff/leave")
        back = await leaves_for_provider(ada, SSO_URL)
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
            assert (await comes_back(ada, f"{CALLBACK_URL}?{query}")).status_code == 403, query
        ada.web.cookies.set("sign-on", good, domain="localhost.local")
        sso_house.clock.advance(timedelta(minutes=10, seconds=1))
        late = await comes_back(ada, back)
        assert late.status_code == 403
        assert "too long ago" in Page(late.text).text
        provider.subject = None
        gone = await signs_on(ada)
        assert gone.status_code == 403
        assert "you went back" in Page(gone.text).text
        assert await sso_house.count("staff_sessions") == 0


async def test_the_answer_of_another_service_is_not_taken(sso_house: Newsroom) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        await links_account(ada)
        for iss, status in (("https://evil.example", 403), (sso_house.settings.oidc_issuer, 200)):
            back = await leaves_for_provider(ada, SSO_URL)
            assert (await comes_back(ada, f"{back}&iss={iss}")).status_code == status, iss


async def test_nobody_is_sent_off_by_another_site_or_led_elsewhere(sso_house: Newsroom) -> None:
    async with open_colleague_browser(sso_house, "Ada", Role.FINANCE) as ada:
        link = await ada.invitation_link()
        for site in ("cross-site", "same-site"):
            shown = await ada.web.get(SSO_URL, headers={"sec-fetch-site": site})
            assert (shown.status_code, "sign-on" in ada.web.cookies) == (200, False)
            led = await ada.web.get(f"{link}/sign-on", headers={"sec-fetch-site": site})
            assert (led.status_code, led.headers["location"]) == (303, link)
        await links_account(ada)
        for elsewhere in ("https://evil.example/finance", "//evil.example", "/manage"):
            assert continues_to(await signs_on(ada, f"{SSO_URL}?back={elsewhere}")) == "/finance"
        assert (
            continues_to(await signs_on(ada, f"{SSO_URL}?back=/finance/audit")) == "/finance/audit"
        )
