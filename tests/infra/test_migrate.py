"""A database is migrated by one process at a time, and a migration never queues behind a reader."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from alembic import command
from sqlalchemy import make_url

from payments.infra import embedded_postgres, migrate
from payments.infra.migrate import MigrationBlocked
from tests.support.command_line import Finished, Running
from tests.support.database import copy_database
from tests.support.newsroom import REAL_TIMEOUT_SECONDS

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
SOON = timedelta(milliseconds=200)
BLOCKED = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
"""


@pytest.fixture
def empty(cluster: str) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    with copy_database(cluster, "template1") as url:
        yield url


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""))


def environment(url: str) -> dict[str, str]:
    """What an operator or a container gives `payments migrate`."""
    return {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        "PAYMENTS_DATABASE_URL": url,
        "PAYMENTS_BASE_URL": "https://give.example.org",
        "PAYMENTS_STRIPE_API_KEY": "sk_test_" + "k" * 24,
    }


def wait_until_blocked(url: str, count: int) -> None:
    deadline = time.monotonic() + REAL_TIMEOUT_SECONDS
    with connect(url) as connection:
        connection.autocommit = True
        while connection.execute(BLOCKED).fetchone() != (count,):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_whoever_comes_second_waits_and_finds_nothing_to_do(empty: str) -> None:
    with migrate.exclusive_connection(empty) as first:
        others = [Running(environment(empty), ("migrate",)) for _ in range(2)]
        wait_until_blocked(empty, 2)
        command.upgrade(migrate.alembic_config(first), "head")
    for other in others:
        assert other.wait() == Finished(0, b"", "The schema is up to date.\n")
    assert migrate.pending_revisions(empty) == []


def test_what_was_applied_is_returned(empty: str) -> None:
    assert migrate.upgrade(empty) == [migrate.head_revision()]
    assert migrate.upgrade(empty) == []


def test_a_migration_that_does_not_end_is_not_waited_for_for_ever(empty: str) -> None:
    with migrate.exclusive_connection(empty), pytest.raises(MigrationBlocked) as refused:
        migrate.upgrade(empty, turn_timeout=SOON)
    assert "Another process has been migrating" in str(refused.value)
    assert migrate.pending_revisions(empty) == [migrate.head_revision()]


def test_a_table_that_a_reader_holds_is_not_queued_for(database: str) -> None:
    """Behind a lock that waits, every page would wait too."""
    with connect(database) as reader:
        reader.execute("SELECT count(*) FROM charges")
        with pytest.raises(MigrationBlocked) as refused:
            migrate.downgrade(database, "base", lock_timeout=SOON)
        assert migrate.pending_revisions(database) == []
        reader.execute("SELECT count(*) FROM charges")
    assert "\n" not in str(refused.value)
    migrate.downgrade(database, "base")


def test_an_owner_who_may_create_no_role_reads_what_an_administrator_has_to_run() -> None:
    with embedded_postgres.temporary_postgres(fsync=False) as server, connect(server) as dba:
        dba.autocommit = True
        dba.execute("CREATE ROLE payments_owner LOGIN")
        dba.execute("CREATE DATABASE payments OWNER payments_owner")
        at = make_url(server).set(username="payments_owner", database="payments")
        url = at.render_as_string(hide_password=False)
        refused = Running(environment(url), ("migrate",)).wait()
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (1, 1)
        assert "may not create roles. Nothing was changed." in refused.stderr
        assert migrate.pending_revisions(url) == [migrate.head_revision()]
        dba.execute(refused.stderr.partition("run: ")[2].strip().encode())
        assert Running(environment(url), ("migrate",)).wait().exit_code == 0
        granted = privileges(url)
        # Somebody granted what nobody should, and took what is needed; a restored dump has no role.
        with connect(url) as owner:
            owner.execute("GRANT UPDATE ON ledger_entries TO payments_app")
            owner.execute("REVOKE SELECT ON charges FROM payments_app")
        assert privileges(url) != granted
        again = Running(environment(url), ("migrate",)).wait()
        assert again == Finished(0, b"", "The schema is up to date.\n")
        assert privileges(url) == granted
        with connect(at.set(username="postgres").render_as_string(hide_password=False)) as restored:
            restored.execute("DROP OWNED BY payments_app")
            restored.execute("DROP ROLE payments_app")
        assert "CREATE ROLE payments_app" in Running(environment(url), ("migrate",)).wait().stderr
        dba.execute("CREATE ROLE payments_app NOLOGIN")
        assert Running(environment(url), ("migrate",)).wait().exit_code == 0
        assert privileges(url) == granted
        # The role is every database's of the server: the login of another newsroom has it as well.
        for login in ("payments_service", "neighbour"):
            dba.execute(f"CREATE ROLE {login} LOGIN IN ROLE payments_app".encode())
        mine, theirs = (
            at.set(username=login).render_as_string(hide_password=False)
            for login in ("payments_service", "neighbour")
        )
        for statement in re.findall(r"^.* ON DATABASE .*;$", OPERATIONS.read_text(), re.MULTILINE):
            dba.execute(statement.encode())
        with connect(mine) as service:
            service.execute("SELECT FROM charges")
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            connect(theirs)
        assert Running(environment(url), ("migrate",)).wait().exit_code == 0


def privileges(url: str) -> list[tuple[str, ...]]:
    """What the service's role may do with each table and view, as PostgreSQL says it."""
    with connect(url) as owner:
        return owner.execute(
            "SELECT table_name, privilege_type FROM information_schema.role_table_grants"
            " WHERE grantee = 'payments_app' ORDER BY 1, 2"
        ).fetchall()


def test_an_operator_reads_one_line_when_a_table_is_held(empty: str) -> None:
    with connect(empty) as holder:
        holder.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        holder.commit()
        holder.execute("LOCK TABLE alembic_version")
        # As an operator's shell starts it: the one command of all tests that is no fork.
        program = [sys.executable, "-m", "payments.cli", "migrate"]
        ended = subprocess.run(
            program, env=environment(empty), capture_output=True, text=True, check=False
        )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("Error: A table was held by another session for 5 seconds")
    assert len(ended.stderr.splitlines()) == 1
