"""Muted subscriptions: those about which no mail is ever sent again.

A subscription is muted where a mail itself is a danger, or where ten thousand would go out at once.
It stays muted as long as we have a row of it, or until the emergency stop of all that muted it is
lifted (`safety.stop_items`). A donor who requests a sign-in link still gets it.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db


class MutedSubscription(db.Base):
    """A subscription about which no mail is sent."""

    __tablename__ = "muted_subscriptions"

    stripe_subscription_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    muted_at: Mapped[db.Timestamp]


async def mute(session: AsyncSession, subscription_ids: Sequence[str], *, now: datetime) -> None:
    """Send no mail about these subscriptions from now on."""
    if subscription_ids:
        rows = [{"stripe_subscription_id": id_, "muted_at": now} for id_ in subscription_ids]
        await session.execute(insert(MutedSubscription).on_conflict_do_nothing(), rows)


async def is_any_muted(session: AsyncSession, subscription_ids: Sequence[str]) -> bool:
    """Whether one of these subscriptions is muted."""
    query = select(MutedSubscription.stripe_subscription_id).where(
        MutedSubscription.stripe_subscription_id.in_(subscription_ids)
    )
    return bool(await session.scalar(select(query.exists())))


async def is_muted(session: AsyncSession, subscription_id: str | None) -> bool:
    """Whether a subscription is muted; without an id none is."""
    query = select(MutedSubscription).where(
        MutedSubscription.stripe_subscription_id == subscription_id
    )
    return subscription_id is not None and await session.scalar(query) is not None
