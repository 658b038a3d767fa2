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
from payments.infra.context import Runtime

NARROW, WIDE = (24, 56), (16, 40)  # bits of IPv4 and of IPv6
# Where Tor tells its circuits apart (HiddenServiceExportCircuitID): behind it is no network.
CIRCUITS = ipaddress.ip_network("fc00:dead:beef:4dad::/64")
FOREVER = timedelta(days=36_500)


class Bucket(db.Base):
    """How far a network has used what it may: an empty bucket fills up by `full_at`. A full one
    is no row.
    """

    __tablename__ = "shield_buckets"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    key: Mapped[bytes] = mapped_column(primary_key=True)
    full_at: Mapped[db.Moment]
    made_on: Mapped[datetime] = mapped_column(Date)


def of(address: str, bits: tuple[int, int]) -> str:
    """The network of an address, so many bits wide; empty for what is no address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if found.version == 6 and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found in CIRCUITS and bits == NARROW:
        return str(found)
    return str(ipaddress.ip_network(f"{found}/{bits[found.version == 6]}", strict=False))


def hashed(rt: Runtime, day: date, text: str) -> bytes:
    """What stands for a network and a purpose, for one day."""
    salt = hmac.new(rt.settings.keys[0], f"shield\0{day}".encode(), hashlib.sha256).digest()
    return hmac.new(salt, text.encode(), hashlib.sha256).digest()[:16]


async def take(
    session: AsyncSession,
    now: datetime,
    spans: Mapping[bytes, timedelta],
    *,
    most: timedelta = FOREVER,
) -> dict[bytes, timedelta]:
    """Put off the time at which each bucket is full again, by no more than `most` from now, in one
    statement. Gives how far off each then is.
    """
    asked = insert(Bucket).values(
        [
            {"key": key, "full_at": now + spans[key], "made_on": now.date()}
            for key in sorted(spans)  # in one order, so that two do not wait for each other
        ]
    )
    later = func.greatest(Bucket.full_at, now) + (asked.excluded.full_at - now)
    rows = await session.execute(
        asked.on_conflict_do_update(
            index_elements=["key"],
            set_={"full_at": func.least(later, now + most), "made_on": now.date()},
        ).returning(Bucket.key, Bucket.full_at)
    )
    return {row.key: row.full_at - now for row in rows}


async def give_back(session: AsyncSession, spans: Mapping[bytes, timedelta]) -> None:
    """Let each bucket be full so much sooner."""
    for key in sorted(spans):
        await session.execute(
            update(Bucket).where(Bucket.key == key).values(full_at=Bucket.full_at - spans[key])
        )


async def left(
    session: AsyncSession, now: datetime, keys: Iterable[bytes]
) -> dict[bytes, timedelta]:
    """How far off the time is at which each of these is full, where it is."""
    rows = await session.execute(
        select(Bucket.key, Bucket.full_at).where(Bucket.key.in_(keys), Bucket.full_at > now)
    )
    return {row.key: row.full_at - now for row in rows}


async def forget_full(session: AsyncSession, now: datetime) -> None:
    """Forget buckets that are full, and those of another day."""
    await session.execute(
        delete(Bucket).where((Bucket.full_at <= now) | (Bucket.made_on < now.date()))
    )
