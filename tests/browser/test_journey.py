"""From the end of a story to finance's list: the widget, the form, Stripe's page, the thanks, and a
colleague who finds the contribution. With the keyboard alone, with scripts and without, in each
language, on a small telephone and a wide screen, light and dark, and from right to left.
"""

from functools import partial
from typing import Any

import pytest
from playwright.async_api import Page

from payments.staff import accounts
from payments.staff.accounts import Role
from tests.support import journeys, keyboard
from tests.support.browser import (
    NARROW,
    WIDE,
    Site,
    assert_only_the_gift_is_remembered,
    axe_violations,
    is_sound,
    overflow,
    screenshot,
)

pytestmark = pytest.mark.anyio
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


async def checks(
    page: Page, locale: str, name: str, *, scripts: bool, colours: bool = True
) -> None:
    """A page is sound, and from right to left as well, where the colours are the same."""
    await screenshot(page, f"story-{name}-{locale}{'' if scripts else '-plain'}")
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
        await journeys.gives_from_a_story(site, page, locale, look)
        await assert_only_the_gift_is_remembered(visitor)
    async with site.visitor(java_script_enabled=scripts, **options) as colleague:
        page = await colleague.new_page()
        await sees_the_row(site, page, look)


async def sees_the_row(site: Site, page: Page, look: journeys.Look) -> None:
    """A colleague signs in by a link from the operator and finds the contribution."""
    room = site.room
    await room.runs_sweeps()
    async with room.ctx.sessions.begin() as session:
        token = await accounts.invite(session, "Ada", role=Role.FINANCE, now=room.clock())
    await page.goto(f"{site.url}/staff/enter/{token}")
    await look(page, "en", "enter")
    await keyboard.presses(page, "Sign in")
    assert page.url == f"{site.url}/finance"
    await look(page, "en", "finance")
    ((contribution_id, amount),) = await room.rows("SELECT id, amount FROM contributions")
    assert isinstance(amount, int)
    await page.goto(f"{site.url}/finance/transactions")
    await look(page, "en", "transactions")
    row = page.locator(
        "main tbody tr", has=page.locator(f'a[href="/finance/contributions/{contribution_id}"]')
    )
    assert await row.count() == 1
    assert f"${amount / 100:.2f}" in await row.inner_text()
    await page.goto(f"{site.url}/finance/contributions/{contribution_id}")
    await look(page, "en", "contribution")
