"""Clients that open connections and then take their time."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"
HEALTH = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def body_head(path: str, content_type: str = "application/x-www-form-urlencoded") -> bytes:
    """The header of a request whose body does not come."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Type: {content_type}\r\n"
        "Sec-Fetch-Site: same-origin\r\nContent-Length: 4000\r\n\r\n"
    ).encode()


# What is sent first, and then again and again.
KINDS = {
    "silent": (b"", b""),
    "neither HTTP/1 nor 2 yet": (b"PRI * HT", b""),
    "header": (HEAD, b"X: y\r\n"),
    "empty lines": (b"\r\n", b"\r\n"),
    "body": (body_head("/donate"), b"a"),
    "idle": (HEALTH, b""),
}


@dataclass
class SlowClient:
    """One connection, and what was sent and answered on it."""

    port: int
    first: bytes
    piece: bytes = b""
    host: str = "127.0.0.1"
    opens_again: bool = False
    step_seconds: float = 0.25  # between two pieces
    received: bytes = b""
    opened: int = 0
    is_open: bool = False

    @property
    def status(self) -> int | None:
        """The status that was answered first."""
        return int(self.received[9:12]) if self.received else None

    async def run(self) -> None:
        """Open the connection and hold it as long as the server lets it."""
        while True:
            try:
                await self._hold()
            except OSError:
                self.is_open = False
            if not self.opens_again:
                return
            await asyncio.sleep(self.step_seconds)

    async def _hold(self) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((self.host, 0))
            await loop.sock_connect(sock, ("127.0.0.1", self.port))
            self.is_open, self.opened = True, self.opened + 1
            await loop.sock_sendall(sock, self.first)
            answer = asyncio.create_task(loop.sock_recv(sock, 65_536))
            try:
                while True:
                    # A read that is given up may lose what has just come.
                    await asyncio.wait({answer}, timeout=self.step_seconds)
                    if not answer.done():
                        await loop.sock_sendall(sock, self.piece)
                        continue
                    if not answer.result():
                        self.is_open = False
                        return
                    self.received += answer.result()
                    answer = asyncio.create_task(loop.sock_recv(sock, 65_536))
            finally:
                answer.cancel()


@dataclass
class Attack:
    """Many of them."""

    clients: Sequence[SlowClient]
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    @property
    def open(self) -> int:
        """How many connections are open."""
        return sum(client.is_open for client in self.clients)


@asynccontextmanager
async def attack(clients: Sequence[SlowClient]) -> AsyncIterator[Attack]:
    """Let clients be slow until the block ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    running = Attack(clients, [asyncio.create_task(client.run()) for client in clients])
    try:
        yield running
    finally:
        for task in running.tasks:
            task.cancel()
        await asyncio.gather(*running.tasks, return_exceptions=True)
