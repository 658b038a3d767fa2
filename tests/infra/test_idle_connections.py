"""A connection from a pool is alive when it is used, and the server is not asked each time."""

import psycopg
import pytest

from payments.infra import db
from payments.infra.idle_connections import PING_AFTER_SECONDS, IdleConnections
from tests.support.database_owner import driver_url
from tests.support.newsroom import REAL_TIMEOUT_SECONDS

pytestmark = pytest.mark.anyio
END = f"SELECT pg_terminate_backend(%s, {REAL_TIMEOUT_SECONDS * 1000})"


async def test_the_server_is_asked_when_it_has_ended_a_connection_or_that_was_long_idle(
    database: str,
) -> None:
    seconds = 0.0
    idle = IdleConnections(lambda: seconds)
    async with await psycopg.AsyncConnection.connect(driver_url(database)) as connection:
        assert not idle.needs_ping(connection)  # new
        idle.returned(connection)
        seconds += PING_AFTER_SECONDS
        assert not idle.needs_ping(connection)
        idle.returned(connection)
        seconds += PING_AFTER_SECONDS + 1
        assert idle.needs_ping(connection)
        idle.returned(connection)
        with psycopg.connect(driver_url(database)) as owner:
            owner.execute(END, [connection.info.backend_pid])
        assert idle.needs_ping(connection)
        await connection.close()
        idle.returned(connection)
        assert idle.needs_ping(connection)


async def test_a_pool_takes_the_last_used_connection_unasked_and_a_new_one_when_that_is_dead(
    database: str,
) -> None:
    engine = db.create_engine(database)

    async def taken() -> tuple[int, str]:
        """The process of the connection that the pool gives, and what it was last asked."""
        async with engine.connect() as one:
            driver = (await one.get_raw_connection()).driver_connection
            assert isinstance(driver, psycopg.AsyncConnection)
            with psycopg.connect(driver_url(database)) as owner:
                asked = owner.execute(
                    "SELECT query FROM pg_stat_activity WHERE pid = %s", [driver.info.backend_pid]
                ).fetchone()
            assert asked is not None
            return driver.info.backend_pid, str(asked[0])

    try:
        async with engine.connect(), engine.connect() as second:
            await second.exec_driver_sql("SELECT 'a question'")
        (pid, asked), again = await taken(), await taken()
        assert (pid, asked) == again
        assert asked == "ROLLBACK"
        with psycopg.connect(driver_url(database)) as owner:
            owner.execute(END, [pid])
        assert (await taken())[0] != pid
    finally:
        await engine.dispose()
