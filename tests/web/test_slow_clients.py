"""Clients that hold connections without asking for anything: each is let go in time, none holds
many, and webhooks come in whatever readers' port has to bear.

The servers are real ones, `payments serve`, with a proxy at 127.0.0.2 and short deadlines.
"""

import asyncio
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from ipaddress import ip_network

import pytest

from payments.web.app import create_app
from payments.web.connection_guard import STALL_MILLISECONDS, ConnectionGuard
from tests.support.newsroom import REAL_TIMEOUT_SECONDS, Newsroom
from tests.support.processes import (
    Process,
    client_of,
    event,
    serve_two_ports,
    until,
)
from tests.support.slow_clients import HEALTH, KINDS, SlowClient, attack, body_head

pytestmark = pytest.mark.anyio

PROXY = "127.0.0.2"
TIMEOUT_SECONDS, PER_CLIENT, MAX_FILES = 1, 20, 400
TOO_SLOW = b"HTTP/1.1 408 Request Timeout"
CONTENT_TYPES = (
    "application/x-www-form-urlencoded",
    "application/json",
    "multipart/form-data; boundary=b",
)


@pytest.fixture
async def servers(newsroom: Newsroom) -> AsyncIterator[tuple[Process, Process]]:
    """One `payments serve` with a port for webhooks: the readers' door and that one."""
    async with serve_two_ports(
        newsroom.settings,
        *("--timeout", str(TIMEOUT_SECONDS)),
        *("--connections-per-client", str(PER_CLIENT)),
        max_files=MAX_FILES,
        PAYMENTS_TRUSTED_PROXIES=PROXY,
    ) as both:
        yield both


async def visits(server: Process) -> int:
    """A reader comes, and waits."""
    async with client_of(server) as web:
        return (await web.get("/donate")).status_code


async def arrives(server: Process, room: Newsroom) -> float:
    """Send a webhook on a connection of its own. Returns the seconds until it was stored."""
    body, headers = event(room.settings, 1)[1:]
    started = time.monotonic()
    async with client_of(server) as web:
        answer = await web.post("/webhooks/stripe", content=body, headers=headers)
    assert answer.status_code == 200
    return time.monotonic() - started


def paths_with_body(room: Newsroom) -> list[str]:
    """One address for each route that takes a body."""
    app = create_app(room.settings)
    return sorted(
        re.sub(r"\{[^}]*\}", "3f9c6c6e-58a5-4a39-9c0c-4d7a6c6ad9a0", route.path)
        for route in app.routes
        if set(getattr(route, "methods", ())) & {"POST", "PUT", "PATCH"}
    )


async def test_slow_clients_are_let_go_and_keep_no_webhook_out(
    newsroom: Newsroom, servers: tuple[Process, Process]
) -> None:
    readers, webhooks = servers

    # Whatever they are slow with.
    slow = [SlowClient(readers.port, *pieces, host="127.0.9.1") for pieces in KINDS.values()]
    async with attack(slow) as running:
        await asyncio.wait_for(asyncio.gather(*running.tasks), REAL_TIMEOUT_SECONDS)
    answers = dict(zip(KINDS, (client.status for client in slow), strict=True))
    assert (answers.pop("body"), answers.pop("idle")) == (408, 200)
    assert set(answers.values()) == {None}

    # Wherever a body goes, and whatever it is said to be.
    paths = paths_with_body(newsroom)
    bodies = [
        SlowClient(readers.port, body_head(path, kind), b"a", host=f"127.0.8.{number}")
        for number, path in enumerate(paths, 1)
        for kind in CONTENT_TYPES
    ]
    async with attack(bodies) as running:
        await asyncio.wait_for(asyncio.gather(*running.tasks), REAL_TIMEOUT_SECONDS)
    # No page is made, whoever is asked: not even whether there is anything at that address.
    assert {client.received.partition(b"\r\n")[0] for client in bodies} == {TOO_SLOW}
    assert {client.received.partition(b"\r\n\r\n")[2] for client in bodies} == {b""}
    assert b"x-request-id" not in bodies[0].received.lower()

    # A body in pieces arrives whole; one that grows without end is cut.
    chunked = body_head("/donate").replace(b"Content-Length: 4000", b"Transfer-Encoding: chunked")
    whole = SlowClient(readers.port, chunked, b"1\r\na\r\n0\r\n\r\n", step_seconds=0.1)
    endless = SlowClient(readers.port, chunked, b"8000\r\n" + b"a" * 0x8000 + b"\r\n")
    announced = SlowClient(readers.port, body_head("/donate").replace(b"4000", b"70000"))
    webhook = body_head("//webhooks/stripe/").replace(b"4000", b"200000")
    large = SlowClient(readers.port, webhook, b"a")  # and what may be large is not waited for
    broken = SlowClient(readers.port, chunked + b"zz\r\n")
    async with attack([whole, endless, announced, large, broken]) as running:
        await asyncio.wait_for(asyncio.gather(*running.tasks), 20)
    assert (whole.status, endless.status, announced.status) == (422, 413, 413)
    assert (large.status, broken.status) == (408, 400)
    assert b"The request is larger than we accept." in announced.received

    # One client, many connections: the newest go, and a trusted proxy's stay.
    polite = [SlowClient(readers.port, HEALTH, HEALTH, host="127.0.0.7") for _ in range(50)]
    of_proxy = [SlowClient(readers.port, HEALTH, HEALTH, host=PROXY) for _ in range(50)]
    async with attack([*polite, *of_proxy]):

        async def all_but_the_first_are_gone() -> bool:
            return sum(client.is_open for client in polite) == PER_CLIENT

        await until(all_but_the_first_are_gone, "the end of the newest connections")
        assert all(client.is_open for client in of_proxy)

    # Readers' port is full; a webhook has another.
    crowd = [
        SlowClient(readers.port, *KINDS["header"], host=f"127.0.7.{number % 40}", opens_again=True)
        for number in range(400)
    ]
    async with attack(crowd):
        reader = asyncio.create_task(visits(readers))
        took = [await arrives(webhooks, newsroom) for _ in range(10)]
        assert max(took) < REAL_TIMEOUT_SECONDS
        assert await reader == 200
    assert await newsroom.count("stripe_events") == 10

    # There is nothing else at that port, and one port does not serve without the other.
    async with client_of(webhooks) as web:
        for path in ("/", "/donate", "/metrics", "/staff", "/schema", "/static/form.css"):
            assert (await web.get(path)).status_code == 404
    os.kill(readers.child.pid, signal.SIGTERM)
    assert await asyncio.to_thread(readers.child.is_over, within_seconds=REAL_TIMEOUT_SECONDS)
    assert readers.child.exit_code() == 0
    assert not readers.is_alive()
    assert "connections_closed" in readers.log_text()
    assert "127.0." not in readers.log_text().partition("{")[2]
    assert "Only 144 connections fit" in readers.log_text()


def connect(listener: socket.socket, host: str) -> tuple[socket.socket, socket.socket]:
    """Connect to a listener from a host. Returns both ends, the listener's last."""
    client = socket.socket(listener.family)
    client.settimeout(REAL_TIMEOUT_SECONDS)
    client.bind((host, 0))
    client.connect(listener.getsockname())
    return client, listener.accept()[0]


def is_closed(client: socket.socket) -> bool:
    """Whether the other end has closed."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False


def test_the_guard_closes_the_newest_of_who_holds_too_many_and_nothing_else() -> None:
    with ExitStack() as stack:
        ours, other = (
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)
        )
        guard = ConnectionGuard(ours.getsockname()[1], 3, (ip_network("127.0.0.2/32"),))

        served: dict[socket.socket, socket.socket] = {}  # the server's end of each client's

        def opens(count: int, host: str, at: socket.socket = ours) -> list[socket.socket]:
            ends = dict(connect(at, host) for _ in range(count))
            for end in (*ends, *ends.values()):
                stack.enter_context(end)
            served.update(ends)
            return list(ends)

        first, proxy = opens(3, "127.0.0.3"), opens(9, PROXY)
        elsewhere, few = opens(9, "127.0.0.3", other), opens(1, "127.0.0.4")
        assert guard.sweep() == 0
        late = opens(4, "127.0.0.3")
        assert guard.sweep() == len(late)
        assert all(map(is_closed, late))
        assert not any(map(is_closed, [*first, *proxy, *elsewhere, *few]))
        stalls = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert (stalls, other.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)) == (
            STALL_MILLISECONDS,
            0,
        )
        for gone in (*late, first[0]):
            served[gone].close()
        assert guard.sweep() == 0
        again = opens(2, "127.0.0.3")
        assert guard.sweep() == 1
        assert [is_closed(client) for client in again] == [False, True]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_a_client_is_an_address_or_a_network_of_one_subscriber(
    one: str, other: str, is_same: bool
) -> None:
    guard = ConnectionGuard(1, 1, (ip_network("10.0.0.0/8"),))
    assert guard.client_of(one) is not None
    assert (guard.client_of(one) == guard.client_of(other)) is is_same
    assert guard.client_of("::ffff:10.1.2.3") is guard.client_of("10.0.0.1") is None
