"""Bulk stops: emergency stops that were decided, and how far each has come.

`safety.emergency_stop` carries them out. While all subscriptions are being stopped nobody starts
one: it would be stopped before its first renewal.
"""

from enum import StrEnum

from sqlalchemy import ForeignKey, Index, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db


class StopGroup(StrEnum):
    """Whose subscriptions are stopped: those tied to a protected country, or all."""

    PROTECTED = "protected"
    ALL = "all"


class StopMode(StrEnum):
    """What is done to each subscription at Stripe."""

    PAUSE = "pause"
    CANCEL = "cancel"


class BulkStopItemState(StrEnum):
    """How far the stop of one subscription has come."""

    PENDING = "pending"
    DONE = "done"
    ALREADY_ENDED = "already_ended"  # at Stripe, before the stop came to it
    REJECTED = "rejected"  # by Stripe, for good: a person must look


class BulkStop(db.Base):
    """One decision to stop a group. At most one of a group and mode is open."""

    __tablename__ = "bulk_stops"
    __table_args__ = (
        Index(
            "uq_bulk_stops_open", "group", "mode", unique=True, postgresql_where="ended_at IS NULL"
        ),
    )

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    group: Mapped[StopGroup] = mapped_column(db.enum_column(StopGroup, "group_is_known"))
    mode: Mapped[StopMode] = mapped_column(db.enum_column(StopMode, "mode_is_known"))
    decided_at: Mapped[db.Timestamp]
    items_listed_at: Mapped[db.Timestamp | None]  # every subscription of the group has an item
    ended_at: Mapped[db.Timestamp | None]


class BulkStopItem(db.Base):
    """One subscription of a bulk stop."""

    __tablename__ = "bulk_stop_items"

    bulk_stop_id: Mapped[db.Id] = mapped_column(
        ForeignKey("bulk_stops.id", ondelete="CASCADE"), primary_key=True
    )
    stripe_subscription_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    state: Mapped[BulkStopItemState] = mapped_column(
        db.enum_column(BulkStopItemState, "state_is_known")
    )
    attempts: Mapped[int]


async def is_stopping_all(session: AsyncSession) -> bool:
    """Whether all subscriptions are being stopped at this moment."""
    query = select(BulkStop.id).where(BulkStop.group == StopGroup.ALL, BulkStop.ended_at.is_(None))
    return await session.scalar(query.limit(1)) is not None
