"""Payment intent links: which contribution each payment at Stripe belongs to, and which period of
service it pays for.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import CheckConstraint, Computed, ForeignKey
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.frequency import Frequency, Interval
from payments.giving import erased_contributions, interval_columns
from payments.giving.interval_columns import IntervalColumns
from payments.infra import db


@dataclass(frozen=True, slots=True)
class ServicePeriod:
    """What a payment is for: from a moment up to another, which is not in it. It may be empty."""

    starts_at: datetime
    ends_at: datetime


class PaymentIntentLink(IntervalColumns, db.Base):
    """Which contribution a Stripe PaymentIntent pays: the first payment's, and each renewal's.

    The interval is of this payment: a subscription may later go from monthly to annual. The period
    of service is its invoice's, and null until an invoice is seen. Without a contribution it is
    other income.
    """

    __tablename__ = "payment_intent_links"
    __table_args__ = (
        interval_columns.interval_check(),
        CheckConstraint(
            "(service_starts_at IS NULL) = (service_ends_at IS NULL)"
            " AND service_starts_at <= service_ends_at",
            name="service_is_a_period",
        ),
    )

    stripe_payment_intent_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    contribution_id: Mapped[db.Id | None] = mapped_column(
        ForeignKey("contributions.id"), index=True
    )
    frequency: Mapped[Frequency] = mapped_column(
        db.enum_column(Frequency, "frequency_is_known"),
        Computed(
            f"CASE WHEN contribution_id IS NULL THEN 'other'"
            f" ELSE {interval_columns.FREQUENCY_SQL} END",
            persisted=True,
        ),
    )
    service_starts_at: Mapped[db.Timestamp | None]
    service_ends_at: Mapped[db.Timestamp | None]


async def link(
    session: AsyncSession,
    payment_intent_id: str,
    contribution_id: str | None,
    interval: Interval | None,
    service: ServicePeriod | None = None,
) -> list[str]:
    """Store which contribution a payment intent pays, and at which interval; None for once.

    Without a contribution it is other income. The first link stands, and takes the period of
    service when that is known. Of an erased contribution the
    charges are linked by their own ids, and the intent's is not stored. Returns what was linked.
    """
    link_ids = [payment_intent_id]
    if contribution_id is not None:
        await erased_contributions.lock(session, contribution_id)
    is_erased = await erased_contributions.is_erased(session, contribution_id)
    if is_erased and payment_intent_id.startswith("pi_"):
        link_ids = await erased_contributions.use_own_ids(session, payment_intent_id)
    for link_id in link_ids:
        new = insert(PaymentIntentLink).values(
            stripe_payment_intent_id=link_id,
            contribution_id=contribution_id,
            **interval_columns.column_values(interval),
        )
        if service is None:
            await session.execute(new.on_conflict_do_nothing())
            continue
        period = {"service_starts_at": service.starts_at, "service_ends_at": service.ends_at}
        await session.execute(
            new.values(**period).on_conflict_do_update(
                index_elements=[PaymentIntentLink.stripe_payment_intent_id],
                set_=period,
                where=PaymentIntentLink.service_starts_at.is_(None),
            )
        )
    return link_ids
