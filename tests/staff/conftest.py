"""Newsrooms that are reached by a name, as passkeys need, without and with an identity provider."""

from collections.abc import AsyncIterator

import pytest

from tests.support.colleague import SITE
from tests.support.newsroom import Newsroom, open_newsroom
from tests.support.oidc_provider import OidcProvider, running_provider


@pytest.fixture
async def house(database: str) -> AsyncIterator[Newsroom]:
    """A newsroom that is reached by a name."""
    async with open_newsroom(database, base_url=SITE) as room:
        yield room


@pytest.fixture
async def provider() -> AsyncIterator[OidcProvider]:
    """The newsroom's own identity provider."""
    async with running_provider() as one:
        yield one


@pytest.fixture
async def sso_house(database: str, provider: OidcProvider) -> AsyncIterator[Newsroom]:
    """A newsroom that is reached by a name and has an identity provider."""
    async with open_newsroom(database, base_url=SITE, **provider.settings) as room:
        provider.now = room.clock
        yield room
