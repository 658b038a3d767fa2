"""Connections that outlast a newsroom: the next one in the same process and database takes them.

A server's process that has just begun reads the catalogue before its first answers, which costs
more than all that most tests ask of it.
"""

import asyncio
import select
from typing import Any

import psycopg
from psycopg.abc import PQGenConn
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGconn

MAX_IDLE = 12  # of one database and one purpose
ANSWER_TIMEOUT_SECONDS = 10  # what lies between may have gone silent

_idle: dict[str, list[PGconn]] = {}  # by what they were opened with


class LastingConnection(psycopg.AsyncConnection[Any]):
    """A connection that is set aside when it is closed, as new but for the server's caches."""

    _opened_with = ""

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn["LastingConnection"]:
        idle = _idle.setdefault(conninfo, [])
        while idle:
            found = idle.pop()
            if _is_alive(found):
                connection = cls(found)
                break
            found.finish()
        else:
            connection = yield from super()._connect_gen(conninfo)
        connection._opened_with = conninfo
        return connection

    async def close(self) -> None:
        """Set the connection aside, or close it if it cannot be made like a new one."""
        idle = _idle.setdefault(self._opened_with, [])
        try:
            if not self.closed and len(idle) < MAX_IDLE and await self._is_like_new():
                idle.append(self.pgconn)
                self.pgconn = _closed()  # this object is not used again: the next gets its own
        finally:
            await super().close()

    async def _is_like_new(self) -> bool:
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
                await self.set_autocommit(True)
                await self.execute("DISCARD ALL")
                await self.execute("RESET ROLE")  # to the one it was opened with
        except (psycopg.Error, TimeoutError):
            return False
        return True


def idle_pids() -> list[int]:
    """Return the server's processes behind the connections that are set aside."""
    return [found.backend_pid for idle in _idle.values() for found in idle]


def _is_alive(connection: PGconn) -> bool:
    """Whether the server has said nothing since: it says so when it ends a connection."""
    sockets = select.poll()
    sockets.register(connection.socket, select.POLLIN)
    return not sockets.poll(0)


def _closed() -> PGconn:
    never_opened = psycopg.pq.PGconn.connect_start(b"not a connection")
    never_opened.finish()
    return never_opened
