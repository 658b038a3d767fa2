"""Networks: how far each has used what it may, counted in buckets, with no address kept.

An address is seen for the length of one request. What is kept is HMAC(salt of the day, network),
the salt being made from our secret key, so that all processes agree: without the key a hash says
nothing; with it, whoever seizes a running server could try all sixteen million networks and learn
which of them asked for something that day, though neither whose it was nor which. The table is not
logged, and its rows go when they have nothing left to limit.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

from sqlalchemy import Date, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db
from payments.infra.context import Context

NARROW_PREFIX, WIDE_PREFIX = (24, 56), (16, 40)  # bits of IPv4 and of IPv6
# Where Tor tells its circuits apart (HiddenServiceExportCircuitID): behind it is no network.
TOR_CIRCUITS = ipaddress.ip_network("fc00:dead:beef:4dad::/64")
NO_CAP = timedelta(days=36_500)


class Bucket(db.Base):
    """How far a network has used what it may: an empty bucket fills up by `full_at`. A full one
    is no row.
    """

    __tablename__ = "rate_limit_buckets"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    key: Mapped[bytes] = mapped_column(primary_key=True)
    full_at: Mapped[db.Timestamp]
    salt_date: Mapped[datetime] = mapped_column(Date)


def network_of(client_ip: str, prefix_lengths: tuple[int, int]) -> str:
    """The network of an address, so many bits wide; empty for what is no address."""
    try:
        found = ipaddress.ip_address(client_ip.partition("%")[0])
    except ValueError:
        return ""
    if found.version == 6 and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found in TOR_CIRCUITS and prefix_lengths == NARROW_PREFIX:
        return str(found)
    return str(ipaddress.ip_network(f"{found}/{prefix_lengths[found.version == 6]}", strict=False))


def daily_hash(ctx: Context, day: date, label: str) -> bytes:
    """What stands for a network and a purpose, for one day."""
    salt = hmac.new(ctx.settings.hmac_keys[0], f"shield\0{day}".encode(), hashlib.sha256).digest()
    return hmac.new(salt, label.encode(), hashlib.sha256).digest()[:16]


async def consume(
    session: AsyncSession,
    now: datetime,
    costs: Mapping[bytes, timedelta],
    *,
    cap: timedelta = NO_CAP,
) -> dict[bytes, timedelta]:
    """Put off the time at which each bucket is full again, by no more than `most` from now, in one
    statement. Gives how far off each then is.
    """
    asked = insert(Bucket).values(
        [
            {"key": key, "full_at": now + costs[key], "salt_date": now.date()}
            for key in sorted(costs)  # in one order, so that two do not wait for each other
        ]
    )
    later = func.greatest(Bucket.full_at, now) + (asked.excluded.full_at - now)
    rows = await session.execute(
        asked.on_conflict_do_update(
            index_elements=["key"],
            set_={"full_at": func.least(later, now + cap), "salt_date": now.date()},
        ).returning(Bucket.key, Bucket.full_at)
    )
    return {row.key: row.full_at - now for row in rows}


async def credit(session: AsyncSession, costs: Mapping[bytes, timedelta]) -> None:
    """Let each bucket be full so much sooner."""
    for key in sorted(costs):
        await session.execute(
            update(Bucket).where(Bucket.key == key).values(full_at=Bucket.full_at - costs[key])
        )


async def time_until_full(
    session: AsyncSession, now: datetime, keys: Iterable[bytes]
) -> dict[bytes, timedelta]:
    """How far off the time is at which each of these is full, where it is."""
    rows = await session.execute(
        select(Bucket.key, Bucket.full_at).where(Bucket.key.in_(keys), Bucket.full_at > now)
    )
    return {row.key: row.full_at - now for row in rows}


async def purge_full(session: AsyncSession, now: datetime) -> None:
    """Forget buckets that are full, and those of another day."""
    await session.execute(
        delete(Bucket).where((Bucket.full_at <= now) | (Bucket.salt_date < now.date()))
    )
