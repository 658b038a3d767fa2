"""Processes: servers that live for a block, and runs that end by themselves; all on loopback."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy.engine import make_url

from tests.bench.load import SECRET, LoadPlan, LoadResult

START_DEADLINE = 60.0
PROC = Path("/proc")


@dataclass(frozen=True)
class Server:
    """Something that answers HTTP."""

    port: int
    pid: int


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def environment(database: str, *, stripe_port: int, port: int = 8000) -> dict[str, str]:
    """The settings of our application. Nothing else of the bench's own environment reaches it."""
    return {
        "PAYMENTS_DATABASE_URL": database,
        "PAYMENTS_BASE_URL": f"http://127.0.0.1:{port}",
        "PAYMENTS_STRIPE_API_KEY": "sk_test_" + "0" * 24,
        "PAYMENTS_STRIPE_WEBHOOK_SECRETS": SECRET,
        "PAYMENTS_SECRET_KEYS": "k" * 40,
        "PAYMENTS_STRIPE_API_BASE": f"http://127.0.0.1:{stripe_port}",
        "PAYMENTS_RATE_LIMIT_GIFTS": "1000000",  # one address asks for all of them
    }


@contextmanager
def ours(database: str, *, stripe_port: int = 9) -> Iterator[Server]:
    """The real application. By default its Stripe is the discard port: nobody answers there."""
    port = free_port()
    settings = environment(database, stripe_port=stripe_port, port=port)
    with _granian("payments.web.app:create_worker_app", port, settings) as server:
        yield server


@contextmanager
def bare() -> Iterator[Server]:
    """The endpoint that only verifies, served in the same way."""
    with _granian("tests.bench.bare:create_app", free_port(), {}) as server:
        yield server


@contextmanager
def stripe() -> Iterator[Server]:
    """The stand-in that takes no time."""
    port = free_port()
    with _running([sys.executable, "-m", "tests.bench.stripe_stub", str(port)], port, {}) as server:
        yield server


@contextmanager
def _granian(target: str, port: int, settings: dict[str, str]) -> Iterator[Server]:
    """One worker, as `payments serve` runs it."""
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--no-log"]
    with _running([*command, "--port", str(port), target], port, settings) as server:
        yield server


@contextmanager
def _running(command: list[str], port: int, settings: dict[str, str]) -> Iterator[Server]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
    child = subprocess.Popen(
        command,
        env=plain | settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until_ready(child, port)
        yield Server(port, child.pid)
    finally:
        child.terminate()
        try:
            child.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _wait_until_ready(child: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_DEADLINE
    while child.poll() is None and time.monotonic() < deadline:
        try:
            asking = http.client.HTTPConnection("127.0.0.1", port, timeout=START_DEADLINE)
            asking.request("GET", "/health/live")
            asking.getresponse().read()
        except OSError:
            time.sleep(0.05)
        else:
            asking.close()
            return
    raise RuntimeError(f"{child.args!r} did not begin to answer")


def run(module: str, plan: LoadPlan) -> LoadResult:
    """Have a process of its own carry a plan out."""
    ended = subprocess.run(
        [sys.executable, "-m", module],
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        check=True,
        timeout=plan.seconds + 60,
    )
    return msgspec.json.decode(ended.stdout, type=LoadResult)


def postmaster(database: str) -> int:
    """The process id of an embedded PostgreSQL."""
    home = make_url(database).query["host"]
    assert isinstance(home, str)
    return int((Path(home) / "data" / "postmaster.pid").read_text().split()[0])


def cpu_seconds(root: int) -> float:
    """What a process and all below it have used so far; not a number where there is no /proc."""
    used: dict[int, float] = {}
    parents: dict[int, int] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            pid, rest = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: ppid, utime to cstime
        parents[pid] = int(rest[1])
        used[pid] = sum(map(int, rest[11:15])) / os.sysconf("SC_CLK_TCK")
    if root not in used:
        return float("nan")
    family = {root}
    while below := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= below
    return sum(used[pid] for pid in family)
