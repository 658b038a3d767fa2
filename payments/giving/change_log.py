"""The history of a promise: what was changed, when, and by whom. Nothing in it is about a person.

A donor's decision is written before Stripe is asked, and its id is the key of that call. When the
change is seen at Stripe the decision is marked done; a change nobody here decided was made at
Stripe.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.identifiers import new_row_id
from payments.infra import db

DECISION_MATCH_WINDOW = timedelta(
    hours=24
)  # a decision older than this did not cause what is seen now


class ChangeKind(StrEnum):
    AMOUNT = "amount"
    FREQUENCY = "frequency"
    CARD = "card"
    SKIPPED = "skipped"
    PAUSED = "paused"
    RESUMED = "resumed"
    CANCELLED = "cancelled"
    LAPSED = "lapsed"
    END_SCHEDULED = "end_scheduled"  # it will end on a day that was set
    END_CANCELLED = "end_cancelled"  # and that day was taken back


class Actor(StrEnum):
    DONOR = "donor"  # signed in
    LINK = "link"  # by a signed link of a mail
    STAFF = "staff"
    STRIPE = "stripe"  # seen at Stripe: the dashboard, the network, a failure


class SubscriptionChange(db.Base):
    """One change of a promise, decided here or seen at Stripe."""

    __tablename__ = "subscription_changes"

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    subscription_id: Mapped[db.StripeId] = mapped_column(index=True)
    kind: Mapped[ChangeKind] = mapped_column(db.enum_column(ChangeKind, "kind_is_known"))
    actor: Mapped[Actor] = mapped_column(db.enum_column(Actor, "by_is_known"))
    decided_at: Mapped[db.Timestamp]
    done_at: Mapped[db.Timestamp | None]
    # of a card that was asked for on Stripe's page, and put to use
    stripe_setup_intent_id: Mapped[db.StripeId | None] = mapped_column(unique=True)


async def record_decision(
    session: AsyncSession,
    subscription_id: str,
    kind: ChangeKind,
    *,
    actor: Actor,
    now: datetime,
    idempotency_key: str | None = None,
) -> SubscriptionChange:
    """Write a decision down before Stripe is asked. Its id is the key of that call.

    `intent` names one filled-in form and what it asks for: sent twice, it is one decision.
    """
    change_id = new_row_id()
    if idempotency_key is not None:
        change_id = _decision_id(subscription_id, kind, idempotency_key)
    await session.execute(
        insert(SubscriptionChange)
        .values(
            id=change_id, subscription_id=subscription_id, kind=kind, actor=actor, decided_at=now
        )
        .on_conflict_do_nothing(index_elements=["id"])
    )
    return await session.get_one(SubscriptionChange, change_id)


async def was_done(
    session: AsyncSession, subscription_id: str, kind: ChangeKind, *, idempotency_key: str | None
) -> bool:
    """Whether what this form asked for was seen at Stripe."""
    if idempotency_key is None:
        return False
    change = await session.get(
        SubscriptionChange, _decision_id(subscription_id, kind, idempotency_key)
    )
    return change is not None and change.done_at is not None


def _decision_id(subscription_id: str, kind: ChangeKind, idempotency_key: str) -> str:
    return hashlib.sha256(f"{subscription_id}:{kind}:{idempotency_key}".encode()).hexdigest()[:32]


async def record_observed(
    session: AsyncSession,
    subscription_id: str,
    kind: ChangeKind,
    *,
    now: datetime,
    equivalent_kinds: Sequence[ChangeKind] = (),
) -> SubscriptionChange:
    """A change was seen at Stripe: mark its decision done, or note that it was made there.

    `also` are kinds of decision that look the same at Stripe. Gives the change it was; its id is
    one for each time something happened.
    """
    change = await session.scalar(
        select(SubscriptionChange)
        .where(
            SubscriptionChange.subscription_id == subscription_id,
            SubscriptionChange.kind.in_((kind, *equivalent_kinds)),
            SubscriptionChange.done_at.is_(None),
            # a stop is kept to until it is done, however long Stripe was away
            or_(
                SubscriptionChange.decided_at > now - DECISION_MATCH_WINDOW,
                SubscriptionChange.kind == ChangeKind.CANCELLED,
            ),
        )
        .order_by(SubscriptionChange.decided_at.desc())
        .limit(1)
        .with_for_update()
    )
    if change is None:
        change = SubscriptionChange(
            id=new_row_id(),
            subscription_id=subscription_id,
            kind=kind,
            actor=Actor.STRIPE,
            decided_at=now,
        )
        session.add(change)
    change.done_at = now
    return change


async def record_cancellation(
    session: AsyncSession, subscription_id: str, *, actor: Actor, now: datetime
) -> SubscriptionChange:
    """A promise is stopped once in its life, so however often that is decided it is one row."""
    return await record_decision(
        session, subscription_id, ChangeKind.CANCELLED, actor=actor, now=now, idempotency_key="stop"
    )


async def pending_cancellations(
    session: AsyncSession, subscription_ids: Sequence[str]
) -> dict[str, datetime]:
    """Which of these promises were decided to be stopped and are not seen stopped yet, and when."""
    query = select(SubscriptionChange).where(
        SubscriptionChange.subscription_id.in_(subscription_ids),
        SubscriptionChange.kind == ChangeKind.CANCELLED,
        SubscriptionChange.done_at.is_(None),
    )
    return {stop.subscription_id: stop.decided_at for stop in await session.scalars(query)}


async def setup_intent_used(session: AsyncSession, setup_intent_id: str) -> bool:
    """Whether the card of a setup intent was put to use before."""
    query = select(SubscriptionChange.id).where(
        SubscriptionChange.stripe_setup_intent_id == setup_intent_id
    )
    return await session.scalar(query) is not None


async def mark_setup_intent_used(
    session: AsyncSession, decision_id: str | None, setup_intent_id: str
) -> None:
    """The card that a decision asked for was put to use: its setup intent is spent."""
    await session.execute(
        update(SubscriptionChange)
        .where(SubscriptionChange.id == decision_id)
        .values(stripe_setup_intent_id=setup_intent_id)
    )


async def newest_decision(
    session: AsyncSession, subscription_id: str, kind: ChangeKind
) -> SubscriptionChange | None:
    """The last decision of a kind, whether or not anything has come of it yet."""
    query = select(SubscriptionChange).where(
        SubscriptionChange.subscription_id == subscription_id, SubscriptionChange.kind == kind
    )
    found: SubscriptionChange | None = await session.scalar(
        query.order_by(SubscriptionChange.decided_at.desc()).limit(1)
    )
    return found


async def list_done(
    session: AsyncSession, subscription_id: str, *, limit: int = 100
) -> list[SubscriptionChange]:
    """What happened to a promise, newest first; decisions that came to nothing left out."""
    query = (
        select(SubscriptionChange)
        .where(
            SubscriptionChange.subscription_id == subscription_id,
            SubscriptionChange.done_at.is_not(None),
        )
        .order_by(SubscriptionChange.done_at.desc(), SubscriptionChange.id)
        .limit(limit)
    )
    return list(await session.scalars(query))
