"""Subscriptions: what Stripe charges for a recurring contribution until it is cancelled.

Stripe owns the schedule. A row is Stripe's subscription as `subscription_sync` last fetched it. Its
charges belong to `invoices`.
"""

from datetime import date, timedelta

from sqlalchemy import CheckConstraint, ForeignKey, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.errors import NotFound
from payments.core.frequency import Interval
from payments.core.money import Money
from payments.core.open_enum import OpenEnum
from payments.giving import interval_columns
from payments.giving.contributions import Contribution
from payments.giving.interval_columns import IntervalColumns
from payments.infra import db

CANCEL_JOB = "cancel_subscription"  # a job kind: cancel at Stripe what was decided
SECOND_JOB = "second_subscription"  # a job kind: see `second_subscriptions`
FORGIVE_JOB = "forgive_debts"  # a job kind: void what a paused one owes


SECOND_NOTICE_WITHIN = timedelta(days=7)  # of its start; what is imported later is no news


class SubscriptionStatus(OpenEnum):
    """Stripe's statuses. https://docs.stripe.com/billing/subscriptions/overview"""

    ACTIVE = "active"
    PAST_DUE = "past_due"
    UNPAID = "unpaid"
    CANCELED = "canceled"
    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    TRIALING = "trialing"  # waits for a charge: after a change of frequency or day
    PAUSED = "paused"
    UNKNOWN = "unknown"  # a word that is new at Stripe


# Not ended: something may still be charged. SQL texts take the list from here too.
LIVE_STATUSES = (
    SubscriptionStatus.ACTIVE,
    SubscriptionStatus.TRIALING,
    SubscriptionStatus.PAST_DUE,
    SubscriptionStatus.UNPAID,
    SubscriptionStatus.PAUSED,
    SubscriptionStatus.UNKNOWN,
)
# Those that are live, or would be if their first payment were completed.
CHARGEABLE_STATUSES = (*LIVE_STATUSES, SubscriptionStatus.INCOMPLETE)
# A next charge is scheduled: neither given up as unpaid nor paused by Stripe.
RENEWING_STATUSES = (
    SubscriptionStatus.ACTIVE,
    SubscriptionStatus.TRIALING,
    SubscriptionStatus.PAST_DUE,
)
# A payment has failed. Stripe asks the bank again, or has given up.
ARREARS_STATUSES = (SubscriptionStatus.PAST_DUE, SubscriptionStatus.UNPAID)
# Stripe charges none of these by itself, whatever its card is.
GIVEN_UP_STATUSES = (SubscriptionStatus.UNPAID, SubscriptionStatus.INCOMPLETE)
OWING_STATUSES = (*ARREARS_STATUSES, SubscriptionStatus.INCOMPLETE)  # an invoice is open


class Subscription(IntervalColumns, db.Base):
    """`amount` minor units of `currency` at each interval until it is cancelled."""

    __tablename__ = "subscriptions"
    __table_args__ = (
        CheckConstraint("amount >= 0", name="amount_is_not_negative"),
        CheckConstraint("interval_unit IS NOT NULL", name="has_an_interval"),
        interval_columns.interval_check(),
        db.currency_check(),
    )
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 - the name is SQLAlchemy's

    stripe_subscription_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    contribution_id: Mapped[db.Id] = mapped_column(ForeignKey("contributions.id"), index=True)
    stripe_customer_id: Mapped[db.StripeId] = mapped_column(index=True)
    status: Mapped[SubscriptionStatus] = mapped_column(
        db.enum_column(SubscriptionStatus, "status_is_known")
    )
    amount: Mapped[db.MinorUnits | None]  # null where Stripe does not say what it will charge
    fee_cover: Mapped[db.MinorUnits | None]  # the part of `amount` that is for the payment fee
    currency: Mapped[db.Currency]
    stripe_price_id: Mapped[db.StripeId]
    # what the next charge is made to; null when there is no usable method
    stripe_payment_method_id: Mapped[db.StripeId | None] = mapped_column(index=True)
    card_expires_on: Mapped[date | None]  # the last day of the month on the card
    started_at: Mapped[db.Timestamp]
    billing_anchor_at: Mapped[db.Timestamp]  # Stripe counts charge dates from here
    scheduled_end_at: Mapped[db.Timestamp | None]  # nothing is charged from then on
    current_period_end: Mapped[db.Timestamp | None] = mapped_column(index=True)
    is_paused: Mapped[bool]  # charges are skipped until `resumes_at` or, without it, until resumed
    resumes_at: Mapped[db.Timestamp | None]
    trial_ends_at: Mapped[db.Timestamp | None]  # nothing has been charged yet
    ended_at: Mapped[db.Timestamp | None]
    missing_since: Mapped[db.Timestamp | None]  # ended because Stripe did not have it
    synced_at: Mapped[db.Timestamp]

    @property
    def money(self) -> Money | None:
        """Return what one charge takes; None where it varies."""
        return None if self.amount is None else Money(self.amount, self.currency)

    @property
    def every(self) -> Interval:
        """The time between two charges."""
        assert self.interval is not None  # by its CHECK
        return self.interval

    @property
    def is_live(self) -> bool:
        """Whether Stripe may charge it, now or once it is paid again."""
        return self.status in LIVE_STATUSES

    @property
    def is_over(self) -> bool:
        """Whether it has ended for good, and not only because Stripe did not have it."""
        return self.ended_at is not None and self.missing_since is None

    @property
    def may_be_charged(self) -> bool:
        """Whether it is live, or would be if its first payment were completed."""
        return self.status in CHARGEABLE_STATUSES

    @property
    def needs_card(self) -> bool:
        """Whether it is live and has nothing to be charged to."""
        return self.is_live and self.stripe_payment_method_id is None


async def get_or_none(session: AsyncSession, subscription_id: str) -> Subscription | None:
    """Return the subscription with this id, if there is a row of it."""
    return await session.get(Subscription, subscription_id)


async def get(session: AsyncSession, subscription_id: str) -> Subscription:
    """Return the subscription with this id. Raises NotFound."""
    subscription = await get_or_none(session, subscription_id)
    if subscription is None:
        raise NotFound("There is no such contribution.")
    return subscription


async def get_for_contribution(session: AsyncSession, contribution_id: str) -> Subscription | None:
    """Return the subscription of a contribution: the live one, if Stripe has several."""
    subscription: Subscription | None = await session.scalar(
        select(Subscription)
        .where(Subscription.contribution_id == contribution_id)
        .order_by(Subscription.ended_at.desc().nulls_first(), Subscription.started_at.desc())
        .limit(1)
    )
    return subscription


async def list_for_contribution(session: AsyncSession, contribution_id: str) -> list[Subscription]:
    """Return every subscription that a contribution began: one, unless Stripe holds several."""
    query = select(Subscription).where(Subscription.contribution_id == contribution_id)
    return list(await session.scalars(query.order_by(Subscription.stripe_subscription_id)))


async def list_for_donor(session: AsyncSession, donor_id: str) -> list[Subscription]:
    """Return all subscriptions of a donor: the live first, then the newest."""
    query = (
        select(Subscription)
        .join(Contribution, Contribution.id == Subscription.contribution_id)
        .where(Contribution.donor_id == donor_id)
        .order_by(Subscription.ended_at.desc().nulls_first(), Subscription.started_at.desc())
    )
    return list(await session.scalars(query))


async def list_live_others(
    session: AsyncSession, donor_id: str, subscription_id: str
) -> list[Subscription]:
    """Return the other live subscriptions of a donor, the oldest first."""
    query = (
        select(Subscription)
        .join(Contribution, Contribution.id == Subscription.contribution_id)
        .where(
            Contribution.donor_id == donor_id,
            Subscription.status.in_(LIVE_STATUSES),
            Subscription.stripe_subscription_id != subscription_id,
        )
        .order_by(Subscription.started_at)
    )
    return list(await session.scalars(query))
