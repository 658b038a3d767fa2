"""Two months of ledger entries to look at, to copy and to tamper with."""

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
import uvloop
from sqlalchemy.engine import make_url

from payments.sandbox import balance as sandbox_balance
from tests.support.database import copy_database
from tests.support.database_owner import Connection, driver_url
from tests.support.ledger import CONTRIBUTIONS, UNKNOWN_MOVEMENT, refunds_at_stripe
from tests.support.newsroom import open_newsroom


@pytest.fixture(scope="session")
def two_months_database(cluster: str) -> Iterator[str]:
    """Two months of a newsroom's ledger, in a database to copy from."""
    with copy_database(cluster) as url:
        uvloop.run(_play_two_months(url))
        yield url


async def _play_two_months(url: str) -> None:
    async with open_newsroom(url) as room:
        gifts = [
            await room.gives(amount, frequency, currency)
            for amount, frequency, currency in CONTRIBUTIONS
        ]
        await room.runs_until_idle()
        await refunds_at_stripe(room, gifts[0].id, 1000)
        for _ in range(3):
            await room.advances_time(timedelta(days=20))
            await room.runs_until_idle()
        sandbox_balance.create_transaction(room.sandbox.account, dict(UNKNOWN_MOVEMENT))
        assert await room.failed_integrity_checks() == []


@pytest.fixture
def ledger_copy(cluster: str, two_months_database: str) -> Iterator[str]:
    """The two months in a database of one's own."""
    with copy_database(cluster, str(make_url(two_months_database).database)) as url:
        yield url


@pytest.fixture
def owner(two_months_database: str) -> Iterator[Connection]:
    """The owner of the two months, whose every change is rolled back after the test."""
    with psycopg.connect(driver_url(two_months_database)) as connection:
        yield connection
        connection.rollback()
