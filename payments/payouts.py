"""Payouts: money that left the Stripe balance for the bank. In transit until Stripe says it has
arrived."""

from datetime import UTC, date, datetime
from enum import StrEnum

import stripe
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments import db, gateway, ledger
from payments.ledger import BalanceTransaction
from payments.runtime import Runtime


class PayoutStatus(StrEnum):
    PENDING = "pending"
    IN_TRANSIT = "in_transit"
    PAID = "paid"
    FAILED = "failed"
    CANCELED = "canceled"


class Payout(db.Base):
    """Stripe's payout as last fetched. `amount` is negative when the bank is debited."""

    __tablename__ = "payouts"
    __table_args__ = (db.is_currency(),)

    stripe_payout_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    status: Mapped[PayoutStatus] = mapped_column(db.words(PayoutStatus, "status_is_known"))
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    automatic: Mapped[bool]
    created_at: Mapped[db.Moment] = mapped_column(index=True)
    arrives_on: Mapped[date]
    balance_transaction: Mapped[db.StripeId | None]
    synced_at: Mapped[db.Moment]


async def sync(rt: Runtime, payout_id: str) -> None:
    """Fetch a payout as it is now, post what it took, and its arrival once it is paid."""
    with gateway.reachable():
        fetched = await rt.stripe.v1.payouts.retrieve_async(
            payout_id, {"expand": ["balance_transaction"]}
        )
    async with rt.sessions.begin() as session:
        await _write(rt, session, fetched)
        if isinstance(fetched.balance_transaction, stripe.BalanceTransaction):
            await ledger.record(session, [fetched.balance_transaction])
        await ledger.post(session, await ledger.waiting(session), owners={}, now=rt.now())
        await confirm(session, payout_id)


async def _write(rt: Runtime, session: AsyncSession, fetched: stripe.Payout) -> None:
    row = {
        "status": PayoutStatus(fetched.status),
        "arrives_on": datetime.fromtimestamp(fetched.arrival_date, UTC).date(),
        "balance_transaction": gateway.id_of(fetched.balance_transaction),
        "synced_at": rt.now(),
    }
    await session.execute(
        insert(Payout)
        .values(
            stripe_payout_id=fetched.id,
            amount=fetched.amount,
            currency=fetched.currency,
            automatic=fetched.automatic,
            created_at=datetime.fromtimestamp(fetched.created, UTC),
            **row,
        )
        .on_conflict_do_update(index_elements=["stripe_payout_id"], set_=row)
    )


async def confirm(session: AsyncSession, payout_id: str) -> None:
    """Post the arrival of a payout that is paid."""
    took = await session.scalar(
        select(BalanceTransaction)
        .join(Payout, Payout.balance_transaction == BalanceTransaction.id)
        .where(Payout.stripe_payout_id == payout_id, Payout.status == PayoutStatus.PAID)
    )
    if took is not None:
        await ledger.confirm_payout(session, took)
