"""Payment intent links: which contribution each payment at Stripe belongs to."""

from sqlalchemy import Computed, ForeignKey
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.frequency import Frequency, Interval
from payments.giving import erased_contributions, interval_columns
from payments.giving.interval_columns import IntervalColumns
from payments.infra import db


class PaymentIntentLink(IntervalColumns, db.Base):
    """Which contribution a Stripe PaymentIntent pays: the first payment's, and each renewal's.

    The interval is of this payment: a subscription may later go from monthly to annual. Without a
    contribution it is other income.
    """

    __tablename__ = "payment_intent_links"
    __table_args__ = (interval_columns.interval_check(),)

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


async def link(
    session: AsyncSession,
    payment_intent_id: str,
    contribution_id: str | None,
    interval: Interval | None,
) -> list[str]:
    """Store which contribution a payment intent pays, and at which interval; None for once.

    Without a contribution it is other income. The first link stands. Of an erased contribution the
    charges are linked by their own ids, and the intent's is not stored. Returns what was linked.
    """
    link_ids = [payment_intent_id]
    if contribution_id is not None:
        await erased_contributions.lock(session, contribution_id)
    is_erased = await erased_contributions.is_erased(session, contribution_id)
    if is_erased and payment_intent_id.startswith("pi_"):
        link_ids = await erased_contributions.use_own_ids(session, payment_intent_id)
    for link_id in link_ids:
        await session.execute(
            insert(PaymentIntentLink)
            .values(
                stripe_payment_intent_id=link_id,
                contribution_id=contribution_id,
                **interval_columns.column_values(interval),
            )
            .on_conflict_do_nothing()
        )
    return link_ids
