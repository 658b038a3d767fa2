"""A reader with a real browser: with the keyboard alone, on a small telephone, without JavaScript.

They give, sign in by a link in a mail, change the subscription and cancel it. Every page on the
way, and every page linked from there, passes axe and fits 320 pixels, in each language.
"""

from urllib.parse import urlsplit

import pytest
from playwright.async_api import BrowserContext, Page

from tests.support import journeys, keyboard
from tests.support.browser import NARROW, Site, is_sound_in_each_light, screenshot
from tests.support.locales import BOTH_DIRECTIONS

pytestmark = pytest.mark.anyio
NOT_PAGES = ("/file.json", "/pdf", "/leave")
NOT_A_READERS = ("/finance", "/staff", "/support")  # pages of the staff, which are in English


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
        page = await visitor.new_page()
        await gives_in_a_hurry(site, page)
        await is_sound_in_each_light(page, ui_locale, colours=ui_locale == "en")
        await keyboard.signs_in(site, page, ui_locale)
        seen = await visits_all(site, visitor, page.url, ui_locale)
        await page.goto(f"{site.url}/donate")
        await is_sound_in_each_light(page, ui_locale, colours=ui_locale == "en")
        async with page.expect_navigation():
            await page.locator("form[method=post] button.wide").first.click()
        seen |= await visits_all(site, visitor, f"{site.url}/donate", ui_locale)
    assert len(seen) >= 14, sorted(seen)


async def gives_in_a_hurry(site: Site, page: Page) -> None:
    """Give monthly, paying with a mouse, and come to the page of thanks."""
    response = await site.room.requests_contribution(500, "monthly")
    await page.goto(response.json()["checkout_url"])
    for name, value in keyboard.STRIPES_FORM.items():
        await page.get_by_label(name).fill(value)
    await page.locator("form button").first.click()
    await page.wait_for_url(f"{site.url}/thanks*")
    await site.room.runs_until_idle()
    await keyboard.waits_for_the_thanks(page)


async def visits_all(site: Site, visitor: BrowserContext, start: str, locale: str) -> set[str]:
    """Check every page that can be reached by links. Returns their paths."""
    page = await visitor.new_page()
    queue, seen = [start], set[str]()
    while queue:
        await page.goto(queue.pop())
        path = urlsplit(page.url).path
        if path in seen:
            continue
        seen.add(path)
        await is_sound_in_each_light(page, locale, colours=locale == "en")
        await screenshot(page, f"{path.strip('/').replace('/', '_')}-{locale}")
        links = await page.eval_on_selector_all("a[href]", "all => all.map(one => one.href)")
        queue += [
            link
            for link in links
            if link.startswith(site.url + "/")
            and "lang=" not in link
            and not urlsplit(link).path.endswith(NOT_PAGES)
            and not urlsplit(link).path.startswith(NOT_A_READERS)
            and urlsplit(link).path not in seen
        ]
    return seen
