"""`payments jobs`: what failed is listed, and the worker tries it again."""

import json

import pytest
from sqlalchemy import text

from payments.infra import job_queue
from tests.support import command_line
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio


async def test_what_failed_is_listed_and_tried_again(newsroom: Newsroom) -> None:
    await newsroom.gives(500)
    await newsroom.sandbox.advance_to_captures()
    (charge,) = newsroom.sandbox.account.store.of_kind("charge")
    newsroom.sandbox.faults.add("GET", f"/v1/charges/{charge['id']}", "status_500", 10)
    async with newsroom.ctx.sessions.begin() as session:
        await job_queue.enqueue_sync(
            session, "charge", charge["id"], attempt=job_queue.MAX_ATTEMPTS
        )
    await newsroom.runs_due_jobs()
    newsroom.sandbox.faults.clear()
    listed = await command_line.run(newsroom.settings, "jobs", "list", "--json")
    assert json.loads(listed.stdout) == [{"job": "charge", "id": charge["id"]}]
    unknown = await command_line.run(newsroom.settings, "jobs", "retry", "ch_unheardof")
    assert (unknown.exit_code, "nothing of it has failed" in unknown.stderr) == (1, True)
    assert (await command_line.run(newsroom.settings, "jobs", "retry")).exit_code == 2
    retried = await command_line.run(newsroom.settings, "jobs", "retry", "--all")
    assert (retried.exit_code, "1 are tried again" in retried.stderr) == (0, True)
    await newsroom.runs_due_jobs()
    assert await newsroom.count("charges") == 1
    assert (await command_line.run(newsroom.settings, "jobs", "list")).stdout == b""
    open_alerts = "SELECT kind FROM alerts WHERE closed_at IS NULL"
    assert await newsroom.rows(open_alerts) == []
    # A colleague closes its alert first, and then it succeeds by itself.
    newsroom.sandbox.faults.add("GET", f"/v1/charges/{charge['id']}", "status_500", 10)
    for attempt in (job_queue.MAX_ATTEMPTS, 1):
        async with newsroom.ctx.sessions.begin() as session:
            await session.execute(text("UPDATE alerts SET closed_at = opened_at"))
            await job_queue.enqueue_sync(session, "charge", charge["id"], attempt=attempt)
        await newsroom.runs_due_jobs()
        listed = await command_line.run(newsroom.settings, "jobs", "list", "--json")
        assert len(json.loads(listed.stdout)) == int(attempt == job_queue.MAX_ATTEMPTS)
        newsroom.sandbox.faults.clear()
    assert await newsroom.rows(open_alerts) == []
