"""Other people's clients of Stripe, used with the sandbox. `make interop` fetches and runs them."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from payments.ops.demo.simulation import ManualClock
from payments.sandbox import Sandbox, listen
from tests.support.database import copy_database
from tests.support.demo_year import play
from tests.support.newsroom import NOON

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clients() -> Path:
    """The folder into which `make interop` fetches the clients."""
    return Path(os.environ.get("PAYMENTS_INTEROP", ROOT / ".interop"))


@pytest.fixture(scope="session")
def demo_state(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with what Stripe holds after the demo's year; another may be given, to save time."""
    if "PAYMENTS_DEMO_STATE" in os.environ:
        return Path(os.environ["PAYMENTS_DEMO_STATE"])
    with copy_database(cluster) as url:
        return play(url, tmp_path_factory.mktemp("demo"))


@pytest.fixture
async def demo_year(demo_state: Path) -> AsyncIterator[Sandbox]:
    """A sandbox with the demo's year."""
    sandbox = Sandbox(wall=ManualClock(NOON))
    sandbox.load(demo_state)
    async with listen(sandbox):
        yield sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(check_contract=True)
    async with listen(sandbox):
        yield sandbox
