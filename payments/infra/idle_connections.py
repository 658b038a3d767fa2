"""Idle connections: whether one that comes from a pool may be used before the server is asked.

A server that ends a connection says so or closes it: its socket then has something to read, which
is seen without a question. Only what lies between, such as a router that has forgotten an idle
connection, is silent about it; so one that was long idle is asked for a sign of life.
"""

import select
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection

PING_AFTER_SECONDS = 10.0  # idle


class IdleConnections:
    """The connections of one pool, and since when each is idle."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock  # in seconds
        self._idle_since: WeakKeyDictionary[AsyncConnection, float] = WeakKeyDictionary()

    def returned(self, connection: AsyncConnection) -> None:
        """Note that a connection is idle from now on."""
        self._idle_since[connection] = self._clock()

    def needs_ping(self, connection: AsyncConnection) -> bool:
        """Whether the server must be asked before a connection is used."""
        idle_since = self._idle_since.pop(connection, None)
        is_long_idle = idle_since is not None and self._clock() - idle_since > PING_AFTER_SECONDS
        if is_long_idle or connection.closed:
            return True
        sockets = select.poll()
        sockets.register(connection.pgconn.socket, select.POLLIN)
        return bool(sockets.poll(0))
