"""Quarantine: a payment that came from a protected country in spite of everything.

Radar should have stopped it before the bank was asked. What got through is written down in the
transaction that writes the charge, with a job that does what must be done (`protection`) and an
alarm for a person. The country is looked at and forgotten: that there is a row is all we keep.
"""

import stripe
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import alerts, db, job_queue
from payments.infra.alerts import AlertKind
from payments.infra.context import Context

QUARANTINE_JOB = "quarantine"  # the object type of its bell


class Quarantine(db.Base):
    """One payment, and when all was done about it."""

    __tablename__ = "quarantines"

    stripe_charge_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    flagged_at: Mapped[db.Timestamp]
    processed_at: Mapped[db.Timestamp | None]


def card_country(fetched: stripe.Charge) -> str | None:
    """The country of what was paid with, as far as its network tells."""
    details = fetched.payment_method_details
    kind = None if details is None else getattr(details, details.type, None)
    country = getattr(kind, "country", None)
    return None if country is None else str(country)


async def flag_if_protected(ctx: Context, session: AsyncSession, fetched: stripe.Charge) -> None:
    """Put a charge into quarantine if money came from where nobody must be seen to pay."""
    policy = ctx.settings.safety_policy
    if policy is None or fetched.status == "failed" or not policy.protects(card_country(fetched)):
        return
    made = await session.scalar(
        insert(Quarantine)
        .values(stripe_charge_id=fetched.id, flagged_at=ctx.now())
        .on_conflict_do_nothing()
        .returning(Quarantine.stripe_charge_id)
    )
    if made is not None:
        await job_queue.enqueue_sync(session, QUARANTINE_JOB, fetched.id)
        await alerts.raise_alert(
            session, AlertKind.QUARANTINED, object_id=fetched.id, now=ctx.now()
        )


async def list_open(session: AsyncSession, *, limit: int = 100) -> list[str]:
    """Payments about which not all is done yet."""
    query = select(Quarantine.stripe_charge_id).where(Quarantine.processed_at.is_(None))
    return list(await session.scalars(query.order_by(Quarantine.flagged_at).limit(limit)))
