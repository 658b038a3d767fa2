"""Single sign-on in a real browser, without JavaScript: to the newsroom's OpenID Connect provider
and back, between two sites, with cookies that are not sent when another site leads here.
"""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.support.browser import NARROW, Site, is_sound_in_each_light
from tests.support.colleague_pages import clicks, invitation_link
from tests.support.oidc_provider import OidcProvider, running_provider

pytestmark = pytest.mark.anyio
SIGN_IN, CONSENT = "Sign in with 127.0.0.1", "It is me"


@pytest.fixture
def host() -> str:
    """Another site than the provider's."""
    return "localhost"


@pytest.fixture
async def provider() -> AsyncIterator[OidcProvider]:
    async with running_provider() as running:
        yield running


@pytest.fixture
def more(provider: OidcProvider) -> dict[str, object]:
    return provider.settings


@pytest.mark.parametrize("shows", [True, False], ids=["a page there", "at once"])
async def test_there_and_back_and_in(site: Site, provider: OidcProvider, shows: bool) -> None:
    provider.now = site.room.clock

    async with site.visitor(viewport=NARROW, java_script_enabled=False) as visitor:
        page = await visitor.new_page()

        async def signs_in(path: str) -> None:
            """Go to the provider, and come back to a path."""
            provider.shows_page = shows
            await page.get_by_role("link", name=SIGN_IN).click()
            if shows:
                await page.get_by_role("link", name=CONSENT).click()
            await page.wait_for_url(site.url + path)

        await page.goto(await invitation_link(site))
        assert await page.get_by_role("link", name=SIGN_IN).is_visible()
        await signs_in("/finance")
        await clicks(page, "Sign out")
        await page.goto(f"{site.url}/staff/alerts")
        await signs_in("/staff/alerts")
        site.room.clock.advance(timedelta(minutes=6))
        await page.goto(f"{site.url}/staff/colleagues")
        assert "/staff/confirm" in page.url
        await signs_in("/staff/colleagues")
        assert await page.get_by_text("no passkey · 127.0.0.1").is_visible()
    rows = await site.room.rows("SELECT action FROM audit_entries WHERE name = 'Ada' ORDER BY seq")
    assert [action for (action,) in rows] == [
        "account_linked", "signed_in", "signed_out", "signed_in", "reauthenticated",
    ]  # fmt: skip


async def test_its_pages_pass_axe_and_fit_in_each_light(site: Site, provider: OidcProvider) -> None:
    provider.now = site.room.clock
    async with site.visitor(viewport=NARROW) as visitor:
        page = await visitor.new_page()
        await page.goto(await invitation_link(site))
        await is_sound_in_each_light(page)
        provider.subject = None
        async with page.expect_navigation():
            await page.get_by_role("link", name=SIGN_IN).click()
        await page.get_by_text("let nobody in").wait_for()
        await is_sound_in_each_light(page)
        provider.subject = "4711"
        async with page.expect_navigation():
            await page.get_by_role("link", name="open it again").click()
        await page.get_by_role("link", name=SIGN_IN).click()
        await page.wait_for_url(f"{site.url}/finance")
        for path in ("/staff", "/staff/colleagues", "/staff/confirm"):
            await page.goto(site.url + path)
            await is_sound_in_each_light(page)
            site.room.clock.advance(timedelta(minutes=3))
