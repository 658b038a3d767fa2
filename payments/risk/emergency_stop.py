"""Emergency stops that were decided, and how far each has come; `stopping` carries them out.

While one is under way nobody begins a promise: it would be stopped before its first renewal.
"""

from enum import StrEnum

from sqlalchemy import ForeignKey, Index, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db


class Group(StrEnum):
    PROTECTED = "protected"
    ALL = "all"


class Mode(StrEnum):
    PAUSE = "pause"
    CANCEL = "cancel"


class StepState(StrEnum):
    WAITING = "waiting"
    DONE = "done"
    GONE = "gone"  # it had ended at Stripe already
    REFUSED = "refused"  # Stripe will not; a person must look


class Stop(db.Base):
    """One decision to stop a group."""

    __tablename__ = "stops"
    __table_args__ = (
        Index("uq_stops_open", "group", "mode", unique=True, postgresql_where="ended_at IS NULL"),
    )

    id: Mapped[db.OurId] = mapped_column(primary_key=True)
    group: Mapped[Group] = mapped_column(db.words(Group, "group_is_known"))
    mode: Mapped[Mode] = mapped_column(db.words(Mode, "mode_is_known"))
    decided_at: Mapped[db.Moment]
    listed_at: Mapped[db.Moment | None]  # since when every promise of the group is in it
    ended_at: Mapped[db.Moment | None]


class StopStep(db.Base):
    """One promise in a stop."""

    __tablename__ = "stop_steps"

    stop_id: Mapped[db.OurId] = mapped_column(
        ForeignKey("stops.id", ondelete="CASCADE"), primary_key=True
    )
    stripe_subscription_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    state: Mapped[StepState] = mapped_column(db.words(StepState, "state_is_known"))
    tried: Mapped[int]


async def under_way(session: AsyncSession) -> bool:
    """Whether every promise is being stopped at this moment."""
    query = select(Stop.id).where(Stop.group == Group.ALL, Stop.ended_at.is_(None))
    return await session.scalar(query.limit(1)) is not None
