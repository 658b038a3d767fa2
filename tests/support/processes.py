"""Processes of `payments …`, run by a test, and events for them."""

import asyncio
import hmac
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx

from payments.core.settings import Settings
from tests.support import command_line
from tests.support.command_line import Running
from tests.support.newsroom import BASE_URL, REAL_TIMEOUT_SECONDS
from tests.support.ports import reserve_port


@dataclass
class Process:
    """One `payments …` and what it wrote to stderr."""

    child: Running
    port: int

    def kill(self) -> None:
        """`kill -9` the process the operator sees; on Linux, those it started end with it."""
        end = os.kill if sys.platform == "linux" else os.killpg
        end(self.child.pid, signal.SIGKILL)
        self.child.exit_code()

    def is_alive(self) -> bool:
        """Whether anything of its group still runs, zombies aside."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.child.pid and state != "Z":
                    return True
        return False

    def log_text(self) -> str:
        """Return what it wrote to stderr so far."""
        self.child.stderr.seek(0)
        return self.child.stderr.read().decode()


@contextmanager
def payments(
    command: str, settings: Settings, *words: str, max_files: int | None = None, **more: str
) -> Iterator[Process]:
    """Run a command until the block ends, whatever happens in it."""
    with reserve_port() as port:
        options = ("--port", str(port)) if command == "serve" else ()
        environ = command_line.environment(settings, **more)
        child = Running(environ, (command, *options, *words), max_files=max_files)
        try:
            yield Process(child, port)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + REAL_TIMEOUT_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, f"{what} did not come true in time"
        await asyncio.sleep(0.05)


def client_of(process: Process) -> httpx.AsyncClient:
    """Return a client of one process, with the host name that all of them have."""
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{process.port}",
        headers={"host": BASE_URL.removeprefix("http://")},
        timeout=REAL_TIMEOUT_SECONDS,
    )


async def wait_until_serving(process: Process) -> None:
    """Wait until a server answers."""
    async with client_of(process) as web:

        async def answers() -> bool:
            assert not process.child.is_over(), process.log_text()
            with suppress(httpx.HTTPError):
                return (await web.get("/health/live")).status_code == 200
            return False

        await until(answers, "the server's first answer")


@asynccontextmanager
async def serve_two_ports(
    settings: Settings, *words: str, max_files: int | None = None, **more: str
) -> AsyncIterator[tuple[Process, Process]]:
    """Serve with a port for webhooks alone. Yields the readers' port and that one."""
    with (
        reserve_port() as port,
        payments(
            "serve", settings, "--webhook-port", str(port), *words, max_files=max_files, **more
        ) as readers,
    ):
        webhooks = Process(readers.child, port)
        await wait_until_serving(readers)
        await wait_until_serving(webhooks)
        yield readers, webhooks


async def wait_until_gone(process: Process) -> None:
    """Wait until every process of the group has ended."""

    async def is_gone() -> bool:
        return not process.is_alive()

    await until(is_gone, "the end of the killed process")


def event(settings: Settings, number: int) -> tuple[str, bytes, dict[str, str]]:
    """A signed event about an object of its own."""
    now = int(time.time())
    body = {
        "id": f"evt_{number}_{uuid4().hex[:12]}",
        "object": "event",
        "type": "charge.succeeded",
        "created": now,
        "livemode": False,
        "api_version": "2026-10-28.endive",
        "data": {"object": {"id": f"ch_{uuid4().hex}", "object": "charge"}},
    }
    raw = json.dumps(body).encode()
    signature = hmac.new(
        settings.webhook_signing_keys[0], b"%d.%s" % (now, raw), "sha256"
    ).hexdigest()
    return str(body["id"]), raw, {"stripe-signature": f"t={now},v1={signature}"}
