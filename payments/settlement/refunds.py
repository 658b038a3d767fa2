"""Refunds: payments given back, whole or in part, requested by a colleague here or made at Stripe.

A row is Stripe's refund as last fetched, or a request of ours that Stripe has not answered yet
(`refund_requests`). A refund may fail days later; the money is back then and an alert is raised.
The ledger takes the amounts from the balance transactions, never from here. No column names the
donor.
"""

from collections.abc import Sequence
from enum import StrEnum

import stripe
from sqlalchemy import CheckConstraint, ColumnElement, ForeignKey, String, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import money
from payments.core.calendar import from_unix
from payments.core.identifiers import new_row_id
from payments.core.money import Money
from payments.core.open_enum import OpenEnum
from payments.giving.charges import Charge
from payments.infra import alerts, audit_log, db, stripe_account, stripe_client, unknown_values
from payments.infra.alerts import AlertKind
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context


class RefundReason(StrEnum):
    """The reasons Stripe takes from us."""

    REQUESTED_BY_CUSTOMER = "requested_by_customer"
    DUPLICATE = "duplicate"
    FRAUDULENT = "fraudulent"


class RefundStatus(OpenEnum):
    """Our two statuses of a request, and Stripe's of a refund."""

    REQUESTED = "requested"  # Stripe has not answered yet
    REJECTED = "rejected"  # Stripe refused, or never made it
    REQUIRES_ACTION = "requires_action"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    UNKNOWN = "unknown"  # a word that is new at Stripe


IN_PROGRESS_STATUSES = (
    RefundStatus.REQUESTED,
    RefundStatus.REQUIRES_ACTION,
    RefundStatus.PENDING,
    RefundStatus.UNKNOWN,
)
UNSUCCESSFUL_STATUSES = (RefundStatus.REJECTED, RefundStatus.FAILED, RefundStatus.CANCELED)
OUTCOME_ACTIONS = {  # how a refund ended -> what the audit log calls it
    RefundStatus.SUCCEEDED: AuditAction.REFUND_SUCCEEDED,
    RefundStatus.REJECTED: AuditAction.REFUND_REJECTED,
    RefundStatus.FAILED: AuditAction.REFUND_FAILED,
    RefundStatus.CANCELED: AuditAction.REFUND_FAILED,
}
# Which statuses a status may follow: a slow answer never undoes what was seen since.
PREVIOUS_STATUSES = {
    RefundStatus.REQUIRES_ACTION: IN_PROGRESS_STATUSES,
    RefundStatus.PENDING: IN_PROGRESS_STATUSES,
    RefundStatus.UNKNOWN: IN_PROGRESS_STATUSES,
    RefundStatus.SUCCEEDED: (*IN_PROGRESS_STATUSES, RefundStatus.SUCCEEDED, RefundStatus.REJECTED),
    RefundStatus.FAILED: tuple(RefundStatus),
    RefundStatus.CANCELED: tuple(RefundStatus),
}


class Refund(db.Base):
    """One refund. `amount` is in minor units of the currency the donor was charged in."""

    __tablename__ = "refunds"
    __table_args__ = (CheckConstraint("amount > 0", name="amount_is_positive"), db.currency_check())

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    stripe_refund_id: Mapped[db.StripeId | None] = mapped_column(String(255), unique=True)
    stripe_charge_id: Mapped[db.StripeId | None] = mapped_column(String(255), index=True)
    status: Mapped[RefundStatus] = mapped_column(db.enum_column(RefundStatus, "status_is_known"))
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    reason: Mapped[str | None] = mapped_column(String(64))  # a RefundReason, or Stripe's word
    requested_by: Mapped[db.Id | None] = mapped_column(ForeignKey("staff.id"))  # null: at Stripe
    idempotency_key: Mapped[str | None] = mapped_column(String(64), unique=True)  # of the form sent
    requested_at: Mapped[db.Timestamp] = mapped_column(index=True)
    succeeded_at: Mapped[db.Timestamp | None]  # when it was first seen to have succeeded
    balance_transaction: Mapped[db.StripeId | None]
    failure_balance_transaction: Mapped[db.StripeId | None]
    failure_reason: Mapped[str | None] = mapped_column(String(64))
    synced_at: Mapped[db.Timestamp]

    @property
    def money(self) -> Money:
        """The amount with its currency."""
        return Money(self.amount, self.currency)


async def refundable_amount(session: AsyncSession, charge_id: str) -> Money:
    """Return how much of a payment can still be refunded.

    Requests count from the moment they are made; refunds that did not succeed do not count.
    """
    charge = await session.get_one(Charge, charge_id)
    refunded = await session.scalar(
        select(func.coalesce(func.sum(Refund.amount), 0)).where(
            Refund.stripe_charge_id == charge_id, Refund.status.not_in(UNSUCCESSFUL_STATUSES)
        )
    )
    return Money(charge.amount - int(refunded or 0), charge.currency)


async def list_for_charge(session: AsyncSession, charge_id: str) -> Sequence[Refund]:
    """Return the refunds of a payment, oldest first."""
    query = select(Refund).where(Refund.stripe_charge_id == charge_id)
    return list(await session.scalars(query.order_by(Refund.requested_at, Refund.id)))


async def sync(ctx: Context, refund_id: str) -> None:
    """Fetch a refund of Stripe's as it is now and store it, whoever made it."""
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.refunds.retrieve_async(refund_id)
    async with ctx.sessions.begin() as session:
        await upsert(ctx, session, fetched)


async def upsert(ctx: Context, session: AsyncSession, fetched: stripe.Refund) -> None:
    """Store a fetched refund: in the row that requested it, or in a row of its own.

    A refund that has failed since it was last seen raises an alert; one that is first seen among
    the account's history does not.
    """
    known_status = await session.scalar(
        select(Refund.status).where(Refund.stripe_refund_id == fetched.id)
    )
    if not await _link_to_request(session, fetched):
        await session.execute(
            insert(Refund)
            .values(
                id=new_row_id(),
                stripe_refund_id=fetched.id,
                stripe_charge_id=stripe_client.id_of(fetched.charge),
                status=RefundStatus(fetched.status or "pending"),
                amount=fetched.amount,
                currency=fetched.currency,
                reason=None if fetched.reason is None else fetched.reason[:64],
                requested_at=from_unix(fetched.created),
                synced_at=ctx.now(),
            )
            .on_conflict_do_nothing()
        )
    before = await _get_status(session, fetched.id)
    await _update(ctx, session, fetched)
    if await _get_status(session, fetched.id) != before:
        await record_outcome(ctx, session, Refund.stripe_refund_id == fetched.id)
    if fetched.status != RefundStatus.FAILED or known_status is RefundStatus.FAILED:
        return
    if known_status is None and await stripe_account.is_history(
        session, from_unix(fetched.created)
    ):
        return
    await alerts.raise_alert(session, AlertKind.REFUND_FAILED, object_id=fetched.id, now=ctx.now())


async def _get_status(session: AsyncSession, stripe_refund_id: str) -> RefundStatus | None:
    query = select(Refund.status).where(Refund.stripe_refund_id == stripe_refund_id)
    status: RefundStatus | None = await session.scalar(query)
    return status


async def record_outcome(
    ctx: Context, session: AsyncSession, condition: ColumnElement[bool]
) -> None:
    """Append to the audit log how a refund ended that a colleague asked for, if it has."""
    refund = await session.scalar(
        select(Refund)
        .where(condition, Refund.requested_by.is_not(None), Refund.status.in_(OUTCOME_ACTIONS))
        .execution_options(populate_existing=True)
    )
    if refund is not None:
        await audit_log.record(
            session,
            OUTCOME_ACTIONS[refund.status],
            name=audit_log.STRIPE_ACTOR,
            object_id=refund.stripe_charge_id or "",
            reason=money.format(refund.money),
            now=ctx.now(),
        )


async def _link_to_request(session: AsyncSession, fetched: stripe.Refund) -> bool:
    """Link a refund to the row that requested it. Returns whether there is one.

    Charge and amount must match: our id, copied into the metadata of another refund, links nothing.
    """
    request_id = stripe_client.metadata_value(fetched, "refund_id")
    if request_id is None:
        return False
    linked_id = await session.scalar(
        update(Refund)
        .where(
            Refund.id == request_id,
            Refund.stripe_charge_id == stripe_client.id_of(fetched.charge),
            Refund.amount == fetched.amount,
            or_(Refund.stripe_refund_id.is_(None), Refund.stripe_refund_id == fetched.id),
        )
        .values(stripe_refund_id=fetched.id)
        .returning(Refund.id)
    )
    return linked_id is not None


async def _update(ctx: Context, session: AsyncSession, fetched: stripe.Refund) -> None:
    status = RefundStatus(fetched.status or "pending")
    transaction_id = stripe_client.id_of(fetched.balance_transaction)
    # Stripe leaves these two out of a refund that has not failed.
    failure_id = stripe_client.id_of(getattr(fetched, "failure_balance_transaction", None))
    failure_reason = getattr(fetched, "failure_reason", None)
    await session.execute(
        update(Refund)
        .where(Refund.stripe_refund_id == fetched.id, Refund.status.in_(PREVIOUS_STATUSES[status]))
        .values(
            status=status,
            succeeded_at=func.coalesce(
                Refund.succeeded_at, ctx.now() if status is RefundStatus.SUCCEEDED else None
            ),
            balance_transaction=func.coalesce(transaction_id, Refund.balance_transaction),
            failure_balance_transaction=func.coalesce(
                failure_id, Refund.failure_balance_transaction
            ),
            failure_reason=None if failure_reason is None else str(failure_reason)[:64],
            synced_at=ctx.now(),
        )
    )
    await unknown_values.update_alert(session, fetched.id, status, now=ctx.now())
