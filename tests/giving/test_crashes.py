"""`kill -9` at the worst moment costs nobody anything: a gift is begun, taken and booked once.

The processes are the real ones, `payments serve` and `payments work`; only Stripe stands in.
"""

import asyncio
import hmac
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from payments.accounting import daily_totals
from payments.core.settings import Settings
from payments.giving import contributions
from payments.giving.contributions import ContributionStatus
from payments.infra import job_queue, logs
from payments.ops import worker
from tests.support.newsroom import BASE_URL, Newsroom, free_port, open_newsroom

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parents[2]
PATIENCE = 90.0
SESSIONS = "/v1/checkout/sessions"


@dataclass
class Process:
    """One `payments …` and what it wrote to stderr."""

    child: subprocess.Popen[bytes]
    stderr: IO[bytes]
    port: int

    def kill(self) -> None:
        """`kill -9` of the process the operator sees; on Linux, those it made go with it."""
        end = os.kill if sys.platform == "linux" else os.killpg
        end(self.child.pid, signal.SIGKILL)
        self.child.wait()

    def is_alive(self) -> bool:
        """Whether anything of its group still runs; a process nobody has buried does not."""
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.child.pid and state != "Z":
                    return True
        return False

    def words(self) -> str:
        self.stderr.seek(0)
        return self.stderr.read().decode()


@contextmanager
def payments(command: str, settings: Settings, **more: str) -> Iterator[Process]:
    """Run a command until the block ends, whatever happens in it."""
    port = free_port()
    options = ["--port", str(port)] if command == "serve" else []
    with tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", "payments.cli", command, *options],
            cwd=HERE,
            env={**plain_environment(), **as_environment(settings), **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            yield Process(child, stderr, port)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PAYMENTS_")}


def as_environment(settings: Settings) -> dict[str, str]:
    """The settings as an operator writes them."""

    def words(value: object) -> str:
        if isinstance(value, SecretStr):
            return value.get_secret_value()
        if isinstance(value, tuple):
            return ",".join(map(words, value))
        return str(value)

    return {f"PAYMENTS_{name.upper()}": words(value) for name, value in settings if value}


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for something to come true, and not for ever."""
    deadline = time.monotonic() + PATIENCE
    while not await condition():
        assert time.monotonic() < deadline, f"{what} did not come true in time"
        await asyncio.sleep(0.05)


def at_the_door(process: Process) -> httpx.AsyncClient:
    """A client of this very process, asking for it by the name all of them go by."""
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{process.port}",
        headers={"host": BASE_URL.removeprefix("http://")},
        timeout=PATIENCE,
    )


async def serving(process: Process) -> None:
    """Wait until a server answers."""
    async with at_the_door(process) as web:

        async def answers() -> bool:
            assert process.child.poll() is None, process.words()
            with suppress(httpx.HTTPError):
                return (await web.get("/health/live")).status_code == 200
            return False

        await until(answers, "the server's first answer")


async def gone(process: Process) -> None:
    """Wait until every process of the group is."""

    async def is_gone() -> bool:
        return not process.is_alive()

    await until(is_gone, "the end of the killed process")


@pytest.fixture
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    """A newsroom that lives by the real clock, as the processes beside it do."""
    async with open_newsroom(database) as room:
        room.clock.current = datetime.now(UTC)
        yield room
        room.sandbox.faults.clear()
        await room.runs_until_idle()
        assert room.sandbox.problems == []
        assert await room.failed_integrity_checks() == []


def at_stripe(room: Newsroom) -> list[dict[str, Any]]:
    return list(room.sandbox.account.store.of_kind("checkout.session"))


async def begins(web: httpx.AsyncClient, key: str) -> httpx.Response | None:
    """A reader begins a gift. Gives None when the server goes away over it."""
    body = {"amount": 2300, "currency": "usd", "frequency": "monthly"}
    with suppress(httpx.TransportError):
        return await web.post("/api/contributions", json=body, headers={"idempotency-key": key})
    return None


async def the_one(room: Newsroom) -> str:
    """The id of the one gift there is, which Stripe knows as one session or not at all."""
    ((gift, frequency, amount),) = await room.rows(
        "SELECT id, frequency, amount FROM contributions"
    )
    assert (frequency, amount) == ("monthly", 2300)
    assert [session["client_reference_id"] for session in at_stripe(room)] in ([], [gift])
    return str(gift)


async def is_booked_once(room: Newsroom, gift: str) -> None:
    """Check that the gift is paid, and that the books took it in once."""
    assert (await room.contribution(gift)).status is ContributionStatus.PAID
    assert await room.count("contributions") == 1
    assert await room.rows(
        "SELECT credit, amount, contribution_id FROM ledger_entries WHERE credit LIKE 'income:%'"
    ) == [("income:monthly", 2300, gift)]
    assert await room.rows("SELECT status FROM charges") == [("succeeded",)]


# --- a server that dies over a gift ---------------------------------------------------------------


@dataclass
class BlackHole:
    """A network that takes requests to Stripe and never brings them there."""

    taken: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            yield f"http://127.0.0.1:{port}"

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readline()).startswith(b"POST /v1/checkout/sessions")
        self.taken.set()
        await reader.read()
        writer.close()


async def test_killed_before_stripe_heard_of_it_a_gift_is_taken_up_again(
    newsroom: Newsroom,
) -> None:
    network, key = BlackHole(), uuid4().hex
    async with network.listen() as nowhere:
        with payments("serve", newsroom.settings, PAYMENTS_STRIPE_API_BASE=nowhere) as server:
            await serving(server)
            async with at_the_door(server) as web:
                asking = asyncio.create_task(begins(web, key))
                await asyncio.wait_for(network.taken.wait(), PATIENCE)
                server.kill()
                assert await asking is None
            await gone(server)
    gift = await the_one(newsroom)
    assert (await newsroom.contribution(gift)).status is ContributionStatus.STARTED
    assert at_stripe(newsroom) == []
    assert await contributions.resume_started(newsroom.ctx) == 0  # a minute is given to its server
    newsroom.clock.advance(timedelta(minutes=2))
    assert await contributions.resume_started(newsroom.ctx) == 1
    assert await contributions.resume_started(newsroom.ctx) == 0
    gift_again = await the_one(newsroom)
    assert (gift_again, len(at_stripe(newsroom))) == (gift, 1)
    answer = await begins(newsroom.web, key)
    assert answer is not None
    assert answer.json() == {
        "id": gift,
        "status": "open",
        "checkout_url": at_stripe(newsroom)[0]["url"],
    }
    await newsroom.pays(answer.json()["checkout_url"])
    await newsroom.runs_until_idle()
    await is_booked_once(newsroom, gift)


async def test_killed_after_stripes_answer_a_gift_is_still_one_gift(newsroom: Newsroom) -> None:
    newsroom.sandbox.faults.add("POST", SESSIONS, "hang_after", remaining=3)
    keys = {name: uuid4().hex for name in ("asks again", "waits", "pays at once")}

    async def all_are_there() -> bool:
        return len(at_stripe(newsroom)) == len(keys)

    with payments("serve", newsroom.settings) as server:
        await serving(server)
        async with at_the_door(server) as web:
            asking = [asyncio.create_task(begins(web, key)) for key in keys.values()]
            await until(all_are_there, "three sessions at Stripe")
            server.kill()
            assert await asyncio.gather(*asking) == [None] * 3
        await gone(server)
    newsroom.sandbox.faults.clear()
    newsroom.clock.advance(timedelta(minutes=2))
    states = "SELECT status, count(*) FROM contributions GROUP BY 1 ORDER BY 1"
    assert await newsroom.rows(states) == [("started", 3)]
    orphans = {session["client_reference_id"]: session["url"] for session in at_stripe(newsroom)}

    answer = await begins(newsroom.web, keys["asks again"])
    assert answer is not None
    assert answer.json()["checkout_url"] == orphans[answer.json()["id"]]
    early = next(gift for gift in orphans if gift != answer.json()["id"])
    await newsroom.pays(orphans[early])
    await newsroom.runs_until_idle()
    assert await newsroom.rows(states) == [("open", 1), ("paid", 1), ("started", 1)]
    assert await contributions.resume_started(newsroom.ctx) == 1
    assert await newsroom.rows(states) == [("open", 2), ("paid", 1)]
    for gift in orphans.keys() - {early}:
        assert (await newsroom.contribution(gift)).checkout_url == orphans[gift]
        await newsroom.pays(orphans[gift])
    await newsroom.runs_until_idle()

    assert await newsroom.rows(states) == [("paid", 3)]
    assert len(at_stripe(newsroom)) == 3
    booked = await newsroom.rows(
        "SELECT contribution_id, credit, amount FROM ledger_entries WHERE credit LIKE 'income:%'"
    )
    assert sorted(map(str, booked)) == sorted(
        str((gift, "income:monthly", 2300)) for gift in orphans
    )
    assert await newsroom.count("alerts") == 0


# --- a worker that dies over a job ----------------------------------------------------------------


async def killed_while_asking(room: Newsroom, path: str) -> None:
    """Run a worker until it asks Stripe for this, and kill it then."""
    room.sandbox.faults.add("GET", path, "hang_before")
    with payments("work", room.settings) as working:
        await asyncio.wait_for(room.sandbox.faults.wait_until_hanging(), PATIENCE)
        working.kill()
        await gone(working)
    room.sandbox.faults.clear()


async def is_given_back(room: Newsroom) -> None:
    """What the schedule does after half a minute of silence, without the half minute."""
    held = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'"
    assert await room.rows(held) != [(0,)]
    async with room.ctx.sessions.begin() as session:
        await job_queue.requeue_abandoned(session, heartbeat_timeout=timedelta(0))
    assert await room.rows(held) == [(0,)]


async def pays_in_full(room: Newsroom) -> str:
    """A reader gives and pays. Gives the gift's id."""
    asked = await begins(room.web, uuid4().hex)
    assert asked is not None
    await room.pays(asked.json()["checkout_url"])
    await room.sandbox.advance_to_captures()
    return str(asked.json()["id"])


async def test_a_worker_killed_over_a_job_leaves_it_to_the_next(newsroom: Newsroom) -> None:
    gift = await pays_in_full(newsroom)
    await newsroom.deliver(newsroom.sandbox.take_deliveries())
    await killed_while_asking(newsroom, "/v1/charges/")
    assert await newsroom.count("ledger_entries") == 0
    await is_given_back(newsroom)
    with payments("work", newsroom.settings) as next_one:

        async def all_is_done() -> bool:
            assert next_one.child.poll() is None, next_one.words()
            left = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
            return await newsroom.rows(left) == [(0,)]

        await until(all_is_done, "the work of the next worker")
    await is_booked_once(newsroom, gift)


@pytest.mark.parametrize("path", ["/v1/balance_transactions", "/v1/charges/"])
async def test_a_worker_killed_in_an_import_leaves_no_half_of_it(
    newsroom: Newsroom, path: str
) -> None:
    gift = await pays_in_full(newsroom)
    assert newsroom.sandbox.take_deliveries() != []  # taken, and never delivered
    await killed_while_asking(newsroom, path)
    assert await newsroom.count("ledger_entries") == 0
    await is_given_back(newsroom)
    await asyncio.gather(*(daily_totals.import_and_refresh(newsroom.ctx) for _ in range(3)))
    await newsroom.web.get(f"/thanks/{gift}")
    await worker.run_due_jobs(newsroom.ctx)
    await is_booked_once(newsroom, gift)


# --- a server that dies under webhooks ------------------------------------------------------------

ROUNDS, AT_ONCE, SENDERS = 10, 5, 6


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


async def is_killed_under_load(
    server: Process, settings: Settings, after: int
) -> tuple[set[str], int]:
    """Send events until the server is killed. Gives what it said yes to, and how many it left."""
    stored: set[str] = set()
    unanswered = 0

    async def send(web: httpx.AsyncClient) -> None:
        nonlocal unanswered
        while True:
            id_, body, headers = event(settings, server.port)
            try:
                answer = await web.post("/webhooks/stripe", content=body, headers=headers)
            except httpx.TransportError:
                unanswered += 1
                return
            assert answer.status_code == 200
            stored.add(id_)
            if len(stored) == after:
                server.kill()

    async with at_the_door(server) as web:
        await asyncio.wait_for(asyncio.gather(*(send(web) for _ in range(SENDERS))), PATIENCE)
    await gone(server)
    return stored, unanswered


async def sends_secrets(server: Process) -> None:
    """Send what nobody may ever read in a log."""
    headers = {"idempotency-key": "canary", "cookie": "staff=canary", "user-agent": "canary"}
    gift = {"amount": 987654, "currency": "usd", "frequency": "once", "canary": "x"}
    async with at_the_door(server) as web:
        for _ in range(2):
            await web.post("/api/contributions", json=gift, headers=headers)
            await web.get("/thanks/canary?canary=1", headers=headers)
            await web.post("/staff/enter/canary")
            await web.post("/webhooks/stripe", content=b"canary", headers=headers)
            await web.post("/donate", content=b"canary=987654")


def wrote_nobody_down(server: Process) -> None:
    """Check what the server wrote: one line for the operator, then lines of our log."""
    words = server.words()
    first, *lines = words.splitlines()
    assert first == f"Serving on http://127.0.0.1:{server.port}"
    assert "canary" not in words
    for line in map(json.loads, lines):
        assert set(line) <= logs.ALLOWED_FIELDS
        del line["timestamp"]  # its fractions of a second may be any figure
        assert "987654" not in str(line)


async def test_every_event_a_killed_server_said_yes_to_is_there(database: str) -> None:
    moments = random.Random(11)  # to be repeatable
    async with open_newsroom(database) as room:
        stored: set[str] = set()
        cut_off = 0
        for _ in range(ROUNDS // AT_ONCE):
            with servers(room.settings, AT_ONCE) as some:
                await asyncio.gather(*map(serving, some))
                await sends_secrets(some[0])
                rounds = await asyncio.gather(
                    *(is_killed_under_load(s, room.settings, moments.randint(5, 80)) for s in some)
                )
                for server in some:
                    wrote_nobody_down(server)
            for answered, unanswered in rounds:
                stored |= answered
                cut_off += unanswered
        there = {str(id_) for (id_,) in await room.rows("SELECT id FROM stripe_events")}
        enqueued = await room.rows(
            "SELECT e.id FROM stripe_events e JOIN procrastinate_jobs j"
            " ON j.queueing_lock = e.object_type || ':' || e.object_id AND j.status = 'todo'"
        )
        assert len(stored) > ROUNDS * 5
        assert cut_off >= ROUNDS
        assert stored <= there
        assert {str(id_) for (id_,) in enqueued} == there


@contextmanager
def servers(settings: Settings, count: int) -> Iterator[list[Process]]:
    """Some servers beside each other, on ports of their own."""
    if count == 0:
        yield []
        return
    with payments("serve", settings) as one, servers(settings, count - 1) as others:
        yield [one, *others]
