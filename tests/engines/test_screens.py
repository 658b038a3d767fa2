"""Every page of a reader on six screens, in three languages, and in colours of the reader's own."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page

from payments.core import i18n
from tests.support import reader_pages
from tests.support.browser import Site, axe_violations, open_browser, open_site, overflow
from tests.support.ports import reserve_port

pytestmark = [pytest.mark.anyio, pytest.mark.engines]
LOCALES = ("en", "de", "ar")
WIDTHS = (320, 360, 414, 768, 1024, 1440)
# What a forced colour hides: words that are not there any more, or have none of their own.
UNSEEN = """() => [...document.querySelectorAll("main a, main button, main label, main input")]
  .filter((one) => one.checkVisibility() && one.textContent.trim())
  .filter((one) => getComputedStyle(one).color === getComputedStyle(one).backgroundColor)
  .map((one) => one.textContent.trim())"""
MARKS = """() => [...document.querySelectorAll(".choice input")].map((one) => {
  const style = getComputedStyle(one.nextElementSibling)
  return [one.checked, [style.color, style.backgroundColor, style.borderColor].join()]
})"""


@pytest.fixture
async def site(database: str) -> AsyncIterator[Site]:
    """A newsroom in three languages, and Chromium."""
    with reserve_port() as port:
        async with (
            open_browser() as browser,
            open_site(database, browser, port, environment="demo", locales=LOCALES) as site,
        ):
            yield site


async def on_each_screen(page: Page, locale: str, name: str) -> None:
    """A page is in its language and fits each screen, with forced colours too."""
    assert await page.get_attribute("html", "lang") == locale, name
    assert await page.get_attribute("html", "dir") == i18n.text_direction(locale), name
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 640})
        assert await overflow(page) <= 0, (name, width)
    await page.set_viewport_size({"width": WIDTHS[0], "height": 640})
    await page.emulate_media(forced_colors="active")
    assert await page.evaluate(UNSEEN) == [], name
    marks = await page.evaluate(MARKS)
    assert {look for chosen, look in marks if chosen}.isdisjoint(
        look for chosen, look in marks if not chosen
    ), (name, "what is chosen cannot be seen")
    if locale == LOCALES[0]:  # no language decides a colour: test_stylesheets
        assert await axe_violations(page) == [], name
    await page.emulate_media(forced_colors="none")


@pytest.mark.parametrize("locale", LOCALES)
async def test_every_page_of_a_reader_fits_each_screen_and_forced_colours(
    site: Site, locale: str
) -> None:
    async with site.visitor(locale={"en": "en-US"}.get(locale, locale)) as visitor:
        page = await visitor.new_page()
        for path in ("", "article", "safety", "newsletter", "manage", "nothing-here"):
            await page.goto(f"{site.url}/{path}")
            await on_each_screen(page, locale, path)
        seen = await reader_pages.visits_all(site, page, locale, on_each_screen)
    assert len(seen) >= 14, sorted(seen)
