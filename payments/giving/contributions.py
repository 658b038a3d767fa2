"""Contributions: what a reader decided to give, once or as a standing promise.

A contribution is a row first and a Stripe Checkout Session second: the row's id is the key of the
call to Stripe, so however often the call is made there is one session. What became of it is told by
that session (`checkout`) and, where a bank takes days, by its charges; never by a return address.
"""

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import stripe
from sqlalchemy import CheckConstraint, ForeignKey, Index, String, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import i18n
from payments.core.errors import IdempotencyKeyReused, NotFound, StripeRefused, StripeUnavailable
from payments.core.money import Money
from payments.giving.checkout_session import (
    CHECKOUT_LASTS,
    Ask,
    Frequency,
    again_url,
    checkout_request,
    product_id,
)
from payments.infra import db, stripe_client
from payments.infra.context import Runtime
from payments.risk import donor_notice, rate_limit
from payments.risk.rate_limit import Visit

__all__ = ["CHECKOUT_LASTS", "Ask", "Frequency", "again_url", "checkout_request", "product_id"]
KEY_LASTS = timedelta(hours=23)  # Stripe keeps an idempotency key for 24 hours at least
OUR_ID = re.compile(r"[0-9a-f]{32}")


class Status(StrEnum):
    STARTED = "started"  # our row exists; Stripe may not know it yet
    OPEN = "open"  # the reader is at Checkout
    PROCESSING = "processing"  # a bank has yet to confirm
    PAID = "paid"
    FAILED = "failed"
    EXPIRED = "expired"
    RETURNED = "returned"  # paid, and taken back by the reader's bank later


class Origin(StrEnum):
    READER = "reader"
    ADOPTED = "adopted"  # found at Stripe, with no row of ours


UNSETTLED = (Status.STARTED, Status.OPEN, Status.PROCESSING)


class Contribution(db.Base):
    """One decision to give. `amount` is what the reader was shown, in minor units of `currency`."""

    __tablename__ = "contributions"
    __table_args__ = (
        CheckConstraint("amount > 0", name="amount_is_positive"),
        db.is_currency(),
        Index("ix_contributions_unsettled", "created_at", postgresql_where="status = 'started'"),
        Index(
            "ix_contributions_variant",
            "campaign",
            "created_at",
            postgresql_where="variant IS NOT NULL",
        ),
    )

    id: Mapped[db.OurId] = mapped_column(primary_key=True)
    created_at: Mapped[db.Moment] = mapped_column(index=True)
    frequency: Mapped[Frequency] = mapped_column(db.words(Frequency, "frequency_is_known"))
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    status: Mapped[Status] = mapped_column(db.words(Status, "status_is_known"))
    origin: Mapped[Origin] = mapped_column(db.words(Origin, "origin_is_known"))
    campaign: Mapped[str | None] = mapped_column(String(64))
    variant: Mapped[str | None] = mapped_column(String(32))  # of the campaign, drawn by lot
    language: Mapped[str] = mapped_column(String(8), server_default="en")  # of our mails
    donor_id: Mapped[db.OurId | None] = mapped_column(ForeignKey("donors.id"), index=True)
    # SHA-256 of the caller's Idempotency-Key and of what it asked for
    request_key: Mapped[bytes | None] = mapped_column(unique=True)
    request_digest: Mapped[bytes | None]
    # what we ask of Stripe, word for word, so that a repeated call is the same call
    checkout_request: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  # Stripe's own shape
    checkout_url: Mapped[str | None]
    stripe_session_id: Mapped[db.StripeId | None] = mapped_column(unique=True)
    settled_at: Mapped[db.Moment | None]  # since when it is known what became of it
    # paid from a protected country: whose it was is not kept, and no mail is written
    protected: Mapped[bool] = mapped_column(server_default=text("false"))

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)


class ContributionIntent(db.Base):
    """Which contribution a Stripe PaymentIntent pays: the first payment's, and one for each
    renewal.
    """

    __tablename__ = "contribution_intents"

    stripe_payment_intent_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    contribution_id: Mapped[db.OurId] = mapped_column(ForeignKey("contributions.id"), index=True)
    # of this payment: a promise may later go from monthly to annual
    frequency: Mapped[Frequency] = mapped_column(db.words(Frequency, "frequency_is_known"))


# --- start ----------------------------------------------------------------------------------------


async def start(
    rt: Runtime, ask: Ask, *, key: str, visit: Visit, variant: str | None = None
) -> Contribution:
    """Keep the reader's decision, then open a Checkout Session for it.

    The same `key` with the same ask gives the same contribution. Raises IdempotencyKeyReused for
    another ask, what `notices` and the shield raise for a visit they do not let in,
    StripeUnavailable when Stripe does not answer; the row then stays and is taken up again.
    """
    try:
        row = await _keep(rt, ask, key=key, visit=visit, variant=variant)
    except (rate_limit.WorkNeeded, *rate_limit.NOT_NOW):
        await rate_limit.note_refused(rt, visit)
        raise
    if row.status is not Status.STARTED:
        return row
    return await open_checkout(rt, row.id)


async def _keep(
    rt: Runtime, ask: Ask, *, key: str, visit: Visit, variant: str | None
) -> Contribution:
    """Insert the row if the shield lets it in, or find the one that this key made."""
    request_key, digest = hashlib.sha256(key.encode()).digest(), ask.digest()
    contribution_id, now = secrets.token_hex(16), rt.now()
    async with rt.sessions.begin() as session:
        is_new = await session.scalar(
            insert(Contribution)
            .values(
                id=contribution_id,
                created_at=now,
                frequency=ask.frequency,
                amount=ask.money.amount,
                currency=ask.money.currency,
                status=Status.STARTED,
                origin=Origin.READER,
                campaign=ask.campaign,
                variant=variant,
                language=i18n.negotiate(ask.locale),
                request_key=request_key,
                request_digest=digest,
                checkout_request=checkout_request(
                    rt, ask, contribution_id, now, origin=visit.origin
                ),
            )
            .on_conflict_do_nothing(index_elements=["request_key"])
            .returning(Contribution.id)
        )
        if is_new is not None:
            await donor_notice.let_through(
                session,
                rt.settings,
                declared=visit.declared,
                is_promise=ask.frequency.interval is not None,
            )
            await rate_limit.admit(rt, session, visit, ask.money)
        row = await session.scalar(
            select(Contribution).where(Contribution.request_key == request_key)
        )
    assert row is not None
    if row.request_digest != digest:
        raise IdempotencyKeyReused(
            "This Idempotency-Key belongs to a different request. Nothing was charged.",
            field="Idempotency-Key",
        )
    return row


async def open_checkout(rt: Runtime, contribution_id: str) -> Contribution:
    """Make the session of a started contribution, or find the one an earlier call made."""
    async with rt.sessions() as session:
        row = await session.get_one(Contribution, contribution_id)
    if row.status is not Status.STARTED or row.checkout_request is None:
        return row
    try:
        with stripe_client.reachable():
            made = await rt.stripe.v1.checkout.sessions.create_async(
                row.checkout_request,  # type: ignore[arg-type]  # kept as JSON
                {"idempotency_key": contribution_id},
            )
    except stripe.InvalidRequestError as error:
        if rt.now() - row.created_at < CHECKOUT_LASTS / 2:
            raise StripeRefused(
                "Our payment provider did not accept this payment. Nothing was charged."
            ) from error
        # Too late for a first session, so Stripe never had one: this gift was never possible.
        return await _settle(rt, contribution_id, status=Status.EXPIRED)
    return await _settle(rt, contribution_id, status=Status.OPEN, session_id=made.id, url=made.url)


async def _settle(
    rt: Runtime,
    contribution_id: str,
    *,
    status: Status,
    session_id: str | None = None,
    url: str | None = None,
) -> Contribution:
    """Leave `started`, unless a webhook was faster and has told us more."""
    async with rt.sessions.begin() as session:
        await session.execute(
            update(Contribution)
            .where(Contribution.id == contribution_id, Contribution.status == Status.STARTED)
            .values(
                status=status,
                settled_at=None if status in UNSETTLED else rt.now(),
                stripe_session_id=session_id,
                checkout_url=url,
                checkout_request=None,
            )
        )
        return await session.get_one(Contribution, contribution_id, populate_existing=True)


async def take_up_started(rt: Runtime, *, limit: int = 50) -> int:
    """Finish what a crash cut short between our row and Stripe's answer. Gives how many."""
    now, done = rt.now(), 0
    async with rt.sessions.begin() as session:
        await session.execute(
            update(Contribution)
            .where(Contribution.status == Status.STARTED, Contribution.created_at < now - KEY_LASTS)
            .values(status=Status.EXPIRED, settled_at=now, checkout_request=None)
        )
        left = await session.scalars(
            select(Contribution.id)
            .where(
                Contribution.status == Status.STARTED,
                Contribution.created_at < now - timedelta(minutes=1),
            )
            .order_by(Contribution.created_at)
            .limit(limit)
        )
    for contribution_id in left:
        try:
            await open_checkout(rt, contribution_id)
        except StripeRefused:
            continue  # its reader was told; it ends when it is too late for it
        except StripeUnavailable:
            break
        done += 1
    return done


async def forget_request_keys(session: AsyncSession, now: datetime) -> None:
    """An Idempotency-Key is good for a day."""
    await session.execute(
        update(Contribution)
        .where(
            Contribution.request_key.is_not(None),
            Contribution.created_at < now - timedelta(hours=24),
        )
        .values(request_key=None, request_digest=None)
    )


# --- what Stripe says -----------------------------------------------------------------------------


async def settle(session: AsyncSession, contribution_id: str, *, kept: bool, now: datetime) -> None:
    """A bank has paid after days, or has taken back what it had paid. `kept` tells whether any
    payment stays.
    """
    if not kept:
        await becomes(session, contribution_id, Status.RETURNED, now=now)
        return
    row = await session.get(Contribution, contribution_id)
    if row is not None and row.status in (Status.PROCESSING, Status.FAILED, Status.RETURNED):
        await becomes(session, contribution_id, Status.PAID, now=now)


async def becomes(
    session: AsyncSession, contribution_id: str, status: Status, *, now: datetime
) -> None:
    settled_at = None if status in UNSETTLED else now
    await session.execute(
        update(Contribution)
        .where(Contribution.id == contribution_id, Contribution.status != status)
        .values(status=status, settled_at=settled_at)
    )


def frequency_of(subscription: str | stripe.Subscription | None) -> Frequency:
    """The frequency of an expanded subscription, or of there being none."""
    if not isinstance(subscription, stripe.Subscription):
        return Frequency.ONCE
    recurring = subscription["items"].data[0].price.recurring
    return Frequency.ANNUAL if recurring.interval == "year" else Frequency.MONTHLY


async def link(
    session: AsyncSession, payment_intent: str, contribution_id: str, frequency: Frequency
) -> None:
    """Remember which contribution a payment intent pays. The first word stands."""
    await session.execute(
        insert(ContributionIntent)
        .values(
            stripe_payment_intent_id=payment_intent,
            contribution_id=contribution_id,
            frequency=frequency,
        )
        .on_conflict_do_nothing()
    )


async def give_to(session: AsyncSession, contribution_id: str, donor_id: str) -> None:
    """Note whose contribution it is, if nobody's yet: one found at Stripe has no page of ours."""
    await session.execute(
        update(Contribution)
        .where(
            Contribution.id == contribution_id,
            Contribution.donor_id.is_(None),
            Contribution.protected.is_(False),
        )
        .values(donor_id=donor_id)
    )


async def protect(session: AsyncSession, contribution_id: str) -> None:
    """Cut a contribution from whoever gave it, for good. What is left is what the books need."""
    row = await session.get_one(
        Contribution, contribution_id, with_for_update=True, populate_existing=True
    )
    row.protected, row.donor_id, row.language = True, None, i18n.SOURCE
    row.campaign, row.variant = None, None
    row.request_key, row.request_digest, row.checkout_request = None, None, None
    row.checkout_url, row.stripe_session_id = None, None
    await session.flush()


async def alone(session: AsyncSession, contribution_id: str) -> None:
    """Until this transaction ends, nobody else ties a donor to a contribution or cuts one off."""
    name = func.hashtextextended(contribution_id, 0)
    await session.execute(select(func.pg_advisory_xact_lock(name)))


async def is_protected(session: AsyncSession, contribution_id: str) -> bool:
    """Whether nobody may be tied to this contribution. The answer holds until the transaction ends:
    a cut that is under way is waited for, and none comes between.
    """
    await alone(session, contribution_id)
    query = select(Contribution.protected).where(Contribution.id == contribution_id)
    return bool(await session.scalar(query))


async def of_donor(session: AsyncSession, donor_id: str, *, limit: int = 500) -> list[Contribution]:
    """What a donor gave or promised, the newest first."""
    query = (
        select(Contribution)
        .where(Contribution.donor_id == donor_id)
        .order_by(Contribution.created_at.desc(), Contribution.id)
        .limit(limit)
    )
    return list(await session.scalars(query))


async def owned(session: AsyncSession, donor_id: str, contribution_id: str) -> Contribution:
    """A donor's own contribution. Another's is NotFound, just as one that never was."""
    row = await find(session, contribution_id)
    if row.donor_id is None or row.donor_id != donor_id:
        raise NotFound("There is no such contribution.")
    return row


async def forget_donor(session: AsyncSession, donor_id: str) -> None:
    """Cut what a donor gave from who they are. The amounts stay."""
    await session.execute(
        update(Contribution).where(Contribution.donor_id == donor_id).values(donor_id=None)
    )


async def exists(session: AsyncSession, contribution_id: str | None) -> bool:
    """Whether this is the id of a contribution we hold."""
    return (
        contribution_id is not None and await session.get(Contribution, contribution_id) is not None
    )


async def find(session: AsyncSession, contribution_id: str) -> Contribution:
    """The contribution with this id, or NotFound."""
    row = (
        await session.get(Contribution, contribution_id)
        if OUR_ID.fullmatch(contribution_id)
        else None
    )
    if row is None:
        raise NotFound("There is no such contribution.")
    return row
