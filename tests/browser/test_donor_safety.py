"""The notice before the amount in a real browser: unmissable at 320 px, in the dark, without
JavaScript, in every language; and the page behind it.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.support.browser import (
    NARROW,
    WIDE,
    Site,
    axe_violations,
    in_each_light,
    open_site,
    overflow,
    screenshot,
)
from tests.support.geoip import country_database
from tests.support.locales import BROWSER_LOCALES
from tests.support.safety_policy import ONION, POLICY, policy_file

pytestmark = pytest.mark.anyio


@pytest.fixture
async def guarded(
    database: str, browser: Browser, port: int, tmp_path: Path
) -> AsyncIterator[Site]:
    """A newsroom with a donor safety policy, visited from a country that the policy protects."""
    geoip_database = tmp_path / "geo.mmdb"
    geoip_database.write_bytes(country_database({"127.0.0.0/8": "RU"}))
    settings = {
        "donor_safety_policy": policy_file(tmp_path, POLICY),
        "geoip_database": str(geoip_database),
        "alternate_origins": ONION,
    }
    async with open_site(database, browser, port, **settings) as site:
        yield site


@pytest.mark.parametrize("lang", BROWSER_LOCALES)
@pytest.mark.parametrize("view", [NARROW, WIDE], ids=["narrow", "wide"])
async def test_nobody_can_miss_the_notice(guarded: Site, lang: str, view: dict[str, int]) -> None:
    async with guarded.visitor(viewport=view, java_script_enabled=True) as visitor:
        page = await visitor.new_page()
        for path in ("donate", "safety"):
            await page.goto(f"{guarded.url}/{path}?lang={lang}")
            async for scheme in in_each_light(page):
                assert await overflow(page) <= 0, path
                assert await axe_violations(page, scheme, colours=lang == "en") == []
                await screenshot(page, f"{path}-{lang}-{view['width']}-{scheme}")
        await page.goto(f"{guarded.url}/donate?lang={lang}")
        async for _scheme in in_each_light(page):
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
