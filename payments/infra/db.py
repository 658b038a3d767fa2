"""The database: one PostgreSQL, one declarative base, two roles.

Times are aware and in UTC. Money is whole minor units in a bigint beside its currency. The service
works as the role `payments_app`, which may not change or remove a row of the books; only
migrations run as the owner. A transaction is opened at a door or around one unit of work, and
never held across a network call.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from psycopg import AsyncConnection
from sqlalchemy import BigInteger, CheckConstraint, DateTime, Enum, MetaData, String, func, select
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, mapped_column

APP_ROLE = "payments_app"
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

SessionFactory = async_sessionmaker[AsyncSession]

# Column kinds. A Stripe id is at most 255 characters; ours are 32 hexadecimal digits.
StripeId = Annotated[str, mapped_column(String(255))]
Id = Annotated[str, mapped_column(String(32))]
Currency = Annotated[str, mapped_column(String(3))]
MinorUnits = Annotated[int, mapped_column(BigInteger)]
Timestamp = Annotated[datetime, mapped_column(DateTime(timezone=True))]


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)


def enum_column(enum_class: type[StrEnum], name: str) -> Enum:
    """A column that holds one of the words of `kind`, kept by a CHECK of that name."""
    return Enum(
        enum_class,
        native_enum=False,
        create_constraint=True,
        name=name,
        length=40,
        values_callable=lambda members: [member.value for member in members],
    )


def currency_check(column: str = "currency") -> CheckConstraint:
    return CheckConstraint(f"{column} ~ '^[a-z]{{3}}$'", name=f"{column}_is_a_code")


def utc_now() -> datetime:
    return datetime.now(UTC)


def create_engine(url: str, *, pool_size: int = 10, role: str | None = APP_ROLE) -> AsyncEngine:
    """An engine whose connections work as `role` and speak UTC.

    Each is asked whether it still lives before it is used: a database that restarted costs no
    request.
    """
    options = "-c timezone=UTC -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s"
    if role is not None:
        options += f" -c role={role}"
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={"options": options},
    )


def create_session_factory(bind: AsyncEngine) -> SessionFactory:
    return async_sessionmaker(bind, expire_on_commit=False)


async def advisory_lock(session: AsyncSession, key: int | str | bytes) -> None:
    """Wait for the one lock of this key, and hold it until the transaction ends.

    A number is a lock of the whole installation, named by a constant of its owner. A text or bytes
    (a row's id, an address hash) is a lock of that one thing.
    """
    if isinstance(key, bytes):
        key = int.from_bytes(key[:8], signed=True)
    number = key if isinstance(key, int) else func.hashtextextended(key, 0)
    await session.execute(select(func.pg_advisory_xact_lock(number)))


async def driver_connection(session: AsyncSession) -> AsyncConnection:
    """The driver's own connection, in the session's transaction: for procrastinate and for COPY."""
    connection = await session.connection()
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, AsyncConnection)
    return driver
