"""Five thousand connections that take their time, from one client and from 250: no webhook is
lost, and readers are answered, straight at the service and through the proxies of deploy/.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

import pytest

from tests.support.newsroom import REAL_TIMEOUT_SECONDS, Newsroom
from tests.support.processes import Process, client_of, event, serve_two_ports
from tests.support.proxies import proxy_before
from tests.support.slow_clients import KINDS, SlowClient, attack

pytestmark = [pytest.mark.anyio, pytest.mark.storm]

CONNECTIONS, CLIENTS, SAMPLES = 5_000, 250, 15
MAX_SECONDS = 240


@pytest.fixture
async def servers(newsroom: Newsroom) -> AsyncIterator[tuple[Process, Process]]:
    """`payments serve` as it is by itself, with a port for webhooks."""
    async with serve_two_ports(newsroom.settings, PAYMENTS_TRUSTED_PROXIES="127.0.0.1") as both:
        yield both


async def took(server: Process, room: Newsroom, what: str) -> float:
    """Send one request on a connection of its own. Returns the seconds until it was answered."""
    started = time.monotonic()
    async with client_of(server) as web:
        if what == "webhook":
            body, headers = event(room.settings, 1)[1:]
            answer = await web.post("/webhooks/stripe", content=body, headers=headers)
        else:
            answer = await web.get("/donate")
    assert answer.status_code == 200
    return time.monotonic() - started


def crowd(port: int, kind: str, clients: int) -> Iterator[SlowClient]:
    """The attackers; each opens its connection again when it was closed."""
    for number in range(CONNECTIONS):
        host = f"127.0.7.{1 + number % clients}"
        yield SlowClient(port, *KINDS[kind], host=host, opens_again=True, step_seconds=3)


async def bears(room: Newsroom, target: Process, webhooks: Process, kind: str, clients: int) -> int:
    """Attack one port, with webhooks and readers among it. Returns how many webhooks came."""
    async with attack(list(crowd(target.port, kind, clients))) as running:
        while not all(client.opened for client in running.clients):
            await took(target, room, "reader")
        waits: dict[str, list[float]] = {"webhooks": [], "readers": [], "both": []}
        for _ in range(SAMPLES):
            waits["webhooks"].append(await took(webhooks, room, "webhook"))
            waits["both"].append(await took(target, room, "webhook"))
            waits["readers"].append(await took(target, room, "reader"))
        held = running.open
        opened = sum(client.opened for client in running.clients)
    times = ", ".join(f"{who} {median(s):.2f}/{max(s):.2f} s" for who, s in waits.items())
    print(f"{clients} clients, {kind}: held {held}, opened {opened}; {times}")  # noqa: T201
    assert max(map(max, waits.values())) < REAL_TIMEOUT_SECONDS / 10
    return 2 * SAMPLES


@pytest.mark.parametrize("clients", [1, CLIENTS])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("proxy", ["no proxy", "nginx", "caddy"])
async def test_five_thousand_slow_connections_stop_nobody(
    newsroom: Newsroom,
    servers: tuple[Process, Process],
    tmp_path: Path,
    proxy: str,
    kind: str,
    clients: int,
) -> None:
    readers, webhooks = servers
    async with AsyncExitStack() as stack:
        target = readers
        if proxy != "no proxy":
            before = proxy_before(proxy, readers.port, webhooks.port, tmp_path)
            origin = await stack.enter_async_context(before)
            target = Process(readers.child, int(origin.rpartition(":")[2]))
        await stack.enter_async_context(asyncio.timeout(MAX_SECONDS))
        sent = await bears(newsroom, target, webhooks, kind, clients)
    assert await newsroom.count("stripe_events") == sent
