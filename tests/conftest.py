"""What every test stands on: a real PostgreSQL, a sandbox for Stripe, a clock to turn."""

import gc
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

from payments.infra.embedded_postgres import temporary_postgres
from tests.support import stripe_usage
from tests.support.database import copy_database, migrated_cluster, stop_autovacuum
from tests.support.donor import Donor, open_donor_browser
from tests.support.loops import ANYIO_BACKEND, AnyioBackend
from tests.support.newsroom import Newsroom, open_newsroom

# Options that run some of the tests.
PARTS = ("-k", "-m", "--deselect", "--lf", "--last-failed", "--sw", "--stepwise", "--ignore")
STRIPE_USAGE = pytest.StashKey[list[str]]()
hypothesis.settings.load_profile("ci")  # the same cases everywhere, and no hurry


def pytest_configure(config: pytest.Config) -> None:
    """Have the workers of a run collect which permissions the product needs at Stripe."""
    if not hasattr(config, "workerinput"):
        descriptor, path = tempfile.mkstemp(prefix="stripe-usage-")
        os.close(descriptor)
        os.environ[stripe_usage.FILE_VARIABLE] = path


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a complete run after which the list of permissions is not what was needed."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    file = Path(os.environ.pop(stripe_usage.FILE_VARIABLE))
    recorded = set(file.read_text().split())
    file.unlink()
    is_part = any(word.startswith(PARTS) for word in config.invocation_params.args)
    is_run = not config.option.collectonly
    is_complete = is_run and config.args == config.getini("testpaths") and not is_part
    if is_complete and exitstatus == pytest.ExitCode.OK:
        differences = stripe_usage.differences(recorded)
        config.stash[STRIPE_USAGE] = differences
        if differences:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_collection_finish() -> None:
    """Take what lives as long as the tests (modules, tables, types) out of garbage collection, and
    look for garbage less often: at 700 objects, the default, it is looked for in every request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the seed of the order in which the tests ran, and what the key lacks."""
    for difference in config.stash.get(STRIPE_USAGE, []):
        terminalreporter.write_line(f"payments/infra/stripe_permissions.py: {difference}", red=True)
    seed = config.getoption("randomly_seed", None)
    if seed is not None:
        terminalreporter.write_line(f"order: --randomly-seed={seed}")


@pytest.fixture
def anyio_backend() -> AnyioBackend:
    return ANYIO_BACKEND


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """A PostgreSQL with a migrated database to copy from. Yields the URL of its first database."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        with migrated_cluster(given):
            yield given
        return
    with temporary_postgres(fsync=False) as url:
        stop_autovacuum(url)
        with migrated_cluster(url):
            yield url


@pytest.fixture
def database(cluster: str) -> Iterator[str]:
    with copy_database(cluster) as url:
        yield url


@pytest.fixture
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    """A newsroom with everything running. After each test the books must hold, and Stripe's
    contract.
    """
    async with open_newsroom(database) as room:
        yield room
        await room.proves_itself()


@pytest.fixture
async def donor(newsroom: Newsroom) -> AsyncIterator[Donor]:
    """A donor at a browser without cookies, in the newsroom of the same test."""
    async with open_donor_browser(newsroom) as browser:
        yield browser
