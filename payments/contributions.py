"""Contributions: what a reader decided to give, once or as a standing promise.

A contribution is a row first and a Stripe Checkout Session second: the row's id is the key of the
call to Stripe, so however often the call is made there is one session. Its status is the
session's, fetched, never guessed from a return address. What money moved is another question,
answered by charges and the ledger.
"""

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

import msgspec
import stripe
from sqlalchemy import CheckConstraint, ForeignKey, Index, String, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from stripe.checkout import Session as CheckoutSession

from payments import alarms, db, donors, gateway, language
from payments.alarms import AlarmKind
from payments.errors import IdempotencyKeyReused, NotFound, StripeRefused, StripeUnavailable
from payments.money import Money
from payments.runtime import Runtime

CHECKOUT_LASTS = timedelta(minutes=60)
KEY_LASTS = timedelta(hours=23)  # Stripe keeps an idempotency key for 24 hours at least
OUR_ID = re.compile(r"[0-9a-f]{32}")


class Frequency(StrEnum):
    ONCE = "once"
    MONTHLY = "monthly"
    ANNUAL = "annual"

    @property
    def interval(self) -> str | None:
        """Stripe's word for the time between two charges."""
        return {"monthly": "month", "annual": "year"}.get(self.value)


class Status(StrEnum):
    STARTED = "started"  # our row exists; Stripe may not know it yet
    OPEN = "open"  # the reader is at Checkout
    PROCESSING = "processing"  # a bank has yet to confirm
    PAID = "paid"
    FAILED = "failed"
    EXPIRED = "expired"


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
    )

    id: Mapped[db.OurId] = mapped_column(primary_key=True)
    created_at: Mapped[db.Moment] = mapped_column(index=True)
    frequency: Mapped[Frequency] = mapped_column(db.words(Frequency, "frequency_is_known"))
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    status: Mapped[Status] = mapped_column(db.words(Status, "status_is_known"))
    origin: Mapped[Origin] = mapped_column(db.words(Origin, "origin_is_known"))
    campaign: Mapped[str | None] = mapped_column(String(64))
    language: Mapped[str] = mapped_column(String(8), server_default="en")  # of our mails
    donor_id: Mapped[db.OurId | None] = mapped_column(ForeignKey("donors.id"), index=True)
    # SHA-256 of the caller's Idempotency-Key and of what it asked for
    request_key: Mapped[bytes | None] = mapped_column(unique=True)
    request_digest: Mapped[bytes | None]
    # what we ask of Stripe, word for word, so that a repeated call is the same call
    checkout_request: Mapped[dict[str, Any] | None] = mapped_column(JSONB)  # Stripe's own shape
    checkout_url: Mapped[str | None]
    stripe_session_id: Mapped[db.StripeId | None] = mapped_column(unique=True)

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


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader asks for. Two asks are the same if every field is."""

    money: Money
    frequency: Frequency
    campaign: str | None = None
    locale: str | None = None

    def digest(self) -> bytes:
        return hashlib.sha256(msgspec.json.encode(self)).digest()


def product_id(frequency: Frequency) -> str:
    """The Stripe Product of a frequency: fixed, so that an amount can be changed later."""
    return f"reader_payments_{frequency}"


# --- start ----------------------------------------------------------------------------------------


async def start(rt: Runtime, ask: Ask, *, key: str) -> Contribution:
    """Keep the reader's decision, then open a Checkout Session for it.

    The same `key` with the same ask gives the same contribution. Raises IdempotencyKeyReused for
    another ask, StripeUnavailable when Stripe does not answer; the row then stays and is taken up
    again.
    """
    row = await _keep(rt, ask, key=key)
    if row.status is not Status.STARTED:
        return row
    return await open_checkout(rt, row.id)


async def _keep(rt: Runtime, ask: Ask, *, key: str) -> Contribution:
    """Insert the row, or find the one that this key made."""
    request_key, digest = hashlib.sha256(key.encode()).digest(), ask.digest()
    contribution_id, now = secrets.token_hex(16), rt.now()
    async with rt.sessions.begin() as session:
        await session.execute(
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
                language=language.negotiate(ask.locale),
                request_key=request_key,
                request_digest=digest,
                checkout_request=checkout_request(rt, ask, contribution_id, now),
            )
            .on_conflict_do_nothing(index_elements=["request_key"])
        )
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


def checkout_request(
    rt: Runtime, ask: Ask, contribution_id: str, now: datetime
) -> dict[str, Any]:  # stripe's SessionCreateParams, kept as JSON
    """The Checkout Session to ask for. Only opaque ids go to Stripe: no name, no article."""
    base, ours = rt.settings.base_url, {"contribution_id": contribution_id}
    price: dict[str, Any] = {  # SessionCreateParams' price_data
        "currency": ask.money.currency,
        "unit_amount": ask.money.amount,
        "product": product_id(ask.frequency),
    }
    request: dict[str, Any] = {
        "ui_mode": "hosted_page",
        "client_reference_id": contribution_id,
        "metadata": ours,
        "line_items": [{"quantity": 1, "price_data": price}],
        "adaptive_pricing": {"enabled": False},
        "wallet_options": {"link": {"display": "never"}},
        "locale": ask.locale if ask.locale in gateway.CHECKOUT_LOCALES else "auto",
        "expires_at": int((now + CHECKOUT_LASTS).timestamp()),
        "success_url": f"{base}/thanks/{contribution_id}",
        "cancel_url": base + again_url(ask.frequency, ask.money),
    }
    if ask.frequency.interval is None:
        request |= {
            "mode": "payment",
            "submit_type": "donate",
            "payment_intent_data": {"metadata": ours},
        }
    else:
        price["recurring"] = {"interval": ask.frequency.interval}
        request |= {"mode": "subscription", "subscription_data": {"metadata": ours}}
    return request


def again_url(frequency: Frequency, gift: Money) -> str:
    """Our form, filled in as before: where a reader who walked away comes back to."""
    filled = {"frequency": frequency.value, "amount": gift.amount, "currency": gift.currency}
    return f"/donate?{urlencode(filled)}"


async def open_checkout(rt: Runtime, contribution_id: str) -> Contribution:
    """Make the session of a started contribution, or find the one an earlier call made."""
    async with rt.sessions() as session:
        row = await session.get_one(Contribution, contribution_id)
    if row.status is not Status.STARTED or row.checkout_request is None:
        return row
    try:
        with gateway.reachable():
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
    return await _settle(
        rt, contribution_id, status=status_of(made), session_id=made.id, url=made.url
    )


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
                status=status, stripe_session_id=session_id, checkout_url=url, checkout_request=None
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
            .values(status=Status.EXPIRED, checkout_request=None)
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


def status_of(session: CheckoutSession) -> Status:
    """Our word for the state of a Checkout Session. `payment_intent` must be expanded or null."""
    if session.status == "open":
        return Status.OPEN
    if session.status == "expired":
        return Status.EXPIRED
    if session.payment_status in ("paid", "no_payment_required"):
        return Status.PAID
    intent = session.payment_intent
    if isinstance(intent, stripe.PaymentIntent) and intent.status in (
        "requires_payment_method",
        "canceled",
    ):
        return Status.FAILED
    return Status.PROCESSING


async def sync_session(rt: Runtime, session_id: str) -> CheckoutSession:
    """Fetch a Checkout Session as it is now and write what follows. Gives it as fetched.

    One that only sets up a card is no contribution: nothing is written here.
    """
    with gateway.reachable():
        fetched = await rt.stripe.v1.checkout.sessions.retrieve_async(
            session_id, {"expand": ["payment_intent", "subscription"]}
        )
    if fetched.mode != "setup":
        async with rt.sessions.begin() as session:
            await _write_session(rt, session, fetched)
    return fetched


async def _write_session(rt: Runtime, session: AsyncSession, fetched: CheckoutSession) -> None:
    contribution_id = await _of_session(rt, session, fetched)
    if contribution_id is not None:
        status = status_of(fetched)
        before = await session.get_one(Contribution, contribution_id)
        # Told of again later, a donor who was erased in between must not come back.
        is_news = before.status in UNSETTLED or before.stripe_session_id is None
        await session.execute(
            update(Contribution)
            .where(Contribution.id == contribution_id)
            .values(
                status=status,
                stripe_session_id=fetched.id,
                checkout_url=fetched.url,
                checkout_request=None,
            )
        )
        if is_news:
            await _meet_donor(rt, session, fetched, contribution_id)
        if (intent := gateway.id_of(fetched.payment_intent)) is not None:
            await link(session, intent, contribution_id, Frequency.ONCE)


async def _meet_donor(
    rt: Runtime, session: AsyncSession, fetched: CheckoutSession, contribution_id: str
) -> None:
    """Remember who gave, by a keyed hash, so that they can find their gifts again."""
    details = fetched.customer_details
    if fetched.status != "complete" or details is None or details.email is None:
        return
    donor_id = await donors.meet(
        session,
        rt.settings,
        address=details.email,
        customer=gateway.id_of(fetched.customer),
        now=rt.now(),
    )
    await session.execute(
        update(Contribution).where(Contribution.id == contribution_id).values(donor_id=donor_id)
    )


async def _of_session(rt: Runtime, session: AsyncSession, fetched: CheckoutSession) -> str | None:
    """The contribution of a session: ours, or adopted if something came of it."""
    # Not client_reference_id: whoever opens a Payment Link chooses that, and could claim a row.
    ours = gateway.metadata_of(fetched, "contribution_id")
    if ours is not None and await session.get(Contribution, ours) is not None:
        return ours
    root = gateway.id_of(fetched.subscription) or gateway.id_of(fetched.payment_intent)
    if root is None or fetched.status != "complete":
        return None  # somebody else's, and nothing came of it
    assert fetched.amount_total is not None
    assert fetched.currency is not None
    return await adopt(
        session,
        root,
        claimed_id=ours,
        money=Money(fetched.amount_total, fetched.currency),
        frequency=frequency_of(fetched.subscription),
        now=rt.now(),
    )


def frequency_of(subscription: str | stripe.Subscription | None) -> Frequency:
    """The frequency of an expanded subscription, or of there being none."""
    if not isinstance(subscription, stripe.Subscription):
        return Frequency.ONCE
    recurring = subscription["items"].data[0].price.recurring
    return Frequency.ANNUAL if recurring.interval == "year" else Frequency.MONTHLY


async def adopt(
    session: AsyncSession,
    root: str,
    *,
    claimed_id: str | None,
    money: Money,
    frequency: Frequency,
    now: datetime,
) -> str:
    """Take in what Stripe has and we have no row for, and call a person. Gives the contribution's
    id.

    `root` is the subscription or, for a single gift, the payment intent. The id is the one Stripe
    was once given by us, or follows from the root, so whichever object comes first the same row is
    made.
    """
    adopted_id = (
        claimed_id
        if claimed_id is not None and OUR_ID.fullmatch(claimed_id)
        else hashlib.sha256(root.encode()).hexdigest()[:32]
    )
    made = await session.scalar(
        insert(Contribution)
        .values(
            id=adopted_id,
            created_at=now,
            frequency=frequency,
            amount=money.amount,
            currency=money.currency,
            status=Status.PAID,
            origin=Origin.ADOPTED,
        )
        .on_conflict_do_nothing()
        .returning(Contribution.id)
    )
    if made is not None:
        await alarms.sound(session, AlarmKind.ADOPTED, subject=adopted_id, now=now)
    return adopted_id


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
        .where(Contribution.id == contribution_id, Contribution.donor_id.is_(None))
        .values(donor_id=donor_id)
    )


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
