"""Jobs: work that is promised in the same transaction as the row that causes it.

The engine is procrastinate, on our own PostgreSQL. A bell for an object is one job with that
object's lock: it never runs twice at once, and bells that ring while one is waiting fold into it.
A bell that rings while it runs queues one more, so nothing newer than the fetch is missed.

The statement below writes the engine's table itself, because the engine's own call raises on a
folded bell and that error would take the webhook's row down with it: an event answered 200 and
lost. It leans on one partial unique index of the engine; `tests/infra/test_queue.py` notices when that
changes. A failed attempt is rung anew by the same statement and not by the engine's retry, which
breaks on the same index when a newer bell is waiting.
"""

import random
from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

SYNC_QUEUE = "sync"
SYNC_TASK = "sync"
MAX_ATTEMPTS = 12
MAX_BACKOFF = timedelta(hours=1)
MAX_JOB_DURATION = timedelta(minutes=30)

# One row of `sync_requests(object_type, object_id, attempt, run_at)` is one job.
ENQUEUE_SQL = f"""
    INSERT INTO procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args, scheduled_at)
    SELECT DISTINCT ON (object_type, object_id)
           '{SYNC_QUEUE}', '{SYNC_TASK}', object_type || ':' || object_id, object_type || ':' || object_id,
           jsonb_build_object(
               'object_type', object_type, 'object_id', object_id, 'attempt', attempt),
           run_at
      FROM sync_requests
     ORDER BY object_type, object_id
        ON CONFLICT (queueing_lock) WHERE status = 'todo'
        DO UPDATE SET scheduled_at = NULL
         WHERE procrastinate_jobs.scheduled_at IS NOT NULL AND EXCLUDED.scheduled_at IS NULL
"""  # noqa: S608 - two constants of this module
_ENQUEUE_ONE_SQL = text(
    """
    WITH sync_requests AS (
        SELECT CAST(:object_type AS text) AS object_type, CAST(:object_id AS text) AS object_id,
               CAST(:attempt AS int) AS attempt,
               CASE WHEN CAST(:wait AS float8) > 0
                    THEN now() + make_interval(secs => CAST(:wait AS float8)) END AS run_at
    )"""
    + ENQUEUE_SQL
)


async def enqueue_sync(
    session: AsyncSession,
    object_type: str,
    object_id: str,
    *,
    attempt: int = 1,
    delay: timedelta = timedelta(),
) -> None:
    """Ask for one object to be synced, at once or after `wait`, if this transaction commits."""
    await session.execute(
        _ENQUEUE_ONE_SQL,
        {
            "object_type": object_type,
            "object_id": object_id,
            "attempt": attempt,
            "wait": delay.total_seconds(),
        },
    )


def backoff(attempt: int) -> timedelta:
    """How long to wait before this attempt: doubling, capped, with jitter."""
    longest = min(timedelta(seconds=2**attempt), MAX_BACKOFF)
    return longest * random.uniform(0.5, 1)  # noqa: S311 - spreads load, hides nothing


async def retry_later(
    session: AsyncSession, object_type: str, object_id: str, *, attempt: int
) -> bool:
    """Promise the attempt after this one, later each time. Gives whether there is one left."""
    if attempt >= MAX_ATTEMPTS:
        return False
    pause = backoff(attempt + 1)
    await enqueue_sync(session, object_type, object_id, attempt=attempt + 1, delay=pause)
    return True


# The jobs of silent workers; those that a living worker could not end, because it lost a connection
# at that moment; and those that failed when their next attempt could not be promised.
_ABANDONED_SQL = """
    SELECT job.id, job.worker_id
      FROM procrastinate_jobs AS job
      LEFT JOIN procrastinate_workers AS worker ON worker.id = job.worker_id
     WHERE (job.status = 'doing' AND (worker.id IS NULL
            OR worker.last_heartbeat < now() - make_interval(secs => :silence)
            OR EXISTS (SELECT 1 FROM procrastinate_events AS event
                        WHERE event.job_id = job.id AND event.type = 'started'
                          AND event.at < now() - make_interval(secs => :longest))))
        OR (job.status = 'failed' AND job.queue_name = :ours
            AND CAST(job.args ->> 'attempt' AS int) < :attempts)
     ORDER BY job.id
     LIMIT 100
"""
# The owner is part of the claim: a job that a living worker has since picked up is not touched.
# The job ends and its object is rung for anew. Were it only put back, a worker that was silent and
# not dead would, in finishing it, take along every bell that has folded into it since.
_CLAIM_SQL = """
    UPDATE procrastinate_jobs AS job
       SET status = CAST(
               CASE WHEN job.queue_name = :ours AND CAST(job.args ->> 'attempt' AS int) >= :attempts
                    THEN 'failed' ELSE 'aborted' END AS procrastinate_job_status),
           worker_id = NULL
     WHERE job.id = :id AND job.status IN ('doing', 'failed')
       AND job.worker_id IS NOT DISTINCT FROM :owner
 RETURNING job.queue_name, job.args
"""


async def requeue_abandoned(
    session: AsyncSession, *, heartbeat_timeout: timedelta = timedelta(seconds=30)
) -> list[str]:
    """Ring anew for the objects of workers that have died. Gives those with no attempt left."""
    fixed = {"ours": SYNC_QUEUE, "attempts": MAX_ATTEMPTS}
    patience = {
        "silence": heartbeat_timeout.total_seconds(),
        "longest": MAX_JOB_DURATION.total_seconds(),
    }
    stalled = await session.execute(text(_ABANDONED_SQL), fixed | patience)
    given_up = []
    for job_id, owner in stalled.all():
        claimed = await session.execute(text(_CLAIM_SQL), fixed | {"id": job_id, "owner": owner})
        for queue, args in claimed:
            # a schedule comes round again by itself
            if queue == SYNC_QUEUE and not await retry_later(session, **args):
                given_up.append(str(args["object_id"]))
    return given_up


async def prune(session: AsyncSession, *, retention: timedelta = timedelta(days=7)) -> None:
    """Remove jobs that ended long ago, except syncs that failed: those are for a person."""
    await session.execute(
        text(
            "DELETE FROM procrastinate_jobs"
            " WHERE (status IN ('succeeded', 'cancelled', 'aborted')"
            "        OR (status = 'failed' AND queue_name <> :ours))"
            "   AND id NOT IN (SELECT job_id FROM procrastinate_events"
            "                   WHERE at > now() - make_interval(secs => :keep))"
        ),
        {"keep": retention.total_seconds(), "ours": SYNC_QUEUE},
    )


async def job_counts(session: AsyncSession) -> Mapping[str, int]:
    """How many jobs are in each state."""
    rows = await session.execute(
        text("SELECT CAST(status AS text), count(*) FROM procrastinate_jobs GROUP BY 1 ORDER BY 1")
    )
    return {str(status): int(count) for status, count in rows}
