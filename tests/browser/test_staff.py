"""A colleague with a real browser: makes a passkey, comes in by it, proves it again, and sees pages
that pass axe and fit a small telephone.

The passkey is Chromium's own, in a virtual device; our script asks for it under a policy that
allows no other script and no markup from text.
"""

from datetime import timedelta

import pytest
from playwright.async_api import BrowserContext, Page

from payments.infra import alerts
from payments.infra.alerts import AlertKind
from payments.staff import accounts
from payments.staff.accounts import Role
from tests.browser.conftest import NARROW, WIDE, Site, axe_violations, overflow
from tests.support.donor import READER_EMAIL

pytestmark = pytest.mark.anyio
DEVICE = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
def host() -> str:
    """A passkey is bound to a name, and an IP address is none."""
    return "localhost"


async def has_a_device(context: BrowserContext) -> tuple[Page, str]:
    """A browser whose computer has a device for passkeys."""
    page = await context.new_page()
    devtools = await context.new_cdp_session(page)
    await devtools.send("WebAuthn.enable")
    made = await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
    return page, made["authenticatorId"]


async def link(site: Site, name: str = "Ada", role: Role = Role.ADMIN) -> str:
    async with site.room.ctx.sessions.begin() as session:
        token = await accounts.invite(session, name, role=role, now=site.room.clock())
    return f"{site.url}/staff/enter/{token}"


async def presses(page: Page, name: str) -> None:
    async with page.expect_navigation():
        await page.get_by_role("button", name=name).first.click()


async def is_sound(page: Page) -> None:
    assert await page.locator("h1").count() == 1, page.url
    assert await axe_violations(page) == [], page.url
    assert await overflow(page) <= 0, page.url


async def test_a_passkey_is_made_signs_in_and_confirms(site: Site) -> None:
    async with site.visitor(viewport=WIDE) as visitor:
        page, _ = await has_a_device(visitor)
        await page.goto(await link(site))
        await is_sound(page)
        await presses(page, "Make a passkey and sign in")
        assert page.url == f"{site.url}/finance"
        await page.goto(f"{site.url}/staff")
        await page.get_by_role("button", name="Add a passkey").click()
        await page.get_by_text("has a passkey for here already").wait_for()
        await presses(page, "Sign out")
        await page.goto(f"{site.url}/staff/alerts")
        await is_sound(page)
        await presses(page, "Sign in with a passkey")
        assert page.url == f"{site.url}/staff/alerts"
        site.room.clock.advance(timedelta(minutes=6))
        await page.goto(f"{site.url}/staff/colleagues")
        assert "/staff/confirm" in page.url
        await is_sound(page)
        await presses(page, "Confirm with a passkey")
        assert page.url == f"{site.url}/staff/colleagues"
    deeds = await site.room.rows("SELECT action FROM audit_entries WHERE name = 'Ada' ORDER BY seq")
    assert [deed for (deed,) in deeds] == [
        "passkey_added", "signed_in", "signed_out", "signed_in", "confirmed",
    ]  # fmt: skip


async def test_a_person_who_is_not_verified_sees_why_and_can_try_again(site: Site) -> None:
    async with site.visitor(viewport=NARROW) as visitor:
        page, device = await has_a_device(visitor)
        devtools = await visitor.new_cdp_session(page)
        await page.goto(await link(site))
        unverified = {"authenticatorId": device, "isUserVerified": False}
        await devtools.send("WebAuthn.setUserVerified", unverified)
        button = page.get_by_role("button", name="Make a passkey and sign in")
        await button.click()
        await page.get_by_text("No passkey was given").wait_for()
        assert await button.is_enabled()
        assert await site.room.count("staff_sessions") == 0
        await devtools.send(
            "WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": True}
        )
        await presses(page, "Make a passkey and sign in")
        assert page.url == f"{site.url}/finance"


async def test_without_a_script_the_link_alone_is_the_way_in(site: Site) -> None:
    async with site.visitor(viewport=NARROW, java_script_enabled=False) as visitor:
        page = await visitor.new_page()
        await page.goto(f"{site.url}/staff/sign-in")
        assert not await page.get_by_role("button", name="Sign in with a passkey").is_visible()
        assert await page.get_by_text("payments staff link").is_visible()
        await page.goto(await link(site))
        assert not await page.get_by_role("button", name="Make a passkey").is_visible()
        await presses(page, "Sign in")
        assert page.url == f"{site.url}/finance"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
async def test_every_page_of_the_staff_passes_axe_and_fits(
    site: Site, size: dict[str, int], scheme: str
) -> None:
    gift = await site.room.gives(500, "monthly")
    assert gift
    await site.room.runs_until_idle()
    async with site.room.ctx.sessions.begin() as session:
        for kind in (AlertKind.RETRIES_EXHAUSTED, AlertKind.DISPUTE_OPENED):
            await alerts.raise_alert(session, kind, object_id="ch_1", now=site.room.clock())
    await link(site, "Bartholomäus von und zu Hohenzollern-Sigmaringen", Role.SUPPORT)
    async with site.visitor(viewport=size, color_scheme=scheme) as visitor:
        page, _ = await has_a_device(visitor)
        await page.goto(f"{site.url}/staff/sign-in")
        await look(page, f"sign_in-{scheme}")
        await page.goto(await link(site))
        await look(page, f"enter-{scheme}")
        await presses(page, "Make a passkey and sign in")
        for path in ("/staff", "/staff/alerts", "/staff/colleagues", "/finance/audit", "/support"):
            await page.goto(site.url + path)
            await look(page, f"{path.strip('/').replace('/', '_')}-{scheme}")
        await page.get_by_label("E-mail address").fill(READER_EMAIL)
        await page.get_by_label("Why you look").select_option("WROTE")
        await presses(page, "Look")
        await look(page, f"case-{scheme}")
        await presses(page, "Skip the next charge")
        await look(page, f"skipped-{scheme}")
        await page.get_by_role("link", name="Erase this donor").click()
        await look(page, f"erase-{scheme}")
        site.room.clock.advance(timedelta(minutes=6))
        await page.goto(f"{site.url}/staff/colleagues")
        await look(page, f"confirm-{scheme}")


async def look(page: Page, _name: str) -> None:
    """One page: sound, in the size and colours of its browser."""
    await is_sound(page)
