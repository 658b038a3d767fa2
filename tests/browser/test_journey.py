"""From the end of a story to finance's list: the widget, the form, Stripe's page, the thanks, and a
colleague who finds the contribution. With the keyboard alone, with scripts and without, in each
language, on a small telephone and a wide screen, light and dark, and from right to left.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Page

from payments.core import i18n
from payments.staff import accounts
from payments.staff.accounts import Role
from tests.support import keyboard
from tests.support.browser import (
    NARROW,
    WIDE,
    Site,
    assert_only_the_gift_is_remembered,
    axe_violations,
    is_sound,
    overflow,
)

pytestmark = pytest.mark.anyio
Look = Callable[[Page, str], Awaitable[None]]
CASES = [
    pytest.param(True, "en", NARROW, "light", id="scripts-en-narrow-light"),
    pytest.param(True, "ru", WIDE, "dark", id="scripts-ru-wide-dark"),
    pytest.param(True, "ru", NARROW, "light", id="scripts-ru-narrow-light"),
    pytest.param(False, "ru", NARROW, "dark", id="plain-ru-narrow-dark"),
    pytest.param(False, "en", WIDE, "light", id="plain-en-wide-light"),
]


@pytest.fixture
def more() -> dict[str, object]:
    return {"environment": "demo"}  # which has a story


async def checks(page: Page, locale: str, *, scripts: bool, colours: bool = True) -> None:
    """A page is sound, and from right to left as well, where the colours are the same."""
    if not scripts:  # axe is a script
        assert await page.get_attribute("html", "lang") == locale
        assert await overflow(page) <= 0, page.url
        return
    await is_sound(page, locale, colours=colours)
    await page.evaluate("document.documentElement.dir = 'rtl'")
    assert await overflow(page) <= 0, page.url
    assert await axe_violations(page, colours=False) == [], page.url
    await page.evaluate("document.documentElement.dir = 'ltr'")


@pytest.mark.parametrize(("scripts", "locale", "size", "scheme"), CASES)
async def test_from_a_story_to_the_books(
    site: Site, scripts: bool, locale: str, size: dict[str, int], scheme: str
) -> None:
    alone = (size, scheme) != (NARROW, "light") or locale == "en"  # in these colours
    look = partial(checks, scripts=scripts, colours=alone)
    options: dict[str, Any] = {"viewport": size, "color_scheme": scheme, "locale": locale}
    async with site.visitor(java_script_enabled=scripts, **options) as visitor:
        page = await visitor.new_page()
        await gives(site, page, locale, look)
        await assert_only_the_gift_is_remembered(visitor)
    async with site.visitor(java_script_enabled=scripts, **options) as colleague:
        page = await colleague.new_page()
        await sees_the_row(site, page, look)


async def gives(site: Site, page: Page, locale: str, look: Look) -> None:
    """Once, twenty dollars, from the story."""
    say = i18n.translations(locale).gettext
    await page.goto(f"{site.url}/article")
    await look(page, locale)
    await keyboard.reaches(page, say("Monthly"))
    await page.keyboard.press("ArrowLeft")
    await keyboard.presses(page, say("Continue"))
    assert urlsplit(page.url).path == "/donate"
    query = parse_qs(urlsplit(page.url).query)
    assert (query["frequency"], query["article"]) == (["once"], ["town-clock"])
    await look(page, locale)
    assert await page.locator("input[name=frequency][value=once]").is_checked()
    await keyboard.reaches(page, "$")  # the suggestion that is ticked
    await page.keyboard.press("ArrowRight")
    ticked = page.locator("input[name=amount_once]:checked")
    amount = await ticked.get_attribute("value")
    assert amount is not None
    assert amount.isdecimal()
    await keyboard.presses(page, say("Continue to secure payment"))
    assert page.url.startswith(site.room.sandbox.url)
    await keyboard.pays_at_stripe(page, site)
    await look(page, locale)
    await site.room.runs_until_idle()
    await keyboard.waits_for_the_thanks(page)
    assert await page.inner_text("h1") == say("Thank you")
    await look(page, locale)
    assert await site.room.rows("SELECT amount, frequency FROM contributions") == [
        (int(amount), "once")
    ]


async def sees_the_row(site: Site, page: Page, look: Look) -> None:
    """A colleague signs in by a link from the operator and finds the contribution."""
    room = site.room
    await room.runs_sweeps()
    async with room.ctx.sessions.begin() as session:
        token = await accounts.invite(session, "Ada", role=Role.FINANCE, now=room.clock())
    await page.goto(f"{site.url}/staff/enter/{token}")
    await look(page, "en")
    await keyboard.presses(page, "Sign in")
    assert page.url == f"{site.url}/finance"
    await look(page, "en")
    ((contribution_id, amount),) = await room.rows("SELECT id, amount FROM contributions")
    assert isinstance(amount, int)
    await page.goto(f"{site.url}/finance/transactions")
    await look(page, "en")
    row = page.locator(
        "main tbody tr", has=page.locator(f'a[href="/finance/contributions/{contribution_id}"]')
    )
    assert await row.count() == 1
    assert f"${amount / 100:.2f}" in await row.inner_text()
    await page.goto(f"{site.url}/finance/contributions/{contribution_id}")
    await look(page, "en")
