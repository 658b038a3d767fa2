"""A reader who uses the keyboard only."""

from playwright.async_api import Page

from tests.support.browser import Site
from tests.support.donor import READER_EMAIL

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
    || wide(one.nextElementSibling)
}"""
STRIPES_FORM = {
    "E-mail": READER_EMAIL,
    "Card number": "4242424242424242",
    "Expiry date": "12/44",
    "Security code": "123",
    "Name": "A Reader",
}
MAX_TABS = 120  # presses of Tab on one page


async def reaches(page: Page, name: str) -> None:
    """Press Tab until something of that name has the focus, which can be seen."""
    passed = []
    for _ in range(MAX_TABS):
        await page.keyboard.press("Tab")
        passed.append(await page.evaluate(FOCUSED))
        if name in passed[-1]:
            width = await page.evaluate(OUTLINE)
            assert width >= 2, f"the focus on {name} cannot be seen"
            return
    raise AssertionError(f"no way to {name} with a keyboard, only to {set(passed)}")


async def presses(page: Page, name: str) -> None:
    """Go to a link or a button, and press it."""
    await reaches(page, name)
    async with page.expect_navigation():
        await page.keyboard.press("Enter")


async def pays_at_stripe(page: Page, site: Site) -> None:
    """Fill in Stripe's form and pay; the page is then that of the thanks."""
    for name, value in STRIPES_FORM.items():
        await reaches(page, name)
        await page.keyboard.type(value)
    async with page.expect_navigation(url=f"{site.url}/thanks*"):
        await page.keyboard.press("Enter")


async def waits_for_the_thanks(page: Page) -> None:
    """Wait until the page looks no more for the payment by itself; reloading it would race that."""
    await page.locator('main a[href*="poll="]').wait_for(state="detached")
    await page.wait_for_load_state()


async def signs_in(site: Site, page: Page, locale: str = "en") -> None:
    """Sign in as the reader, by a link in a mail."""
    await page.goto(f"{site.url}/manage?lang={locale}")
    await page.locator("input[name=address]").focus()
    await page.keyboard.type(READER_EMAIL)
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    await site.room.runs_due_jobs()
    text = site.room.newest_mail("/manage/enter/").part()
    (link,) = (word for word in text.split() if word.startswith(f"{site.url}/manage/enter/"))
    await page.goto(link)
    await page.locator("main button").focus()
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
