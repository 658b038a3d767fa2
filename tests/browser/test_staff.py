"""Passkeys and the staff's pages in a real browser: a colleague adds a passkey, signs in and
confirms with it; every page passes axe and fits a small telephone.

The passkey is Chromium's own, in a virtual authenticator. The page's script asks for it under a
content security policy with trusted types.
"""

from datetime import timedelta

import pytest
from playwright.async_api import BrowserContext, Page

from payments.infra import alerts
from payments.infra.alerts import AlertKind
from payments.staff.accounts import Role
from tests.support.browser import NARROW, WIDE, Site, is_sound, is_sound_in_each_light
from tests.support.colleague_pages import clicks, invitation_link
from tests.support.donor import READER_EMAIL

pytestmark = pytest.mark.anyio
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
def host() -> str:
    """A passkey is bound to a host name, which an IP address is not."""
    return "localhost"


async def page_with_authenticator(context: BrowserContext) -> tuple[Page, str]:
    """A page of a browser with an authenticator for passkeys, and the authenticator's id."""
    page = await context.new_page()
    devtools = await context.new_cdp_session(page)
    await devtools.send("WebAuthn.enable")
    added = await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    return page, added["authenticatorId"]


async def test_a_passkey_is_made_signs_in_and_confirms(site: Site) -> None:
    async with site.visitor(viewport=WIDE) as visitor:
        page, _ = await page_with_authenticator(visitor)
        await page.goto(await invitation_link(site))
        await is_sound(page)
        await clicks(page, "Make a passkey and sign in")
        assert page.url == f"{site.url}/finance"
        await page.goto(f"{site.url}/staff")
        await page.get_by_role("button", name="Add a passkey").click()
        await page.get_by_text("has a passkey for here already").wait_for()
        await clicks(page, "Sign out")
        await page.goto(f"{site.url}/staff/alerts")
        await is_sound(page)
        await clicks(page, "Sign in with a passkey")
        assert page.url == f"{site.url}/staff/alerts"
        site.room.clock.advance(timedelta(minutes=6))
        await page.goto(f"{site.url}/staff/colleagues")
        assert "/staff/confirm" in page.url
        await is_sound(page)
        await clicks(page, "Confirm with a passkey")
        assert page.url == f"{site.url}/staff/colleagues"
    rows = await site.room.rows("SELECT action FROM audit_entries WHERE name = 'Ada' ORDER BY seq")
    assert [action for (action,) in rows] == [
        "passkey_added", "signed_in", "signed_out", "signed_in", "reauthenticated",
    ]  # fmt: skip


async def test_a_person_who_is_not_verified_sees_why_and_can_try_again(site: Site) -> None:
    async with site.visitor(viewport=NARROW) as visitor:
        page, authenticator = await page_with_authenticator(visitor)
        devtools = await visitor.new_cdp_session(page)
        await page.goto(await invitation_link(site))
        unverified = {"authenticatorId": authenticator, "isUserVerified": False}
        await devtools.send("WebAuthn.setUserVerified", unverified)
        button = page.get_by_role("button", name="Make a passkey and sign in")
        await button.click()
        await page.get_by_text("No passkey was given").wait_for()
        assert await button.is_enabled()
        assert await site.room.count("staff_sessions") == 0
        await devtools.send(
            "WebAuthn.setUserVerified", {"authenticatorId": authenticator, "isUserVerified": True}
        )
        await clicks(page, "Make a passkey and sign in")
        assert page.url == f"{site.url}/finance"


async def test_without_a_script_the_link_alone_is_the_way_in(site: Site) -> None:
    async with site.visitor(viewport=NARROW, java_script_enabled=False) as visitor:
        page = await visitor.new_page()
        await page.goto(f"{site.url}/staff/sign-in")
        assert not await page.get_by_role("button", name="Sign in with a passkey").is_visible()
        assert await page.get_by_text("payments staff link").is_visible()
        await page.goto(await invitation_link(site))
        assert not await page.get_by_role("button", name="Make a passkey").is_visible()
        await clicks(page, "Sign in")
        assert page.url == f"{site.url}/finance"


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
async def test_every_page_of_the_staff_passes_axe_and_fits_in_each_light(
    site: Site, size: dict[str, int]
) -> None:
    await site.room.gives(500, "monthly")
    await site.room.runs_until_idle()
    async with site.room.ctx.sessions.begin() as session:
        for kind in (AlertKind.RETRIES_EXHAUSTED, AlertKind.DISPUTE_OPENED):
            await alerts.raise_alert(session, kind, object_id="ch_1", now=site.room.clock())
    await invitation_link(site, "Bartholomäus von und zu Hohenzollern-Sigmaringen", Role.SUPPORT)
    async with site.visitor(viewport=size) as visitor:
        page, _ = await page_with_authenticator(visitor)
        await page.goto(f"{site.url}/staff/sign-in")
        await is_sound_in_each_light(page, colours=size == NARROW)
        await page.goto(await invitation_link(site))
        await is_sound_in_each_light(page, colours=size == NARROW)
        await clicks(page, "Make a passkey and sign in")
        for path in ("/staff", "/staff/alerts", "/staff/colleagues", "/finance/audit", "/support"):
            await page.goto(site.url + path)
            await is_sound_in_each_light(page, colours=size == NARROW)
        await page.get_by_label("E-mail address").fill(READER_EMAIL)
        await page.get_by_label("Reason for looking").select_option("DONOR_WROTE")
        await clicks(page, "Look")
        await is_sound_in_each_light(page, colours=size == NARROW)
        await clicks(page, "Skip the next payment")
        await is_sound_in_each_light(page, colours=size == NARROW)
        async with page.expect_navigation():
            await page.get_by_role("link", name="Erase this donor").click()
        await is_sound_in_each_light(page, colours=size == NARROW)
        site.room.clock.advance(timedelta(minutes=6))
        await page.goto(f"{site.url}/staff/colleagues")
        await is_sound_in_each_light(page, colours=size == NARROW)
