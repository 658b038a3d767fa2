"""The history of a promise: what was changed, when, and by whom. Nothing in it is about a person.

A donor's decision is written before Stripe is asked, and its id is the key of that call. When the
change is seen at Stripe the decision is marked done; a change nobody here decided was made at
Stripe.
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db

FRESH = timedelta(hours=24)  # a decision older than this did not cause what is seen now


class ChangeKind(StrEnum):
    AMOUNT = "amount"
    FREQUENCY = "frequency"
    CARD = "card"
    SKIPPED = "skipped"
    PAUSED = "paused"
    RESUMED = "resumed"
    STOPPED = "stopped"
    LAPSED = "lapsed"
    ENDING = "ending"  # it will end on a day that was set
    KEPT = "kept"  # and that day was taken back


class By(StrEnum):
    DONOR = "donor"  # signed in
    LINK = "link"  # by a signed link of a mail
    STAFF = "staff"
    STRIPE = "stripe"  # seen at Stripe: the dashboard, the network, a failure


class Change(db.Base):
    """One change of a promise, decided here or seen at Stripe."""

    __tablename__ = "subscription_changes"

    id: Mapped[db.OurId] = mapped_column(primary_key=True)
    subscription_id: Mapped[db.StripeId] = mapped_column(index=True)
    kind: Mapped[ChangeKind] = mapped_column(db.words(ChangeKind, "kind_is_known"))
    by: Mapped[By] = mapped_column(db.words(By, "by_is_known"))
    decided_at: Mapped[db.Moment]
    done_at: Mapped[db.Moment | None]
    # of a card that was asked for on Stripe's page, and put to use
    stripe_setup_intent_id: Mapped[db.StripeId | None] = mapped_column(unique=True)


async def decide(
    session: AsyncSession,
    subscription_id: str,
    kind: ChangeKind,
    *,
    by: By,
    now: datetime,
    intent: str | None = None,
) -> Change:
    """Write a decision down before Stripe is asked. Its id is the key of that call.

    `intent` names one filled-in form and what it asks for: sent twice, it is one decision.
    """
    change_id = secrets.token_hex(16)
    if intent is not None:
        change_id = _id_of(subscription_id, kind, intent)
    await session.execute(
        insert(Change)
        .values(id=change_id, subscription_id=subscription_id, kind=kind, by=by, decided_at=now)
        .on_conflict_do_nothing(index_elements=["id"])
    )
    return await session.get_one(Change, change_id)


async def was_done(
    session: AsyncSession, subscription_id: str, kind: ChangeKind, *, intent: str | None
) -> bool:
    """Whether what this form asked for was seen at Stripe."""
    if intent is None:
        return False
    change = await session.get(Change, _id_of(subscription_id, kind, intent))
    return change is not None and change.done_at is not None


def _id_of(subscription_id: str, kind: ChangeKind, intent: str) -> str:
    return hashlib.sha256(f"{subscription_id}:{kind}:{intent}".encode()).hexdigest()[:32]


async def seen(
    session: AsyncSession,
    subscription_id: str,
    kind: ChangeKind,
    *,
    now: datetime,
    also: Sequence[ChangeKind] = (),
) -> Change:
    """A change was seen at Stripe: mark its decision done, or note that it was made there.

    `also` are kinds of decision that look the same at Stripe. Gives the change it was; its id is
    one for each time something happened.
    """
    change = await session.scalar(
        select(Change)
        .where(
            Change.subscription_id == subscription_id,
            Change.kind.in_((kind, *also)),
            Change.done_at.is_(None),
            # a stop is kept to until it is done, however long Stripe was away
            or_(Change.decided_at > now - FRESH, Change.kind == ChangeKind.STOPPED),
        )
        .order_by(Change.decided_at.desc())
        .limit(1)
        .with_for_update()
    )
    if change is None:
        change = Change(
            id=secrets.token_hex(16),
            subscription_id=subscription_id,
            kind=kind,
            by=By.STRIPE,
            decided_at=now,
        )
        session.add(change)
    change.done_at = now
    return change


async def decide_stop(
    session: AsyncSession, subscription_id: str, *, by: By, now: datetime
) -> Change:
    """A promise is stopped once in its life, so however often that is decided it is one row."""
    return await decide(session, subscription_id, ChangeKind.STOPPED, by=by, now=now, intent="stop")


async def owed_stops(session: AsyncSession, subscription_ids: Sequence[str]) -> dict[str, datetime]:
    """Which of these promises were decided to be stopped and are not seen stopped yet, and when."""
    query = select(Change).where(
        Change.subscription_id.in_(subscription_ids),
        Change.kind == ChangeKind.STOPPED,
        Change.done_at.is_(None),
    )
    return {stop.subscription_id: stop.decided_at for stop in await session.scalars(query)}


async def was_set_up(session: AsyncSession, setup_intent_id: str) -> bool:
    """Whether the card of a setup intent was put to use before."""
    query = select(Change.id).where(Change.stripe_setup_intent_id == setup_intent_id)
    return await session.scalar(query) is not None


async def set_up(session: AsyncSession, decision_id: str | None, setup_intent_id: str) -> None:
    """The card that a decision asked for was put to use: its setup intent is spent."""
    await session.execute(
        update(Change)
        .where(Change.id == decision_id)
        .values(stripe_setup_intent_id=setup_intent_id)
    )


async def newest_decision(
    session: AsyncSession, subscription_id: str, kind: ChangeKind
) -> Change | None:
    """The last decision of a kind, whether or not anything has come of it yet."""
    query = select(Change).where(Change.subscription_id == subscription_id, Change.kind == kind)
    found: Change | None = await session.scalar(query.order_by(Change.decided_at.desc()).limit(1))
    return found


async def of(session: AsyncSession, subscription_id: str, *, limit: int = 100) -> list[Change]:
    """What happened to a promise, newest first; decisions that came to nothing left out."""
    query = (
        select(Change)
        .where(Change.subscription_id == subscription_id, Change.done_at.is_not(None))
        .order_by(Change.done_at.desc(), Change.id)
        .limit(limit)
    )
    return list(await session.scalars(query))
