"""The schedules: each has its name and times, and may run twice or by two workers."""

from datetime import timedelta

import pytest
from procrastinate.tasks import Task

from payments.infra import job_queue
from payments.ops import worker
from payments.ops.schedules import SCHEDULES, Schedule
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
def test_every_schedule_is_registered_once_with_its_times(schedule: Schedule) -> None:
    task = worker.queue_app.tasks[schedule.name]
    assert isinstance(task, Task)
    assert (task.queue, task.queueing_lock) == (job_queue.SCHEDULE_QUEUE, schedule.name)
    assert task.lock == (schedule.name if schedule.exclusive else None)
    registered = worker.queue_app.periodic_registry.periodic_tasks.values()
    assert [entry.cron for entry in registered if entry.task is task] == [schedule.cron]


async def test_every_schedule_run_twice_leaves_what_once_leaves(newsroom: Newsroom) -> None:
    await newsroom.gives(500, "monthly")
    await newsroom.sandbox.advance_to_captures()
    newsroom.sandbox.take_deliveries()  # lost: only the schedules can find it
    await newsroom.advances_time(timedelta(minutes=20))
    for _ in range(3):
        for schedule in SCHEDULES:
            await schedule.task(newsroom.ctx)
            await newsroom.runs_due_jobs()
    assert await newsroom.rows("SELECT status, amount FROM contributions") == [("paid", 500)]
    assert await newsroom.count("subscriptions") == await newsroom.count("charges") == 1
    assert await newsroom.rows("SELECT kind FROM alerts") == []
