"""A newsroom's past, played once and then copied for each test that begins after it.

@pytest.fixture(scope="module")
def half_year(cluster: str) -> Iterator[Snapshot]:
    with take_snapshot(cluster, play_half_a_year) as snapshot:
        yield snapshot

@pytest.fixture
async def newsroom(cluster: str, half_year: Snapshot) -> AsyncIterator[Newsroom]:
    async with restore_newsroom(cluster, half_year) as room:
        yield room
"""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from payments.sandbox.sandbox import Sandbox
from payments.sandbox.webhook_deliveries import Delivery
from tests.support.database import copy_database
from tests.support.newsroom import (
    Mail,
    ManualClock,
    Newsroom,
    open_newsroom,
    open_services,
    serve_settings,
)
from tests.support.stripe_state import StripeState

Play = Callable[[Newsroom], Awaitable[None]]


@dataclass(frozen=True)
class Snapshot:
    """A newsroom as it was at a moment. Nobody is connected to its database: it can be copied."""

    database: str  # its name
    settings: dict[str, object]  # those that were given
    webhook_secrets: tuple[SecretStr, ...]
    stripe: StripeState
    now: datetime
    mails: tuple[Mail, ...]
    delivered: tuple[Delivery, ...]
    address_keys: Path


@contextmanager
def take_snapshot(cluster: str, play: Play, **settings: object) -> Iterator[Snapshot]:
    """Open a newsroom with these settings, play something in it, and close it.

    This runs an event loop of its own, so that a fixture of a module can do it.
    """
    with copy_database(cluster) as url, TemporaryDirectory() as folder:
        yield uvloop.run(_play(url, Path(folder, "keys"), play, settings))


@asynccontextmanager
async def restore_newsroom(cluster: str, snapshot: Snapshot) -> AsyncIterator[Newsroom]:
    """Open a newsroom in which everything is as it was when the snapshot was taken."""
    clock = ManualClock(snapshot.now)
    sandbox = Sandbox(wall=clock, check_contract=True)
    snapshot.stripe.restore(sandbox)
    with copy_database(cluster, snapshot.database) as url:
        async with open_services(sandbox, url, snapshot.settings) as (given, mail_server):
            mail_server.mails.extend(snapshot.mails)
            shutil.copytree(snapshot.address_keys, given.address_key_dir, dirs_exist_ok=True)
            settings = given.model_copy(update={"stripe_webhook_secrets": snapshot.webhook_secrets})
            async with serve_settings(settings, clock, sandbox, mail_server) as room:
                room.delivered.extend(snapshot.delivered)
                yield room


async def _play(url: str, keys: Path, play: Play, settings: dict[str, object]) -> Snapshot:
    async with open_newsroom(url, **settings) as room:
        await play(room)
        assert room.sandbox.problems == []
        shutil.copytree(room.settings.address_key_dir, keys)
        return Snapshot(
            database=str(make_url(url).database),
            settings=settings,
            webhook_secrets=room.settings.stripe_webhook_secrets,
            stripe=StripeState.of(room.sandbox),
            now=room.clock.current,
            mails=tuple(room.mails()),
            delivered=tuple(room.delivered),
            address_keys=keys,
        )
