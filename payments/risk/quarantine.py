"""Quarantine: payments that came from a protected country in spite of Radar.

Radar should have refused them before the bank was asked. What got through is flagged in the
transaction that writes the charge, with a job (`safety.quarantine_response`), and an alert once it
is known to pay a contribution. The country itself is not stored.
"""

import stripe
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import alerts, db, job_queue
from payments.infra.alerts import AlertKind
from payments.infra.context import Context

QUARANTINE_JOB = "quarantine"  # the object type of its job


class Quarantine(db.Base):
    """One flagged charge, and when the response to it was complete."""

    __tablename__ = "quarantines"

    stripe_charge_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    flagged_at: Mapped[db.Timestamp]
    processed_at: Mapped[db.Timestamp | None]


def card_country(fetched: stripe.Charge) -> str | None:
    """Return the country of what a charge was paid with, if Stripe knows it."""
    return method_country(fetched.payment_method_details)


def method_country(
    method: stripe.PaymentMethod | stripe.Charge.PaymentMethodDetails | None,
) -> str | None:
    """Return the country of a payment method, an ISO 3166 code in capitals, if Stripe knows it."""
    details = None if method is None else getattr(method, method.type, None)
    country = getattr(details, "country", None)
    return None if country is None else str(country)


def subscription_country(fetched: stripe.Subscription) -> str | None:
    """Return the country of the method that a subscription's next charge is made to, if known.

    The default methods of the subscription and of its customer must be expanded.
    """
    method = fetched.default_payment_method
    if method is None:
        settings = getattr(fetched.customer, "invoice_settings", None)
        method = settings.default_payment_method if settings is not None else None
    return method_country(method) if isinstance(method, stripe.PaymentMethod) else None


async def flag_if_protected(
    ctx: Context, session: AsyncSession, fetched: stripe.Charge, *, is_known: bool
) -> None:
    """Quarantine a charge that succeeded, or may yet, with a card of a protected country.

    `is_known` says that it pays a contribution. While it is not known whose it is, the job waits
    for that and nobody is called: it may be a sale of a shop.
    """
    policy = ctx.settings.safety_policy
    if policy is None or fetched.status == "failed" or not policy.protects(card_country(fetched)):
        return
    inserted = await session.scalar(
        insert(Quarantine)
        .values(stripe_charge_id=fetched.id, flagged_at=ctx.now())
        .on_conflict_do_nothing()
        .returning(Quarantine.stripe_charge_id)
    )
    if inserted is not None:
        await job_queue.enqueue_sync(session, QUARANTINE_JOB, fetched.id)
        if is_known:
            await call_person(ctx, session, fetched.id)


async def call_person(ctx: Context, session: AsyncSession, charge_id: str) -> None:
    """Raise the alert about a charge in quarantine, unless it was ever raised."""
    if not await alerts.was_raised(session, AlertKind.QUARANTINED, object_id=charge_id):
        await alerts.raise_alert(session, AlertKind.QUARANTINED, object_id=charge_id, now=ctx.now())


async def list_open(session: AsyncSession) -> list[str]:
    """Return the Stripe ids of all charges whose response is not complete, the oldest first."""
    query = select(Quarantine.stripe_charge_id).where(Quarantine.processed_at.is_(None))
    return list(await session.scalars(query.order_by(Quarantine.flagged_at)))
