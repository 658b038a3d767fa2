"""Tests of pages in a real browser."""

from collections.abc import AsyncIterator

import pytest

from tests.support.browser import Site, open_site


@pytest.fixture
def host() -> str:
    """The name by which the browser reaches the newsroom."""
    return "127.0.0.1"


@pytest.fixture
def more() -> dict[str, object]:
    """Settings of the newsroom that differ from other tests'."""
    return {}


@pytest.fixture
async def site(database: str, host: str, more: dict[str, object]) -> AsyncIterator[Site]:
    """A newsroom at a port, with a browser. Nothing may have gone wrong on any page."""
    async with open_site(database, host=host, **more) as site:
        yield site
