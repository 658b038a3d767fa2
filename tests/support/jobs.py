"""Jobs and schedules of a newsroom, and the alerts they raise."""

from sqlalchemy import text

from payments.ops import schedules
from payments.ops.schedules import SCHEDULES
from tests.support.newsroom import Newsroom


async def open_alerts(room: Newsroom) -> list[tuple[object, ...]]:
    return await room.rows("SELECT kind, object_id FROM alerts WHERE closed_at IS NULL ORDER BY id")


async def jobs(room: Newsroom) -> list[tuple[object, ...]]:
    return await room.rows(
        "SELECT args ->> 'object_type', CAST(status AS text), CAST(args ->> 'attempt' AS int)"
        "  FROM procrastinate_jobs WHERE queue_name = 'sync' ORDER BY id"
    )


async def make_jobs_due(room: Newsroom) -> None:
    """What waits for its time waits no longer: the engine has the database's clock."""
    async with room.ctx.sessions.begin() as session:
        await session.execute(text("UPDATE procrastinate_jobs SET scheduled_at = NULL"))


async def hours_pass_for_jobs(room: Newsroom, attempts: int = 12) -> None:
    """Each job is tried as often as it would be in hours."""
    for _ in range(attempts):
        await make_jobs_due(room)
        await room.runs_due_jobs()


async def runs_schedule(room: Newsroom, name: str) -> None:
    (schedule,) = (one for one in SCHEDULES if one.name == name)
    await schedules.run(room.ctx, schedule)
