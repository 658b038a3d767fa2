"""WebKit as Debian has it, behind as much of Playwright's page as the journeys use.

Playwright drives a WebKit of its own alone. WebKitGTK speaks WebDriver, of which Selenium is the
client; what a journey asks of a page is said in those words here. It gets a display of memory
(Xvfb) and a window manager, without which no window has the focus and no page shows where it is.

A page that must not have JavaScript has none in its markup; the driver's own still runs. What a
page writes to its console comes from the browser's output, since WebDriver has no word for it.
"""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.support.newsroom import REAL_TIMEOUT_SECONDS

T = TypeVar("T")
DRIVER = shutil.which("WebKitWebDriver")
BROWSER = next(Path("/usr/lib").glob("*/webkit2gtk-4*/MiniBrowser"), None)
DISPLAY = ("Xvfb", "matchbox-window-manager")
KEYS = {
    "Tab": Keys.TAB, "Enter": Keys.ENTER, "Space": Keys.SPACE, "ArrowLeft": Keys.ARROW_LEFT,
    "ArrowRight": Keys.ARROW_RIGHT, "ArrowDown": Keys.ARROW_DOWN,
}  # fmt: skip
WIDTH = 447  # pixels: the browser's own tool bar is not narrower
# Calls a function or takes an expression, and waits for its result.
EVALUATE = """
const done = arguments[1], argument = arguments[0];
const made = (%s);
Promise.resolve(typeof made === "function" ? made(argument) : made)
  .then((value) => done([value ?? null]), (error) => done(String(error)));
"""


class WebKitPage:
    """The one page of a browser."""

    def __init__(self, driver: webdriver.WebKitGTK) -> None:
        self.url = "about:blank"
        self.requests: set[str] = set()  # hosts that pages asked
        self.keyboard = self
        self._driver = driver

    async def _do(self, what: Callable[..., T], *arguments: object) -> T:
        """Ask the driver beside the loop in which the newsroom answers."""
        return await asyncio.to_thread(what, *arguments)

    async def goto(self, url: str) -> None:
        await self._do(self._driver.get, url)
        await self.wait_for_load_state()

    async def evaluate(self, script: str, argument: object = None) -> Any:  # noqa: ANN401 - as there
        if script.startswith("/*"):  # a file of statements
            return await self._do(self._driver.execute_script, script)
        answer = await self._do(self._driver.execute_async_script, EVALUATE % script, argument)
        if isinstance(answer, str):
            raise AssertionError(answer)
        return answer[0]

    async def wait_for_load_state(self) -> None:
        """Wait until the page is loaded, and note whom it asked for what."""

        async def is_loaded() -> bool:
            return bool(await self.evaluate("document.readyState === 'complete'"))

        await self._until(is_loaded, "the page is not loaded")
        self.url = await self.evaluate("location.href")
        asked = "performance.getEntriesByType('resource').map((one) => one.name)"
        names = [self.url, *await self.evaluate(asked)]
        self.requests |= {str(urlsplit(name).hostname) for name in names}

    @asynccontextmanager
    async def expect_navigation(self, url: str = "*") -> AsyncIterator[None]:
        await self.evaluate("() => { window.leaving = true }")
        yield

        async def is_there() -> bool:
            left = "[!window.leaving && document.readyState === 'complete', location.href]"
            is_new, self.url = await self.evaluate(left)
            return is_new and fnmatch(self.url, url)

        await self._until(is_there, "no other page came")
        await self.wait_for_load_state()

    async def _until(self, condition: Callable[[], Any], otherwise: str) -> None:
        deadline = time.monotonic() + REAL_TIMEOUT_SECONDS
        while not await condition():
            assert time.monotonic() < deadline, f"{otherwise}: {self.url}"
            await asyncio.sleep(0.05)

    # the keyboard

    async def press(self, key: str) -> None:
        await self.type(KEYS[key])

    async def type(self, text: str) -> None:
        """Type; between the parts of a date with a stroke, for which this engine waits."""
        if text.isdecimal() and await self.evaluate("document.activeElement.type") == "date":
            text = f"{text[:2]}/{text[2:4]}/{text[4:]}"
        await self._do(ActionChains(self._driver).send_keys(text).perform)

    # what is on the page

    def locator(self, selector: str) -> "WebKitElements":
        return WebKitElements(self, selector)

    async def inner_text(self, selector: str) -> str:
        return str(await self.locator(selector).first("one.innerText"))

    async def input_value(self, selector: str) -> str:
        return str(await self.locator(selector).first("one.value"))

    async def get_attribute(self, selector: str, name: str) -> str | None:
        return await self.locator(selector).get_attribute(name)


class WebKitElements:
    """The elements of a page that match a selector."""

    def __init__(self, page: WebKitPage, selector: str) -> None:
        self._page, self._selector = page, selector

    async def first(self, what: str) -> Any:  # noqa: ANN401 - of a script
        """Return what a script says of the first, which is `one`."""
        script = f"(selector) => {{ const one = document.querySelector(selector); return {what} }}"
        return await self._page.evaluate(script, self._selector)

    async def count(self) -> int:
        script = "(selector) => document.querySelectorAll(selector).length"
        return int(await self._page.evaluate(script, self._selector))

    async def is_checked(self) -> bool:
        return bool(await self.first("one.checked"))

    async def get_attribute(self, name: str) -> str | None:
        value: str | None = await self.first(f"one.getAttribute('{name}')")
        return value

    async def focus(self) -> None:
        await self.first("one.focus()")

    async def wait_for(self, *, state: str) -> None:
        assert state == "detached"

        async def is_gone() -> bool:
            return await self.count() == 0

        await self._page._until(is_gone, f"{self._selector} is still there")


@contextmanager
def display() -> Iterator[str]:
    """A narrow display of memory, which one window fills."""
    read, write = os.pipe()
    with subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{WIDTH}x800x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    ) as server:
        os.close(write)
        with os.fdopen(read) as number:
            name = f":{number.readline().strip()}"
        manager = ["matchbox-window-manager", "-use_titlebar", "no"]
        try:
            with subprocess.Popen(manager, env={**os.environ, "DISPLAY": name}) as windows:
                try:
                    yield name
                finally:
                    windows.terminate()
        finally:
            server.terminate()


@contextmanager
def open_webkit(folder: Path, *, scripts: bool) -> Iterator[tuple[WebKitPage, Path]]:
    """Open a browser. Yields its page, and the file that gets what pages write to the console."""
    console, browser = folder / "console", folder / "browser"
    browser.write_text(f'#!/bin/sh\nexec {BROWSER} "$@" >>{console} 2>/dev/null\n')
    browser.chmod(0o755)
    console.touch()
    options = webdriver.WebKitGTKOptions()
    options.binary_location = str(browser)
    for word in (
        "--automation",
        "--enable-write-console-messages-to-stdout=true",
        f"--enable-javascript-markup={str(scripts).lower()}",
    ):
        options.add_argument(word)
    with display() as name:
        service = webdriver.webkitgtk.service.Service(DRIVER, env={**os.environ, "DISPLAY": name})
        driver = webdriver.WebKitGTK(options=options, service=service)
        try:
            driver.set_script_timeout(REAL_TIMEOUT_SECONDS)
            yield WebKitPage(driver), console
        finally:
            driver.quit()
