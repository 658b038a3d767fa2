"""Readers in Chromium, Firefox and WebKit, as Debian has them, with the keyboard alone.

They give at the end of a story, are reminded later, and manage their contribution. Each page passes
axe, fits a narrow screen, asks no other host for anything and writes nothing to its console.
"""

import pytest
from playwright.async_api import Page

from tests.support import journeys
from tests.support.browser import is_sound, overflow
from tests.support.engines import Reader

pytestmark = [pytest.mark.anyio, pytest.mark.engines]


def look_of(reader: Reader) -> journeys.Look:
    """What is checked of each page; axe is a script."""

    async def look(page: Page, locale: str, name: str) -> None:
        if reader.scripts:
            await is_sound(page, locale)
        assert await page.get_attribute("html", "lang") == locale, name
        assert await overflow(page) <= 0, name

    return look


async def test_a_reader_gives_at_the_end_of_a_story(reader: Reader) -> None:
    await journeys.gives_from_a_story(reader.site, reader.page, "en", look_of(reader))


async def test_a_reader_is_reminded_later(reader: Reader) -> None:
    await journeys.is_reminded(reader.site, reader.page, "en", look_of(reader))


async def test_a_reader_signs_in_skips_and_cancels(reader: Reader) -> None:
    await journeys.gives_monthly(reader.site, reader.page)
    await journeys.skips_and_cancels(reader.site, reader.page)
