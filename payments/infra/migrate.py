"""The schema of a database: which revision it is at, and bringing it to another. Runs as the owner.

Each revision runs in a transaction of its own. One process migrates a database at a time. No
statement waits long for a table: whatever asks for the table after it, a reader's page too, would
queue behind it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, create_engine, func, select, text
from sqlalchemy.exc import OperationalError

import migrations
from payments.infra import connections, service_role

MIGRATION_LOCK = 0x6D696772  # an advisory lock of the whole database: "migr"
SERVES_SINCE = "serves since "  # and a revision: the comment on Alembic's table
LOCK_TIMEOUT = timedelta(seconds=5)  # for a table that another session holds
TURN_TIMEOUT = timedelta(minutes=10)  # for another process that is migrating


class MigrationBlocked(Exception):
    """A lock was not free in time. What was not yet committed is undone."""


def alembic_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration, wherever this package is installed."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    return config


def upgrade(
    url: str,
    revision: str = "head",
    *,
    lock_timeout: timedelta = LOCK_TIMEOUT,
    turn_timeout: timedelta = TURN_TIMEOUT,
) -> list[str]:
    """Apply the missing revisions, up to one, and grant the service's role what it needs, whatever
    was granted before. Returns the revisions, oldest first.

    Raises MigrationBlocked; the revisions before the one that was blocked stay. Raises RoleMissing.
    """
    with exclusive_connection(
        url, lock_timeout=lock_timeout, turn_timeout=turn_timeout
    ) as connection:
        with connection.begin():
            service_role.create_if_missing(connection)
        missing = _revisions_after(_current_revision(connection), up_to=revision)
        command.upgrade(alembic_config(connection), revision)
        service_role.grant(connection)
        _note_whom_it_serves(connection)
        connection.commit()
    return missing


def downgrade(url: str, revision: str, *, lock_timeout: timedelta = LOCK_TIMEOUT) -> None:
    """Undo the revisions after one, or all of them for "base". Raises MigrationBlocked."""
    with exclusive_connection(url, lock_timeout=lock_timeout) as connection:
        with connection.begin():
            service_role.revoke(connection)
        command.downgrade(alembic_config(connection), revision)


@lru_cache
def head_revision() -> str:
    """Return the revision that this code expects."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert head is not None
    return head


def serves(version: str, note: str | None) -> bool:
    """Whether a database at this revision, with the note of whoever migrated it, serves this code.

    Code works with its own schema, and with a newer one that says so: a release only adds what the
    one before does not need, and a later one takes away. So old and new processes serve side by
    side while one after the other is replaced.
    """
    known = _known_revisions()
    if version in known:
        return version == head_revision()
    return (note or "").removeprefix(SERVES_SINCE) in known


def pending_revisions(url: str) -> list[str]:
    """Return the revisions that a database does not have yet, oldest first."""
    with _connect(url, LOCK_TIMEOUT) as connection:
        return _revisions_after(_current_revision(connection), up_to="head")


@contextmanager
def exclusive_connection(
    url: str, *, lock_timeout: timedelta = LOCK_TIMEOUT, turn_timeout: timedelta = TURN_TIMEOUT
) -> Iterator[Connection]:
    """Yield a connection of the owner, when no other process migrates this database any more.

    Raises MigrationBlocked when another is still migrating after `turn_timeout`, or when a
    statement in the block waits longer than `lock_timeout` for a table.
    """
    # The turn is held by a transaction of its own, since each revision commits.
    with _connect(url, turn_timeout) as turn:
        try:
            turn.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable):
                raise
            raise MigrationBlocked(
                f"Another process has been migrating this database for {_in_words(turn_timeout)}."
                " Nothing was changed."
            ) from None
        with _connect(url, lock_timeout) as connection:
            yield connection


@contextmanager
def _connect(url: str, lock_timeout: timedelta) -> Iterator[Connection]:
    settings = {"lock_timeout": f"{lock_timeout // timedelta(milliseconds=1)}ms"}
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connections.connect_once(url, settings)
    )
    try:
        with engine.connect() as connection:
            yield connection
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        raise MigrationBlocked(
            f"A table was held by another session for {_in_words(lock_timeout)}, so the migration"
            " stopped; what it had begun is undone. Run it again when that session has ended."
        ) from None
    finally:
        engine.dispose()


def _current_revision(connection: Connection) -> str | None:
    """Return the revision that a database is at, and leave no transaction open."""
    with connection.begin():
        return MigrationContext.configure(connection).get_current_revision()


@lru_cache
def _known_revisions() -> frozenset[str]:
    scripts = ScriptDirectory.from_config(alembic_config())
    return frozenset(script.revision for script in scripts.walk_revisions())


def _note_whom_it_serves(connection: Connection) -> None:
    """Write down, where code that does not know this revision finds it, since which code works."""
    version = connection.scalar(text("SELECT version_num FROM alembic_version"))
    script = ScriptDirectory.from_config(alembic_config()).get_revision(version)
    note = f"{SERVES_SINCE}{script.module.serves_since}"
    connection.execute(text(f"COMMENT ON TABLE alembic_version IS '{note}'"))


def _revisions_after(current: str | None, *, up_to: str) -> list[str]:
    scripts = ScriptDirectory.from_config(alembic_config())
    steps = scripts.iterate_revisions(up_to, current or "base")
    return [step.revision for step in steps][::-1]


def _in_words(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} seconds"
