"""Processes of the benchmarks: servers that run for a block, and runs of load; all on loopback."""

import http.client
import os
import signal
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
from tests.support.ports import reserve_port
from tests.support.secret_values import secret_named

START_TIMEOUT_SECONDS = 60.0
PROC = Path("/proc")


@dataclass(frozen=True)
class Server:
    """A process that answers HTTP."""

    port: int
    pid: int


def environment(database: str, *, stripe_port: int, port: int = 8000) -> dict[str, str]:
    """Return the application's settings as environment variables."""
    return {
        "PAYMENTS_DATABASE_URL": database,
        "PAYMENTS_BASE_URL": f"http://127.0.0.1:{port}",
        "PAYMENTS_STRIPE_API_KEY": "sk_test_" + "0" * 24,
        "PAYMENTS_STRIPE_WEBHOOK_SECRETS": SECRET,
        "PAYMENTS_SECRET_KEYS": secret_named("keys"),
        "PAYMENTS_STRIPE_API_BASE": f"http://127.0.0.1:{stripe_port}",
        "PAYMENTS_RATE_LIMIT_GIFTS": "1000000",  # all requests come from one address
    }


@contextmanager
def ours(database: str, *, stripe_port: int = 9) -> Iterator[Server]:
    """Run the application. By default its Stripe is the discard port, where nothing answers."""
    with reserve_port() as port:
        settings = environment(database, stripe_port=stripe_port, port=port)
        with _granian("payments.web.app:create_worker_app", port, settings) as server:
            yield server


@contextmanager
def bare() -> Iterator[Server]:
    """Run the endpoint that only verifies signatures, in the same way."""
    with reserve_port() as port, _granian("tests.bench.bare:create_app", port, {}) as server:
        yield server


@contextmanager
def stripe() -> Iterator[Server]:
    """Run the Stripe that takes no time."""
    with reserve_port() as port:
        command = [sys.executable, "-m", "tests.bench.stripe_stub", str(port)]
        with _running(command, port, {}) as server:
            yield server


@contextmanager
def _granian(target: str, port: int, settings: dict[str, str]) -> Iterator[Server]:
    """Run an application in one worker, as `payments serve` does."""
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--no-log"]
    with _running([*command, "--port", str(port), target], port, settings) as server:
        yield server


@contextmanager
def _running(command: list[str], port: int, settings: dict[str, str]) -> Iterator[Server]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}
    child = subprocess.Popen(
        command,
        env=others | settings,
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
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        try:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT_SECONDS)
            client.request("GET", "/health/live")
            client.getresponse().read()
        except OSError:
            time.sleep(0.05)
        else:
            client.close()
            return
    raise RuntimeError(f"{child.args!r} did not answer in time")


def run(module: str, plan: LoadPlan) -> LoadResult:
    """Carry out a plan in a process of its own, which runs a module."""
    completed = subprocess.run(
        [sys.executable, "-m", module],
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        check=True,
        timeout=plan.seconds + 60,
    )
    return msgspec.json.decode(completed.stdout, type=LoadResult)


def postmaster(database: str) -> int:
    """Return the process id of an embedded PostgreSQL."""
    directory = make_url(database).query["host"]
    assert isinstance(directory, str)
    return int((Path(directory) / "data" / "postmaster.pid").read_text().split()[0])


def cpu_seconds(root: int) -> float:
    """Return the CPU seconds of a process and its descendants; NaN where there is no /proc."""
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
    tree = {root}
    while children := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= children
    return sum(used[pid] for pid in tree)
