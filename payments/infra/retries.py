"""Doing once more what failed: a job without an attempt left, one object of many, a schedule.

The alert stays open until what failed has succeeded.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from payments.infra import alerts, job_queue
from payments.infra.alerts import Alert, AlertKind

SCHEDULE_PREFIX = "schedule:"  # of an alert's `job` that is no kind of job
# The schedules that look once more at what these alerts say.
SCHEDULE_OF_KIND: Mapping[AlertKind, str] = {
    AlertKind.STRIPE_UNAVAILABLE: "resume_after_outage",
    AlertKind.STRIPE_ROUTE_UNAVAILABLE: "resume_after_outage",
    AlertKind.STRIPE_KEY_REFUSED: "resume_after_outage",
    AlertKind.STRIPE_PERMISSION_MISSING: "resume_after_outage",
    AlertKind.IMPORT_STALLED: "import_balance",
    AlertKind.INTEGRITY_CHECK_FAILED: "check_integrity",
    AlertKind.WEBHOOKS_MISSING: "check_webhook_arrival",
    AlertKind.WEBHOOK_ENDPOINT_DRIFT: "check_webhook_endpoint",
    AlertKind.STATEMENT_DESCRIPTOR: "check_statement_descriptor",
}
# Whose job gets one attempt each hour for as long as the alert is open.
REPEATED_KINDS = (AlertKind.RETRIES_EXHAUSTED, AlertKind.INVOICE_LEFT)
KINDS = (
    *REPEATED_KINDS,
    AlertKind.OBJECT_FAILED,
    AlertKind.SCHEDULE_FAILED,
    *SCHEDULE_OF_KIND,
)


def schedule_job(name: str) -> str:
    """Return what an alert has as its `job` when a schedule does once more what failed."""
    return SCHEDULE_PREFIX + name


async def retry_alert(session: AsyncSession, alert: Alert) -> int:
    """Enqueue once more what an alert is about. Returns how many jobs; 0 where there is nothing."""
    if alert.kind not in KINDS:
        return 0
    job = alert.job
    if job is None and alert.kind in SCHEDULE_OF_KIND:
        job = schedule_job(SCHEDULE_OF_KIND[alert.kind])
    if job is not None and job.startswith(SCHEDULE_PREFIX):
        await job_queue.enqueue_schedule(session, job.removeprefix(SCHEDULE_PREFIX))
        return 1
    return await job_queue.retry_failed(session, alert.object_id, object_type=job)


async def retry_exhausted(session: AsyncSession, *, limit: int = 200) -> int:
    """Give one attempt more to jobs that have none left and whose alert is open.

    Not everything that a job does is found by a sweep, and an outage of one route may last longer
    than the attempts. Returns how many jobs, at most `limit`.
    """
    exhausted = select(Alert).where(Alert.kind.in_(REPEATED_KINDS), Alert.closed_at.is_(None))
    # Any of them: the oldest might be those that never succeed.
    chosen = await session.scalars(exhausted.order_by(func.random()).limit(limit))
    return sum(
        [
            await job_queue.retry_failed(
                session,
                alert.object_id,
                object_type=alert.job,
                attempt=job_queue.MAX_ATTEMPTS,
            )
            for alert in chosen
        ]
    )


async def retry_objects(session: AsyncSession, object_ids: Sequence[str]) -> dict[str, int]:
    """Enqueue once more what failed of each object or check. Returns how many jobs, by its id."""
    by_id: dict[str, list[Alert]] = {}
    for alert in await alerts.list_about(session, object_ids):
        by_id.setdefault(alert.object_id, []).append(alert)
    counts = {}
    for object_id in object_ids:
        counts[object_id] = sum(
            [await retry_alert(session, alert) for alert in by_id.get(object_id, ())]
        )
        counts[object_id] += await job_queue.retry_failed(session, object_id)
    return counts
