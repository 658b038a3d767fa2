"""Readers in each engine that this machine has, with JavaScript and without."""

import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from playwright.async_api import Page, async_playwright

from tests.engines import webkit
from tests.support.browser import CHROMIUM_FLAGS, NARROW, open_site
from tests.support.engines import Reader
from tests.support.ports import reserve_port

ROOT = Path(__file__).parents[2]
ENGINES = {
    "chromium": ("chromium", "chromium-headless-shell"),
    "firefox": ("firefox-esr", "firefox"),
    "webkit": ("WebKitWebDriver",),
}
PACKAGES = {
    "chromium": "chromium",
    "firefox": "firefox-esr",
    "webkit": "webkit2gtk-driver xvfb matchbox-window-manager",
}


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[True, False], ids=["scripts", "plain"])
def scripts(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def program(engine: str) -> str:
    """The program of an engine; without it, nothing was driven."""
    found = next(filter(None, map(shutil.which, ENGINES[engine])), None)
    if found is None or (engine == "webkit" and not all(map(shutil.which, webkit.DISPLAY))):
        pytest.skip(f"{engine} is not here (apt-get install {PACKAGES[engine]})")
    return found


@pytest.fixture
async def reader(
    database: str, engine: str, program: str, scripts: bool, tmp_path: Path
) -> AsyncIterator[Reader]:
    """A reader with an engine on a narrow screen. Nothing may have gone wrong on any page."""
    settings = {"environment": "demo"}  # which has a story
    with reserve_port() as port:
        if engine == "webkit":
            with webkit.open_webkit(tmp_path, scripts=scripts) as (page, console):
                async with open_site(database, None, port, **settings) as site:
                    yield Reader(site, cast("Page", page), scripts)
                    written = console.read_text().splitlines()
                    site.page_errors += [one for one in written if "CONSOLE" in one]
                    site.page_errors += page.requests - {"127.0.0.1", "localhost", "None"}
            return
        async with async_playwright() as api:
            if engine == "chromium":
                browser = await api.chromium.launch(
                    executable_path=program, args=list(CHROMIUM_FLAGS)
                )
            else:
                browser = await api.firefox.launch(
                    channel="moz-firefox",
                    executable_path=stand_in(tmp_path),
                    env={**os.environ, "PAYMENTS_TEST_FIREFOX": program},
                    firefox_user_prefs={"javascript.enabled": scripts},
                )
            options = {"viewport": NARROW, "java_script_enabled": scripts, "locale": "en-US"}
            async with (
                open_site(database, browser, port, **settings) as site,
                site.visitor(**options) as visitor,
            ):
                yield Reader(site, await visitor.new_page(), scripts)
            await browser.close()


def stand_in(folder: Path) -> Path:
    """Write the program that Playwright starts as Firefox."""
    program = folder / "firefox"
    program.write_text(
        f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m tests.engines.firefox "$@"\n'
    )
    program.chmod(0o755)
    return program
