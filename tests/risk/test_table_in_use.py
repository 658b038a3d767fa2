"""A table that a dump or a console reads for hours keeps nobody waiting who gives."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy.engine import make_url

from payments.ops import schedules
from payments.safety import global_erasure
from tests.support.newsroom import Newsroom, open_newsroom

pytestmark = pytest.mark.anyio
PROMPTLY = 5  # seconds; who waits for the reader waits a minute


@contextmanager
def reads(room: Newsroom, *tables: str) -> Iterator[None]:
    """What pg_dump holds of each table until it ends."""
    url = make_url(room.settings.database_url.get_secret_value()).set(drivername="postgresql")
    with (
        psycopg.connect(url.render_as_string(hide_password=False)) as connection,
        connection.transaction(),
    ):
        for table in tables:
            connection.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE".encode())
        yield


async def test_a_dump_over_midnight_keeps_nobody_from_giving_nor_everybody_from_being_erased(
    database: str,
) -> None:
    async with open_newsroom(database) as room:
        days = "SELECT count(*) FROM daily_salts"
        await room.gives(500, "once", email="a@example.org")
        with reads(room, "daily_salts"):
            await room.advances_time(timedelta(days=1))
            purging = asyncio.create_task(schedules.purge_requests(room.ctx))
            async with asyncio.timeout(PROMPTLY):
                await room.gives(500, "once", email="b@example.org")
                await purging
            assert await room.rows(days) == [(2,)]
            assert {
                day for (day,) in await room.rows("SELECT salt_date FROM rate_limit_buckets")
            } <= {room.clock().date()}
        await schedules.purge_requests(room.ctx)
        assert await room.rows("SELECT day FROM daily_salts") == [(room.clock().date(),)]

        await room.runs_until_idle()
        assert await room.count("donors") == 2
        with reads(room, "alerts", "daily_salts", "donors"):
            async with asyncio.timeout(PROMPTLY):
                report = await global_erasure.erase_everyone(room.ctx, worklist_settled=True)
        assert (report.donors, report.vacuumed) == (2, False)
        assert await room.count("donors") == await room.count("daily_salts") == 0
        assert (await global_erasure.erase_everyone(room.ctx, worklist_settled=True)).vacuumed
