"""Silence: promises about which their donor is told nothing any more, by any mail.

Where a mail itself is a danger, or where ten thousand would go out at once, the decision not to
write stands before the reason to write, and for good. A donor who asks for a link still gets it.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db


class MutedSubscription(db.Base):
    """A promise about which nothing is said."""

    __tablename__ = "muted_subscriptions"

    stripe_subscription_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    muted_at: Mapped[db.Timestamp]


async def mute(session: AsyncSession, subscription_ids: Sequence[str], *, now: datetime) -> None:
    """Say nothing about these promises from now on."""
    if subscription_ids:
        rows = [{"stripe_subscription_id": one, "muted_at": now} for one in subscription_ids]
        await session.execute(insert(MutedSubscription).on_conflict_do_nothing(), rows)


async def is_muted(session: AsyncSession, subscription_id: str | None) -> bool:
    """Whether nothing is said about this promise."""
    query = select(MutedSubscription).where(
        MutedSubscription.stripe_subscription_id == subscription_id
    )
    return subscription_id is not None and await session.scalar(query) is not None
