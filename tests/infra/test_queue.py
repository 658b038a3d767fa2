"""Every enqueued job is done: however many webhooks come at once, whatever fails, whoever dies."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from payments.infra import db, job_queue
from payments.infra.context import Context
from payments.ops import schedules, worker
from payments.sandbox import webhook_deliveries
from payments.sandbox.webhook_deliveries import Delivery
from tests.support.newsroom import REAL_TIMEOUT_SECONDS, Newsroom
from webhooks import intake
from webhooks.registry import SYNC_HANDLERS

pytestmark = pytest.mark.anyio

_numbers = count(1)


def webhook_event(room: Newsroom, object_type: str, object_id: str) -> Delivery:
    """A fresh event of Stripe's about an object, signed."""
    event = {
        "id": f"evt_{next(_numbers):08}",
        "type": f"{object_type}.updated",
        "created": int(room.clock().timestamp()),
        "livemode": False,
        "data": {"object": {"object": object_type, "id": object_id}},
    }
    body, secret = json.dumps(event).encode(), room.settings.webhook_signing_keys[0].decode()
    signed = webhook_deliveries.signature(body, secret, int(room.clock().timestamp()))
    url = f"{room.settings.base_url}/webhooks/stripe"
    return Delivery("dlv", url, str(event["id"]), "", {"Stripe-Signature": signed}, body)


async def at_once(room: Newsroom, deliveries: Sequence[Delivery]) -> list[int]:
    return [
        answer for [answer] in await asyncio.gather(*(room.deliver([one]) for one in deliveries))
    ]


async def waiting(room: Newsroom) -> list[tuple[object, ...]]:
    """The jobs for Stripe's objects: which, in what state, at which attempt, and whether without a
    pause before it.
    """
    return await room.rows(
        "SELECT args ->> 'object_id', CAST(status AS text), CAST(args ->> 'attempt' AS int),"
        "       status <> 'todo' OR scheduled_at IS NULL"
        "  FROM procrastinate_jobs WHERE queue_name = 'sync' ORDER BY 1, 2, 3"
    )


async def charged(room: Newsroom, frequency: str = "once") -> str:
    """A gift whose charge has had no webhook yet. Returns the charge's id."""
    before = {row["id"] for row in room.sandbox.account.store.of_kind("charge")}
    await room.gives(500, frequency)
    [charge] = [
        row["id"] for row in room.sandbox.account.store.of_kind("charge") if row["id"] not in before
    ]
    return str(charge)


def fails(room: Newsroom, charge: str, *, times: int = 10_000) -> None:
    room.sandbox.faults.add("GET", f"/v1/charges/{charge}", "refused", times)


async def change(room: Newsroom, statement: str, **params: object) -> None:
    async with room.ctx.sessions.begin() as session:
        await session.execute(text(statement), params)


async def the_pause_is_over(room: Newsroom) -> None:
    """The engine goes by the database's clock, which no test turns."""
    await change(room, "UPDATE procrastinate_jobs SET scheduled_at = NULL WHERE status = 'todo'")


async def open_alerts(room: Newsroom) -> list[tuple[object, ...]]:
    return await room.rows("SELECT kind, object_id FROM alerts WHERE closed_at IS NULL ORDER BY id")


# --- webhooks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("objects", [1, 20])
async def test_of_four_hundred_webhooks_at_once_each_is_stored_and_each_object_has_one_job(
    newsroom: Newsroom, objects: int
) -> None:
    deliveries = [webhook_event(newsroom, "charge", f"ch_{n % objects}") for n in range(400)]
    answers = await at_once(newsroom, deliveries)
    assert answers.count(200) == 400 == await newsroom.count("stripe_events")
    assert await waiting(newsroom) == sorted((f"ch_{n}", "todo", 1, True) for n in range(objects))


@pytest.mark.parametrize("objects", [1, 20])
async def test_it_is_the_same_when_ten_servers_hear_them(newsroom: Newsroom, objects: int) -> None:
    servers = [
        intake.Inbox(newsroom.ctx.engine, synced_types=frozenset(SYNC_HANDLERS)) for _ in range(10)
    ]
    events = [
        intake.decode(webhook_event(newsroom, "charge", f"ch_{n % objects}").body, livemode=False)
        for n in range(400)
    ]
    new = await asyncio.gather(
        *(servers[n % 10].store(one, now=newsroom.clock()) for n, one in enumerate(events)),
        *(servers[n % 9].store(one, now=newsroom.clock()) for n, one in enumerate(events)),
    )
    assert new.count(True) == 400 == await newsroom.count("stripe_events")
    assert await waiting(newsroom) == sorted((f"ch_{n}", "todo", 1, True) for n in range(objects))


@pytest.mark.parametrize("objects", [8, pytest.param(20, marks=pytest.mark.storm)])
async def test_many_webhooks_while_the_worker_works_lead_to_few_fetches(
    newsroom: Newsroom, objects: int
) -> None:
    charges, count = [await charged(newsroom) for _ in range(objects)], 20 * objects
    deliveries = [webhook_event(newsroom, "charge", charges[n % objects]) for n in range(count)]
    before, answers = newsroom.stripe_get_count(), []
    for start in range(0, count, 100):
        answered, _ = await asyncio.gather(
            at_once(newsroom, deliveries[start : start + 100]), worker.run_due_jobs(newsroom.ctx)
        )
        answers += answered
    await worker.run_due_jobs(newsroom.ctx)
    assert answers.count(200) == count == await newsroom.count("stripe_events")
    assert await waiting(newsroom) == []
    assert await newsroom.count("charges") == objects
    assert objects <= newsroom.stripe_get_count() - before <= 10 * objects


async def test_a_webhook_while_the_job_runs_enqueues_one_more_and_the_newer_state_is_stored(
    newsroom: Newsroom,
) -> None:
    charge = await charged(newsroom)
    newsroom.sandbox.faults.add("GET", f"/v1/charges/{charge}", "hang_after")
    await newsroom.deliver([webhook_event(newsroom, "charge", charge)])
    working = asyncio.create_task(worker.run_due_jobs(newsroom.ctx))
    await newsroom.sandbox.faults.wait_until_hanging()  # Stripe has answered: there is no money yet
    await newsroom.sandbox.advance_to_captures()  # and now there is
    await at_once(newsroom, [webhook_event(newsroom, "charge", charge) for _ in range(12)])
    assert await waiting(newsroom) == [(charge, "doing", 1, True), (charge, "todo", 1, True)]
    # Whoever else asks the engine for work is not given this object.
    other = await newsroom.rows("SELECT id FROM procrastinate_fetch_job_v2(ARRAY['sync'], NULL)")
    assert other == [(None,)]
    newsroom.sandbox.faults.release()
    await working
    await worker.run_due_jobs(newsroom.ctx)
    assert await waiting(newsroom) == []
    assert await newsroom.count("ledger_entries") == 2


async def test_a_job_enqueued_in_a_transaction_that_is_rolled_back_does_not_exist(
    newsroom: Newsroom,
) -> None:
    async with newsroom.ctx.sessions() as session:
        await job_queue.enqueue_sync(session, "charge", "ch_1")
        await session.rollback()
    assert await waiting(newsroom) == []


async def subscribe_to_all_events(room: Newsroom) -> None:
    """Stripe's endpoint asks for every type of event there is."""
    [endpoint] = room.sandbox.account.store.of_kind("webhook_endpoint")
    await room.stripe_owner.v1.webhook_endpoints.update_async(
        endpoint["id"], {"enabled_events": ["*"]}
    )


@pytest.mark.parametrize(("frequency", "events", "most"), [("once", 5, 2), ("monthly", 12, 8)])
async def test_the_burst_of_events_of_one_gift_causes_few_fetches(
    newsroom: Newsroom, frequency: str, events: int, most: int
) -> None:
    await subscribe_to_all_events(newsroom)
    await charged(newsroom, frequency)
    await newsroom.sandbox.advance_to_captures()
    burst = newsroom.sandbox.take_deliveries()
    assert len(burst) >= events
    assert set(await at_once(newsroom, burst)) == {200}
    before = newsroom.stripe_get_count()
    await worker.run_due_jobs(newsroom.ctx)
    assert newsroom.stripe_get_count() - before <= most
    assert await newsroom.count("ledger_entries") == 2
    assert await newsroom.rows("SELECT status FROM contributions") == [("paid",)]


# --- what fails -----------------------------------------------------------------------------------


LENGTHEN_PAUSES = """
    CREATE FUNCTION lengthen() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN NEW.scheduled_at := NEW.scheduled_at + interval ''1 day''; RETURN NEW; END';
    CREATE TRIGGER lengthen BEFORE INSERT ON procrastinate_jobs
        FOR EACH ROW EXECUTE FUNCTION lengthen()
"""


@pytest.fixture
async def long_pauses(database: str) -> None:
    """A day more before each further attempt, so that it comes when the test wants it, and not
    before however slow the machine is.
    """
    async with as_owner(database) as owner:
        await owner.execute(text(LENGTHEN_PAUSES))


@pytest.mark.usefixtures("long_pauses")
async def test_an_object_that_fails_is_tried_again_ever_later_and_in_the_end_a_person_is_called(
    newsroom: Newsroom,
) -> None:
    poison, other = await charged(newsroom), await charged(newsroom)
    fails(newsroom, poison)
    await newsroom.sandbox.advance_to_captures()
    await newsroom.deliver([webhook_event(newsroom, "charge", one) for one in (poison, other)])
    for attempt in range(2, job_queue.MAX_ATTEMPTS + 1):
        await worker.run_due_jobs(newsroom.ctx)
        assert await waiting(newsroom) == [(poison, "todo", attempt, False)]
        [(pause,)] = await newsroom.rows(
            "SELECT CAST(extract(epoch FROM scheduled_at - interval '1 day' - at) AS float8)"
            "  FROM procrastinate_jobs AS job JOIN procrastinate_events AS event"
            "    ON event.job_id = job.id AND type = 'deferred' WHERE status = 'todo'"
        )
        longest = min(2**attempt, 3600)
        assert isinstance(pause, float)
        assert longest / 2 <= pause <= longest
        # nothing waited for it
        assert await newsroom.rows("SELECT stripe_charge_id FROM charges") == [(other,)]
        assert await open_alerts(newsroom) == []
        await the_pause_is_over(newsroom)
    await worker.run_due_jobs(newsroom.ctx)
    assert await waiting(newsroom) == [(poison, "failed", job_queue.MAX_ATTEMPTS, True)]
    assert await open_alerts(newsroom) == [("retries_exhausted", poison)]
    newsroom.sandbox.faults.clear()
    await newsroom.deliver([webhook_event(newsroom, "charge", poison)])
    await worker.run_due_jobs(newsroom.ctx)
    assert await newsroom.count("charges") == 2


@pytest.mark.usefixtures("long_pauses")
async def test_a_newer_webhook_brings_a_waiting_retry_forward_and_a_retry_delays_no_webhook(
    newsroom: Newsroom,
) -> None:
    charge = await charged(newsroom)
    fails(newsroom, charge, times=1)
    await newsroom.deliver([webhook_event(newsroom, "charge", charge)])
    await worker.run_due_jobs(newsroom.ctx)
    assert await waiting(newsroom) == [(charge, "todo", 2, False)]
    await newsroom.deliver([webhook_event(newsroom, "charge", charge)])
    assert await waiting(newsroom) == [(charge, "todo", 2, True)]
    async with newsroom.ctx.sessions.begin() as session:
        await job_queue.enqueue_sync(session, "charge", charge, attempt=7, delay=timedelta(hours=1))
    assert await waiting(newsroom) == [(charge, "todo", 2, True)]
    await worker.run_due_jobs(newsroom.ctx)
    assert await waiting(newsroom) == []
    assert await newsroom.count("charges") == 1


async def test_a_failed_attempt_beside_a_newer_webhook_does_not_block_the_object(
    newsroom: Newsroom,
) -> None:
    charge, faults = await charged(newsroom, "monthly"), newsroom.sandbox.faults
    faults.add("GET", f"/v1/charges/{charge}", "hang_after")
    faults.add("GET", "/v1/invoice_payments", "rate_limited")
    await newsroom.deliver([webhook_event(newsroom, "charge", charge)])
    working = asyncio.create_task(worker.run_due_jobs(newsroom.ctx))
    await faults.wait_until_hanging()
    await newsroom.deliver([webhook_event(newsroom, "charge", charge)])
    faults.release()
    await working
    assert await waiting(newsroom) in ([(charge, "todo", 1, True)], [])
    await worker.run_due_jobs(newsroom.ctx)
    assert await waiting(newsroom) == []
    assert await newsroom.count("charges") == 1


async def test_an_object_that_stripe_does_not_have_is_let_go(newsroom: Newsroom) -> None:
    await newsroom.deliver([webhook_event(newsroom, "charge", "ch_unheardof")])
    await worker.run_due_jobs(newsroom.ctx)
    assert await waiting(newsroom) == []
    assert await open_alerts(newsroom) == []


async def test_a_retry_that_could_not_be_scheduled_is_scheduled_when_the_database_is_back(
    newsroom: Newsroom, database: str
) -> None:
    charge = await charged(newsroom)
    fails(newsroom, charge, times=1)
    await newsroom.deliver([webhook_event(newsroom, "charge", charge)])
    async with as_owner(database) as owner:
        await owner.execute(text(REFUSE_JOBS))
        await worker.run_due_jobs(newsroom.ctx)
        assert await newsroom.count("charges") == 0
        await owner.execute(text("DROP TRIGGER refuse ON procrastinate_jobs"))
    await requeue_abandoned(newsroom)
    await the_pause_is_over(newsroom)
    await worker.run_due_jobs(newsroom.ctx)
    assert await newsroom.count("charges") == 1


# --- who dies -------------------------------------------------------------------------------------


async def abandoned_job(room: Newsroom, *, silent: timedelta = timedelta()) -> str:
    """A worker that took a job and was last heard of so long ago. Returns the job's charge."""
    charge = await charged(room)
    await room.deliver([webhook_event(room, "charge", charge)])
    async with room.ctx.sessions.begin() as session:
        number = await session.scalar(text("SELECT procrastinate_register_worker_v1()"))
        await session.execute(
            text("SELECT id FROM procrastinate_fetch_job_v2(ARRAY['sync'], :worker)"),
            {"worker": number},
        )
        await session.execute(
            text(
                "UPDATE procrastinate_workers"
                "   SET last_heartbeat = now() - make_interval(secs => :silent) WHERE id = :worker"
            ),
            {"worker": number, "silent": silent.total_seconds()},
        )
    return charge


async def requeue_abandoned(room: Newsroom) -> None:
    """What the schedule does every minute."""
    await schedules.requeue_abandoned(room.ctx)


async def test_the_job_of_a_worker_that_died_is_given_back_and_done(newsroom: Newsroom) -> None:
    charge = await abandoned_job(newsroom, silent=timedelta(seconds=31))
    await worker.run_due_jobs(newsroom.ctx)
    assert await waiting(newsroom) == [(charge, "doing", 1, True)]  # its lock is held
    await requeue_abandoned(newsroom)
    assert (charge, "todo", 2, False) in await waiting(newsroom)
    await the_pause_is_over(newsroom)
    await worker.run_due_jobs(newsroom.ctx)
    assert await newsroom.count("charges") == 1
    assert "todo" not in str(await waiting(newsroom))
    assert await open_alerts(newsroom) == []


async def test_the_job_of_a_worker_that_is_gone_without_a_trace_is_given_back(
    newsroom: Newsroom,
) -> None:
    charge = await abandoned_job(newsroom)
    await change(newsroom, "DELETE FROM procrastinate_workers")  # as the engine prunes them
    await requeue_abandoned(newsroom)
    assert (charge, "todo", 2, False) in await waiting(newsroom)


async def test_the_job_of_a_living_worker_is_left_alone(newsroom: Newsroom) -> None:
    charge = await abandoned_job(newsroom, silent=timedelta(seconds=20))
    await requeue_abandoned(newsroom)
    assert await waiting(newsroom) == [(charge, "doing", 1, True)]


async def test_a_job_that_a_living_worker_never_ended_is_given_back_after_half_an_hour(
    newsroom: Newsroom,
) -> None:
    charge = await abandoned_job(newsroom)  # the connection was lost just as it ended, say
    for minutes, status in ((29, "doing"), (31, "todo")):
        await change(
            newsroom,
            "UPDATE procrastinate_events SET at = now() - make_interval(mins => :minutes)"
            " WHERE type = 'started'",
            minutes=minutes,
        )
        await requeue_abandoned(newsroom)
        [found] = [row for row in await waiting(newsroom) if row[1] in ("todo", "doing")]
        assert found[:2] == (charge, status)
    await the_pause_is_over(newsroom)
    await worker.run_due_jobs(newsroom.ctx)
    assert await newsroom.count("charges") == 1


async def test_a_job_is_given_back_once_however_many_rescuers_come(newsroom: Newsroom) -> None:
    charges = {await abandoned_job(newsroom, silent=timedelta(minutes=1)) for _ in range(5)}
    await asyncio.gather(*(requeue_abandoned(newsroom) for _ in range(8)))
    found = [row for row in await waiting(newsroom) if row[1] in ("todo", "doing")]
    assert found == sorted((charge, "todo", 2, False) for charge in charges)


async def test_a_rescuer_that_looked_too_early_takes_nothing_from_a_living_worker(
    newsroom: Newsroom, database: str
) -> None:
    charge = await abandoned_job(newsroom, silent=timedelta(minutes=1))
    async with as_owner(database) as owner:
        await owner.execute(text("BEGIN"))
        await owner.execute(text("SELECT 1 FROM procrastinate_jobs FOR UPDATE"))
        rescuers = [asyncio.create_task(requeue_abandoned(newsroom)) for _ in range(3)]
        # each has seen the dead worker's job and reaches for it
        await until(newsroom, BLOCKED, [(3,)])
        # Meanwhile another was faster, and a living worker has taken it up.
        await owner.execute(
            text(
                "UPDATE procrastinate_jobs"
                "   SET worker_id = (SELECT procrastinate_register_worker_v1())"
            )
        )
        await owner.execute(text("COMMIT"))
    await asyncio.gather(*rescuers)
    assert await waiting(newsroom) == [(charge, "doing", 1, True)]


async def test_a_dead_workers_job_beside_a_newer_webhook_does_not_block_the_object(
    newsroom: Newsroom,
) -> None:
    charge = await abandoned_job(newsroom, silent=timedelta(minutes=1))
    await newsroom.deliver([webhook_event(newsroom, "charge", charge)])
    await requeue_abandoned(newsroom)
    await worker.run_due_jobs(newsroom.ctx)
    assert await newsroom.count("charges") == 1
    assert {"todo", "doing"}.isdisjoint(status for _, status, _, _ in await waiting(newsroom))


async def test_a_worker_that_was_only_silent_finishes_no_newer_job_when_it_ends(
    newsroom: Newsroom,
) -> None:
    charge = await abandoned_job(newsroom, silent=timedelta(minutes=1))
    [(job,)] = await newsroom.rows("SELECT id FROM procrastinate_jobs WHERE status = 'doing'")
    await requeue_abandoned(newsroom)
    await newsroom.deliver(
        [webhook_event(newsroom, "charge", charge)]
    )  # newer than what it has fetched
    with pytest.raises(DBAPIError, match="not found"):
        await change(
            newsroom, "SELECT procrastinate_finish_job_v1(:job, 'succeeded', true)", job=job
        )
    assert (charge, "todo", 2, True) in await waiting(newsroom)


async def test_an_object_that_kills_every_worker_is_given_up_with_an_alert(
    newsroom: Newsroom,
) -> None:
    charge = await abandoned_job(newsroom, silent=timedelta(minutes=1))
    await change(
        newsroom,
        "UPDATE procrastinate_jobs SET args = args || jsonb_build_object('attempt', :last ::int)"
        " WHERE status = 'doing'",
        last=job_queue.MAX_ATTEMPTS,
    )
    await requeue_abandoned(newsroom)
    assert await waiting(newsroom) == [(charge, "failed", job_queue.MAX_ATTEMPTS, True)]
    assert await open_alerts(newsroom) == [("retries_exhausted", charge)]
    await requeue_abandoned(newsroom)
    assert await waiting(newsroom) == [(charge, "failed", job_queue.MAX_ATTEMPTS, True)]


async def test_a_worker_asked_to_stop_leaves_what_it_could_not_finish_to_the_next(
    newsroom: Newsroom,
) -> None:
    charge = await charged(newsroom)
    newsroom.sandbox.faults.add("GET", f"/v1/charges/{charge}", "hang_before")
    await newsroom.deliver([webhook_event(newsroom, "charge", charge)])
    async with worker.open_engine(newsroom.ctx) as engine:
        working = asyncio.create_task(
            engine.run_worker_async(
                queues=[job_queue.SYNC_QUEUE],
                shutdown_graceful_timeout=0,
                install_signal_handlers=False,
                additional_context={"ctx": newsroom.ctx},
            )
        )
        await newsroom.sandbox.faults.wait_until_hanging()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    newsroom.sandbox.faults.clear()
    assert (charge, "todo", 2, False) in await waiting(newsroom)
    await the_pause_is_over(newsroom)
    await worker.run_due_jobs(newsroom.ctx)
    assert await newsroom.count("charges") == 1


async def with_its_hands_full(room: Newsroom, owner: AsyncConnection) -> None:
    """A worker that has held as many connections as it does jobs at once, and all is done."""
    charges, faults = [await charged(room) for _ in range(worker.CONCURRENCY)], room.sandbox.faults
    faults.add("GET", "/v1/charges/", "hang_before", worker.CONCURRENCY)
    await at_once(room, [webhook_event(room, "charge", charge) for charge in charges])
    async with asyncio.timeout(REAL_TIMEOUT_SECONDS):
        while faults.pending:
            await waiting(room)
    await owner.execute(text("BEGIN"))
    await owner.execute(text("LOCK TABLE procrastinate_jobs IN EXCLUSIVE MODE"))
    faults.release()  # each is done, and none can say so yet
    await until(room, f"SELECT ({BLOCKED}) >= {worker.CONCURRENCY}", [(True,)])
    await owner.execute(text("COMMIT"))
    for charge in charges:
        await until(room, DONE, [(True, 0)], charge=charge)


async def test_a_worker_that_loses_its_database_is_back_at_its_work_at_once(
    newsroom: Newsroom, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "psycopg.pool")
    stop = asyncio.Event()
    working = asyncio.create_task(worker.run_until_stopped(newsroom.ctx, stop=stop))
    async with as_owner(database) as owner:
        await with_its_hands_full(newsroom, owner)
        await owner.execute(text(CUT_THE_OTHERS))
    later = await charged(newsroom)
    await newsroom.deliver([webhook_event(newsroom, "charge", later)])
    await until(newsroom, DONE, [(True, 0)], charge=later)
    # The pool waits after each that it finds dead, each time twice as long.
    found_dead = [line for line in caplog.messages if "connection failed check" in line]
    assert 1 <= len(found_dead) <= 2
    stop.set()
    await working


# --- the engine -----------------------------------------------------------------------------------


async def test_the_engine_is_the_one_that_our_statement_leans_on(newsroom: Newsroom) -> None:
    indexes = await newsroom.rows(
        "SELECT indexdef FROM pg_indexes WHERE tablename = 'procrastinate_jobs'"
        " AND indexdef LIKE 'CREATE UNIQUE%lock%' ORDER BY 1"
    )
    assert [str(definition).partition(" ON ")[2] for (definition,) in indexes] == [
        f"public.procrastinate_jobs USING btree ({column})"
        f" WHERE (status = '{state}'::procrastinate_job_status)"
        for column, state in (("lock", "doing"), ("queueing_lock", "todo"))
    ]
    written = ("queue_name", "task_name", "lock", "queueing_lock", "args", "scheduled_at")
    columns = await newsroom.rows(
        "SELECT column_name, data_type, is_nullable = 'NO' AND column_default IS NULL"
        "  FROM information_schema.columns WHERE table_name = 'procrastinate_jobs'"
    )
    types = {str(name): kind for name, kind, _ in columns}
    assert {types[name] for name in written} == {
        "character varying",
        "text",
        "jsonb",
        "timestamp with time zone",
    }
    assert {name for name, _, needed in columns if needed} <= set(written)
    states = await newsroom.rows("SELECT unnest(enum_range(NULL::procrastinate_job_status))::text")
    assert [state for (state,) in states] == [
        "todo",
        "doing",
        "succeeded",
        "failed",
        "cancelled",
        "aborting",
        "aborted",
    ]


async def test_to_fetch_a_job_reads_few_pages_however_many_jobs_wait(newsroom: Newsroom) -> None:
    pages_sql = text(
        "SELECT sum(pg_stat_get_xact_blocks_fetched(indexrelid)) FROM pg_index"
        " WHERE indrelid = CAST('procrastinate_jobs' AS regclass)"
    )
    async with newsroom.ctx.sessions() as session:  # nothing is committed
        await session.execute(
            text(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, lock)"
                " SELECT 'sync', 'sync', 'charge:ch_' || n FROM generate_series(1, 20000) AS n"
            )
        )
        before = await session.scalar(pages_sql)
        job = text("SELECT lock FROM procrastinate_fetch_job_v2(ARRAY['sync'], NULL)")
        assert await session.scalar(job) == "charge:ch_1"
        assert 0 < await session.scalar(pages_sql) - before < 60


async def test_the_engines_own_call_for_a_job_makes_the_same_row(newsroom: Newsroom) -> None:
    await newsroom.deliver([webhook_event(newsroom, "charge", "ch_1")])
    async with worker.open_engine(newsroom.ctx) as engine:
        task = engine.tasks[job_queue.SYNC_TASK]
        await task.configure(lock="charge:ch_2", queueing_lock="charge:ch_2").defer_async(
            object_type="charge", object_id="ch_2", attempt=1
        )
    ours, theirs = await newsroom.rows(
        "SELECT queue_name, task_name, priority, replace(lock, 'ch_2', 'ch_1'),"
        "       replace(queueing_lock, 'ch_2', 'ch_1'), CAST(status AS text), scheduled_at,"
        "       attempts, abort_requested, worker_id,"
        "       CAST(replace(CAST(args AS text), 'ch_2', 'ch_1') AS jsonb)"
        "  FROM procrastinate_jobs ORDER BY id"
    )
    assert ours == theirs


async def test_jobs_that_ended_are_forgotten_after_a_week_but_not_those_for_a_person(
    newsroom: Newsroom,
) -> None:
    ended = ("succeeded", "cancelled", "aborted", "failed")
    for queue in ("sync", "schedule"):
        for age in (6, 8):
            for status in ended:
                await change(
                    newsroom,
                    "WITH job AS (INSERT INTO procrastinate_jobs"
                    "  (queue_name, task_name, lock, status) VALUES (:queue, 'x', :lock,"
                    "   CAST(:status AS procrastinate_job_status)) RETURNING id)"
                    " INSERT INTO procrastinate_events (job_id, type, at)"
                    " SELECT id, 'deferred', now() - make_interval(days => :age) FROM job",
                    queue=queue,
                    lock=f"{queue} {age} {status}",
                    status=status,
                    age=age,
                )
    await jobs_pruned(newsroom.ctx)
    left = await newsroom.rows("SELECT lock FROM procrastinate_jobs ORDER BY 1")
    young = {f"{queue} 6 {status}" for queue in ("sync", "schedule") for status in ended}
    assert {lock for (lock,) in left} == young | {"sync 8 failed"}


async def jobs_pruned(ctx: Context) -> None:
    async with ctx.sessions.begin() as session:
        await job_queue.prune(session)


# --- the owner of the database --------------------------------------------------------------------

REFUSE_JOBS = """
    CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''no space left on device''; END';
    CREATE TRIGGER refuse BEFORE INSERT ON procrastinate_jobs EXECUTE FUNCTION refuse()
"""
CUT_THE_OTHERS = """
    SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@asynccontextmanager
async def as_owner(database: str) -> AsyncIterator[AsyncConnection]:
    """A connection that may do anything, each statement at once."""
    engine = db.create_engine(database, role=None)
    try:
        async with engine.connect() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")
    finally:
        await engine.dispose()


DONE = """
    SELECT EXISTS (SELECT 1 FROM charges WHERE stripe_charge_id = :charge),
           (SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))
"""
BLOCKED = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
"""


async def until(
    room: Newsroom, query: str, expected: list[tuple[object, ...]], **params: object
) -> None:
    """Ask until it is so."""
    try:
        async with asyncio.timeout(REAL_TIMEOUT_SECONDS):
            while (found := await room.rows(query, **params)) != expected:
                pass
    except TimeoutError:
        raise AssertionError(f"it is {found} and was to be {expected}") from None
