"""Suppression: addresses that are not written to, by their keyed hash.

What a person decided stands for good; a bounce expires, for a mailbox that was full or gone may
come back.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db


class SuppressionReason(StrEnum):
    """Why an address is not written to."""

    UNSUBSCRIBED = "unsubscribed"  # by its owner, or by the newsroom's mailing system
    COMPLAINED = "complained"
    BOUNCED = "bounced"


SUPPRESSION_LIFETIMES = {SuppressionReason.BOUNCED: timedelta(days=180)}  # others never expire


class SuppressedAddress(db.Base):
    """One address that is not written to."""

    __tablename__ = "suppressed_addresses"

    address_hash: Mapped[bytes] = mapped_column(primary_key=True)
    reason: Mapped[SuppressionReason] = mapped_column(
        db.enum_column(SuppressionReason, "reason_is_known")
    )
    suppressed_at: Mapped[db.Timestamp]
    expires_at: Mapped[db.Timestamp | None]  # null: never


async def suppress(
    session: AsyncSession, address_hash: bytes, reason: SuppressionReason, *, now: datetime
) -> None:
    """Suppress an address. One that is suppressed for good keeps its reason."""
    lifetime = SUPPRESSION_LIFETIMES.get(reason)
    values = {
        "reason": reason,
        "suppressed_at": now,
        "expires_at": None if lifetime is None else now + lifetime,
    }
    await session.execute(
        insert(SuppressedAddress)
        .values(address_hash=address_hash, **values)
        .on_conflict_do_update(
            index_elements=["address_hash"],
            set_=values,
            where=SuppressedAddress.expires_at.is_not(None),
        )
    )


async def is_suppressed(session: AsyncSession, hashes: Sequence[bytes], *, now: datetime) -> bool:
    """Whether an address is suppressed. `hashes` are its own under every key."""
    count = await session.scalar(
        select(func.count())
        .select_from(SuppressedAddress)
        .where(
            SuppressedAddress.address_hash.in_(hashes),
            SuppressedAddress.expires_at.is_(None) | (SuppressedAddress.expires_at > now),
        )
    )
    return bool(count)


async def purge_expired(session: AsyncSession, *, now: datetime) -> None:
    """Delete suppressions that have expired."""
    await session.execute(delete(SuppressedAddress).where(SuppressedAddress.expires_at <= now))
