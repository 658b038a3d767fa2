"""Every page of a reader: who gives, is thanked and signs in; and what is linked from there."""

from urllib.parse import urlsplit

from playwright.async_api import Page

from tests.support import keyboard
from tests.support.browser import Site
from tests.support.journeys import Look

NOT_PAGES = ("/file.json", "/pdf", "/leave")
NOT_A_READERS = ("/finance", "/staff", "/support")  # pages of the staff, which are in English


async def visits_all(site: Site, page: Page, locale: str, look: Look) -> set[str]:
    """Give, sign in, and look at every page on the way and behind links. Returns their paths."""
    await gives_in_a_hurry(site, page)
    await look(page, locale, "thanks")
    await keyboard.signs_in(site, page, locale)
    seen = await _follows_links(site, page, page.url, locale, look)
    await page.goto(f"{site.url}/donate")
    async with page.expect_navigation():
        await page.locator("form[method=post] button.wide").first.click()
    return seen | await _follows_links(site, page, f"{site.url}/donate", locale, look)


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


async def _follows_links(site: Site, page: Page, start: str, locale: str, look: Look) -> set[str]:
    queue, seen = [start], set[str]()
    while queue:
        await page.goto(queue.pop())
        path = urlsplit(page.url).path
        if path in seen:
            continue
        seen.add(path)
        await look(page, locale, path.strip("/").replace("/", "_"))
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
