"""Failures of schedules: one may be chance, two in a row raise an alert, a success closes it."""

from sqlalchemy import String, delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import alerts, db, retries
from payments.infra.alerts import AlertKind
from payments.infra.context import Context

FAILURES_BEFORE_ALERT = 2


class ScheduleFailure(db.Base):
    """A schedule whose last run failed, and how many runs in a row did."""

    __tablename__ = "schedule_failures"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    failures: Mapped[int]
    failed_since: Mapped[db.Timestamp]


async def record_failure(ctx: Context, name: str) -> None:
    """Count a failed run, and raise an alert for the second in a row."""
    async with ctx.sessions.begin() as session:
        failures = await session.scalar(
            insert(ScheduleFailure)
            .values(name=name, failures=1, failed_since=ctx.now())
            .on_conflict_do_update(
                index_elements=["name"], set_={"failures": ScheduleFailure.failures + 1}
            )
            .returning(ScheduleFailure.failures)
        )
        if (failures or 0) >= FAILURES_BEFORE_ALERT:
            await alerts.raise_alert(
                session,
                AlertKind.SCHEDULE_FAILED,
                object_id=name,
                job=retries.schedule_job(name),
                now=ctx.now(),
            )


async def record_success(ctx: Context, name: str) -> None:
    """Forget the failures of a schedule, and close its alert."""
    async with ctx.sessions.begin() as session:
        failed = await session.scalar(
            delete(ScheduleFailure)
            .where(ScheduleFailure.name == name)
            .returning(ScheduleFailure.name)
        )
        if failed is not None:
            await alerts.close(session, AlertKind.SCHEDULE_FAILED, object_id=name, now=ctx.now())
