"""Tests of pages in a real browser."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.support.browser import Site, open_browser, open_site
from tests.support.loops import ANYIO_BACKEND, AnyioBackend
from tests.support.ports import reserve_port

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run these tests one after the other, where the first of them is, in the order they have."""
    ours = [item for item in items if item.path.parent == FOLDER]
    place = items.index(ours[0]) if ours else 0
    items[place:] = ours + [item for item in items[place:] if item.path.parent != FOLDER]


@pytest.fixture(scope="package")
def anyio_backend() -> AnyioBackend:
    """The event loop that these tests share, since they share a browser."""
    return ANYIO_BACKEND


@pytest.fixture(scope="package")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, for all tests of this folder: to start it costs more than most of them."""
    async with open_browser() as browser:
        yield browser


@pytest.fixture(scope="package")
def port() -> Iterator[int]:
    """The port of each newsroom in turn: its application and set-up are used again with its URL."""
    with reserve_port() as port:
        yield port


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
    database: str, browser: Browser, port: int, host: str, more: dict[str, object]
) -> AsyncIterator[Site]:
    """A newsroom at a port, with a browser. Nothing may have gone wrong on any page."""
    async with open_site(database, browser, port, host=host, **more) as site:
        yield site
