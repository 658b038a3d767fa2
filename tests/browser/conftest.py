"""A real browser at a real port, in front of the same newsroom that every other test has.

Chromium comes from the system, never from a download. Where there is none these tests say that
they did not run. Whatever a page does wrong is kept and fails its test: a breach of the content
security policy, an error on the console, a request to anybody but us and Stripe's stand-in.
"""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright
from playwright.async_api import Request as Asked

from tests.support.newsroom import REAL_TIMEOUT_SECONDS, Newsroom, free_port, open_newsroom
from tests.support.serving import serve_newsroom

CHROMIUM = os.environ.get("PAYMENTS_TEST_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
CHROMIUM_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run")  # fmt: skip
NARROW, WIDE = {"width": 320, "height": 640}, {"width": 1200, "height": 800}


@dataclass
class Site:
    """A newsroom that listens, and a browser to visit it with."""

    room: Newsroom
    url: str
    browser: Browser
    page_errors: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def visitor(self, **options: Any) -> AsyncIterator[BrowserContext]:  # noqa: ANN401
        """Somebody with a browser of their own. Options are those of Playwright's new_context."""
        context = await self.browser.new_context(**options)
        context.set_default_timeout(REAL_TIMEOUT_SECONDS * 1000)
        context.on("console", self._on_console)
        context.on("request", self._on_request)
        context.on("weberror", lambda error: self.page_errors.append(f"error: {error.error}"))
        try:
            yield context
        finally:
            await context.close()

    def _on_console(self, message: ConsoleMessage) -> None:
        # A page that answers 4xx is no mistake of the page.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.page_errors.append(f"console: {message.text}")

    def _on_request(self, request: Asked) -> None:
        if urlsplit(request.url).hostname not in ("127.0.0.1", "localhost", None):
            self.page_errors.append(f"asked a stranger: {urlsplit(request.url).hostname}")


@pytest.fixture
def host() -> str:
    """By what a browser reaches the newsroom."""
    return "127.0.0.1"


@pytest.fixture
def more() -> dict[str, object]:
    """Settings of the newsroom that are otherwise than in other tests."""
    return {}


@pytest.fixture
async def site(database: str, host: str, more: dict[str, object]) -> AsyncIterator[Site]:
    """A newsroom at a port, with a browser. Nothing may have gone wrong on any page."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not here (apt-get install chromium): no browser was driven")
    port = free_port()
    url = f"http://{host}:{port}"
    async with (
        open_newsroom(database, base_url=url, **more) as room,
        serve_newsroom(room, port),
        async_playwright() as api,
    ):
        browser = await api.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS))
        made = Site(room, url, browser)
        try:
            yield made
        finally:
            await browser.close()
        assert made.page_errors == []
        await room.runs_until_idle()
        assert await room.failed_integrity_checks() == []


async def axe_violations(page: Page) -> list[str]:
    """What axe finds wrong with a page as it is now: the rule, and where."""
    found = await Axe().run(page)
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found.response["violations"]
        for node in one["nodes"]
    ]


async def overflow(page: Page) -> int:
    """By how many pixels a page is wider than its window."""
    wider: int = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return wider
