"""Payment intent links: which contribution each payment at Stripe belongs to."""

from sqlalchemy import ForeignKey
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.frequency import Frequency
from payments.infra import db


class PaymentIntentLink(db.Base):
    """Which contribution a Stripe PaymentIntent pays: the first payment's, and each renewal's."""

    __tablename__ = "payment_intent_links"

    stripe_payment_intent_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    contribution_id: Mapped[db.Id] = mapped_column(ForeignKey("contributions.id"), index=True)
    # of this payment: a subscription may later go from monthly to annual
    frequency: Mapped[Frequency] = mapped_column(db.enum_column(Frequency, "frequency_is_known"))


async def link(
    session: AsyncSession, payment_intent_id: str, contribution_id: str, frequency: Frequency
) -> None:
    """Store which contribution a payment intent pays. The first link stands."""
    await session.execute(
        insert(PaymentIntentLink)
        .values(
            stripe_payment_intent_id=payment_intent_id,
            contribution_id=contribution_id,
            frequency=frequency,
        )
        .on_conflict_do_nothing()
    )
