"""The job queue: a sync of an object is enqueued in the transaction of the row that causes it.

The engine is procrastinate, on the same PostgreSQL. A sync of an object is one job under that
object's lock: it never runs twice at once, and requests that come while one is waiting fold into
it. A request that comes while the job runs enqueues one more, so that nothing newer than the fetch
is missed.

ENQUEUE_SQL writes procrastinate's table itself. Its own call raises when a request folds, and that
would roll back the webhook's row: an event that was answered with 200 would be lost. The statement
needs one partial unique index of the engine; tests/infra/test_queue.py notices when that changes. A
failed attempt is enqueued again by the same statement, because the engine's own retry fails on the
same index when a newer request is waiting.
"""

import random
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

SYNC_QUEUE = "sync"
SYNC_TASK = "sync"
SCHEDULE_QUEUE = "schedule"
MAX_ATTEMPTS = 12
MAX_BACKOFF = timedelta(hours=1)
MAX_JOB_DURATION = timedelta(minutes=30)
BROUGHT_AT_ONCE, BROUGHT_INTERVAL = 100, timedelta(seconds=10)  # of jobs that were postponed
AFTER_OTHERS_PREFIX = "after_others."  # of kinds of jobs that wait until no other job is waiting

# One row of `sync_requests(object_type, object_id, attempt, run_at)` is one job.
ENQUEUE_SQL = f"""
    INSERT INTO procrastinate_jobs
           (queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at)
    SELECT DISTINCT ON (object_type, object_id)
           '{SYNC_QUEUE}',
           '{SYNC_TASK}',
           CASE WHEN starts_with(object_type, '{AFTER_OTHERS_PREFIX}') THEN -1 ELSE 0 END,
           object_type || ':' || object_id,
           object_type || ':' || object_id,
           jsonb_build_object(
               'object_type', object_type, 'object_id', object_id, 'attempt', attempt),
           run_at
      FROM sync_requests
     ORDER BY object_type, object_id
        ON CONFLICT (queueing_lock) WHERE status = 'todo'
        DO UPDATE SET scheduled_at = NULL
         WHERE procrastinate_jobs.scheduled_at IS NOT NULL
           AND EXCLUDED.scheduled_at IS NULL
"""  # noqa: S608 - constants of this module
_ENQUEUE_ONE_SQL = text(f"""
    WITH sync_requests AS (
        SELECT CAST(:object_type AS text) AS object_type,
               CAST(:object_id AS text) AS object_id,
               CAST(:attempt AS int) AS attempt,
               CASE WHEN CAST(:delay AS float8) > 0
                    THEN now() + make_interval(secs => CAST(:delay AS float8))
               END AS run_at
    )
    {ENQUEUE_SQL}
""")


async def enqueue_sync(
    session: AsyncSession,
    object_type: str,
    object_id: str,
    *,
    attempt: int = 1,
    delay: timedelta = timedelta(),
) -> None:
    """Enqueue a sync of one object, at once or after a delay, if the transaction commits.

    `object_type` is Stripe's (`charge`, `checkout.session`) or a kind of our own jobs. A sync that
    waits for its time is brought forward by one without a delay, never put back. A type that begins
    with `AFTER_OTHERS_PREFIX` runs when no other job that is due is waiting: what many objects
    cause is then done once for all of them.
    """
    await session.execute(
        _ENQUEUE_ONE_SQL,
        {
            "object_type": object_type,
            "object_id": object_id,
            "attempt": attempt,
            "delay": delay.total_seconds(),
        },
    )


def backoff(
    attempt: int,
    *,
    first: timedelta = timedelta(seconds=2),
    longest: timedelta = MAX_BACKOFF,
) -> timedelta:
    """Return the wait before an attempt: `first`, doubled each time, capped, with jitter."""
    wait = min(first * float(1 << min(attempt - 1, 30)), longest)
    return wait * random.uniform(0.5, 1)  # noqa: S311 - spreads load, hides nothing


async def retry_later(
    session: AsyncSession, object_type: str, object_id: str, *, attempt: int
) -> bool:
    """Enqueue the attempt after this one with backoff. Returns False when none is left."""
    if attempt >= MAX_ATTEMPTS:
        return False
    delay = backoff(attempt + 1)
    await enqueue_sync(session, object_type, object_id, attempt=attempt + 1, delay=delay)
    return True


async def postpone(
    session: AsyncSession, object_type: str, object_id: str, *, attempt: int, delay: timedelta
) -> None:
    """Enqueue the same attempt for later; `bring_forward` may make it due before.

    One that waits already, for another reason, is not put back and not brought forward.
    """
    await enqueue_sync(session, object_type, object_id, attempt=attempt, delay=delay)
    await session.execute(
        text("""
            UPDATE procrastinate_jobs
               SET args = args || '{"is_postponed": true}'
             WHERE queueing_lock = :lock
               AND status = 'todo'
               AND scheduled_at = now() + make_interval(secs => CAST(:delay AS float8))
        """),
        {"lock": f"{object_type}:{object_id}", "delay": delay.total_seconds()},
    )


async def bring_forward(session: AsyncSession) -> None:
    """Make what was postponed due: `BROUGHT_AT_ONCE` now, and as many again every few seconds.

    What waits for its own time goes on waiting for it.
    """
    await session.execute(
        text("""
            WITH postponed AS (
                SELECT id, row_number() OVER (ORDER BY scheduled_at, id) - 1 AS place
                  FROM procrastinate_jobs
                 WHERE queue_name = :sync_queue
                   AND status = 'todo'
                   AND scheduled_at > now()
                   AND args ->> 'is_postponed' = 'true'
            )
            UPDATE procrastinate_jobs AS job
               SET scheduled_at = least(
                       job.scheduled_at,
                       now() + (place / :at_once) * make_interval(secs => :interval))
              FROM postponed
             WHERE job.id = postponed.id
        """),
        {
            "sync_queue": SYNC_QUEUE,
            "at_once": BROUGHT_AT_ONCE,
            "interval": BROUGHT_INTERVAL.total_seconds(),
        },
    )


async def enqueue_schedule(session: AsyncSession, name: str) -> None:
    """Enqueue one run of a schedule besides its times; one that waits already is the same."""
    await session.execute(
        text("""
            INSERT INTO procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args)
            VALUES (:queue, CAST(:name AS text), CAST(:name AS text), CAST(:name AS text),
                    jsonb_build_object('timestamp', CAST(extract(epoch FROM now()) AS bigint)))
                ON CONFLICT (queueing_lock) WHERE status = 'todo' DO NOTHING
        """),
        {"queue": SCHEDULE_QUEUE, "name": name},
    )


_SET_FAILED_ASIDE_SQL = text("""
    UPDATE procrastinate_jobs
       SET status = 'aborted'
     WHERE queue_name = :sync_queue
       AND status = 'failed'
       AND args ->> 'object_id' = :object_id
       AND (CAST(:object_type AS text) IS NULL OR args ->> 'object_type' = :object_type)
 RETURNING args ->> 'object_type'
""")


async def has_failed(session: AsyncSession, object_type: str, object_id: str) -> bool:
    """Whether a sync of an object has no attempt left, and none has succeeded since."""
    query = text("""
        SELECT EXISTS (SELECT FROM procrastinate_jobs
                        WHERE lock = :lock AND queue_name = :sync_queue AND status = 'failed')
    """)
    lock = f"{object_type}:{object_id}"
    return bool(await session.scalar(query, {"lock": lock, "sync_queue": SYNC_QUEUE}))


async def set_failed_aside(
    session: AsyncSession, object_id: str, *, object_type: str | None = None
) -> set[str]:
    """Take the failed syncs of an object, or those of one type of job about it, off the list of
    what failed. Returns their types.
    """
    failed = await session.scalars(
        _SET_FAILED_ASIDE_SQL,
        {"sync_queue": SYNC_QUEUE, "object_id": object_id, "object_type": object_type},
    )
    return {str(one) for one in failed}


async def retry_failed(
    session: AsyncSession, object_id: str, *, object_type: str | None = None, attempt: int = 1
) -> int:
    """Enqueue anew, from an attempt on, the failed syncs of an object. Returns how many.

    With `object_type` only that, and even where no sync of it has failed.
    """
    types = await set_failed_aside(session, object_id, object_type=object_type)
    if object_type is not None:
        types.add(object_type)
    for one in sorted(types):
        await enqueue_sync(session, one, object_id, attempt=attempt)
    return len(types)


async def forget(session: AsyncSession, object_ids: Sequence[str]) -> None:
    """Delete the syncs of these objects, but for those that run."""
    await session.execute(
        text("""
            DELETE FROM procrastinate_jobs
             WHERE queue_name = :sync_queue
               AND status <> 'doing'
               AND args ->> 'object_id' = ANY(:ids)
        """),
        {"sync_queue": SYNC_QUEUE, "ids": list(object_ids)},
    )


async def forget_failed(session: AsyncSession, object_type: str) -> list[str]:
    """Delete the syncs of one type that have no attempt left, or one since they failed. Returns
    what they are about.
    """
    failed = text("""
        DELETE FROM procrastinate_jobs
         WHERE queue_name = :sync_queue
           AND status <> 'doing'
           AND args ->> 'object_type' = :type
           AND CAST(args ->> 'attempt' AS int) >= :attempts
     RETURNING args ->> 'object_id'
    """)
    values = {"sync_queue": SYNC_QUEUE, "type": object_type, "attempts": MAX_ATTEMPTS}
    return list(await session.scalars(failed, values))


async def forget_all(session: AsyncSession, *, but: Sequence[str] = ()) -> None:
    """Delete every sync, but for those that run and those of some kinds that no schedule enqueues
    again. Of the others the schedules find what is still to be done.
    """
    await session.execute(
        text("""
            DELETE FROM procrastinate_jobs
             WHERE queue_name = :sync_queue
               AND status <> 'doing'
               AND coalesce(args ->> 'object_type', '') <> ALL(:but)
        """),
        {"sync_queue": SYNC_QUEUE, "but": list(but)},
    )


async def list_failed(session: AsyncSession) -> list[tuple[str, str]]:
    """Return type and object id of the syncs that have no attempt left, oldest first."""
    rows = await session.execute(
        text("""
            SELECT args ->> 'object_type', args ->> 'object_id'
              FROM procrastinate_jobs
             WHERE queue_name = :sync_queue AND status = 'failed'
               AND CAST(args ->> 'attempt' AS int) >= :max_attempts
             ORDER BY id
        """),
        {"sync_queue": SYNC_QUEUE, "max_attempts": MAX_ATTEMPTS},
    )
    return list(dict.fromkeys((str(type_), str(id_)) for type_, id_ in rows))


# The jobs of workers that went silent; those that a living worker could not finish, because it lost
# its connection at that moment; and those that failed when their retry could not be enqueued.
_ABANDONED_SQL = text("""
    SELECT job.id, job.worker_id
      FROM procrastinate_jobs AS job
      LEFT JOIN procrastinate_workers AS worker ON worker.id = job.worker_id
     WHERE (job.status = 'doing'
            AND (worker.id IS NULL
                 OR worker.last_heartbeat < now() - make_interval(secs => :heartbeat_timeout)
                 OR EXISTS (
                     SELECT 1
                       FROM procrastinate_events AS event
                      WHERE event.job_id = job.id
                        AND event.type = 'started'
                        AND event.at < now() - make_interval(secs => :max_duration)
                 )))
        OR (job.status = 'failed'
            AND job.queue_name = :sync_queue
            AND CAST(job.args ->> 'attempt' AS int) < :max_attempts)
     ORDER BY job.id
     LIMIT 100
""")
# The worker is part of the claim: a job that a living worker has since taken is not touched. The
# job ends, and its object is enqueued again. If it were put back instead, a worker that was silent
# but not dead would, on finishing it, also finish what was folded into it since.
_CLAIM_SQL = text("""
    UPDATE procrastinate_jobs AS job
       SET status = CAST(
               CASE WHEN job.queue_name = :sync_queue
                     AND CAST(job.args ->> 'attempt' AS int) >= :max_attempts
                    THEN 'failed'
                    ELSE 'aborted'
               END AS procrastinate_job_status),
           worker_id = NULL
     WHERE job.id = :job_id
       AND job.status IN ('doing', 'failed')
       AND job.worker_id IS NOT DISTINCT FROM :worker_id
 RETURNING job.queue_name, job.args
""")


async def requeue_abandoned(
    session: AsyncSession, *, heartbeat_timeout: timedelta = timedelta(seconds=30)
) -> list[tuple[str, str]]:
    """Enqueue the syncs of dead workers again. Returns type and id of those with no attempt left.

    At most 100 jobs at once. A job of another queue only ends: its schedule starts the next one.
    """
    common = {"sync_queue": SYNC_QUEUE, "max_attempts": MAX_ATTEMPTS}
    limits = {
        "heartbeat_timeout": heartbeat_timeout.total_seconds(),
        "max_duration": MAX_JOB_DURATION.total_seconds(),
    }
    abandoned = await session.execute(_ABANDONED_SQL, common | limits)
    exhausted = []
    for job_id, worker_id in abandoned.all():
        claimed = await session.execute(
            _CLAIM_SQL, common | {"job_id": job_id, "worker_id": worker_id}
        )
        for queue, args in claimed:
            if queue != SYNC_QUEUE:
                continue
            job = str(args["object_type"]), str(args["object_id"])
            if not await retry_later(session, *job, attempt=args["attempt"]):
                exhausted.append(job)
    return exhausted


_DUE_SQL = text("""
    SELECT id
      FROM procrastinate_jobs
     WHERE status = 'todo'
       AND (scheduled_at IS NULL OR scheduled_at <= now())
     ORDER BY id
""")


async def due_job_ids(session: AsyncSession) -> list[int]:
    """Return the jobs that nobody has begun although it is their time, the oldest first."""
    return list(await session.scalars(_DUE_SQL))


_PRUNE_SQL = text("""
    DELETE FROM procrastinate_jobs
     WHERE (status IN ('succeeded', 'cancelled', 'aborted')
            OR (status = 'failed' AND queue_name <> :sync_queue))
       AND id NOT IN (
           SELECT job_id
             FROM procrastinate_events
            WHERE at > now() - make_interval(secs => :retention)
       )
""")


async def prune(session: AsyncSession, *, retention: timedelta = timedelta(days=7)) -> None:
    """Delete jobs that ended before the retention, except failed syncs, which are for a person."""
    await session.execute(
        _PRUNE_SQL, {"retention": retention.total_seconds(), "sync_queue": SYNC_QUEUE}
    )
