"""Subscriptions: the standing promise behind a monthly or annual contribution, as Stripe keeps it.

Stripe owns the schedule. A row here is Stripe's subscription as last fetched, and each invoice
tells which payment intents belong to the promise, so that every renewal counts for the
contribution that began it.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

import stripe
from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments import contributions, db, gateway
from payments.contributions import Frequency
from payments.money import Money
from payments.runtime import Runtime

YEARLY = timedelta(days=180)  # a period longer than this is a year's


class SubscriptionStatus(StrEnum):
    ACTIVE = "active"
    PAST_DUE = "past_due"
    UNPAID = "unpaid"
    CANCELED = "canceled"
    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    TRIALING = "trialing"
    PAUSED = "paused"


class Subscription(db.Base):
    """A promise: `amount` minor units of `currency` until it is cancelled."""

    __tablename__ = "subscriptions"
    __table_args__ = (CheckConstraint("amount > 0", name="amount_is_positive"), db.is_currency())

    stripe_subscription_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    contribution_id: Mapped[db.OurId] = mapped_column(ForeignKey("contributions.id"), index=True)
    stripe_customer_id: Mapped[db.StripeId] = mapped_column(index=True)
    status: Mapped[SubscriptionStatus] = mapped_column(
        db.words(SubscriptionStatus, "status_is_known")
    )
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    started_at: Mapped[db.Moment]
    renews_at: Mapped[db.Moment | None]
    ended_at: Mapped[db.Moment | None]
    synced_at: Mapped[db.Moment]


async def sync(rt: Runtime, subscription_id: str) -> str:
    """Fetch a subscription as it is now and write it down. Gives the id of its contribution."""
    with gateway.reachable():
        fetched = await rt.stripe.v1.subscriptions.retrieve_async(subscription_id)
    async with rt.sessions.begin() as session:
        return await _write(rt, session, fetched)


async def sync_invoice(rt: Runtime, invoice_id: str) -> None:
    """Fetch an invoice and tie its payment intents to its subscription's contribution."""
    with gateway.reachable():
        invoice = await rt.stripe.v1.invoices.retrieve_async(invoice_id, {"expand": ["payments"]})
    owner = await owner_of(rt, invoice)
    if owner is None or invoice.payments is None:
        return
    async with rt.sessions.begin() as session:
        for payment in invoice.payments.data:
            if (intent := gateway.id_of(payment.payment.payment_intent)) is not None:
                await contributions.link(session, intent, owner, frequency_of(invoice))


def frequency_of(invoice: stripe.Invoice) -> Frequency:
    """The frequency of the payment an invoice asks for, by the length of the period it pays."""
    longest = max(line.period.end - line.period.start for line in invoice.lines.data)
    return Frequency.ANNUAL if longest > YEARLY.total_seconds() else Frequency.MONTHLY


async def owner_of(rt: Runtime, invoice: stripe.Invoice) -> str | None:
    """The contribution an invoice is for; its subscription is fetched if we never met it.

    None for an invoice that no subscription made.
    """
    details = invoice.parent.subscription_details if invoice.parent is not None else None
    if details is None:
        return None
    subscription_id = gateway.id_of(details.subscription)
    assert subscription_id is not None
    ours = gateway.metadata_of(details, "contribution_id")
    async with rt.sessions() as session:
        if ours is not None and await contributions.exists(session, ours):
            return ours
        known = await session.get(Subscription, subscription_id)
    return known.contribution_id if known is not None else await sync(rt, subscription_id)


async def _write(rt: Runtime, session: AsyncSession, fetched: stripe.Subscription) -> str:
    """Write one subscription as fetched. Gives the id of its contribution."""
    item = fetched["items"].data[0]
    money = Money(item.price.unit_amount * item.quantity, fetched.currency)
    ours = gateway.metadata_of(fetched, "contribution_id")
    if ours is None or not await contributions.exists(session, ours):
        ours = await contributions.adopt(
            session,
            fetched.id,
            claimed_id=ours,
            money=money,
            frequency=contributions.frequency_of(fetched),
            now=rt.now(),
        )
    status = SubscriptionStatus(fetched.status)
    row = {
        "status": status,
        "amount": money.amount,
        "currency": money.currency,
        "renews_at": _moment(item.current_period_end) if status in _RENEWING else None,
        "ended_at": _moment(fetched.ended_at),
        "synced_at": rt.now(),
    }
    await session.execute(
        insert(Subscription)
        .values(
            stripe_subscription_id=fetched.id,
            contribution_id=ours,
            stripe_customer_id=gateway.id_of(fetched.customer),
            started_at=_moment(fetched.start_date),
            **row,
        )
        .on_conflict_do_update(index_elements=["stripe_subscription_id"], set_=row)
    )
    return ours


_RENEWING = (SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING, SubscriptionStatus.PAST_DUE)


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
