"""A real browser at a real port, in front of the same newsroom that every other test has.

Chromium comes from the system and is never downloaded; without a window of its own where that is
installed (chromium-headless-shell), which costs a quarter. Where there is none, tests of pages are
skipped. What a page does wrong is recorded and fails its test: an error on its console (a breach of
its content security policy among them), an uncaught exception, a request to another host, a
response of 5xx.
"""

import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright
from playwright.async_api import Request as BrowserRequest
from playwright.async_api import Response as BrowserResponse

from payments.core import i18n
from tests.support.newsroom import REAL_TIMEOUT_SECONDS, Newsroom, open_newsroom
from tests.support.serving import serve_newsroom

CHROMIUM_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("PAYMENTS_TEST_CHROMIUM") or next(
    filter(None, map(shutil.which, CHROMIUM_NAMES)), None
)
# Pages of a browser's own window, drawn for each visitor; then what Playwright switches off itself,
# since the last such list counts.
UNUSED_FEATURES = (
    "WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup", "PreloadTopChromeWebUI",
    "AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable", "LensOverlay", "MediaRouter", "PaintHolding",
    "ThirdPartyStoragePartitioning", "AvoidCorsURLLoaderRestartOnRedirect", "OptimizationHints",
    "NetworkTimeServiceQuerying", "AimEnabled", "PreconnectToSearch",
)  # fmt: skip
CHROMIUM_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
    f"--disable-features={','.join(UNUSED_FEATURES)}",
)  # fmt: skip
NARROW, WIDE = {"width": 320, "height": 640}, {"width": 1200, "height": 800}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_AXE = Axe()  # read once: half a megabyte
# What may differ between the lights, in which nothing but colours does, and cannot between
# languages and directions, in which no colour does: test_stylesheets. Most of axe's time is theirs.
COLOUR_RULES = ("color-contrast", "link-in-text-block")
SCREENSHOT_DIR = os.environ.get("PAYMENTS_TEST_SHOTS")  # a folder for screenshots; none without it

# Waits until nothing changes how the page looks: stylesheets, fonts, transitions and animations,
# in shadow roots too.
_SETTLE = """async () => {
  const under = (root) => [root, ...[...root.querySelectorAll("*")]
    .flatMap((node) => node.shadowRoot ? under(node.shadowRoot) : [])];
  const roots = under(document);
  const pending = roots.flatMap((root) => [...root.querySelectorAll("link[rel~=stylesheet]")])
    .filter((link) => !link.sheet && !link.disabled);
  await Promise.all(pending.map((link) => new Promise((loaded) => {
    link.addEventListener("load", loaded);
    link.addEventListener("error", loaded);
  })));
  await document.fonts.ready;
  const moving = roots.flatMap((root) => root.getAnimations())
    .filter((animation) => Number.isFinite(animation.effect.getComputedTiming().endTime));
  await Promise.all(moving.map((animation) => animation.finished.catch(() => null)));
}"""


@dataclass
class Site:
    """A newsroom that listens, and a browser to visit it with."""

    room: Newsroom
    url: str
    browser: Browser | None  # of Playwright
    page_errors: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def visitor(self, **options: Any) -> AsyncIterator[BrowserContext]:  # noqa: ANN401
        """A person with a browser profile of their own and Playwright's options of new_context."""
        assert self.browser is not None
        context = await self.browser.new_context(**{"reduced_motion": "reduce", **options})
        context.set_default_timeout(REAL_TIMEOUT_SECONDS * 1000)
        context.on("console", self._on_console)
        context.on("request", self._on_request)
        context.on("response", self._on_response)
        context.on("weberror", lambda error: self.page_errors.append(f"error: {error.error}"))
        try:
            yield context
        finally:
            await context.close()

    def _on_console(self, message: ConsoleMessage) -> None:
        # Chromium logs a response of 4xx as an error; to the page it is none.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.page_errors.append(f"console: {message.text}")

    def _on_request(self, request: BrowserRequest) -> None:
        if urlsplit(request.url).hostname not in ("127.0.0.1", "localhost", None):
            self.page_errors.append(f"request to {urlsplit(request.url).hostname}")

    def _on_response(self, response: BrowserResponse) -> None:
        if response.status >= 500:
            self.page_errors.append(f"{response.status}: {urlsplit(response.url).path}")


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Open Chromium. What visitors leave in it is forgotten with each of them."""
    if CHROMIUM is None:
        pytest.skip("no Chromium (apt-get install chromium-headless-shell): nothing was driven")
    async with async_playwright() as api:
        browser = await api.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def open_site(
    database: str,
    browser: Browser | None,
    port: int,
    *,
    host: str = "127.0.0.1",
    **settings: object,
) -> AsyncIterator[Site]:
    """Open a newsroom at a port for a browser; afterwards no page may have done wrong."""
    url = f"http://{host}:{port}"
    async with (
        open_newsroom(database, base_url=url, **settings) as room,
        serve_newsroom(room, port),
    ):
        site = Site(room, url, browser)
        yield site
        assert browser is None or browser.contexts == [], "somebody is still there"
        assert site.page_errors == [], site.page_errors
        await room.runs_until_idle()
        assert await room.failed_integrity_checks() == []


async def settle(page: Page) -> None:
    """Wait until a page is loaded and nothing changes how it looks any more."""
    await page.wait_for_load_state()
    await page.evaluate(_SETTLE)


async def axe_violations(page: Page, light: str = SCHEMES[0], *, colours: bool = True) -> list[str]:
    """What axe finds wrong with a settled page: the rule, and where.

    In another light than the first only the colours are looked at. Without `colours`, which is for
    what another case shows in the same lights, they are not.
    """
    if light != SCHEMES[0] and not colours:
        return []
    await settle(page)
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_AXE.axe_script)
    options: dict[str, object] = {"resultTypes": ["violations"]}
    if light != SCHEMES[0]:
        options["runOnly"] = COLOUR_RULES
    elif not colours:
        options["rules"] = {rule: {"enabled": False} for rule in COLOUR_RULES}
    violations = await page.evaluate(
        "(options) => axe.run(options).then((results) => results.violations)", options
    )
    return [
        f"{violation['id']}: {node['html'][:120]}"
        for violation in violations
        for node in violation["nodes"]
    ]


async def in_each_light(page: Page) -> AsyncIterator[str]:
    """Show a page as in the light and as in the dark, without loading it again."""
    for scheme in SCHEMES:
        await page.emulate_media(color_scheme=scheme)
        yield scheme


async def overflow(page: Page) -> int:
    """By how many pixels a page is wider than its window."""
    await page.wait_for_load_state()
    pixels: int = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return pixels


async def is_sound_in_each_light(page: Page, locale: str = "en", *, colours: bool = True) -> None:
    """As `is_sound`, in the light and in the dark."""
    async for light in in_each_light(page):
        if light == SCHEMES[0]:
            await is_sound(page, locale, colours=colours)
        else:
            found = await axe_violations(page, light, colours=colours)
            assert found == [], (urlsplit(page.url).path, light)


async def is_sound(page: Page, locale: str = "en", *, colours: bool = True) -> None:
    """A page has its language, one heading, no violation that axe finds, and fits its window."""
    path = urlsplit(page.url).path
    assert await page.get_attribute("html", "lang") == locale, path
    assert await page.get_attribute("html", "dir") == i18n.text_direction(locale), path
    assert await page.locator("h1").count() == 1, path
    assert await axe_violations(page, colours=colours) == [], path
    assert await overflow(page) <= 0, path


async def screenshot(page: Page, name: str) -> None:
    """Save a screenshot of a settled page, if there is a folder for them."""
    if SCREENSHOT_DIR:
        await page.wait_for_load_state()
        await page.screenshot(path=Path(SCREENSHOT_DIR) / f"{name}.png", full_page=True)


async def assert_only_the_gift_is_remembered(visitor: BrowserContext) -> None:
    """What a reader who gives is left with: the gift for an hour, the key of answers to forms."""
    lifetimes = {"gift": 3600, "shown": 600}  # over https __Host-gift
    for cookie in await visitor.cookies():
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Lax"
        assert 0 < cookie["expires"] - time.time() <= lifetimes[cookie["name"]]
