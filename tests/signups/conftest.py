"""Readers at a browser: of any newsroom, and of one that offers a newsletter."""

from collections.abc import AsyncIterator

import pytest

from tests.support.donor import Donor, open_donor_browser
from tests.support.newsletter import MailingSystem, reading
from tests.support.newsroom import Newsroom
from tests.support.ports import reserve_port


@pytest.fixture
async def reader(newsroom: Newsroom) -> AsyncIterator[Donor]:
    async with open_donor_browser(newsroom) as browser:
        yield browser


@pytest.fixture
async def mailing() -> AsyncIterator[MailingSystem]:
    with reserve_port() as port:
        system = MailingSystem(port)
        await system.open()
        yield system
        await system.aclose()


@pytest.fixture
async def subscriber(database: str, mailing: MailingSystem) -> AsyncIterator[Donor]:
    async with reading(database, mailing) as browser:
        yield browser
