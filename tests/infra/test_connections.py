"""One reading of PAYMENTS_DATABASE_URL for everybody, and poolers that work or are refused."""

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from payments.core import database_url
from payments.infra import connections, db
from payments.infra.service_role import APP_ROLE
from tests.support.command_line import Running, environment
from tests.support.database_owner import as_owner
from tests.support.newsroom import Newsroom
from tests.support.poolers import pooler_before
from tests.support.ports import reserve_port

pytestmark = pytest.mark.anyio
SESSION = text(
    "SELECT current_user, current_setting('timezone'), current_setting('statement_timeout'),"
    " current_setting('idle_in_transaction_session_timeout')"
)


async def session_of(url: str) -> tuple[str, ...]:
    """What readers' requests run as, at this URL."""
    engine = db.create_engine(url, pool_size=1)
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            await connection.rollback()  # which undoes nothing of a session's settings
            return tuple((await connection.execute(SESSION)).one())
    finally:
        await engine.dispose()


@pytest.mark.parametrize(
    "form",
    [
        "postgresql+psycopg://{user}@{host}:{port}/{name}",
        "postgresql://{user}@{host}:{port}/{name}",
        "postgresql://{user}@{host}:{closed},{host}:{port}/{name}",
        "postgresql://{user}@/{name}?host={host},{host}&port={closed},{port}",
        "postgresql://{user}:p%40ss%2Fw%25rd%3F@{host}:{port}/{name}?sslmode=prefer&connect_timeout=3",
        "postgresql://{user}@{host}:{port}/{name}?options=-csearch_path%3Dpublic",
    ],
)
async def test_a_url_means_the_same_to_readers_the_worker_and_migrations(form: str) -> None:
    """Of several hosts, the first of which is away, the one that takes changes."""
    with reserve_port() as closed:
        url = form.format(user="u", host="127.0.0.1", port=5432, closed=closed, name="n")
        found = connections.parameters(database_url.validate(url))
        assert "127.0.0.1" in found["host"]
        assert found["dbname"] == "n"
        several = "," in found["host"]
        assert found.get("target_session_attrs") == ("read-write" if several else None)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mysql://u@h/n", "postgresql://"),
        ("nothing", "postgresql://"),
        ("postgresql+psycopg://u@/n?host=a:1&host=b:2", "several hosts"),
        ("postgresql://u@/n?host=a:5432", "several hosts"),
    ],
)
def test_a_url_that_two_programs_would_read_differently_is_refused(url: str, named: str) -> None:
    with pytest.raises(ValueError, match=named) as refused:
        database_url.validate(url)
    assert "u@" not in str(refused.value).replace("user@one", "")


async def test_through_a_pooler_of_sessions_everything_runs_as_it_does_without_one(
    newsroom: Newsroom,
) -> None:
    url = newsroom.settings.database_url.get_secret_value()
    expected = await session_of(url)
    assert expected == (APP_ROLE, "UTC", "1min", "1min")
    async with pooler_before(url, "session") as pooled:
        assert await session_of(pooled) == expected
        await connections.refuse_unfit(pooled)
        away_first = pooled.replace("127.0.0.1:", "127.0.0.1:1,127.0.0.1:")
        assert await session_of(away_first) == expected
        listed = environment(newsroom.settings, PAYMENTS_DATABASE_URL=pooled)
        assert Running(listed, ("jobs", "list")).wait().exit_code == 0


async def test_a_pooler_of_transactions_is_refused_with_the_reason(newsroom: Newsroom) -> None:
    url = newsroom.settings.database_url.get_secret_value()
    async with pooler_before(url, "transaction") as pooled:
        values = environment(newsroom.settings, PAYMENTS_DATABASE_URL=pooled)
        for command in (("jobs", "list"), ("work",), ("serve", "--port", "1")):
            refused = Running(values, command).wait()
            assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, 1), refused
            assert "pool_mode=session" in refused.stderr


async def test_a_login_that_may_not_work_as_the_role_reads_what_to_run(
    newsroom: Newsroom, cluster: str
) -> None:
    url = newsroom.settings.database_url.get_secret_value()
    with as_owner(cluster) as administrator:
        administrator.execute("CREATE ROLE somebody LOGIN")
        try:
            theirs = make_url(url).set(username="somebody").render_as_string(hide_password=False)
            values = environment(newsroom.settings, PAYMENTS_DATABASE_URL=theirs)
            refused = Running(values, ("jobs", "list")).wait()
            assert refused.exit_code == 1
            administrator.execute(refused.stderr.partition("run: ")[2].strip().encode())
            assert Running(values, ("jobs", "list")).wait().exit_code == 0
        finally:
            administrator.execute("DROP OWNED BY somebody")
            administrator.execute("DROP ROLE somebody")
