"""One newsroom for all of it: a refusal leaves nothing behind for the next."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.database import copy_database
from tests.support.loops import ANYIO_BACKEND, AnyioBackend
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.refusals import traces


@pytest.fixture(scope="package")
def anyio_backend() -> AnyioBackend:
    return ANYIO_BACKEND


@pytest.fixture(scope="package")
def database(cluster: str) -> Iterator[str]:
    with copy_database(cluster) as url:
        yield url


@pytest.fixture(scope="package")
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    async with open_newsroom(database) as room:
        yield room
        assert room.sandbox.problems == []
        assert await room.failed_integrity_checks() == []


@pytest.fixture
async def nothing_happens(newsroom: Newsroom) -> AsyncIterator[None]:
    """Whatever the test does, no row is written and no POST reaches Stripe."""
    before = await traces(newsroom)
    yield
    assert await traces(newsroom) == before
