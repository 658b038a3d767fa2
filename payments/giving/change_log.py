"""The change log: what was changed about a subscription, when, and by what kind of actor.

A decision is a row before Stripe is called, and its id is the idempotency key of that call. When
the change is observed at Stripe its decision is marked done; without a decision it was made at
Stripe. A decision that did not come about is marked failed, and is not taken for the cause of what
is seen later. Nothing in the log identifies a person.
"""

import hashlib
import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, aliased, mapped_column

from payments.core.identifiers import new_row_id
from payments.infra import db

DECISION_MATCH_WINDOW = timedelta(hours=24)  # an older decision did not cause what is seen now
UNSEEN_AFTER = timedelta(minutes=5)  # by then Stripe has answered a request, or never got it
CANCELLATION_KEY = "cancel"  # one decision for each subscription, whatever form sent it


class ChangeKind(StrEnum):
    """What changed. The kinds from SKIPPED on share their values with `outbox.MailKind`."""

    AMOUNT = "amount"
    FREQUENCY = "frequency"
    DAY = "day"  # its payments are made on another day
    CARD = "card"
    SKIPPED = "skipped"
    PAUSED = "paused"
    RESUMED = "resumed"
    CANCELLED = "cancelled"
    LAPSED = "lapsed"
    END_SCHEDULED = "end_scheduled"  # it will end on a day set in advance
    END_MOVED = "end_moved"  # to another day
    END_CANCELLED = "end_cancelled"  # that day was taken back


class Actor(StrEnum):
    """Who decided a change."""

    DONOR = "donor"  # signed in
    LINK = "link"  # by a signed link in a mail
    STAFF = "staff"
    SERVICE = "service"  # by a rule of ours: see `second_subscriptions`
    STRIPE = "stripe"  # seen at Stripe: the dashboard, the network, a failure


class SubscriptionChange(db.Base):
    """One change of a subscription, decided here or observed at Stripe."""

    __tablename__ = "subscription_changes"

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    subscription_id: Mapped[db.StripeId] = mapped_column(index=True)
    kind: Mapped[ChangeKind] = mapped_column(db.enum_column(ChangeKind, "kind_is_known"))
    actor: Mapped[Actor] = mapped_column(db.enum_column(Actor, "actor_is_known"))
    decided_at: Mapped[db.Timestamp]
    done_at: Mapped[db.Timestamp | None]
    failed_at: Mapped[db.Timestamp | None]  # Stripe refused it, or took it and did not make it
    # of the card taken on Stripe's page, once it is the default
    stripe_setup_intent_id: Mapped[db.StripeId | None] = mapped_column(unique=True)

    @property
    def stripe_key(self) -> str:
        """The idempotency key of its request to Stripe: another one when it is decided anew."""
        return f"{self.id}-{self.decided_at.timestamp():.6f}"


async def record_decision(
    session: AsyncSession,
    subscription_id: str,
    kind: ChangeKind,
    *,
    actor: Actor,
    now: datetime,
    idempotency_key: str | None = None,
) -> SubscriptionChange:
    """Store a decision before Stripe is called with its `stripe_key`. Returns it.

    `idempotency_key` names one filled-in form and what it asks for: sent twice, it is one decision.
    Sent again after it failed, it is decided anew.
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
    change = await session.get_one(SubscriptionChange, change_id)
    if change.failed_at is not None:
        change.decided_at, change.failed_at = now, None
    return change


async def record_next_decision(
    session: AsyncSession,
    subscription_id: str,
    kind: ChangeKind,
    *,
    actor: Actor,
    now: datetime,
    cause: str,
) -> SubscriptionChange:
    """Store a decision of a cause that may decide the same again, once what it did was undone.

    Returns the one that is not done yet, or a new one.
    """
    for number in itertools.count():
        change = await record_decision(
            session,
            subscription_id,
            kind,
            actor=actor,
            now=now,
            idempotency_key=f"{cause}:{number}",
        )
        if change.done_at is None:
            break
    return change


async def mark_failed(session: AsyncSession, change_id: str, *, now: datetime) -> None:
    """Note that a decision did not come about, unless it was seen to."""
    await session.execute(
        update(SubscriptionChange)
        .where(SubscriptionChange.id == change_id, SubscriptionChange.done_at.is_(None))
        .values(failed_at=now)
    )


async def fail_unseen(
    session: AsyncSession, subscription_id: str, *, requested_at: datetime
) -> None:
    """Mark as failed what was decided a while before the subscription was fetched, and is not seen.

    Not a cancellation, which is asked for until it is done, nor a card, which Stripe's page takes.
    """
    await session.execute(
        update(SubscriptionChange)
        .where(
            SubscriptionChange.subscription_id == subscription_id,
            SubscriptionChange.kind.not_in((ChangeKind.CANCELLED, ChangeKind.CARD)),
            SubscriptionChange.decided_at < requested_at - UNSEEN_AFTER,
            SubscriptionChange.done_at.is_(None),
            SubscriptionChange.failed_at.is_(None),
        )
        .values(failed_at=requested_at)
    )


async def was_done(
    session: AsyncSession, subscription_id: str, kind: ChangeKind, *, idempotency_key: str | None
) -> bool:
    """Whether the change that a form decided was observed at Stripe."""
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
    """Mark the decision behind a change observed at Stripe as done, or log it as made at Stripe.

    `equivalent_kinds` of decision look the same at Stripe. Returns the change, with one id for each
    time something happened.
    """
    change = await session.scalar(
        select(SubscriptionChange)
        .where(
            SubscriptionChange.subscription_id == subscription_id,
            SubscriptionChange.kind.in_((kind, *equivalent_kinds)),
            SubscriptionChange.done_at.is_(None),
            SubscriptionChange.failed_at.is_(None),
            # a cancellation stands until it is done, however long Stripe was away
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
    """Store the decision to cancel: one row, however often it is decided."""
    return await record_decision(
        session,
        subscription_id,
        ChangeKind.CANCELLED,
        actor=actor,
        now=now,
        idempotency_key=CANCELLATION_KEY,
    )


async def mark_cancelled(session: AsyncSession, subscription_id: str, *, now: datetime) -> None:
    """Mark the decision to cancel as done, if it was not observed before."""
    await session.execute(
        update(SubscriptionChange)
        .where(
            SubscriptionChange.subscription_id == subscription_id,
            SubscriptionChange.kind == ChangeKind.CANCELLED,
            SubscriptionChange.done_at.is_(None),
        )
        .values(done_at=now)
    )


async def has_unmade(session: AsyncSession, subscription_id: str) -> bool:
    """Whether a change did not come about, and none of its kind has since."""
    later = aliased(SubscriptionChange)
    made_later = (
        select(later.id)
        .where(
            later.subscription_id == SubscriptionChange.subscription_id,
            later.kind == SubscriptionChange.kind,
            later.done_at >= SubscriptionChange.failed_at,
        )
        .exists()
    )
    unmade = select(SubscriptionChange.id).where(
        SubscriptionChange.subscription_id == subscription_id,
        SubscriptionChange.failed_at.is_not(None),
        ~made_later,
    )
    return await session.scalar(unmade.limit(1)) is not None


async def take_back_cancellation(session: AsyncSession, subscription_id: str) -> None:
    """Forget that a cancellation was observed. One that was decided here is pending again."""
    cancelled = (
        SubscriptionChange.subscription_id == subscription_id,
        SubscriptionChange.kind == ChangeKind.CANCELLED,
    )
    await session.execute(
        delete(SubscriptionChange).where(*cancelled, SubscriptionChange.actor == Actor.STRIPE)
    )
    await session.execute(update(SubscriptionChange).where(*cancelled).values(done_at=None))


async def pending_cancellations(
    session: AsyncSession, subscription_ids: Sequence[str]
) -> dict[str, datetime]:
    """Return when each pending cancellation of these subscriptions was decided."""
    query = select(SubscriptionChange).where(
        SubscriptionChange.subscription_id.in_(subscription_ids),
        SubscriptionChange.kind == ChangeKind.CANCELLED,
        SubscriptionChange.done_at.is_(None),
    )
    return {one.subscription_id: one.decided_at for one in await session.scalars(query)}


async def forget(session: AsyncSession, subscription_id: str) -> None:
    """Delete all that was changed about a subscription that is no contribution."""
    await session.execute(
        delete(SubscriptionChange).where(SubscriptionChange.subscription_id == subscription_id)
    )


async def setup_intent_used(session: AsyncSession, setup_intent_id: str) -> bool:
    """Whether the card of a setup intent was made the default before."""
    query = select(SubscriptionChange.id).where(
        SubscriptionChange.stripe_setup_intent_id == setup_intent_id
    )
    return await session.scalar(query) is not None


async def mark_setup_intent_used(
    session: AsyncSession, decision_id: str | None, setup_intent_id: str
) -> None:
    """Note that the card of a setup intent, asked for by a decision, was made the default."""
    await session.execute(
        update(SubscriptionChange)
        .where(SubscriptionChange.id == decision_id)
        .values(stripe_setup_intent_id=setup_intent_id)
    )


async def newest_decision(
    session: AsyncSession, subscription_id: str, kind: ChangeKind
) -> SubscriptionChange | None:
    """Return the last change of a kind, done or not."""
    query = select(SubscriptionChange).where(
        SubscriptionChange.subscription_id == subscription_id, SubscriptionChange.kind == kind
    )
    change: SubscriptionChange | None = await session.scalar(
        query.order_by(SubscriptionChange.decided_at.desc()).limit(1)
    )
    return change


async def current_pause(session: AsyncSession, subscription_id: str) -> SubscriptionChange | None:
    """Return the pause or skip that a paused subscription is in: the last that was seen."""
    query = select(SubscriptionChange).where(
        SubscriptionChange.subscription_id == subscription_id,
        SubscriptionChange.kind.in_((ChangeKind.PAUSED, ChangeKind.SKIPPED)),
        SubscriptionChange.done_at.is_not(None),
    )
    change: SubscriptionChange | None = await session.scalar(
        query.order_by(SubscriptionChange.done_at.desc()).limit(1)
    )
    return change


async def list_done(session: AsyncSession, subscription_id: str) -> list[SubscriptionChange]:
    """Return all that happened to a subscription, newest first, without decisions not done."""
    query = (
        select(SubscriptionChange)
        .where(
            SubscriptionChange.subscription_id == subscription_id,
            SubscriptionChange.done_at.is_not(None),
        )
        .order_by(SubscriptionChange.done_at.desc(), SubscriptionChange.id)
    )
    return list(await session.scalars(query))
