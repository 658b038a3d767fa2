"""Subscriptions: the standing promise behind a monthly or annual contribution, as Stripe keeps it.

Stripe owns the schedule. A row here is Stripe's subscription as last fetched; what differs from the
row before it is written to the promise's history and told to the donor, once, by whatever way it
came about. What it is charged for is told by `invoices`.
"""

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

import stripe
from sqlalchemy import CheckConstraint, ForeignKey, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import add_months, from_unix
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.donors import donors
from payments.giving import change_log, contributions, current_card, import_unknown
from payments.giving.change_log import Actor, ChangeKind
from payments.giving.contributions import Contribution
from payments.infra import db, job_queue, stripe_client
from payments.infra.context import Context
from payments.mail import muted, outbox
from payments.mail.outbox import MailKind

CANCEL_JOB = "cancel_subscription"  # a job kind: cancel at Stripe what was decided
RESYNC_DELAY = timedelta(seconds=3)
SUBSCRIPTION_EXPAND = ["default_payment_method", "customer.invoice_settings.default_payment_method"]


class SubscriptionStatus(StrEnum):
    ACTIVE = "active"
    PAST_DUE = "past_due"
    UNPAID = "unpaid"
    CANCELED = "canceled"
    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    TRIALING = "trialing"  # a longer wait until the next charge, after a change of frequency
    PAUSED = "paused"


LIVE_STATUSES = (
    SubscriptionStatus.ACTIVE,
    SubscriptionStatus.TRIALING,
    SubscriptionStatus.PAST_DUE,
    SubscriptionStatus.UNPAID,
    SubscriptionStatus.PAUSED,
)
_RENEWING_STATUSES = (
    SubscriptionStatus.ACTIVE,
    SubscriptionStatus.TRIALING,
    SubscriptionStatus.PAST_DUE,
)


class Subscription(db.Base):
    """A promise: `amount` minor units of `currency` each month or year until it is cancelled."""

    __tablename__ = "subscriptions"
    __table_args__ = (CheckConstraint("amount > 0", name="amount_is_positive"), db.currency_check())

    stripe_subscription_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    contribution_id: Mapped[db.Id] = mapped_column(ForeignKey("contributions.id"), index=True)
    stripe_customer_id: Mapped[db.StripeId] = mapped_column(index=True)
    status: Mapped[SubscriptionStatus] = mapped_column(
        db.enum_column(SubscriptionStatus, "status_is_known")
    )
    frequency: Mapped[Frequency] = mapped_column(db.enum_column(Frequency, "frequency_is_known"))
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    stripe_price_id: Mapped[db.StripeId]
    # what the next charge would be made to; null when nothing is left to charge
    stripe_payment_method_id: Mapped[db.StripeId | None] = mapped_column(index=True)
    card_expires_on: Mapped[date | None]  # the last day of the month on the card
    started_at: Mapped[db.Timestamp]
    billing_anchor_at: Mapped[db.Timestamp]  # Stripe counts the days of its charges from here
    scheduled_end_at: Mapped[
        db.Timestamp | None
    ]  # the last day, set in advance; nothing is charged from it on
    current_period_end: Mapped[db.Timestamp | None] = mapped_column(index=True)
    is_paused: Mapped[bool]  # charges are skipped, until `resumes_at` or until the donor resumes
    resumes_at: Mapped[db.Timestamp | None]
    ended_at: Mapped[db.Timestamp | None]
    synced_at: Mapped[db.Timestamp]

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)

    @property
    def is_live(self) -> bool:
        return self.status in LIVE_STATUSES

    @property
    def needs_card(self) -> bool:
        return self.is_live and self.stripe_payment_method_id is None


async def sync(ctx: Context, subscription_id: str) -> str:
    """Fetch a subscription as it is now and write it down. Gives the id of its contribution."""
    asked_at = ctx.now()
    fetched = await fetch(ctx, subscription_id)
    async with ctx.sessions.begin() as session:
        return await _upsert(ctx, session, fetched, requested_at=asked_at)


async def fetch(ctx: Context, subscription_id: str) -> stripe.Subscription:
    """A subscription as it is now, with what it is charged to.

    Of a customer who was deleted nothing more can be expanded.
    """
    with stripe_client.translate_errors():
        try:
            return await ctx.stripe.v1.subscriptions.retrieve_async(
                subscription_id, {"expand": SUBSCRIPTION_EXPAND}
            )
        except stripe.InvalidRequestError as error:
            if error.code == "resource_missing":
                raise
            return await ctx.stripe.v1.subscriptions.retrieve_async(
                subscription_id, {"expand": [*SUBSCRIPTION_EXPAND[:1], "customer"]}
            )


async def get_or_none(session: AsyncSession, subscription_id: str) -> Subscription | None:
    """The promise with this id, if we know it."""
    return await session.get(Subscription, subscription_id)


async def get_for_contribution(session: AsyncSession, contribution_id: str) -> Subscription | None:
    """The promise that a contribution began: the live one, if Stripe holds several."""
    found: Subscription | None = await session.scalar(
        select(Subscription)
        .where(Subscription.contribution_id == contribution_id)
        .order_by(Subscription.ended_at.desc().nulls_first(), Subscription.started_at.desc())
        .limit(1)
    )
    return found


async def list_for_donor(
    session: AsyncSession, donor_id: str, *, limit: int = 200
) -> list[Subscription]:
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


async def _upsert(
    ctx: Context, session: AsyncSession, fetched: stripe.Subscription, *, requested_at: datetime
) -> str:
    """Write one subscription as fetched, and what follows from the difference."""
    row = _column_values(fetched) | {"synced_at": requested_at}
    money = Money(row["amount"], row["currency"])
    owner = await _contribution_of(ctx, session, fetched, money, row["frequency"])
    before = await session.scalar(
        select(Subscription)
        .where(Subscription.stripe_subscription_id == fetched.id)
        .with_for_update()
    )
    if before is not None and before.ended_at is not None and fetched.ended_at is None:
        return owner  # an end is for ever: this was asked for before it
    if before is not None and before.synced_at > requested_at:
        # Somebody asked later and was faster. Clocks differ, so Stripe is asked once more.
        await job_queue.enqueue_sync(session, "subscription", fetched.id, delay=RESYNC_DELAY)
        return owner
    if row["status"] in LIVE_STATUSES:  # an ended promise may be a donor's who was erased
        await _attach_donor(ctx, session, fetched, owner)
    if before is None:
        known = {"contribution_id": owner, "started_at": _from_unix(fetched.start_date)}
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
    await _record_changes(ctx, session, before, was, fetched)
    return owner


def _column_values(fetched: stripe.Subscription) -> dict[str, Any]:  # column -> value
    item = fetched["items"].data[0]
    status, card = SubscriptionStatus(fetched.status), current_card.current_card(fetched)
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
        "billing_anchor_at": _from_unix(fetched.billing_cycle_anchor),
        "current_period_end": _from_unix(item.current_period_end)
        if status in _RENEWING_STATUSES
        else None,
        "is_paused": pause is not None or status is SubscriptionStatus.PAUSED,
        "resumes_at": _from_unix_or_none(pause.resumes_at) if pause is not None else None,
        "scheduled_end_at": _scheduled_end(fetched, item) if status in LIVE_STATUSES else None,
        "ended_at": _from_unix_or_none(fetched.ended_at),
    }


async def _attach_donor(
    ctx: Context, session: AsyncSession, fetched: stripe.Subscription, contribution_id: str
) -> None:
    """Remember whose promise it is. That of a donor who was erased since it began is to be stopped:
    they meant it too, and we did not know of it yet.
    """
    email = getattr(fetched.customer, "email", None)  # a deleted customer has no such field
    if await contributions.lock_and_check_protected(session, contribution_id):
        await muted.mute(session, [fetched.id], now=ctx.now())
        await _enqueue_cancellation(session, fetched.id, actor=Actor.STAFF, now=ctx.now())
        return
    if email is None:
        return
    donor_id = await donors.find_or_create(
        session,
        ctx.settings,
        address=email,
        stripe_customer_id=stripe_client.id_of(fetched.customer),
        contributed_at=_from_unix(fetched.start_date),
        now=ctx.now(),
    )
    if donor_id is not None:
        await contributions.attach_donor(session, contribution_id, donor_id)
        return
    await _enqueue_cancellation(session, fetched.id, actor=Actor.DONOR, now=ctx.now())


async def _enqueue_cancellation(
    session: AsyncSession, subscription_id: str, *, actor: Actor, now: datetime
) -> None:
    """Decide that a promise ends, and promise to see to it."""
    await change_log.record_cancellation(session, subscription_id, actor=actor, now=now)
    await job_queue.enqueue_sync(session, CANCEL_JOB, subscription_id)


async def _contribution_of(
    ctx: Context,
    session: AsyncSession,
    fetched: stripe.Subscription,
    money: Money,
    frequency: Frequency,
) -> str:
    ours = stripe_client.metadata_value(fetched, "contribution_id")
    if ours is not None and await contributions.exists(session, ours):
        return ours
    return await import_unknown.import_from_stripe(
        session, fetched.id, claimed_id=ours, money=money, frequency=frequency, now=ctx.now()
    )


def _scheduled_end(fetched: stripe.Subscription, item: stripe.SubscriptionItem) -> datetime | None:
    """The last day that was set, by the dashboard, the portal, or a donor of ours."""
    if fetched.cancel_at is not None:
        return _from_unix(fetched.cancel_at)
    return _from_unix(item.current_period_end) if fetched.cancel_at_period_end else None


async def _record_changes(
    ctx: Context,
    session: AsyncSession,
    subscription: Subscription,
    before: dict[str, Any],
    fetched: stripe.Subscription,
) -> None:
    """Write the history of what changed, and owe the donor a word of it, once."""
    id_, live = subscription.stripe_subscription_id, subscription.is_live

    async def noted(change: ChangeKind, message: MailKind) -> None:
        done = await change_log.record_observed(session, id_, change, now=ctx.now())
        await notify(ctx, session, subscription, message, key=f"{message}:{done.id}")

    if before["status"] in LIVE_STATUSES and not live:
        details = fetched.cancellation_details
        failed = details is not None and details.reason == "payment_failed"
        change = ChangeKind.LAPSED if failed else ChangeKind.CANCELLED
        await change_log.record_observed(session, id_, change, now=ctx.now())
        message = MailKind.LAPSED if failed else MailKind.CANCELLED
        await notify(ctx, session, subscription, message, key=f"ended:{id_}")
    if not live:
        return
    if before["frequency"] != subscription.frequency:
        await noted(ChangeKind.FREQUENCY, MailKind.FREQUENCY_CHANGED)
    elif before["amount"] != subscription.amount:
        await noted(ChangeKind.AMOUNT, MailKind.AMOUNT_CHANGED)
    if (before["is_paused"], before["resumes_at"]) != (
        subscription.is_paused,
        subscription.resumes_at,
    ):
        await _record_pause_change(ctx, session, subscription)
    if before["scheduled_end_at"] is None and subscription.scheduled_end_at is not None:
        await noted(ChangeKind.END_SCHEDULED, MailKind.END_SCHEDULED)
    elif before["scheduled_end_at"] is not None and subscription.scheduled_end_at is None:
        await noted(ChangeKind.END_CANCELLED, MailKind.END_CANCELLED)
    if before["stripe_payment_method_id"] != subscription.stripe_payment_method_id:
        has_card = subscription.stripe_payment_method_id is not None
        message = MailKind.CARD_CHANGED if has_card else MailKind.NEEDS_CARD
        await noted(ChangeKind.CARD, message)


async def _record_pause_change(
    ctx: Context, session: AsyncSession, subscription: Subscription
) -> None:
    """A skip is a pause that ends after the next charge would have been."""
    kind = ChangeKind.PAUSED if subscription.is_paused else ChangeKind.RESUMED
    also = (ChangeKind.SKIPPED,) if subscription.is_paused else ()
    done = await change_log.record_observed(
        session, subscription.stripe_subscription_id, kind, now=ctx.now(), equivalent_kinds=also
    )
    message = MailKind(done.kind.value)  # the three have the same names as their mails
    await notify(ctx, session, subscription, message, key=f"{message}:{done.id}")


async def notify(
    ctx: Context,
    session: AsyncSession,
    subscription: Subscription,
    kind: MailKind,
    *,
    key: str,
    object_id: str | None = None,
) -> None:
    """Owe the donor a mail about this promise."""
    language = await session.scalar(
        select(Contribution.language).where(Contribution.id == subscription.contribution_id)
    )
    await outbox.enqueue(
        session,
        kind,
        key=key,
        now=ctx.now(),
        subscription_id=subscription.stripe_subscription_id,
        object_id=object_id,
        language=language or "en",
    )


def next_charge_at(subscription: Subscription) -> datetime | None:
    """When the donor is charged next, a pause included. None when nothing is charged by itself."""
    due = subscription.current_period_end
    if due is None or not subscription.is_live:
        return None
    if subscription.is_paused:
        due = (
            first_charge_after(subscription, subscription.resumes_at)
            if subscription.resumes_at
            else None
        )
    if (
        due is not None
        and subscription.scheduled_end_at is not None
        and due >= subscription.scheduled_end_at
    ):
        return None
    return due


def first_charge_after(subscription: Subscription, moment: datetime) -> datetime | None:
    """The first charge that would come at or after a moment.

    Stripe counts from the anchor: a promise of the 31st is charged on a shorter month's last day,
    and on the 31st again in the next long one.
    """
    renews, months = (
        subscription.current_period_end,
        12 if subscription.frequency is Frequency.ANNUAL else 1,
    )
    if renews is None:
        return None
    while renews < moment:
        renews = add_months(renews, months, day_of_month=subscription.billing_anchor_at.day)
    return renews


def _from_unix(seconds: int) -> datetime:
    return from_unix(seconds)


def _from_unix_or_none(seconds: int | None) -> datetime | None:
    return None if seconds is None else _from_unix(seconds)
