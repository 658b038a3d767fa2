"""Buckets: how much of its limits each network has used, without storing an address.

A client's address is read for the length of one request. What is stored is a hash of its network
under the secret key and the day's salt. The salt is random, so that all processes share a row of
it, and is destroyed when the day is over. Without the key a hash says nothing; with it, whoever
seizes a running server could try all sixteen million networks and learn which of them asked for
something that day, though not who, nor for what, and of an earlier day nothing, even from a copy
of that day's rows without its salt. Both tables are unlogged: a standby or a base backup has none
of them, nor has a dump with --no-unlogged-table-data. A row is removed when it has nothing left to
limit.

A bucket is one timestamp (the generic cell rate algorithm): use moves `full_at` into the future,
time catches up with it.
"""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta

from sqlalchemy import Date, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db
from payments.infra.context import Context

NARROW_PREFIX, WIDE_PREFIX = (24, 56), (16, 40)  # bits of IPv4 and of IPv6
# Tor gives each circuit an address here (HiddenServiceExportCircuitID): there is no network.
TOR_CIRCUITS = ipaddress.ip_network("fc00:dead:beef:4dad::/64")
NO_CAP = timedelta(days=36_500)
SALT_BYTES = 32


class Bucket(db.Base):
    """The use of one limit by one network: until `full_at` some of it is used. No row: none is."""

    __tablename__ = "rate_limit_buckets"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    key: Mapped[bytes] = mapped_column(primary_key=True)
    full_at: Mapped[db.Timestamp]
    salt_date: Mapped[datetime] = mapped_column(Date)


class DailySalt(db.Base):
    """What the networks of one day are hashed with."""

    __tablename__ = "daily_salts"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    day: Mapped[datetime] = mapped_column(Date, primary_key=True)
    salt: Mapped[bytes]


def network_of(client_ip: str, prefix_lengths: tuple[int, int]) -> str:
    """Return the network of an address, so many bits wide; empty for what is no address."""
    try:
        ip = ipaddress.ip_address(client_ip.partition("%")[0])
    except ValueError:
        return ""
    if ip.version == 6 and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip in TOR_CIRCUITS and prefix_lengths == NARROW_PREFIX:
        return str(ip)
    return str(ipaddress.ip_network(f"{ip}/{prefix_lengths[ip.version == 6]}", strict=False))


def keyed_hash(ctx: Context, label: str) -> bytes:
    """Return what stands for a label, such as a purpose and a network, in memory: 16 bytes. It is
    stored under the day's salt only.
    """
    secret = ctx.settings.hmac_keys[0]
    return hmac.new(secret, f"rate limit\0{label}".encode(), hashlib.sha256).digest()[:16]


# Text: SQLAlchemy builds and compiles an INSERT of several VALUES anew for each request. Locked in
# the order of `position`, so that two requests cannot deadlock.
_CONSUME_SQL = text("""
    WITH used AS (
        SELECT u.key AS given,
               substring(sha256(s.salt || u.key) FROM 1 FOR 16) AS key,
               u.full_at,
               s.day,
               u.position
          FROM daily_salts s
         CROSS JOIN unnest(CAST(:keys AS bytea[]), CAST(:full_at AS timestamptz[]))
                    WITH ORDINALITY AS u (key, full_at, position)
         WHERE s.day = CAST(:day AS date)
    ),
    written AS (
        INSERT INTO rate_limit_buckets AS bucket (key, full_at, salt_date)
        SELECT key, full_at, day
          FROM used
         ORDER BY position
            ON CONFLICT (key) DO UPDATE
           SET full_at = least(greatest(bucket.full_at, :now) + (excluded.full_at - :now), :latest)
     RETURNING key, full_at
    )
    SELECT used.given, written.full_at
      FROM written
      JOIN used USING (key)
""")
_STORED_SQL = text("""
    SELECT u.key AS given,
           substring(sha256(s.salt || u.key) FROM 1 FOR 16) AS key
      FROM daily_salts s
     CROSS JOIN unnest(CAST(:keys AS bytea[])) AS u (key)
     WHERE s.day = CAST(:day AS date)
""")


async def consume(
    session: AsyncSession,
    now: datetime,
    costs: Mapping[bytes, timedelta],
    *,
    cap: timedelta = NO_CAP,
) -> dict[bytes, timedelta]:
    """Move `full_at` of each bucket later by its cost, to `now` + `cap` at most, in one statement.

    Returns how far off each `full_at` then is.
    """
    keys = sorted(costs)
    values = {
        "keys": keys,
        "full_at": [now + costs[key] for key in keys],
        "day": now.date(),
        "now": now,
        "latest": now + cap,
    }
    rows = list(await session.execute(_CONSUME_SQL, values))
    if not rows and keys:  # the first of the day
        salt = secrets.token_bytes(SALT_BYTES)
        await session.execute(
            insert(DailySalt).values(day=now.date(), salt=salt).on_conflict_do_nothing()
        )
        rows = list(await session.execute(_CONSUME_SQL, values))
    return {bytes(row.given): row.full_at - now for row in rows}


async def credit(session: AsyncSession, now: datetime, costs: Mapping[bytes, timedelta]) -> None:
    """Move `full_at` of each of the day's buckets earlier by its cost."""
    stored = await _stored_keys(session, now.date(), sorted(costs))
    for key, given in stored.items():
        await session.execute(
            update(Bucket).where(Bucket.key == key).values(full_at=Bucket.full_at - costs[given])
        )


async def time_until_full(
    session: AsyncSession, now: datetime, keys: Iterable[bytes], *, day: date | None = None
) -> dict[bytes, timedelta]:
    """Return how far off `full_at` is, for those of the buckets of a day that are in use: of today,
    if none is given.
    """
    stored = await _stored_keys(session, day or now.date(), sorted(keys))
    rows = await session.execute(
        select(Bucket.key, Bucket.full_at).where(Bucket.key.in_(stored), Bucket.full_at > now)
    )
    return {stored[row.key]: row.full_at - now for row in rows}


async def _stored_keys(
    session: AsyncSession, day: date, keys: Sequence[bytes]
) -> dict[bytes, bytes]:
    """Return by which key each is stored, and which it is; none once the day's salt is gone."""
    rows = await session.execute(_STORED_SQL, {"keys": [*keys], "day": day})
    return {bytes(row.key): bytes(row.given) for row in rows}


async def purge_full(session: AsyncSession, now: datetime) -> None:
    """Delete buckets that are full, and those of another day with its salt.

    A table of salts that is in use, by a dump for one, keeps them until the next time.
    """
    await _destroy_old_salts(session, now.date())  # first: whoever uses a bucket has read the salt
    await session.execute(
        delete(Bucket).where((Bucket.full_at <= now) | (Bucket.salt_date < now.date()))
    )


async def _destroy_old_salts(session: AsyncSession, today: date) -> None:
    """Write the table of salts anew, so that its file holds no byte of an old one."""
    is_over = select(DailySalt.day).where(DailySalt.day < today).limit(1)
    if await session.scalar(is_over) is None:
        return
    if not await db.lock_if_free(session, DailySalt.__tablename__):
        return
    current = await session.scalar(select(DailySalt.salt).where(DailySalt.day == today))
    await session.execute(text("TRUNCATE daily_salts"))
    if current is not None:
        await session.execute(insert(DailySalt).values(day=today, salt=current))


async def forget_everything(session: AsyncSession) -> None:
    """Delete every bucket and salt. Where the salts are being read, by a dump for one, their bytes
    stay in the table's file until that is written anew.
    """
    await session.execute(delete(Bucket))
    is_free = await db.lock_if_free(session, DailySalt.__tablename__)
    await session.execute(text("TRUNCATE daily_salts" if is_free else "DELETE FROM daily_salts"))
