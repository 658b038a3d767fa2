"""`kill -9` at the worst moment costs nobody anything: a gift is started, paid and posted once.

The processes are the real ones, `payments serve` and `payments work`; only Stripe stands in.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from payments.accounting import daily_totals
from payments.core.settings import Settings
from payments.giving import contribution_start
from payments.giving.contributions import ContributionStatus
from payments.infra import job_queue, logs
from payments.ops import worker
from tests.support.newsroom import REAL_TIMEOUT_SECONDS, Newsroom, open_newsroom
from tests.support.processes import (
    Process,
    client_of,
    event,
    payments,
    until,
    wait_until_gone,
    wait_until_serving,
)

pytestmark = pytest.mark.anyio

SESSIONS = "/v1/checkout/sessions"


@pytest.fixture
async def newsroom(database: str) -> AsyncIterator[Newsroom]:
    """A newsroom with the real clock, as the processes beside it have."""
    async with open_newsroom(database) as room:
        room.clock.current = datetime.now(UTC)
        yield room
        room.sandbox.faults.clear()
        await room.runs_until_idle()
        assert room.sandbox.problems == []
        assert await room.failed_integrity_checks() == []


def sessions_at_stripe(room: Newsroom) -> list[dict[str, Any]]:
    return list(room.sandbox.account.store.of_kind("checkout.session"))


async def starts(web: httpx.AsyncClient, key: str) -> httpx.Response | None:
    """Start a contribution. Returns None when the server goes away over it."""
    body = {"amount": 2300, "currency": "usd", "frequency": "monthly"}
    with suppress(httpx.TransportError):
        return await web.post("/api/contributions", json=body, headers={"idempotency-key": key})
    return None


async def the_only_contribution(room: Newsroom) -> str:
    """Return the id of the only contribution, which has one session at Stripe or none."""
    ((gift, frequency, amount),) = await room.rows(
        "SELECT id, frequency, amount FROM contributions"
    )
    assert (frequency, amount) == ("monthly", 2300)
    assert [session["client_reference_id"] for session in sessions_at_stripe(room)] in ([], [gift])
    return str(gift)


async def is_posted_once(room: Newsroom, gift: str) -> None:
    """Check that the contribution is paid, and its income posted once."""
    assert (await room.contribution(gift)).status is ContributionStatus.PAID
    assert await room.count("contributions") == 1
    assert await room.rows(
        "SELECT credit, amount, contribution_id FROM ledger_entries WHERE credit LIKE 'income:%'"
    ) == [("income:monthly", 2300, gift)]
    assert await room.rows("SELECT status FROM charges") == [("succeeded",)]


async def turn_clock_to_the_last_start(room: Newsroom) -> None:
    """Turn the clock to when the process beside it last started a contribution, which nobody knows
    beforehand: it takes as long to come up as the machine is busy.
    """
    ((started_at,),) = await room.rows("SELECT max(created_at) FROM contributions")
    assert isinstance(started_at, datetime)
    room.clock.current = started_at


# --- a server that is killed over a contribution --------------------------------------------------


@dataclass
class BlackHole:
    """A network that accepts requests to Stripe and delivers none but the question whose key it is,
    which `account_id` answers.
    """

    account_id: str
    accepted: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            yield f"http://127.0.0.1:{port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readline()
        if asked.startswith(b"GET /v1/account"):
            body = json.dumps({"id": self.account_id, "object": "account"}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
            writer.write(b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)
            await writer.drain()
            writer.close()
            return
        assert asked.startswith(b"POST /v1/checkout/sessions")
        self.accepted.set()
        await reader.read()
        writer.close()


async def test_a_gift_killed_before_stripe_got_it_is_resumed(
    newsroom: Newsroom,
) -> None:
    ((account_id,),) = await newsroom.rows("SELECT account_id FROM stripe_accounts")
    network, key = BlackHole(str(account_id)), uuid4().hex
    async with network.listen() as nowhere:
        with payments("serve", newsroom.settings, PAYMENTS_STRIPE_API_BASE=nowhere) as server:
            await wait_until_serving(server)
            async with client_of(server) as web:
                starting = asyncio.create_task(starts(web, key))
                await asyncio.wait_for(network.accepted.wait(), REAL_TIMEOUT_SECONDS)
                server.kill()
                assert await starting is None
            await wait_until_gone(server)
    gift = await the_only_contribution(newsroom)
    assert (await newsroom.contribution(gift)).status is ContributionStatus.STARTED
    assert sessions_at_stripe(newsroom) == []
    await turn_clock_to_the_last_start(newsroom)
    assert await contribution_start.resume_started(newsroom.ctx) == 0  # its server has a minute
    newsroom.clock.advance(timedelta(minutes=2))
    assert await contribution_start.resume_started(newsroom.ctx) == 1
    assert await contribution_start.resume_started(newsroom.ctx) == 0
    gift_again = await the_only_contribution(newsroom)
    assert (gift_again, len(sessions_at_stripe(newsroom))) == (gift, 1)
    answer = await starts(newsroom.web, key)
    assert answer is not None
    assert answer.json() == {
        "id": gift,
        "status": "open",
        "checkout_url": sessions_at_stripe(newsroom)[0]["url"],
    }
    await newsroom.pays(answer.json()["checkout_url"])
    await newsroom.runs_until_idle()
    await is_posted_once(newsroom, gift)


async def test_killed_after_stripes_answer_a_gift_is_still_one_gift(newsroom: Newsroom) -> None:
    newsroom.sandbox.faults.add("POST", SESSIONS, "hang_after", remaining=3)
    keys = {name: uuid4().hex for name in ("asks again", "waits", "pays at once")}

    async def all_are_there() -> bool:
        return len(sessions_at_stripe(newsroom)) == len(keys)

    with payments("serve", newsroom.settings) as server:
        await wait_until_serving(server)
        async with client_of(server) as web:
            starting = [asyncio.create_task(starts(web, key)) for key in keys.values()]
            await until(all_are_there, "three sessions at Stripe")
            server.kill()
            assert await asyncio.gather(*starting) == [None] * 3
        await wait_until_gone(server)
    newsroom.sandbox.faults.clear()
    await turn_clock_to_the_last_start(newsroom)
    newsroom.clock.advance(timedelta(minutes=2))
    states = "SELECT status, count(*) FROM contributions GROUP BY 1 ORDER BY 1"
    assert await newsroom.rows(states) == [("started", 3)]
    orphans = {
        session["client_reference_id"]: session["url"] for session in sessions_at_stripe(newsroom)
    }

    answer = await starts(newsroom.web, keys["asks again"])
    assert answer is not None
    assert answer.json()["checkout_url"] == orphans[answer.json()["id"]]
    paid_early = next(gift for gift in orphans if gift != answer.json()["id"])
    await newsroom.pays(orphans[paid_early])
    await newsroom.runs_until_idle()
    assert await newsroom.rows(states) == [("open", 1), ("paid", 1), ("started", 1)]
    assert await contribution_start.resume_started(newsroom.ctx) == 1
    assert await newsroom.rows(states) == [("open", 2), ("paid", 1)]
    for gift in orphans.keys() - {paid_early}:
        assert (await newsroom.contribution(gift)).checkout_url == orphans[gift]
        await newsroom.pays(orphans[gift])
    await newsroom.runs_until_idle()

    assert await newsroom.rows(states) == [("paid", 3)]
    assert len(sessions_at_stripe(newsroom)) == 3
    posted = await newsroom.rows(
        "SELECT contribution_id, credit, amount FROM ledger_entries WHERE credit LIKE 'income:%'"
    )
    assert sorted(map(str, posted)) == sorted(
        str((gift, "income:monthly", 2300)) for gift in orphans
    )
    assert await newsroom.count("alerts") == 0


# --- a worker that is killed over a job -----------------------------------------------------------


async def kill_worker_during(room: Newsroom, path: str) -> None:
    """Run a worker until it sends this request to Stripe, and kill it then."""
    room.sandbox.faults.add("GET", path, "hang_before")
    with payments("work", room.settings) as working:
        await asyncio.wait_for(room.sandbox.faults.wait_until_hanging(), REAL_TIMEOUT_SECONDS)
        working.kill()
        await wait_until_gone(working)
    room.sandbox.faults.clear()


async def job_is_requeued(room: Newsroom) -> None:
    """Requeue as the schedule does after half a minute without a heartbeat, and check it."""
    running = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'"
    assert await room.rows(running) != [(0,)]
    async with room.ctx.sessions.begin() as session:
        await job_queue.requeue_abandoned(session, heartbeat_timeout=timedelta(0))
    assert await room.rows(running) == [(0,)]


async def pays_in_full(room: Newsroom) -> str:
    """Give and pay. Returns the contribution's id."""
    started = await starts(room.web, uuid4().hex)
    assert started is not None
    await room.pays(started.json()["checkout_url"])
    await room.sandbox.advance_to_captures()
    return str(started.json()["id"])


async def test_a_worker_killed_over_a_job_leaves_it_to_the_next(newsroom: Newsroom) -> None:
    gift = await pays_in_full(newsroom)
    await newsroom.deliver(newsroom.sandbox.take_deliveries())
    await kill_worker_during(newsroom, "/v1/charges/")
    assert await newsroom.count("ledger_entries") == 0
    await job_is_requeued(newsroom)
    with payments("work", newsroom.settings) as next_worker:

        async def all_is_done() -> bool:
            assert not next_worker.child.is_over(), next_worker.log_text()
            unfinished = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
            return await newsroom.rows(unfinished) == [(0,)]

        await until(all_is_done, "the work of the next worker")
    await is_posted_once(newsroom, gift)


@pytest.mark.parametrize("path", ["/v1/balance_transactions", "/v1/charges/"])
async def test_a_worker_killed_in_an_import_leaves_no_half_of_it(
    newsroom: Newsroom, path: str
) -> None:
    gift = await pays_in_full(newsroom)
    assert newsroom.sandbox.take_deliveries() != []  # taken, and never delivered
    await kill_worker_during(newsroom, path)
    assert await newsroom.count("ledger_entries") == 0
    await job_is_requeued(newsroom)
    await asyncio.gather(*(daily_totals.import_and_refresh(newsroom.ctx) for _ in range(3)))
    await newsroom.thanks(gift)
    await worker.run_due_jobs(newsroom.ctx)
    await is_posted_once(newsroom, gift)


# --- a server that is killed under webhooks -------------------------------------------------------

SENDERS = 6


async def kill_under_load(server: Process, settings: Settings, after: int) -> tuple[set[str], int]:
    """Send events until the server is killed. Returns those it accepted, and how many it left."""
    accepted: set[str] = set()
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
            accepted.add(id_)
            if len(accepted) == after:
                server.kill()

    async with client_of(server) as web:
        sending = asyncio.gather(*(send(web) for _ in range(SENDERS)))
        await asyncio.wait_for(sending, REAL_TIMEOUT_SECONDS)
    await wait_until_gone(server)
    return accepted, unanswered


async def sends_secrets(server: Process) -> None:
    """Send what must be in no log."""
    headers = {
        "idempotency-key": "canary-0123456789-0123456789",
        "cookie": "staff=canary",
        "user-agent": "canary",
    }
    gift = {"amount": 987654, "currency": "usd", "frequency": "once", "canary": "x"}
    async with client_of(server) as web:
        for _ in range(2):
            await web.post("/api/contributions", json=gift, headers=headers)
            await web.get("/thanks/canary?canary=1", headers=headers)
            await web.post("/staff/enter/canary")
            await web.post("/webhooks/stripe", content=b"canary", headers=headers)
            await web.post("/donate", content=b"canary=987654")


def check_log(server: Process) -> None:
    """Check what the server wrote: one line for the operator, then lines of our log."""
    text = server.log_text()
    first, *lines = text.splitlines()
    assert first == f"Serving on http://127.0.0.1:{server.port}"
    assert "canary" not in text
    for line in map(json.loads, lines):
        assert set(line) <= logs.ALLOWED_FIELDS
        del line["timestamp"]  # its fractions of a second may be any figure
        assert "987654" not in str(line)


@pytest.mark.parametrize(
    ("kills", "at_once"), [(3, 3), pytest.param(30, 5, marks=pytest.mark.storm)]
)
async def test_every_event_a_killed_server_accepted_is_stored(
    database: str, kills: int, at_once: int
) -> None:
    rng = random.Random(11)  # repeatable
    async with open_newsroom(database) as room:
        accepted: set[str] = set()
        cut_off = 0
        for _ in range(kills // at_once):
            with servers(room.settings, at_once) as processes:
                await asyncio.gather(*map(wait_until_serving, processes))
                await sends_secrets(processes[0])
                rounds = await asyncio.gather(
                    *(kill_under_load(s, room.settings, rng.randint(5, 80)) for s in processes)
                )
                for server in processes:
                    check_log(server)
            for answered, unanswered in rounds:
                accepted |= answered
                cut_off += unanswered
        stored = {str(id_) for (id_,) in await room.rows("SELECT id FROM stripe_events")}
        enqueued = await room.rows(
            "SELECT e.id FROM stripe_events e JOIN procrastinate_jobs j"
            " ON j.queueing_lock = e.object_type || ':' || e.object_id AND j.status = 'todo'"
        )
        assert len(accepted) > kills * 5
        assert cut_off >= kills
        assert accepted <= stored
        assert {str(id_) for (id_,) in enqueued} == stored


@contextmanager
def servers(settings: Settings, count: int) -> Iterator[list[Process]]:
    """Run servers beside each other, each on a port of its own."""
    if count == 0:
        yield []
        return
    with payments("serve", settings) as one, servers(settings, count - 1) as others:
        yield [one, *others]
