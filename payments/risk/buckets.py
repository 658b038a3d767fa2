"""Buckets: how much of its limits each network has used, without storing an address.

A client's address is read for the length of one request. What is stored is an HMAC of its network
under the day's salt. The salt is derived from the secret key, so that all processes agree: without
the key a hash says nothing; with it, whoever seizes a running server could try all sixteen million
networks and learn which of them asked for something that day, though not who, nor for what. The
table is unlogged, and a row is removed when it has nothing left to limit.

A bucket is one timestamp (the generic cell rate algorithm): use moves `full_at` into the future,
time catches up with it.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

from sqlalchemy import Date, delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db
from payments.infra.context import Context

NARROW_PREFIX, WIDE_PREFIX = (24, 56), (16, 40)  # bits of IPv4 and of IPv6
# Tor gives each circuit an address here (HiddenServiceExportCircuitID): there is no network.
TOR_CIRCUITS = ipaddress.ip_network("fc00:dead:beef:4dad::/64")
NO_CAP = timedelta(days=36_500)


class Bucket(db.Base):
    """The use of one limit by one network: until `full_at` some of it is used. No row: none is."""

    __tablename__ = "rate_limit_buckets"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    key: Mapped[bytes] = mapped_column(primary_key=True)
    full_at: Mapped[db.Timestamp]
    salt_date: Mapped[datetime] = mapped_column(Date)


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


def daily_hash(ctx: Context, day: date, label: str) -> bytes:
    """Return what stands for a label, such as a purpose and a network, on one day: 16 bytes."""
    secret = ctx.settings.hmac_keys[0]
    salt = hmac.new(secret, f"rate limit\0{day}".encode(), hashlib.sha256).digest()
    return hmac.new(salt, label.encode(), hashlib.sha256).digest()[:16]


# Text: SQLAlchemy builds and compiles an INSERT of several VALUES anew for each request.
_CONSUME_SQL = text("""
    INSERT INTO rate_limit_buckets AS bucket (key, full_at, salt_date)
    SELECT key, full_at, CAST(:salt_date AS date)
      FROM unnest(CAST(:keys AS bytea[]), CAST(:full_at AS timestamptz[])) AS used (key, full_at)
        ON CONFLICT (key) DO UPDATE
       SET full_at = least(greatest(bucket.full_at, :now) + (excluded.full_at - :now), :latest),
           salt_date = excluded.salt_date
 RETURNING key, full_at
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
    keys = sorted(costs)  # always in one order, so that two requests cannot deadlock
    values = {
        "keys": keys,
        "full_at": [now + costs[key] for key in keys],
        "salt_date": now.date(),
        "now": now,
        "latest": now + cap,
    }
    rows = await session.execute(_CONSUME_SQL, values)
    return {bytes(row.key): row.full_at - now for row in rows}


async def credit(session: AsyncSession, costs: Mapping[bytes, timedelta]) -> None:
    """Move `full_at` of each bucket earlier by its cost."""
    for key in sorted(costs):
        await session.execute(
            update(Bucket).where(Bucket.key == key).values(full_at=Bucket.full_at - costs[key])
        )


async def time_until_full(
    session: AsyncSession, now: datetime, keys: Iterable[bytes]
) -> dict[bytes, timedelta]:
    """Return how far off `full_at` is, for those of the buckets that are in use."""
    rows = await session.execute(
        select(Bucket.key, Bucket.full_at).where(Bucket.key.in_(keys), Bucket.full_at > now)
    )
    return {row.key: row.full_at - now for row in rows}


async def purge_full(session: AsyncSession, now: datetime) -> None:
    """Delete buckets that are full, and those of another day."""
    await session.execute(
        delete(Bucket).where((Bucket.full_at <= now) | (Bucket.salt_date < now.date()))
    )
