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
from payments.infra.embedded_postgres import temporary_postgres
from tests.support.donor import Donor, open_donor_browser
from tests.support.newsroom import Newsroom, open_newsroom

TEMPLATE_DATABASE = "reader_payments_template"

hypothesis.settings.load_profile("ci")  # the same cases everywhere, and no hurry


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """A PostgreSQL with one migrated database to copy from. Gives the URL of its first database."""
    given = os.environ.get("PAYMENTS_TEST_DATABASE_URL")
    if given:
        yield from create_template(given)
        return
    with temporary_postgres(fsync=False) as url:
        yield from create_template(url)


def create_template(url: str) -> Iterator[str]:
    _execute(url, f"DROP DATABASE IF EXISTS {TEMPLATE_DATABASE}")
    _execute(url, f"CREATE DATABASE {TEMPLATE_DATABASE}")
    migrate.upgrade(
        make_url(url).set(database=TEMPLATE_DATABASE).render_as_string(hide_password=False)
    )
    yield url


@contextmanager
def copy_database(cluster: str, template: str = TEMPLATE_DATABASE) -> Iterator[str]:
    """A database of one's own: a fresh, migrated one, or as another is now. Gives its URL."""
    name = f"test_{uuid4().hex}"
    _execute(cluster, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    try:
        yield make_url(cluster).set(database=name).render_as_string(hide_password=False)
    finally:
        _execute(cluster, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(cluster: str) -> Iterator[str]:
    with copy_database(cluster) as url:
        yield url


def _execute(url: str, statement: str) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    """A newsroom with everything running. After each test the books must hold, and Stripe's
    contract.
    """
    async with open_newsroom(database) as room:
        yield room
        await room.runs_until_idle()
        assert room.sandbox.problems == []
        assert await room.failed_integrity_checks() == []


@pytest.fixture
async def donor(newsroom: Newsroom) -> AsyncIterator[Donor]:
    """A donor at a browser without cookies, in the newsroom of the same test."""
    async with open_donor_browser(newsroom) as browser:
        yield browser
