"""Emergency stops that were decided, and how far each has come; `stopping` carries them out.

While one is under way nobody begins a promise: it would be stopped before its first renewal.
"""

from enum import StrEnum

from sqlalchemy import ForeignKey, Index, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db


class StopGroup(StrEnum):
    PROTECTED = "protected"
    ALL = "all"


class StopMode(StrEnum):
    PAUSE = "pause"
    CANCEL = "cancel"


class BulkStopItemState(StrEnum):
    PENDING = "pending"
    DONE = "done"
    ALREADY_ENDED = "already_ended"  # it had ended at Stripe already
    REJECTED = "rejected"  # Stripe will not; a person must look


class BulkStop(db.Base):
    """One decision to stop a group."""

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
    items_listed_at: Mapped[db.Timestamp | None]  # since when every promise of the group is in it
    ended_at: Mapped[db.Timestamp | None]


class BulkStopItem(db.Base):
    """One promise in a stop."""

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
    """Whether every promise is being stopped at this moment."""
    query = select(BulkStop.id).where(BulkStop.group == StopGroup.ALL, BulkStop.ended_at.is_(None))
    return await session.scalar(query.limit(1)) is not None
