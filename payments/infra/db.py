"""The database: one PostgreSQL, one declarative base, two roles.

Times are aware and in UTC. Money is minor units in a bigint beside its currency. The service works
as the role `payments_app`, which may not change or delete a row of an append-only table; only
migrations run as the owner. A transaction is opened at a door or around one unit of work, and is
never open across a network call.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from psycopg import AsyncConnection
from psycopg import Error as DriverError
from psycopg.errors import LockNotAvailable, ReadOnlySqlTransaction
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Enum,
    MetaData,
    String,
    event,
    func,
    select,
    text,
)
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from payments.core.money import CURRENCY_REGEX
from payments.infra import connections
from payments.infra.idle_connections import IdleConnections
from payments.infra.service_role import APP_ROLE

STATEMENT_TIMEOUT = "60s"
IDLE_IN_TRANSACTION_TIMEOUT = "60s"
BRIEF_LOCK_TIMEOUT = "200ms"  # longer than any request holds a table
POOL_TIMEOUT_SECONDS = 10  # for a free connection
# Connections that fail, no resources left (connections, disk, memory), and being shut down.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
AWAY_SQLSTATES = ("08", "53", "57P")
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

SessionFactory = async_sessionmaker[AsyncSession]

# Column types. A Stripe id is at most 255 characters; a row id of ours is 32 hexadecimal digits.
StripeId = Annotated[str, mapped_column(String(255))]
Id = Annotated[str, mapped_column(String(32))]
Currency = Annotated[str, mapped_column(String(3))]
MinorUnits = Annotated[int, mapped_column(BigInteger)]
Timestamp = Annotated[datetime, mapped_column(DateTime(timezone=True))]


class Base(DeclarativeBase):
    """What every mapped class inherits from."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


def enum_column(enum_class: type[StrEnum], name: str) -> Enum:
    """Return the type of a text column that a CHECK of this name limits to an enum's values."""
    return Enum(
        enum_class,
        native_enum=False,
        create_constraint=True,
        name=name,
        length=40,
        values_callable=lambda members: [member.value for member in members],
    )


def currency_check(column: str = "currency") -> CheckConstraint:
    """Return a CHECK that a column holds a currency code as Stripe writes it."""
    return CheckConstraint(f"{column} ~ '^{CURRENCY_REGEX}$'", name=f"{column}_is_a_code")


def utc_now() -> datetime:
    """Return the time, aware and in UTC."""
    return datetime.now(UTC)


def create_engine(
    url: str,
    *,
    pool_size: int = 10,
    role: str | None = APP_ROLE,
    connection_class: type[AsyncConnection] = AsyncConnection,
) -> AsyncEngine:
    """Return an engine whose connections work as `role`, or as the owner for None, and in UTC.

    A connection is tested before it is used, so that no request fails after the database restarted.
    Of the idle ones the last used is taken: it has the most in its caches.
    """
    settings = {
        "timezone": "UTC",
        "statement_timeout": STATEMENT_TIMEOUT,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT,
        **({} if role is None else {"role": role}),
    }

    async def connect() -> AsyncConnection:
        return await connections.connect(url, settings, connection_class)

    engine = create_async_engine(
        "postgresql+psycopg://",
        async_creator=connect,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_use_lifo=True,
    )
    _test_before_use(engine)
    _let_go_of_standbys(engine)
    return engine


def _test_before_use(engine: AsyncEngine) -> None:
    """Replace the connections of a pool when one is found dead, before it is used.

    It is what `pool_pre_ping` does, which asks the server each time.
    """
    idle = IdleConnections()

    @event.listens_for(engine.sync_engine, "checkin")
    def note_idle(_adapted: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
        if isinstance(entry.driver_connection, AsyncConnection):  # none where it was invalidated
            idle.returned(entry.driver_connection)

    @event.listens_for(engine.sync_engine, "checkout")
    def test(
        adapted: DBAPIConnection, entry: ConnectionPoolEntry, _taken: PoolProxiedConnection
    ) -> None:
        assert isinstance(entry.driver_connection, AsyncConnection)
        if idle.needs_ping(entry.driver_connection):
            try:
                engine.sync_engine.dialect.do_ping(adapted)
            except DriverError as error:
                raise InvalidatePoolError from error


def _let_go_of_standbys(engine: AsyncEngine) -> None:
    """Take a server that refuses changes for one that is away: after a fail-over a new connection
    finds the one that takes them.
    """

    @event.listens_for(engine.sync_engine, "handle_error", retval=True)
    def as_away(error: ExceptionContext) -> OperationalError | None:
        original = error.original_exception
        if not isinstance(original, ReadOnlySqlTransaction):
            return None
        error.is_disconnect = True
        return OperationalError(None, None, original, connection_invalidated=True)


def create_session_factory(engine: AsyncEngine) -> SessionFactory:
    """Return a factory of sessions whose objects stay readable after the commit."""
    return async_sessionmaker(engine, expire_on_commit=False)


def is_away(error: BaseException) -> bool:
    """Whether an error says that the database answers nobody, and not only this statement.

    PostgreSQL's deadlocks, lock and statement timeouts are operational errors as well, and about
    one statement. What has no SQLSTATE did not come from the database at all.
    """
    if isinstance(error, PoolTimeout | InterfaceError):
        return True
    if not isinstance(error, OperationalError):
        return False
    state: str | None = getattr(error.orig, "sqlstate", None)
    return error.connection_invalidated or state is None or state.startswith(AWAY_SQLSTATES)


async def advisory_lock(session: AsyncSession, key: int | str | bytes) -> None:
    """Wait for the lock of a key and hold it until the transaction ends.

    A number is a lock of the whole installation, named by a constant of its owner. Text or bytes
    (a row's id, an address hash) is a lock of that one thing.
    """
    if isinstance(key, bytes):
        key = int.from_bytes(key[:8], signed=True)
    number = key if isinstance(key, int) else func.hashtextextended(key, 0)
    await session.execute(select(func.pg_advisory_xact_lock(number)))


async def lock_if_free(session: AsyncSession, table: str) -> bool:
    """Lock a table against everybody until the transaction ends. Returns whether it was free.

    Whoever comes later waits behind it, so it waits only for what is short itself: a dump reads
    its tables for hours.
    """
    try:
        async with session.begin_nested():
            await session.execute(text(f"SET LOCAL lock_timeout = '{BRIEF_LOCK_TIMEOUT}'"))
            await session.execute(text(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
            await session.execute(text("SET LOCAL lock_timeout TO DEFAULT"))
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        return False
    return True


async def driver_connection(session: AsyncSession) -> AsyncConnection:
    """Return psycopg's connection, in the session's transaction: for procrastinate and COPY."""
    connection = await session.connection()
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, AsyncConnection)
    return driver
