"""Emergency stops that were decided, and how far each has come.

`safety.emergency_stop` carries them out. A stop stands from its decision until it is lifted: what
would be charged later belongs to it too. While all are stopped nobody can give, and what a stop
holds is neither changed nor charged by anything here: each call that could ask here first
(`tests/safety/test_calls_that_charge.py` lists them).
"""

from collections.abc import Sequence
from enum import StrEnum

import stripe
from sqlalchemy import ForeignKey, Index, or_, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.errors import PaymentsError
from payments.core.safety_policy import Policy
from payments.infra import db, job_queue
from payments.infra.context import Context
from payments.risk import quarantine

ENFORCE_SUBSCRIPTION_JOB = "stop_subscription"  # kinds of job: what came while a stop stands
ENFORCE_PAYMENT_JOB = "stop_payment"


class StopGroup(StrEnum):
    """Whose subscriptions are stopped: those tied to a protected country, or all."""

    PROTECTED = "protected"
    ALL = "all"


class StopMode(StrEnum):
    """What is done to each subscription at Stripe."""

    PAUSE = "pause"
    CANCEL = "cancel"


class StopItemState(StrEnum):
    """How far the stop of one subscription has come."""

    PENDING = "pending"
    DONE = "done"
    ALREADY_ENDED = "already_ended"  # at Stripe, before the stop came to it
    REJECTED = "rejected"  # by Stripe, for good: a person must look


class StopStands(PaymentsError):
    """An emergency stop holds this contribution. Nothing was changed."""

    status = 409
    code = "stop-stands"
    title = "Payments are stopped at the moment"


class EmergencyStop(db.Base):
    """One decision to stop a group. At most one of a group and mode stands."""

    __tablename__ = "emergency_stops"
    __table_args__ = (
        Index(
            "uq_emergency_stops_standing",
            "group",
            "mode",
            unique=True,
            postgresql_where="lifted_at IS NULL",
        ),
    )

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    group: Mapped[StopGroup] = mapped_column(db.enum_column(StopGroup, "group_is_known"))
    mode: Mapped[StopMode] = mapped_column(db.enum_column(StopMode, "mode_is_known"))
    decided_at: Mapped[db.Timestamp]
    proved_at: Mapped[db.Timestamp | None]  # Stripe's lists held nothing of the group
    # how many objects of each of Stripe's lists were left when it was looked last
    left_at_stripe: Mapped[dict[str, int] | None] = mapped_column(JSONB)
    lifted_at: Mapped[db.Timestamp | None]


class StopItem(db.Base):
    """One subscription of an emergency stop."""

    __tablename__ = "emergency_stop_items"

    emergency_stop_id: Mapped[db.Id] = mapped_column(
        ForeignKey("emergency_stops.id", ondelete="CASCADE"), primary_key=True
    )
    stripe_subscription_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    state: Mapped[StopItemState] = mapped_column(db.enum_column(StopItemState, "state_is_known"))
    attempts: Mapped[int]


async def standing(session: AsyncSession) -> Sequence[EmergencyStop]:
    """Return the stops that were not lifted, those that cancel before those that pause."""
    query = select(EmergencyStop).where(EmergencyStop.lifted_at.is_(None))
    return list(await session.scalars(query.order_by(EmergencyStop.mode, EmergencyStop.group)))


async def is_stopping_all(session: AsyncSession) -> bool:
    """Whether a stop of all stands."""
    return any(stop.group is StopGroup.ALL for stop in await standing(session))


async def is_stopped(session: AsyncSession, subscription_id: str) -> bool:
    """Whether a standing stop holds a subscription, as far as our rows say."""
    query = (
        select(EmergencyStop.id)
        .outerjoin(StopItem, StopItem.emergency_stop_id == EmergencyStop.id)
        .where(
            EmergencyStop.lifted_at.is_(None),
            or_(
                EmergencyStop.group == StopGroup.ALL,
                StopItem.stripe_subscription_id == subscription_id,
            ),
        )
    )
    return await session.scalar(query.limit(1)) is not None


async def require_not_stopped(session: AsyncSession, subscription_id: str) -> None:
    """Raise StopStands for a subscription that a standing stop holds."""
    if await is_stopped(session, subscription_id):
        raise StopStands(
            "We have stopped all charges to keep readers safe. Nothing was charged or changed."
        )


async def is_to_be_left(ctx: Context, fetched: stripe.Subscription) -> bool:
    """Whether a subscription just fetched may not be charged now, because a standing stop holds it
    or is about the method it would be charged to. Its methods must be expanded.
    """
    async with ctx.sessions() as session:
        stops = await standing(session)
        policy = ctx.settings.safety_policy
        if any(covers(stop, fetched, policy) for stop in stops):
            return True
        return bool(stops) and await is_stopped(session, fetched.id)


def covers(stop: EmergencyStop, fetched: stripe.Subscription, policy: Policy | None) -> bool:
    """Whether a stop is about a subscription, by the country of what it would be charged to.

    Its methods must be expanded.
    """
    if stop.group is StopGroup.ALL:
        return True
    return policy is not None and policy.protects(quarantine.subscription_country(fetched))


async def enqueue_enforcement(session: AsyncSession, job: str, object_id: str) -> None:
    """Have what may be charged, or was, looked at, if a stop stands."""
    if await standing(session):
        await job_queue.enqueue_sync(session, job, object_id)
