"""Connections to PostgreSQL: one way to read PAYMENTS_DATABASE_URL and one way to set a session up,
for readers, the worker, migrations and the doctor alike.

The URL is libpq's (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING),
several hosts included. What a session needs is said by a statement after it is connected: a pooler
(PgBouncer) refuses what is said while connecting, or leaves it out without a word.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.conninfo import conninfo_to_dict

from payments.core.database_url import as_libpq
from payments.infra.service_role import APP_ROLE

CONNECT_TIMEOUT_SECONDS = 5  # to each host, unless the URL says otherwise
WRITABLE = "read-write"  # of several hosts, only the one that takes changes
_SET_UP = (
    "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS s(name, value)"
)
_WHO = "SELECT pg_backend_pid()"
SessionSettings = Mapping[str, str]  # of PostgreSQL, by name


class DatabaseRefused(psycopg.OperationalError):
    """The database is there, and the service must not work with it as it is set up. The message
    says what to do.
    """


def parameters(url: str) -> dict[str, Any]:
    """Return the connection parameters of PAYMENTS_DATABASE_URL, by libpq's names."""
    found = conninfo_to_dict(as_libpq(url))
    found.setdefault("connect_timeout", CONNECT_TIMEOUT_SECONDS)
    if "," in str(found.get("host", "")):
        found.setdefault("target_session_attrs", WRITABLE)
    return found


def hosts(url: str) -> list[str]:
    """Return the names, addresses or socket folders of the servers; [""] where none is named."""
    return str(parameters(url).get("host", "")).split(",")


async def connect(
    url: str,
    settings: SessionSettings,
    connection_class: type[AsyncConnection] = AsyncConnection,
) -> AsyncConnection:
    """Return a connection whose session has these settings, outside a transaction.

    Raises DatabaseRefused for a role that the login may not work as, and psycopg.OperationalError
    where no server answers.
    """
    connection = await connection_class.connect(**parameters(url), autocommit=True)
    try:
        await set_up(connection, settings)
    except BaseException:
        await connection.close()
        raise
    await connection.set_autocommit(False)
    return connection


async def set_up(connection: AsyncConnection, settings: SessionSettings) -> None:
    """Give a session in autocommit mode its settings. Raises DatabaseRefused."""
    try:
        await connection.execute(_SET_UP, [list(settings), list(settings.values())])
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue) as error:
        raise _refused(connection.info.user, settings, error) from None


def connect_once(url: str, settings: SessionSettings) -> Connection:
    """Return a connection that blocks, else like `connect`'s: for what runs before any event
    loop.
    """
    connection = psycopg.connect(**parameters(url), autocommit=True)
    try:
        connection.execute(_SET_UP, [list(settings), list(settings.values())])
    except BaseException:
        connection.close()
        raise
    connection.set_autocommit(False)
    return connection


async def refuse_unfit(url: str) -> None:
    """Raise DatabaseRefused where the login may not work as the service's role, or where a pooler
    gives each transaction another session: there a role, a lock or a subscription to notifications
    would be somebody else's by the next statement.
    """
    async with (
        await connect(url, {"role": APP_ROLE}) as one,
        await connect(url, {"role": APP_ROLE}) as other,
    ):
        first = await _session_of(one)
        second, again = await _session_of(other), await _session_of(one)
    if first == second or first != again:
        raise DatabaseRefused(
            "PAYMENTS_DATABASE_URL leads to a pooler that gives each transaction another session."
            " The service needs sessions of its own: set pool_mode=session, or name the PostgreSQL"
            " itself."
        )


async def _session_of(connection: AsyncConnection) -> int:
    await connection.set_autocommit(True)
    row = await (await connection.execute(_WHO)).fetchone()
    assert row is not None
    return int(row[0])


def _refused(login: str, settings: SessionSettings, error: psycopg.Error) -> psycopg.Error:
    """Return what to say of settings that a session refused."""
    if settings.get("role") != APP_ROLE:
        return error
    if isinstance(error, psycopg.errors.InvalidParameterValue):
        return DatabaseRefused(
            f"The database has no role {APP_ROLE}. Run `payments migrate` with the owner's login."
        )
    return DatabaseRefused(
        f"The login {login} may not work as {APP_ROLE}. Have an administrator of the server run:"
        f' GRANT {APP_ROLE} TO "{login}";'
    )
