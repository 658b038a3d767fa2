"""Databases for tests, in one cluster: copies of a migrated template, emptied and used again.

To empty a database costs a tenth of making one. It is used again only while it is the template's
like: whoever changed its catalogue (a table, a trigger, a grant, statistics) or a row that the
migrations wrote leaves a database that is dropped.
"""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from uuid import uuid4

import psycopg
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from payments.infra import db, migrate
from tests.support import connections
from tests.support.connections import LastingConnection

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

NAME_PREFIX = "test_"
# Workers of one run may share a server that the tests were given.
TEMPLATE_DATABASE = f"reader_payments_template_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
MIGRATION_LOCK = 7_150_001
EXIT_TIMEOUT_MS = 300_000  # how long a connection that was left open may take to go
# Above this a table's file is cut rather than left with dead rows, in bytes.
MAX_TABLE_SIZE = 64 * 1024

CATALOGS = (
    "pg_attrdef", "pg_attribute", "pg_cast", "pg_class", "pg_collation", "pg_constraint",
    "pg_default_acl", "pg_depend", "pg_enum", "pg_event_trigger", "pg_extension", "pg_index",
    "pg_largeobject_metadata", "pg_namespace", "pg_operator", "pg_policy", "pg_proc",
    "pg_publication", "pg_rewrite", "pg_statistic", "pg_statistic_ext", "pg_trigger", "pg_type",
)  # fmt: skip
_STATE_SQL = (
    # The number of rows tells what is gone, the newest transaction what is new or has changed.
    *(
        f"(SELECT count(*) || ':' || max(CAST(CAST(xmin AS text) AS bigint)) FROM {catalog})"  # noqa: S608 - constants only
        for catalog in CATALOGS
    ),
    """(SELECT string_agg(CAST(s AS text), ' ' ORDER BY s.setrole)
          FROM pg_db_role_setting s
          JOIN pg_database d ON d.oid = s.setdatabase
         WHERE d.datname = current_database())""",
)
_TABLES_SQL = """
    SELECT quote_ident(relname), pg_relation_size(oid)
      FROM pg_class
     WHERE relnamespace = CAST('public' AS regnamespace) AND relkind = 'r'
       AND pg_relation_size(oid) > 0
     ORDER BY relname"""
_DISCONNECT_SQL = """
    SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity
     WHERE datname = %s AND pid <> pg_backend_pid() AND pid <> ALL(%s)"""
_RESTART_SEQUENCES_SQL = """
    SELECT setval(CAST(format('%I.%I', schemaname, sequencename) AS regclass), start_value, false)
      FROM pg_sequences WHERE last_value IS NOT NULL"""


@dataclass(frozen=True)
class IdleDatabase:
    """A database like the template, and how it looked when it was that."""

    name: str
    written_by_migrations: tuple[str, ...]  # tables
    state: str


_idle_databases: dict[str, list[IdleDatabase]] = {}  # by the URL of their cluster
_connections: dict[str, Connection] = {}  # the owner's, by the name of a database that is lent
_idle_engines: dict[str, list[AsyncEngine]] = {}  # by the URL of their database
_free_names: list[str] = []  # of databases that were dropped; their engines are used again


@contextmanager
def migrated_cluster(url: str) -> Iterator[str]:
    """Prepare a cluster for `copy_database`. Yield its URL."""
    with _connect(url) as connection:
        _execute(connection, f"DROP DATABASE IF EXISTS {TEMPLATE_DATABASE}")
        _execute(connection, f"CREATE DATABASE {TEMPLATE_DATABASE}")
        # One at a time: the service's role belongs to the whole server.
        _execute(connection, f"SELECT pg_advisory_lock({MIGRATION_LOCK})")
        migrate.upgrade(_url(url, TEMPLATE_DATABASE))
    try:
        yield url
    finally:
        for idle in _idle_databases.pop(url, []):
            _drop(url, idle.name)
        with _connect(url) as connection:
            _execute(connection, f"DROP DATABASE {TEMPLATE_DATABASE} WITH (FORCE)")


def stop_autovacuum(url: str) -> None:
    """Let the server of a run gather no statistics by itself, when a minute happens to be over.

    A database that has some is not the template's like any more, and plans differ by them.
    """
    with _connect(url) as connection:
        _execute(connection, "ALTER SYSTEM SET autovacuum = off")
        _execute(connection, "SELECT pg_reload_conf()")


@contextmanager
def copy_database(cluster: str, template: str = TEMPLATE_DATABASE) -> Iterator[str]:
    """Make a database like a fresh, migrated one, or as another is now. Yield its URL."""
    if template == TEMPLATE_DATABASE:
        yield from _lend_database(cluster)
        return
    name = _create(cluster, template)
    try:
        yield _url(cluster, name)
    finally:
        _drop(cluster, name)


def cluster_of(url: str) -> str | None:
    """Return the cluster of a database that is lent, or None if this one is not."""
    name = str(make_url(url).database)
    found = (cluster for cluster in _idle_databases if _url(cluster, name) == url)
    return next(found, None) if name in _connections else None


def connection_of(url: str) -> Connection:
    """Return the owner's connection to a database that is lent, which stays as long as that."""
    cluster = cluster_of(url)
    assert cluster is not None
    return _owner_connection(cluster, str(make_url(url).database))


@asynccontextmanager
async def lend_engine(url: str) -> AsyncIterator[AsyncEngine]:
    """Lend an engine without connections. It may know statements that earlier tests compiled."""
    idle = _idle_engines.setdefault(url, [])
    engine = idle.pop() if idle else db.create_engine(url, connection_class=LastingConnection)
    try:
        yield engine
    finally:
        await engine.dispose()
        idle.append(engine)


def _lend_database(cluster: str) -> Iterator[str]:
    idle = _idle_databases.setdefault(cluster, [])
    lent = idle.pop() if idle else _new_database(cluster)
    try:
        yield _url(cluster, lent.name)
    finally:
        emptied = _emptied(cluster, lent)
        if emptied is None:
            _drop(cluster, lent.name)
        else:
            idle.append(emptied)


def _new_database(cluster: str) -> IdleDatabase:
    name = _create(cluster, TEMPLATE_DATABASE)
    connection = _owner_connection(cluster, name)
    written = tuple(_sizes(connection))
    return IdleDatabase(name, written, _state(connection, written))


def _emptied(cluster: str, lent: IdleDatabase) -> IdleDatabase | None:
    """Remove every row and restart every sequence. Return None if it is not new by that."""
    connection = _owner_connection(cluster, lent.name)
    connection.execute(_DISCONNECT_SQL, [EXIT_TIMEOUT_MS, lent.name, connections.idle_pids()])
    if _state(connection, lent.written_by_migrations) != lent.state:
        return None
    connection.execute("SET session_replication_role = replica")  # no trigger, no foreign key
    used = _sizes(connection)
    for table in lent.written_by_migrations:
        used.pop(table, None)
    delete = "; ".join(f"DELETE FROM {table}" for table in used)  # noqa: S608 - from the catalogue
    connection.execute(delete.encode(), prepare=False)  # several statements cannot be prepared
    connection.execute(_RESTART_SEQUENCES_SQL)
    large = [table for table, size in used.items() if size > MAX_TABLE_SIZE]
    if not large:
        return lent
    _execute(connection, f"TRUNCATE {', '.join(large)} CASCADE")
    return replace(lent, state=_state(connection, lent.written_by_migrations))


def _sizes(connection: Connection) -> dict[str, int]:
    """Return the tables that have or had rows, and the sizes of their files in bytes."""
    return {str(table): int(size) for table, size in connection.execute(_TABLES_SQL)}


def _state(connection: Connection, written_by_migrations: tuple[str, ...]) -> str:
    """Return what must be as it was in a database that is to be used again."""
    rows = [
        f"(SELECT string_agg(CAST(t AS text), ' ' ORDER BY CAST(t AS text)) FROM {table} t)"  # noqa: S608 - from the catalogue
        for table in written_by_migrations
    ]
    found = _execute(connection, f"SELECT concat_ws(' ', {', '.join((*_STATE_SQL, *rows))})")
    return str(found.fetchall())


def _create(cluster: str, template: str) -> str:
    name = _free_names.pop() if _free_names else f"{NAME_PREFIX}{uuid4().hex}"
    with _connect(cluster) as connection:
        if template.startswith(NAME_PREFIX):  # nobody uses it, and some may still be going
            connection.execute(_DISCONNECT_SQL, [EXIT_TIMEOUT_MS, template, []])
        _execute(connection, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    return name


def _owner_connection(cluster: str, name: str) -> Connection:
    """Return a connection that stays as long as the database: a new one reads the catalogue first,
    which costs three times what it is needed for.
    """
    found = _connections.get(name)
    if found is not None:
        try:
            found.execute("SELECT")
        except psycopg.OperationalError:  # whoever copied the database has ended it
            found.close()
        else:
            return found
    _connections[name] = _connect(cluster, name)
    return _connections[name]


def _drop(cluster: str, name: str) -> None:
    if name in _connections:
        _connections.pop(name).close()
    with _connect(cluster) as connection:
        _execute(connection, f"DROP DATABASE {name} WITH (FORCE)")
    _free_names.append(name)


def _url(cluster: str, database: str) -> str:
    return make_url(cluster).set(database=database).render_as_string(hide_password=False)


def _connect(cluster: str, database: str | None = None) -> Connection:
    url = make_url(cluster).set(drivername="postgresql")
    url = url if database is None else url.set(database=database)
    return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)


def _execute(connection: Connection, statement: str) -> psycopg.Cursor[Any]:
    return connection.execute(statement.encode())
