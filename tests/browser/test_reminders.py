"""Reminders in a real browser: requested from the form with the keyboard, confirmed, sent on their
day, leading back to the form as it was left, and cancelled; or a calendar file instead.
"""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import icalendar
import pytest
from playwright.async_api import Page

from payments.core import i18n
from tests.support import journeys, keyboard
from tests.support.browser import (
    NARROW,
    WIDE,
    Site,
    assert_only_the_gift_is_remembered,
    is_sound,
    overflow,
    screenshot,
)
from tests.support.locales import BROWSER_LOCALES
from tests.support.reminders import READER

pytestmark = pytest.mark.anyio
CASES = [
    pytest.param(True, "en", WIDE, "light", id="scripts-en"),
    pytest.param(True, "ru", NARROW, "dark", id="scripts-ru"),
    pytest.param(False, "en", NARROW, "light", id="plain-en"),
    pytest.param(False, "ru", WIDE, "dark", id="plain-ru"),
]


async def checks(page: Page, locale: str, name: str, *, scripts: bool) -> None:
    """A page is sound; without scripts, as far as can be seen without axe."""
    if scripts:
        await is_sound(page, locale)
    assert await page.get_attribute("html", "lang") == locale
    assert await overflow(page) <= 0, page.url
    await screenshot(page, f"{name}-{locale}{'' if scripts else '-plain'}")


@pytest.mark.parametrize(("scripts", "locale", "size", "scheme"), CASES)
async def test_a_reader_asks_confirms_is_reminded_comes_back_and_stops(
    site: Site, scripts: bool, locale: str, size: dict[str, int], scheme: str
) -> None:
    options: dict[str, Any] = {"viewport": size, "color_scheme": scheme, "locale": locale}
    async with site.visitor(java_script_enabled=scripts, **options) as visitor:
        page = await visitor.new_page()
        await journeys.is_reminded(site, page, locale, partial(checks, scripts=scripts))
        await assert_only_the_gift_is_remembered(visitor)


def read(path: Path) -> bytes:
    return path.read_bytes()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
@pytest.mark.parametrize("locale", BROWSER_LOCALES)
async def test_a_calendar_file_leads_back_and_tells_nothing(
    site: Site, scripts: bool, locale: str
) -> None:
    say, look = i18n.translations(locale).gettext, partial(checks, scripts=scripts)
    async with site.visitor(java_script_enabled=scripts, viewport=NARROW, locale=locale) as visitor:
        page = await visitor.new_page()
        await journeys.asks_for_a_reminder(site, page, locale, look)
        await keyboard.reaches(page, say("Get a calendar entry"))
        async with page.expect_download() as download:
            await page.keyboard.press("Enter")
        file = await download.value
        assert file.suggested_filename == "note.ics"
        calendar = icalendar.Calendar.from_ical(read(await file.path()))
        (event,) = calendar.walk("VEVENT")
        assert str(event["summary"]) == say("A note to myself")
        assert str(event.decoded("dtstart"))[:10] == "2026-11-29"
        assert site.room.settings.publication_name not in str(calendar.to_ical())
        await page.goto(str(event["url"]))
        await checks(page, locale, "back-from-calendar", scripts=scripts)
        assert await page.locator("input[name=amount_monthly][value='1000']").is_checked()
        assert await site.room.count("reminders") == 0


@pytest.mark.parametrize("locale", BROWSER_LOCALES)
async def test_what_cannot_be_is_said_beside_the_field_and_nothing_is_lost(
    site: Site, locale: str
) -> None:
    say = i18n.translations(locale).gettext
    async with site.visitor(viewport=NARROW, locale=locale) as visitor:
        page = await visitor.new_page()
        await journeys.asks_for_a_reminder(site, page, locale, partial(checks, scripts=True))
        await page.locator("input[name=when][value=on]").check()
        await page.evaluate("document.querySelector('#on').removeAttribute('max')")
        await page.locator("#on").fill("2031-01-01")
        await page.locator("#address").fill(READER)
        async with page.expect_navigation():
            await page.get_by_role("button", name=say("E-mail me a reminder")).click()
        await checks(page, locale, "remind-refused", scripts=True)
        assert await page.locator("#on").get_attribute("aria-invalid") == "true"
        assert await page.input_value("#on") == "2031-01-01"
        assert await page.input_value("#address") == READER
        assert await site.room.count("reminders") == 0


async def test_it_is_offered_wherever_somebody_is_not_ready(site: Site) -> None:
    room = site.room
    async with site.visitor(viewport=NARROW) as visitor:
        page = await visitor.new_page()
        once = await room.gives(2000, "once")
        await room.runs_until_idle()
        await page.goto(f"{site.url}/thanks/{once.id}")
        await keyboard.presses(page, "Or get a reminder another time")
        assert "$20.00 once" in await page.inner_text("main .lede")
        abandoned_id = (await room.requests_contribution(1234, "annual")).json()["id"]
        await room.advances_time(timedelta(minutes=66))
        await room.runs_until_idle()
        await page.goto(f"{site.url}/thanks/{abandoned_id}")
        await keyboard.presses(page, "Remind me later")
        assert "$12.34 every year" in await page.inner_text("main .lede")
        await room.gives(500, "monthly")
        await room.runs_until_idle()
        await keyboard.signs_in(site, page)
        await keyboard.presses(page, "every month")
        await keyboard.presses(page, "Cancel this contribution")
        await keyboard.presses(page, "Cancel my contribution")
        await keyboard.presses(page, "Remind me later")
        await is_sound(page, "en")
        assert await page.inner_text("h1") == "Remind me later"
