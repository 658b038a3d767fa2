"""A reader with a real browser: a keyboard and nothing else, a small telephone, no JavaScript.

Gives, comes back by a link in a mail, changes the promise and stops it. Every page on the way, and
every page that can be reached from there, passes axe and fits 320 pixels, in each language.
"""

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import BrowserContext, Page

from payments.core import i18n
from tests.browser.conftest import NARROW, Site, axe_violations, overflow
from tests.support.donor import READER_EMAIL

pytestmark = pytest.mark.anyio
FOCUSED = """() => {
  let one = document.activeElement
  while (one.shadowRoot?.activeElement) one = one.shadowRoot.activeElement
  const label = one.labels && one.labels.length ? one.labels[0].textContent : ""
  return (label || one.textContent || one.getAttribute("aria-label") || one.tagName).trim()
}"""
OUTLINE = """() => {
  let one = document.activeElement
  while (one.shadowRoot?.activeElement) one = one.shadowRoot.activeElement
  const wide = (node) => node ? parseFloat(getComputedStyle(node).outlineWidth) : 0
  return wide(one) || wide(one.labels?.[0]) || wide(one.parentElement)
}"""
ON_STRIPES_PAGE = {
    "E-mail": READER_EMAIL,
    "Card number": "4242424242424242",
    "Expiry date": "12/44",
    "Security code": "123",
    "Name": "A Reader",
}
SHOTS = os.environ.get("PAYMENTS_TEST_SHOTS")  # a folder to look at afterwards
LONGEST = 120  # presses of Tab on one page
NOT_PAGES = ("/file.json", "/leave")
NOT_A_READERS = ("/finance", "/staff", "/support")  # pages of the staff, which are in English


async def reaches(page: Page, name: str) -> None:
    """Press Tab until something of that name has the focus, which can be seen."""
    passed = []
    for _ in range(LONGEST):
        await page.keyboard.press("Tab")
        passed.append(await page.evaluate(FOCUSED))
        if name in passed[-1]:
            width = await page.evaluate(OUTLINE)
            assert width >= 2, f"the focus on {name} cannot be seen"
            return
    raise AssertionError(f"no way to {name} with a keyboard, only to {set(passed)}")


async def presses(page: Page, name: str) -> None:
    """Go to a link or a button with the keyboard, and press it."""
    await reaches(page, name)
    async with page.expect_navigation():
        await page.keyboard.press("Enter")


async def is_sound(page: Page, locale: str) -> None:
    """A page has the language it says, one heading, no fault that axe finds, and fits."""
    at = urlsplit(page.url).path
    assert await page.get_attribute("html", "lang") == locale, at
    assert await page.get_attribute("html", "dir") == i18n.text_direction(locale), at
    assert await page.locator("h1").count() == 1, at
    assert await axe_violations(page) == [], at
    assert await overflow(page) <= 0, at


async def gives_with_a_keyboard(site: Site, page: Page) -> None:
    await page.goto(f"{site.url}/donate")
    await reaches(page, "Once")
    await page.keyboard.press("ArrowRight")  # monthly
    await presses(page, "Continue")
    for name, typed in ON_STRIPES_PAGE.items():
        await reaches(page, name)
        await page.keyboard.type(typed)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{site.url}/thanks/**")
    await site.room.runs_until_idle()
    await page.reload()


async def signs_in_with_a_keyboard(site: Site, page: Page, locale: str = "en") -> None:
    await page.goto(f"{site.url}/manage?lang={locale}")
    await page.locator("input[name=address]").focus()
    await page.keyboard.type(READER_EMAIL)
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    await site.room.runs_due_jobs()
    text = site.room.mails()[-1].part()
    (link,) = (word for word in text.split() if word.startswith(f"{site.url}/manage/enter/"))
    await page.goto(link)
    await page.locator("main button").focus()
    async with page.expect_navigation():
        await page.keyboard.press("Enter")


@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without JavaScript"])
async def test_a_reader_gives_changes_and_stops_with_a_keyboard_alone(
    site: Site, scripts: bool
) -> None:
    async with site.visitor(viewport=NARROW, java_script_enabled=scripts) as visitor:
        page = await visitor.new_page()
        await gives_with_a_keyboard(site, page)
        assert "Thank you" in await page.inner_text("h1")
        await signs_in_with_a_keyboard(site, page)
        await presses(page, "every month")
        await presses(page, "Skip the next charge")
        await presses(page, "Skip the charge")
        assert "skipped" in await page.inner_text("main")
        await presses(page, "Stop this contribution")
        await presses(page, "Stop it now")
        assert "Nothing more will be charged" in await page.inner_text("main")
    await site.room.runs_until_idle()
    assert await site.room.rows("SELECT status FROM subscriptions") == [("canceled",)]


@pytest.mark.parametrize("ui_locale", i18n.SUPPORTED_LOCALES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_of_a_donor_passes_axe_and_fits_a_small_telephone(
    site: Site, ui_locale: str, scheme: str
) -> None:
    locale = {"en": "en-US"}.get(ui_locale, ui_locale)
    async with site.visitor(viewport=NARROW, color_scheme=scheme, locale=locale) as visitor:
        page = await visitor.new_page()
        await gives_in_a_hurry(site, page)
        await is_sound(page, ui_locale)
        await signs_in_with_a_keyboard(site, page, ui_locale)
        seen = await sees_all(site, visitor, page.url, ui_locale)
        await page.goto(f"{site.url}/donate")
        await is_sound(page, ui_locale)
        await page.locator("form[method=post] button.wide").first.click()
        seen |= await sees_all(site, visitor, f"{site.url}/donate", ui_locale)
    assert len(seen) >= 14, sorted(seen)


async def gives_in_a_hurry(site: Site, page: Page) -> None:
    """Give monthly and pay, by whatever way, and come to the page of thanks."""
    gift = await site.room.requests_contribution(500, "monthly")
    await page.goto(gift.json()["checkout_url"])
    for name, typed in ON_STRIPES_PAGE.items():
        await page.get_by_label(name).fill(typed)
    await page.locator("form button").first.click()
    await page.wait_for_url(f"{site.url}/thanks/**")
    await site.room.runs_until_idle()
    await page.reload()


async def sees_all(site: Site, visitor: BrowserContext, begin: str, locale: str) -> set[str]:
    """Open every page that can be reached by links, and look at it. Gives their paths."""
    page = await visitor.new_page()
    waiting, seen = [begin], set[str]()
    while waiting:
        address = waiting.pop()
        await page.goto(address)
        path = urlsplit(page.url).path
        if path in seen:
            continue
        seen.add(path)
        await is_sound(page, locale)
        if SHOTS:
            name = path.strip("/").replace("/", "_")
            await page.screenshot(path=Path(SHOTS) / f"{name}-{locale}.png", full_page=True)
        links = await page.eval_on_selector_all("a[href]", "all => all.map(one => one.href)")
        waiting += [
            link
            for link in links
            if link.startswith(site.url + "/")
            and "lang=" not in link
            and not urlsplit(link).path.endswith(NOT_PAGES)
            and not urlsplit(link).path.startswith(NOT_A_READERS)
            and urlsplit(link).path not in seen
        ]
    return seen
