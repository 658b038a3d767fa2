"""A colleague with a real browser, without JavaScript, at the newsroom's own sign-in service: there
and back between two sites, by cookies that a browser keeps to itself when another site sends it.
"""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.browser.conftest import NARROW, Site
from tests.browser.test_staff import is_sound, link, presses
from tests.support.oidc_provider import OidcProvider, running_provider

pytestmark = pytest.mark.anyio
THERE, ITS_PAGE = "Sign in with 127.0.0.1", "It is me"


@pytest.fixture
def host() -> str:
    """Another site than that of the service."""
    return "localhost"


@pytest.fixture
async def service() -> AsyncIterator[OidcProvider]:
    async with running_provider() as one:
        yield one


@pytest.fixture
def more(service: OidcProvider) -> dict[str, object]:
    return service.settings


@pytest.mark.parametrize("shows", [True, False], ids=["a page there", "at once"])
async def test_there_and_back_and_in(site: Site, service: OidcProvider, shows: bool) -> None:
    service.now = site.room.clock

    async with site.visitor(viewport=NARROW, java_script_enabled=False) as visitor:
        page = await visitor.new_page()

        async def goes(address: str) -> None:
            service.shows_page = shows
            await page.get_by_role("link", name=THERE).click()
            if shows:
                await page.get_by_role("link", name=ITS_PAGE).click()
            await page.wait_for_url(site.url + address)

        await page.goto(await link(site))
        assert await page.get_by_role("link", name=THERE).is_visible()
        await goes("/finance")
        await presses(page, "Sign out")
        await page.goto(f"{site.url}/staff/alerts")
        await goes("/staff/alerts")
        site.room.clock.advance(timedelta(minutes=6))
        await page.goto(f"{site.url}/staff/colleagues")
        assert "/staff/confirm" in page.url
        await goes("/staff/colleagues")
        assert await page.get_by_text("no passkey · 127.0.0.1").is_visible()
    deeds = await site.room.rows("SELECT action FROM audit_entries WHERE name = 'Ada' ORDER BY seq")
    assert [deed for (deed,) in deeds] == [
        "account_tied", "signed_in", "signed_out", "signed_in", "confirmed",
    ]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_its_pages_pass_axe_and_fit(site: Site, service: OidcProvider, scheme: str) -> None:
    service.now = site.room.clock
    async with site.visitor(viewport=NARROW, color_scheme=scheme) as visitor:
        page = await visitor.new_page()
        address = await link(site)
        await page.goto(address)
        await is_sound(page)
        service.subject = None
        await page.get_by_role("link", name=THERE).click()
        await page.get_by_text("let nobody in").wait_for()
        await is_sound(page)
        service.subject = "4711"
        await page.get_by_role("link", name="open it again").click()
        await page.get_by_role("link", name=THERE).click()
        await page.wait_for_url(f"{site.url}/finance")
        for path in ("/staff", "/staff/colleagues", "/staff/confirm"):
            await page.goto(site.url + path)
            await is_sound(page)
            site.room.clock.advance(timedelta(minutes=3))
