"""The processes that listen: at one port for everybody, if wanted at one more for webhooks alone.

What one client may hold, and for how long, is limited here for those who serve without a proxy.
Webhooks have processes of their own, so that nothing done to the readers' port keeps them out.
"""

import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import connection

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server import Server

from payments.core import settings
from payments.web import app
from payments.web.body_deadline import BodyDeadline
from payments.web.connection_guard import ConnectionGuard

MAX_FILES, FILES_FOR_OTHERS = 65_536, 256  # the database, Stripe, logs
MAX_CONNECTIONS, FEW_CONNECTIONS = 16_384, 4_096
BACKLOG = 4_096  # that wait to be accepted; the system may allow fewer
MAX_HEADER_BYTES = 64 * 1024
WEBHOOK_CONNECTIONS = 1_000  # Stripe sends from a few addresses, many at once


@dataclass(frozen=True, slots=True)
class Door:
    """A port, and what whoever comes to it may do."""

    host: str
    port: int
    workers: int
    connections_per_client: int
    timeout_seconds: int  # for a whole header, for a whole body, and between two requests
    only_webhooks: bool = False

    def for_webhooks(self, port: int) -> "Door":
        """Return another port beside it, where nothing but webhooks is taken."""
        return replace(
            self,
            port=port,
            workers=1,
            connections_per_client=max(self.connections_per_client, WEBHOOK_CONNECTIONS),
            only_webhooks=True,
        )


def raise_file_limit() -> int:
    """Allow this process as many open files as it may have. Returns how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    files = MAX_FILES if soft == resource.RLIM_INFINITY else soft
    return max(1, min(MAX_CONNECTIONS, files - FILES_FOR_OTHERS))


def listen(door: Door, *, connections: int) -> None:
    """Serve at one port until SIGINT or SIGTERM. Exits with 1 if a worker dies."""
    Server(
        "payments",
        address=door.host,
        port=door.port,
        interface=Interfaces.ASGI,
        # With both, whoever starts neither is waited for without end.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=door.timeout_seconds * 1000, max_buffer_size=MAX_HEADER_BYTES
        ),
        websockets=False,
        workers=door.workers,
        backlog=BACKLOG,
        backpressure=connections,
        log_access=False,
        log_enabled=False,
    ).serve(target_loader=partial(_load_app, door), wrap_loader=False)


@contextmanager
def listening_beside(door: Door, *, connections: int) -> Iterator[None]:
    """Serve at one more port meanwhile. If that ends by itself, so does this process."""
    process = multiprocessing.Process(
        target=_listen_as_child, args=(door,), kwargs={"connections": connections}
    )
    process.start()
    is_over = threading.Event()

    def stop_with_it() -> None:
        connection.wait([process.sentinel])
        if not is_over.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_with_it, daemon=True).start()
    try:
        yield
    finally:
        ended_first = not process.is_alive()
        is_over.set()
        process.terminate()
        process.join()
    if ended_first:
        sys.exit(1)


def _listen_as_child(door: Door, *, connections: int) -> None:
    app.end_with_parent()
    listen(door, connections=connections)


def _load_app(door: Door) -> BodyDeadline:
    """Return the application of a worker process, whose connections are guarded from now on."""
    worker_app = app.create_worker_app(only_webhooks=door.only_webhooks)
    ConnectionGuard(door.port, door.connections_per_client, settings.load().trusted_proxies).start()
    return BodyDeadline(worker_app, door.timeout_seconds)
