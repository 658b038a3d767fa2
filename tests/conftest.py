"""What every test stands on: a real PostgreSQL, a sandbox for Stripe, a clock to turn."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from uuid import uuid4

import hypothesis
import psycopg
import pytest
from sqlalchemy.engine import make_url

from payments.infra import migrate
from payments.infra.embedded_postgres import postgres
from tests.newsroom import Newsroom, opened

TEMPLATE = "reader_payments_template"

hypothesis.settings.load_profile("ci")  # the same cases everywhere, and no hurry


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """A PostgreSQL with one migrated database to copy from. Gives the URL of its first database."""
    given = os.environ.get("PAYMENTS_TEST_DATABASE_URL")
    if given:
        yield from _prepared(given)
        return
    with postgres(fsync=False) as url:
        yield from _prepared(url)


def _prepared(url: str) -> Iterator[str]:
    _run(url, f"DROP DATABASE IF EXISTS {TEMPLATE}")
    _run(url, f"CREATE DATABASE {TEMPLATE}")
    migrate.upgrade(make_url(url).set(database=TEMPLATE).render_as_string(hide_password=False))
    yield url


@contextmanager
def copied(cluster: str, template: str = TEMPLATE) -> Iterator[str]:
    """A database of one's own: a fresh, migrated one, or as another is now. Gives its URL."""
    name = f"test_{uuid4().hex}"
    _run(cluster, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    try:
        yield make_url(cluster).set(database=name).render_as_string(hide_password=False)
    finally:
        _run(cluster, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(cluster: str) -> Iterator[str]:
    with copied(cluster) as url:
        yield url


def _run(url: str, statement: str) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    """A newsroom with everything running. After each test the books must hold, and Stripe's
    contract.
    """
    async with opened(database) as room:
        yield room
        await room.settles()
        assert room.sandbox.problems == []
        assert await room.wrong_books() == []
