"""Tests of pages in a real browser."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.support.browser import Site, open_browser, open_site


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The event loop that a file's tests share, since they share a browser."""
    return "asyncio"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, for all tests of a file: to start it costs more than most of them."""
    async with open_browser() as browser:
        yield browser


@pytest.fixture
def host() -> str:
    """The name by which the browser reaches the newsroom."""
    return "127.0.0.1"


@pytest.fixture
def more() -> dict[str, object]:
    """Settings of the newsroom that differ from other tests'."""
    return {}


@pytest.fixture
async def site(
    database: str, browser: Browser, host: str, more: dict[str, object]
) -> AsyncIterator[Site]:
    """A newsroom at a port, with a browser. Nothing may have gone wrong on any page."""
    async with open_site(database, browser, host=host, **more) as site:
        yield site
