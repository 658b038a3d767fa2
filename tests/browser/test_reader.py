"""A reader with a real browser: with the keyboard alone, on a small telephone, without JavaScript.

They give, sign in by a link in a mail, change the subscription and cancel it. Every page on the
way, and every page linked from there, passes axe and fits 320 pixels, in each language.
"""

import pytest
from playwright.async_api import Page

from tests.support import journeys, reader_pages
from tests.support.browser import NARROW, Site, is_sound_in_each_light, screenshot
from tests.support.locales import BOTH_DIRECTIONS

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without JavaScript"])
async def test_a_reader_gives_changes_and_stops_with_a_keyboard_alone(
    site: Site, scripts: bool
) -> None:
    async with site.visitor(viewport=NARROW, java_script_enabled=scripts) as visitor:
        page = await visitor.new_page()
        await journeys.gives_monthly(site, page)
        await journeys.skips_and_cancels(site, page)


@pytest.mark.parametrize("ui_locale", BOTH_DIRECTIONS)
async def test_every_page_of_a_donor_passes_axe_and_fits_a_small_telephone_in_each_light(
    site: Site, ui_locale: str
) -> None:
    locale = {"en": "en-US"}.get(ui_locale, ui_locale)
    async with site.visitor(viewport=NARROW, locale=locale) as visitor:
        seen = await reader_pages.visits_all(site, await visitor.new_page(), ui_locale, look)
    assert len(seen) >= 14, sorted(seen)


async def look(page: Page, locale: str, name: str) -> None:
    await is_sound_in_each_light(page, locale, colours=locale == "en")
    await screenshot(page, f"{name}-{locale}")
