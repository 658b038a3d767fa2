"""The risk level: how much is asked of whoever starts a contribution, while cards may be tested.

`giving.card_testing` counts declined cards and writes the state; everything else only reads it.
Each level ends by itself at a time that stands in the one row.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import CheckConstraint, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import money
from payments.core.money import Money
from payments.infra import db


class RiskLevel(StrEnum):
    """From the least to the most that is asked; `rate_limit` says what each means."""

    NORMAL = "normal"
    CHALLENGE = "challenge"
    RESTRICTED = "restricted"


class RiskState(db.Base):
    """What card testing detection decided: one row, or none until it decided anything."""

    __tablename__ = "risk_state"
    __table_args__ = (CheckConstraint("id = 1", name="is_single_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    restricted_until: Mapped[db.Timestamp]
    challenge_until: Mapped[db.Timestamp]
    evaluated_since: Mapped[db.Timestamp]  # declines before this were acted upon already
    trip_count: Mapped[int]


async def current_level(session: AsyncSession, now: datetime) -> RiskLevel:
    """Return the level that applies at `now`."""
    state = await session.get(RiskState, 1)
    if state is None or now >= state.challenge_until:
        return RiskLevel.NORMAL
    return RiskLevel.RESTRICTED if now < state.restricted_until else RiskLevel.CHALLENGE


async def lock_state(session: AsyncSession, now: datetime) -> RiskState:
    """Return the one row, made if it is missing, locked until the transaction ends."""
    await session.execute(
        insert(RiskState)
        .values(
            id=1,
            restricted_until=now,
            challenge_until=now,
            evaluated_since=now - timedelta(days=1),
            trip_count=0,
        )
        .on_conflict_do_nothing()
    )
    state = await session.scalar(
        select(RiskState).where(RiskState.id == 1).with_for_update(),
        execution_options={"populate_existing": True},
    )
    assert state is not None
    return state


def restricted_minimum(currency: str) -> Money:
    """Return the least that the restricted level takes: $5, and its like in other currencies."""
    return Money(money.min_gift(currency).amount * 5 // 2, currency)
