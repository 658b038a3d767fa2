"""Subscriptions: the standing promise behind a monthly or annual contribution, as Stripe keeps it.

Stripe owns the schedule. A row here is Stripe's subscription as last fetched; what differs from the
row before it is written to the promise's history and told to the donor, once, by whatever way it
came about. What it is charged for is told by `invoices`.
"""

import calendar
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

import stripe
from sqlalchemy import CheckConstraint, ForeignKey, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.money import Money
from payments.donors import donors
from payments.giving import change_log, contributions, current_card, import_unknown
from payments.giving.change_log import By, ChangeKind
from payments.giving.checkout_session import Frequency
from payments.giving.contributions import Contribution
from payments.infra import db, job_queue, stripe_client
from payments.infra.context import Runtime
from payments.mail import muted, outbox
from payments.mail.outbox import MessageKind

STOP = "stop"  # the object type of the bell for a stop that is owed
AGAIN_AFTER = timedelta(seconds=3)
EXPAND = ["default_payment_method", "customer.invoice_settings.default_payment_method"]


class SubscriptionStatus(StrEnum):
    ACTIVE = "active"
    PAST_DUE = "past_due"
    UNPAID = "unpaid"
    CANCELED = "canceled"
    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    TRIALING = "trialing"  # a longer wait until the next charge, after a change of frequency
    PAUSED = "paused"


LIVE = (
    SubscriptionStatus.ACTIVE,
    SubscriptionStatus.TRIALING,
    SubscriptionStatus.PAST_DUE,
    SubscriptionStatus.UNPAID,
    SubscriptionStatus.PAUSED,
)
_RENEWING = (SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING, SubscriptionStatus.PAST_DUE)


class Subscription(db.Base):
    """A promise: `amount` minor units of `currency` each month or year until it is cancelled."""

    __tablename__ = "subscriptions"
    __table_args__ = (CheckConstraint("amount > 0", name="amount_is_positive"), db.is_currency())

    stripe_subscription_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    contribution_id: Mapped[db.OurId] = mapped_column(ForeignKey("contributions.id"), index=True)
    stripe_customer_id: Mapped[db.StripeId] = mapped_column(index=True)
    status: Mapped[SubscriptionStatus] = mapped_column(
        db.words(SubscriptionStatus, "status_is_known")
    )
    frequency: Mapped[Frequency] = mapped_column(db.words(Frequency, "frequency_is_known"))
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    stripe_price_id: Mapped[db.StripeId]
    # what the next charge would be made to; null when nothing is left to charge
    stripe_payment_method_id: Mapped[db.StripeId | None] = mapped_column(index=True)
    card_expires_on: Mapped[date | None]  # the last day of the month on the card
    started_at: Mapped[db.Moment]
    anchored_at: Mapped[db.Moment]  # Stripe counts the days of its charges from here
    ends_at: Mapped[db.Moment | None]  # the last day, set in advance; nothing is charged from it on
    renews_at: Mapped[db.Moment | None] = mapped_column(index=True)
    pauses: Mapped[bool]  # charges are skipped, until `resumes_at` or until the donor resumes
    resumes_at: Mapped[db.Moment | None]
    ended_at: Mapped[db.Moment | None]
    synced_at: Mapped[db.Moment]

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    @property
    def needs_card(self) -> bool:
        return self.is_live and self.stripe_payment_method_id is None


async def sync(rt: Runtime, subscription_id: str) -> str:
    """Fetch a subscription as it is now and write it down. Gives the id of its contribution."""
    asked_at = rt.now()
    fetched = await fetch(rt, subscription_id)
    async with rt.sessions.begin() as session:
        return await _write(rt, session, fetched, asked_at=asked_at)


async def fetch(rt: Runtime, subscription_id: str) -> stripe.Subscription:
    """A subscription as it is now, with what it is charged to.

    Of a customer who was deleted nothing more can be expanded.
    """
    with stripe_client.reachable():
        try:
            return await rt.stripe.v1.subscriptions.retrieve_async(
                subscription_id, {"expand": EXPAND}
            )
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                raise
            return await rt.stripe.v1.subscriptions.retrieve_async(
                subscription_id, {"expand": [*EXPAND[:1], "customer"]}
            )


async def find(session: AsyncSession, subscription_id: str) -> Subscription | None:
    """The promise with this id, if we know it."""
    return await session.get(Subscription, subscription_id)


async def of_contribution(session: AsyncSession, contribution_id: str) -> Subscription | None:
    """The promise that a contribution began: the live one, if Stripe holds several."""
    found: Subscription | None = await session.scalar(
        select(Subscription)
        .where(Subscription.contribution_id == contribution_id)
        .order_by(Subscription.ended_at.desc().nulls_first(), Subscription.started_at.desc())
        .limit(1)
    )
    return found


async def of_donor(session: AsyncSession, donor_id: str, *, limit: int = 200) -> list[Subscription]:
    """A donor's promises: those that live first, then the newest."""
    query = (
        select(Subscription)
        .join(Contribution, Contribution.id == Subscription.contribution_id)
        .where(Contribution.donor_id == donor_id)
        .order_by(Subscription.ended_at.desc().nulls_first(), Subscription.started_at.desc())
        .limit(limit)
    )
    return list(await session.scalars(query))


# --- what Stripe says -----------------------------------------------------------------------------


async def _write(
    rt: Runtime, session: AsyncSession, fetched: stripe.Subscription, *, asked_at: datetime
) -> str:
    """Write one subscription as fetched, and what follows from the difference."""
    row = _row(fetched) | {"synced_at": asked_at}
    money = Money(row["amount"], row["currency"])
    owner = await _owner(rt, session, fetched, money, row["frequency"])
    before = await session.scalar(
        select(Subscription)
        .where(Subscription.stripe_subscription_id == fetched.id)
        .with_for_update()
    )
    if before is not None and before.ended_at is not None and fetched.ended_at is None:
        return owner  # an end is for ever: this was asked for before it
    if before is not None and before.synced_at > asked_at:
        # Somebody asked later and was faster. Clocks differ, so Stripe is asked once more.
        await job_queue.ring(session, "subscription", fetched.id, wait=AGAIN_AFTER)
        return owner
    if row["status"] in LIVE:  # an ended promise may be a donor's who was erased
        await _meet_donor(rt, session, fetched, owner)
    if before is None:
        known = {"contribution_id": owner, "started_at": _moment(fetched.start_date)}
        await session.execute(
            insert(Subscription)
            .values(stripe_subscription_id=fetched.id, **known, **row)
            .on_conflict_do_update(index_elements=["stripe_subscription_id"], set_=row)
        )
        return owner
    was = {name: getattr(before, name) for name in row}
    for name, value in row.items():
        setattr(before, name, value)
    await session.flush()
    await _follow(rt, session, before, was, fetched)
    return owner


def _row(fetched: stripe.Subscription) -> dict[str, Any]:  # column -> value
    item = fetched["items"].data[0]
    status, card = SubscriptionStatus(fetched.status), current_card.of(fetched)
    pause = fetched.pause_collection
    return {
        "stripe_customer_id": stripe_client.id_of(fetched.customer),
        "status": status,
        "frequency": contributions.frequency_of(fetched),
        "amount": item.price.unit_amount * item.quantity,
        "currency": fetched.currency,
        "stripe_price_id": item.price.id,
        "stripe_payment_method_id": card.id if card is not None else None,
        "card_expires_on": card.expires_on if card is not None else None,
        "anchored_at": _moment(fetched.billing_cycle_anchor),
        "renews_at": _moment(item.current_period_end) if status in _RENEWING else None,
        "pauses": pause is not None or status is SubscriptionStatus.PAUSED,
        "resumes_at": _maybe(pause.resumes_at) if pause is not None else None,
        "ends_at": _ends_at(fetched, item) if status in LIVE else None,
        "ended_at": _maybe(fetched.ended_at),
    }


async def _meet_donor(
    rt: Runtime, session: AsyncSession, fetched: stripe.Subscription, owner: str
) -> None:
    """Remember whose promise it is. That of a donor who was erased since it began is to be stopped:
    they meant it too, and we did not know of it yet.
    """
    email = getattr(fetched.customer, "email", None)  # a deleted customer has no such field
    if await contributions.is_protected(session, owner):
        await muted.hush(session, [fetched.id], now=rt.now())
        await _end(session, fetched.id, by=By.STAFF, now=rt.now())
        return
    if email is None:
        return
    donor_id = await donors.meet(
        session,
        rt.settings,
        address=email,
        customer=stripe_client.id_of(fetched.customer),
        since=_moment(fetched.start_date),
        now=rt.now(),
    )
    if donor_id is not None:
        await contributions.give_to(session, owner, donor_id)
        return
    await _end(session, fetched.id, by=By.DONOR, now=rt.now())


async def _end(session: AsyncSession, subscription_id: str, *, by: By, now: datetime) -> None:
    """Decide that a promise ends, and promise to see to it."""
    await change_log.decide_stop(session, subscription_id, by=by, now=now)
    await job_queue.ring(session, STOP, subscription_id)


async def _owner(
    rt: Runtime,
    session: AsyncSession,
    fetched: stripe.Subscription,
    money: Money,
    frequency: Frequency,
) -> str:
    ours = stripe_client.metadata_of(fetched, "contribution_id")
    if ours is not None and await contributions.exists(session, ours):
        return ours
    return await import_unknown.adopt(
        session, fetched.id, claimed_id=ours, money=money, frequency=frequency, now=rt.now()
    )


def _ends_at(fetched: stripe.Subscription, item: stripe.SubscriptionItem) -> datetime | None:
    """The last day that was set, by the dashboard, the portal, or a donor of ours."""
    if fetched.cancel_at is not None:
        return _moment(fetched.cancel_at)
    return _moment(item.current_period_end) if fetched.cancel_at_period_end else None


async def _follow(
    rt: Runtime,
    session: AsyncSession,
    promise: Subscription,
    was: dict[str, Any],
    fetched: stripe.Subscription,
) -> None:
    """Write the history of what changed, and owe the donor a word of it, once."""
    id_, live = promise.stripe_subscription_id, promise.is_live

    async def noted(change: ChangeKind, message: MessageKind) -> None:
        done = await change_log.seen(session, id_, change, now=rt.now())
        await tell(rt, session, promise, message, key=f"{message}:{done.id}")

    if was["status"] in LIVE and not live:
        details = fetched.cancellation_details
        failed = details is not None and details.reason == "payment_failed"
        change = ChangeKind.LAPSED if failed else ChangeKind.STOPPED
        await change_log.seen(session, id_, change, now=rt.now())
        message = MessageKind.LAPSED if failed else MessageKind.STOPPED
        await tell(rt, session, promise, message, key=f"ended:{id_}")
    if not live:
        return
    if was["frequency"] != promise.frequency:
        await noted(ChangeKind.FREQUENCY, MessageKind.FREQUENCY_CHANGED)
    elif was["amount"] != promise.amount:
        await noted(ChangeKind.AMOUNT, MessageKind.AMOUNT_CHANGED)
    if (was["pauses"], was["resumes_at"]) != (promise.pauses, promise.resumes_at):
        await _follow_pause(rt, session, promise)
    if was["ends_at"] is None and promise.ends_at is not None:
        await noted(ChangeKind.ENDING, MessageKind.ENDING)
    elif was["ends_at"] is not None and promise.ends_at is None:
        await noted(ChangeKind.KEPT, MessageKind.KEPT)
    if was["stripe_payment_method_id"] != promise.stripe_payment_method_id:
        has_card = promise.stripe_payment_method_id is not None
        message = MessageKind.CARD_CHANGED if has_card else MessageKind.NEEDS_CARD
        await noted(ChangeKind.CARD, message)


async def _follow_pause(rt: Runtime, session: AsyncSession, promise: Subscription) -> None:
    """A skip is a pause that ends after the next charge would have been."""
    kind = ChangeKind.PAUSED if promise.pauses else ChangeKind.RESUMED
    also = (ChangeKind.SKIPPED,) if promise.pauses else ()
    done = await change_log.seen(
        session, promise.stripe_subscription_id, kind, now=rt.now(), also=also
    )
    message = MessageKind(done.kind.value)  # the three have the same names as their mails
    await tell(rt, session, promise, message, key=f"{message}:{done.id}")


async def tell(
    rt: Runtime,
    session: AsyncSession,
    promise: Subscription,
    kind: MessageKind,
    *,
    key: str,
    subject: str | None = None,
) -> None:
    """Owe the donor a mail about this promise."""
    language = await session.scalar(
        select(Contribution.language).where(Contribution.id == promise.contribution_id)
    )
    await outbox.put(
        session,
        kind,
        key=key,
        now=rt.now(),
        subscription_id=promise.stripe_subscription_id,
        subject=subject,
        language=language or "en",
    )


def next_charge(promise: Subscription) -> datetime | None:
    """When the donor is charged next, a pause included. None when nothing is charged by itself."""
    due = promise.renews_at
    if due is None or not promise.is_live:
        return None
    if promise.pauses:
        due = first_charge_after(promise, promise.resumes_at) if promise.resumes_at else None
    if due is not None and promise.ends_at is not None and due >= promise.ends_at:
        return None
    return due


def first_charge_after(promise: Subscription, moment: datetime) -> datetime | None:
    """The first charge that would come at or after a moment.

    Stripe counts from the anchor: a promise of the 31st is charged on a shorter month's last day,
    and on the 31st again in the next long one.
    """
    renews, months = promise.renews_at, 12 if promise.frequency is Frequency.ANNUAL else 1
    if renews is None:
        return None
    while renews < moment:
        renews = months_after(renews, months, day=promise.anchored_at.day)
    return renews


def months_after(moment: datetime, months: int, *, day: int) -> datetime:
    """That day of so many months later, or the month's last."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return moment.replace(year=year, month=month + 1, day=min(day, last))


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _maybe(seconds: int | None) -> datetime | None:
    return None if seconds is None else _moment(seconds)
