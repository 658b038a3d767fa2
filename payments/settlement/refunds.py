"""Refunds: money given back, whole or in part, asked for by a colleague here or made at Stripe.

A refund asked for here is a row before Stripe hears of it, and the row's id is the key of that
call: a form sent twice, a crash or a lost answer refund once. While the payment's row is locked
what is left of it is counted, so two colleagues cannot give back more than was paid. A refund may
fail days later; then the money is with us again and a person is called. The books take the money
from the balance, never from here. Nothing in a row is about the donor.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import stripe
from sqlalchemy import CheckConstraint, ForeignKey, String, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import money
from payments.core.calendar import from_unix
from payments.core.errors import (
    IdempotencyKeyReused,
    InvalidField,
    NotFound,
    PaymentsError,
    StripeUnavailable,
)
from payments.core.identifiers import new_row_id
from payments.core.money import Money
from payments.giving.charges import Charge, ChargeStatus
from payments.giving.contributions import PaymentIntentLink
from payments.infra import alerts, db, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.settlement import disputes

RESUME_AFTER = timedelta(minutes=1)  # before the clock takes up what a request did not finish
IDEMPOTENCY_KEY_LIFETIME = timedelta(hours=23)  # Stripe forgets an idempotency key after 24


class RefundTooMuch(PaymentsError):
    """More than is left of the payment. Nothing was refunded."""

    status = 422
    code = "refund-too-much"
    title = "The refund is larger than what is left"


class RefundNotPossible(PaymentsError):
    """This payment cannot be given back, or not any more. Nothing was refunded."""

    status = 409
    code = "refund-not-possible"
    title = "This payment cannot be refunded"


class RefundReason(StrEnum):
    REQUESTED_BY_CUSTOMER = "requested_by_customer"
    DUPLICATE = "duplicate"
    FRAUDULENT = "fraudulent"


class RefundStatus(StrEnum):
    REQUESTED = "requested"  # Stripe has not answered yet
    REJECTED = "rejected"  # Stripe would not
    REQUIRES_ACTION = "requires_action"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


IN_PROGRESS_STATUSES = (RefundStatus.REQUESTED, RefundStatus.REQUIRES_ACTION, RefundStatus.PENDING)
UNSUCCESSFUL_STATUSES = (RefundStatus.REJECTED, RefundStatus.FAILED, RefundStatus.CANCELED)
# What a status may follow: an answer that was slow never takes back what was seen since.
PREVIOUS_STATUSES = {
    RefundStatus.REQUIRES_ACTION: IN_PROGRESS_STATUSES,
    RefundStatus.PENDING: IN_PROGRESS_STATUSES,
    RefundStatus.SUCCEEDED: (*IN_PROGRESS_STATUSES, RefundStatus.SUCCEEDED, RefundStatus.REJECTED),
    RefundStatus.FAILED: tuple(RefundStatus),
    RefundStatus.CANCELED: tuple(RefundStatus),
}


class Refund(db.Base):
    """One refund. `amount` is in minor units of what the donor was charged in."""

    __tablename__ = "refunds"
    __table_args__ = (CheckConstraint("amount > 0", name="amount_is_positive"), db.currency_check())

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    stripe_refund_id: Mapped[db.StripeId | None] = mapped_column(String(255), unique=True)
    stripe_charge_id: Mapped[db.StripeId | None] = mapped_column(String(255), index=True)
    status: Mapped[RefundStatus] = mapped_column(db.enum_column(RefundStatus, "status_is_known"))
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    reason: Mapped[str | None] = mapped_column(String(64))  # one of Reason, or Stripe's word
    requested_by: Mapped[db.Id | None] = mapped_column(ForeignKey("staff.id"))  # null: at Stripe
    idempotency_key: Mapped[str | None] = mapped_column(
        String(64), unique=True
    )  # the form that asked
    requested_at: Mapped[db.Timestamp] = mapped_column(index=True)
    balance_transaction: Mapped[db.StripeId | None]
    failure_balance_transaction: Mapped[db.StripeId | None]
    failure_reason: Mapped[str | None] = mapped_column(String(64))
    synced_at: Mapped[db.Timestamp]

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)


# --- asked for here -------------------------------------------------------------------------------


async def request(
    ctx: Context,
    charge_id: str,
    *,
    amount: int | None = None,
    reason: RefundReason,
    staff_id: str | None,
    idempotency_key: str,
) -> Refund:
    """Refund a payment, or `amount` minor units of it, for a colleague. Gives the refund.

    `intent` names one filled-in form: sent again it is the same refund, never a second one.
    """
    async with ctx.sessions.begin() as session:
        row, is_new = await _create_request(
            session,
            charge_id,
            amount=amount,
            reason=reason,
            staff_id=staff_id,
            idempotency_key=idempotency_key,
            now=ctx.now(),
        )
    return await submit(ctx, row.id) if is_new else row


async def _create_request(
    session: AsyncSession,
    charge_id: str,
    *,
    amount: int | None,
    reason: RefundReason,
    staff_id: str | None,
    idempotency_key: str,
    now: datetime,
) -> tuple[Refund, bool]:
    """Write the wish down, if it can be, and say whether it is new."""
    if not 1 <= len(idempotency_key) <= 64:
        raise InvalidField("A form's key has 1 to 64 characters.", field="intent")
    charge = await session.get(Charge, charge_id, with_for_update=True)
    if charge is None:
        raise NotFound("There is no such payment.")
    known = await session.scalar(select(Refund).where(Refund.idempotency_key == idempotency_key))
    if known is not None:
        if known.stripe_charge_id != charge_id or amount not in (None, known.amount):
            raise IdempotencyKeyReused("This form was sent before, for another refund.")
        return known, False
    await _ensure_refundable(session, charge)
    left = await refundable_amount(session, charge_id)
    amount = left.amount if amount is None else amount
    if amount < 1:
        raise InvalidField("A refund is more than nothing. Nothing was refunded.", field="amount")
    if amount > left.amount:
        raise RefundTooMuch(
            "Only %(left)s of this payment can still be refunded. Nothing was refunded.",
            field="amount",
            left=money.format(left),
        )
    row = Refund(
        id=new_row_id(),
        stripe_charge_id=charge_id,
        status=RefundStatus.REQUESTED,
        amount=amount,
        currency=charge.currency,
        reason=reason.value,
        requested_by=staff_id,
        idempotency_key=idempotency_key,
        requested_at=now,
        synced_at=now,
    )
    session.add(row)
    await session.flush()
    return row, True


async def _ensure_refundable(session: AsyncSession, charge: Charge) -> None:
    if charge.status is not ChargeStatus.SUCCEEDED:
        raise RefundNotPossible("This payment did not succeed. Nothing was refunded.")
    if await disputes.active_dispute(session, charge.stripe_charge_id) is not None:
        raise RefundNotPossible(
            "The donor's bank has disputed this payment and holds its money already. "
            "Nothing was refunded."
        )
    if (await refundable_amount(session, charge.stripe_charge_id)).amount < 1:
        raise RefundNotPossible("This payment was refunded in full before. Nothing was refunded.")


async def refundable_amount(session: AsyncSession, charge_id: str) -> Money:
    """What of a payment can still be given back."""
    charge = await session.get_one(Charge, charge_id)
    given = await session.scalar(
        select(func.coalesce(func.sum(Refund.amount), 0)).where(
            Refund.stripe_charge_id == charge_id, Refund.status.not_in(UNSUCCESSFUL_STATUSES)
        )
    )
    return Money(charge.amount - int(given or 0), charge.currency)


async def submit(ctx: Context, refund_id: str) -> Refund:
    """Have Stripe make a refund that was asked for; asked again, it is the same one."""
    async with ctx.sessions() as session:
        row = await session.get_one(Refund, refund_id)
    if row.status is not RefundStatus.REQUESTED:
        return row
    try:
        with stripe_client.translate_errors():
            made = await ctx.stripe.v1.refunds.create_async(
                {
                    "charge": row.stripe_charge_id or "",
                    "amount": row.amount,
                    "reason": RefundReason(row.reason or "").value,
                    "metadata": {"refund_id": row.id},
                },
                {"idempotency_key": f"refund-{row.id}"},
            )
    except stripe.InvalidRequestError as error:
        await _mark_rejected(ctx, refund_id)
        raise RefundNotPossible(
            "Our payment provider will not refund this payment. Nothing was refunded."
        ) from error
    async with ctx.sessions.begin() as session:
        await _upsert(ctx, session, made)
        return await session.get_one(Refund, refund_id, populate_existing=True)


async def resume_requested(ctx: Context, *, limit: int = 50) -> int:
    """Finish what a crash, or a Stripe that was away, cut short. Gives how many."""
    query = (
        select(Refund)
        .where(
            Refund.status == RefundStatus.REQUESTED, Refund.requested_at < ctx.now() - RESUME_AFTER
        )
        .order_by(Refund.requested_at)
        .limit(limit)
    )
    async with ctx.sessions() as session:
        left = list(await session.scalars(query))
    done = 0
    for row in left:
        try:
            if ctx.now() - row.requested_at > IDEMPOTENCY_KEY_LIFETIME:
                await _resolve_expired(ctx, row)
            else:
                await submit(ctx, row.id)
        except RefundNotPossible:
            await _alert_failed(ctx, row.id)
        except StripeUnavailable:
            break
        done += 1
    return done


async def _resolve_expired(ctx: Context, row: Refund) -> None:
    """Too late to ask with the same key: either Stripe made it, or nobody will."""
    with stripe_client.translate_errors():
        made = await ctx.stripe.v1.refunds.list_async(
            {"charge": row.stripe_charge_id or "", "limit": 100}
        )
    async with ctx.sessions.begin() as session:
        for refund in made.data:
            await _upsert(ctx, session, refund)
    if await _mark_rejected(ctx, row.id):
        await _alert_failed(ctx, row.id)


async def _alert_failed(ctx: Context, refund_id: str) -> None:
    """Whoever asked has long gone from the page: call a person."""
    async with ctx.sessions.begin() as session:
        await alerts.raise_alert(
            session, AlertKind.REFUND_FAILED, object_id=refund_id, now=ctx.now()
        )


async def _mark_rejected(ctx: Context, refund_id: str) -> bool:
    """Note that Stripe did not make it. Gives whether that was news."""
    async with ctx.sessions.begin() as session:
        refused = await session.scalar(
            update(Refund)
            .where(Refund.id == refund_id, Refund.status == RefundStatus.REQUESTED)
            .values(status=RefundStatus.REJECTED, synced_at=ctx.now())
            .returning(Refund.id)
        )
    return refused is not None


# --- what Stripe says -----------------------------------------------------------------------------


async def sync(ctx: Context, refund_id: str) -> None:
    """Fetch a refund as it is now and write it down, whoever made it."""
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.refunds.retrieve_async(refund_id)
    async with ctx.sessions.begin() as session:
        await _upsert(ctx, session, fetched)


async def _upsert(ctx: Context, session: AsyncSession, fetched: stripe.Refund) -> None:
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
    await _update(ctx, session, fetched)


async def _link_to_request(session: AsyncSession, fetched: stripe.Refund) -> bool:
    """Tie the refund to the row that asked for it. A copied id of ours ties nothing else."""
    claimed = stripe_client.metadata_value(fetched, "refund_id")
    if claimed is None:
        return False
    tied = await session.scalar(
        update(Refund)
        .where(
            Refund.id == claimed,
            Refund.stripe_charge_id == stripe_client.id_of(fetched.charge),
            Refund.amount == fetched.amount,
            or_(Refund.stripe_refund_id.is_(None), Refund.stripe_refund_id == fetched.id),
        )
        .values(stripe_refund_id=fetched.id)
        .returning(Refund.id)
    )
    return tied is not None


async def _update(ctx: Context, session: AsyncSession, fetched: stripe.Refund) -> None:
    """Bring the row up to date, and call a person for money that came back."""
    status, now = RefundStatus(fetched.status or "pending"), ctx.now()
    took = stripe_client.id_of(fetched.balance_transaction)
    # Stripe leaves these two out of a refund that has not failed.
    back = stripe_client.id_of(getattr(fetched, "failure_balance_transaction", None))
    why = getattr(fetched, "failure_reason", None)
    await session.execute(
        update(Refund)
        .where(Refund.stripe_refund_id == fetched.id, Refund.status.in_(PREVIOUS_STATUSES[status]))
        .values(
            status=status,
            balance_transaction=func.coalesce(took, Refund.balance_transaction),
            failure_balance_transaction=func.coalesce(back, Refund.failure_balance_transaction),
            failure_reason=None if why is None else str(why)[:64],
            synced_at=now,
        )
    )
    if status is RefundStatus.FAILED:
        await alerts.raise_alert(session, AlertKind.REFUND_FAILED, object_id=fetched.id, now=now)


# --- what can be asked ----------------------------------------------------------------------------


async def list_for_charge(session: AsyncSession, charge_id: str) -> Sequence[Refund]:
    """The refunds of a payment, the oldest first."""
    query = select(Refund).where(Refund.stripe_charge_id == charge_id)
    return list(await session.scalars(query.order_by(Refund.requested_at, Refund.id).limit(1000)))


async def list_for_contribution(session: AsyncSession, contribution_id: str) -> Sequence[Refund]:
    """The refunds of a gift and of all its renewals, the oldest first."""
    query = (
        select(Refund)
        .join(Charge, Charge.stripe_charge_id == Refund.stripe_charge_id)
        .join(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .where(PaymentIntentLink.contribution_id == contribution_id)
        .order_by(Refund.requested_at, Refund.id)
        .limit(1000)
    )
    return list(await session.scalars(query))


async def list_recent(
    session: AsyncSession, *, before: datetime | None = None, limit: int = 100
) -> Sequence[Refund]:
    """Refunds, the newest first; `before` goes on from a page."""
    query = select(Refund).order_by(Refund.requested_at.desc(), Refund.id)
    if before is not None:
        query = query.where(Refund.requested_at < before)
    return list(await session.scalars(query.limit(limit)))
