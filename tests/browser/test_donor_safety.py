"""The notice before the amount in a real browser: unmissable at 320 px, in the dark, without
JavaScript, in every language; and the page behind it.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from payments.core import i18n
from tests.browser.conftest import CHROMIUM, CHROMIUM_FLAGS, NARROW, WIDE, Site, axe_violations
from tests.safety.test_donor_safety import ONION, POLICY, policy_file
from tests.support.geoip import country_database
from tests.support.newsroom import free_port, open_newsroom
from tests.support.serving import serve_newsroom

pytestmark = pytest.mark.anyio
SHOTS = os.environ.get("PAYMENTS_TEST_SHOTS")  # a folder to look at afterwards


@pytest.fixture
async def guarded(database: str, tmp_path: Path) -> AsyncIterator[Site]:
    """A newsroom whose switch is on, in a country that is protected."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not here (apt-get install chromium): no browser was driven")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    geo = tmp_path / "geo.mmdb"
    geo.write_bytes(country_database({"127.0.0.0/8": "RU"}))
    more = {
        "donor_safety_policy": policy_file(tmp_path, POLICY),
        "geoip_database": str(geo),
        "alternate_origins": ONION,
    }
    async with (
        open_newsroom(database, base_url=url, **more) as room,
        serve_newsroom(room, port),
        async_playwright() as api,
    ):
        browser = await api.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS))
        made = Site(room, url, browser)
        yield made
        await browser.close()
        assert made.page_errors == []


@pytest.mark.parametrize("lang", i18n.SUPPORTED_LOCALES)
@pytest.mark.parametrize("view", [NARROW, WIDE], ids=["narrow", "wide"])
async def test_nobody_can_miss_the_notice(guarded: Site, lang: str, view: dict[str, int]) -> None:
    for scheme in ("light", "dark"):
        options = {"viewport": view, "color_scheme": scheme, "java_script_enabled": True}
        async with guarded.visitor(**options) as visitor:
            page = await visitor.new_page()
            for path in ("donate", "safety"):
                await page.goto(f"{guarded.url}/{path}?lang={lang}")
                wide = await page.evaluate("document.documentElement.scrollWidth")
                assert wide <= view["width"], (path, wide)
                assert await axe_violations(page) == []
                if SHOTS:
                    name = f"{path}-{lang}-{view['width']}-{scheme}.png"
                    await page.screenshot(path=Path(SHOTS) / name, full_page=True)
            await page.goto(f"{guarded.url}/donate?lang={lang}")
            notice = await page.locator(".notice").bounding_box()
            amounts = await page.locator("fieldset.amounts, .amounts.once").first.bounding_box()
            assert notice is not None
            assert amounts is not None
            assert notice["y"] + notice["height"] <= amounts["y"]
            assert await page.locator(".notice .strong").is_visible()


async def test_a_reader_without_javascript_must_tick_before_stripe_is_reached(
    guarded: Site,
) -> None:
    async with guarded.visitor(viewport=NARROW, java_script_enabled=False) as visitor:
        page = await visitor.new_page()
        await page.goto(f"{guarded.url}/donate")
        await page.locator(".wide").click()
        assert page.url.endswith("/donate")  # the browser asks for the tick
        await page.get_by_role("checkbox", name="I am not in any of these countries").check()
        await page.locator(".wide").click()
        await page.wait_for_url("**/c/pay/**")
