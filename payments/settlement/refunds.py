"""Refunds: money given back, whole or in part, asked for by a colleague here or made at Stripe.

A refund asked for here is a row before Stripe hears of it, and the row's id is the key of that
call: a form sent twice, a crash or a lost answer refund once. While the payment's row is locked
what is left of it is counted, so two colleagues cannot give back more than was paid. A refund may
fail days later; then the money is with us again and a person is called. The books take the money
from the balance, never from here. Nothing in a row is about the donor.
"""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import stripe
from sqlalchemy import CheckConstraint, ForeignKey, String, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import money
from payments.core.errors import (
    IdempotencyKeyReused,
    InvalidField,
    NotFound,
    PaymentsError,
    StripeUnavailable,
)
from payments.core.money import Money
from payments.giving.charges import Charge, ChargeStatus
from payments.giving.contributions import ContributionIntent
from payments.infra import alerts, db, stripe_client
from payments.infra.alerts import AlarmKind
from payments.infra.context import Runtime
from payments.settlement import disputes

PATIENCE = timedelta(minutes=1)  # before the clock takes up what a request did not finish
KEY_LASTS = timedelta(hours=23)  # Stripe forgets an idempotency key after 24


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


class Reason(StrEnum):
    REQUESTED_BY_CUSTOMER = "requested_by_customer"
    DUPLICATE = "duplicate"
    FRAUDULENT = "fraudulent"


class RefundStatus(StrEnum):
    ASKED = "asked"  # Stripe has not answered yet
    REFUSED = "refused"  # Stripe would not
    REQUIRES_ACTION = "requires_action"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


UNDER_WAY = (RefundStatus.ASKED, RefundStatus.REQUIRES_ACTION, RefundStatus.PENDING)
CAME_TO_NOTHING = (RefundStatus.REFUSED, RefundStatus.FAILED, RefundStatus.CANCELED)
# What a status may follow: an answer that was slow never takes back what was seen since.
AFTER = {
    RefundStatus.REQUIRES_ACTION: UNDER_WAY,
    RefundStatus.PENDING: UNDER_WAY,
    RefundStatus.SUCCEEDED: (*UNDER_WAY, RefundStatus.SUCCEEDED, RefundStatus.REFUSED),
    RefundStatus.FAILED: tuple(RefundStatus),
    RefundStatus.CANCELED: tuple(RefundStatus),
}


class Refund(db.Base):
    """One refund. `amount` is in minor units of what the donor was charged in."""

    __tablename__ = "refunds"
    __table_args__ = (CheckConstraint("amount > 0", name="amount_is_positive"), db.is_currency())

    id: Mapped[db.OurId] = mapped_column(primary_key=True)
    stripe_refund_id: Mapped[db.StripeId | None] = mapped_column(String(255), unique=True)
    stripe_charge_id: Mapped[db.StripeId | None] = mapped_column(String(255), index=True)
    status: Mapped[RefundStatus] = mapped_column(db.words(RefundStatus, "status_is_known"))
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    reason: Mapped[str | None] = mapped_column(String(64))  # one of Reason, or Stripe's word
    asked_by: Mapped[db.OurId | None] = mapped_column(ForeignKey("staff.id"))  # null: at Stripe
    intent: Mapped[str | None] = mapped_column(String(64), unique=True)  # the form that asked
    asked_at: Mapped[db.Moment] = mapped_column(index=True)
    balance_transaction: Mapped[db.StripeId | None]
    failure_balance_transaction: Mapped[db.StripeId | None]
    failure_reason: Mapped[str | None] = mapped_column(String(64))
    synced_at: Mapped[db.Moment]

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)


# --- asked for here -------------------------------------------------------------------------------


async def ask(
    rt: Runtime,
    charge_id: str,
    *,
    amount: int | None = None,
    reason: Reason,
    by: str | None,
    intent: str,
) -> Refund:
    """Refund a payment, or `amount` minor units of it, for a colleague. Gives the refund.

    `intent` names one filled-in form: sent again it is the same refund, never a second one.
    """
    async with rt.sessions.begin() as session:
        row, is_new = await _asked(
            session, charge_id, amount=amount, reason=reason, by=by, intent=intent, now=rt.now()
        )
    return await carry_out(rt, row.id) if is_new else row


async def _asked(
    session: AsyncSession,
    charge_id: str,
    *,
    amount: int | None,
    reason: Reason,
    by: str | None,
    intent: str,
    now: datetime,
) -> tuple[Refund, bool]:
    """Write the wish down, if it can be, and say whether it is new."""
    if not 1 <= len(intent) <= 64:
        raise InvalidField("A form's key has 1 to 64 characters.", field="intent")
    charge = await session.get(Charge, charge_id, with_for_update=True)
    if charge is None:
        raise NotFound("There is no such payment.")
    known = await session.scalar(select(Refund).where(Refund.intent == intent))
    if known is not None:
        if known.stripe_charge_id != charge_id or amount not in (None, known.amount):
            raise IdempotencyKeyReused("This form was sent before, for another refund.")
        return known, False
    await _must_be_refundable(session, charge)
    left = await remaining(session, charge_id)
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
        id=secrets.token_hex(16),
        stripe_charge_id=charge_id,
        status=RefundStatus.ASKED,
        amount=amount,
        currency=charge.currency,
        reason=reason.value,
        asked_by=by,
        intent=intent,
        asked_at=now,
        synced_at=now,
    )
    session.add(row)
    await session.flush()
    return row, True


async def _must_be_refundable(session: AsyncSession, charge: Charge) -> None:
    if charge.status is not ChargeStatus.SUCCEEDED:
        raise RefundNotPossible("This payment did not succeed. Nothing was refunded.")
    if await disputes.taking(session, charge.stripe_charge_id) is not None:
        raise RefundNotPossible(
            "The donor's bank has disputed this payment and holds its money already. "
            "Nothing was refunded."
        )
    if (await remaining(session, charge.stripe_charge_id)).amount < 1:
        raise RefundNotPossible("This payment was refunded in full before. Nothing was refunded.")


async def remaining(session: AsyncSession, charge_id: str) -> Money:
    """What of a payment can still be given back."""
    charge = await session.get_one(Charge, charge_id)
    given = await session.scalar(
        select(func.coalesce(func.sum(Refund.amount), 0)).where(
            Refund.stripe_charge_id == charge_id, Refund.status.not_in(CAME_TO_NOTHING)
        )
    )
    return Money(charge.amount - int(given or 0), charge.currency)


async def carry_out(rt: Runtime, refund_id: str) -> Refund:
    """Have Stripe make a refund that was asked for; asked again, it is the same one."""
    async with rt.sessions() as session:
        row = await session.get_one(Refund, refund_id)
    if row.status is not RefundStatus.ASKED:
        return row
    try:
        with stripe_client.reachable():
            made = await rt.stripe.v1.refunds.create_async(
                {
                    "charge": row.stripe_charge_id or "",
                    "amount": row.amount,
                    "reason": Reason(row.reason or "").value,
                    "metadata": {"refund_id": row.id},
                },
                {"idempotency_key": f"refund-{row.id}"},
            )
    except stripe.InvalidRequestError as error:
        await _refuse(rt, refund_id)
        raise RefundNotPossible(
            "Our payment provider will not refund this payment. Nothing was refunded."
        ) from error
    async with rt.sessions.begin() as session:
        await _absorb(rt, session, made)
        return await session.get_one(Refund, refund_id, populate_existing=True)


async def take_up_asked(rt: Runtime, *, limit: int = 50) -> int:
    """Finish what a crash, or a Stripe that was away, cut short. Gives how many."""
    query = (
        select(Refund)
        .where(Refund.status == RefundStatus.ASKED, Refund.asked_at < rt.now() - PATIENCE)
        .order_by(Refund.asked_at)
        .limit(limit)
    )
    async with rt.sessions() as session:
        left = list(await session.scalars(query))
    done = 0
    for row in left:
        try:
            if rt.now() - row.asked_at > KEY_LASTS:
                await _give_up(rt, row)
            else:
                await carry_out(rt, row.id)
        except RefundNotPossible:
            await _tell(rt, row.id)
        except StripeUnavailable:
            break
        done += 1
    return done


async def _give_up(rt: Runtime, row: Refund) -> None:
    """Too late to ask with the same key: either Stripe made it, or nobody will."""
    with stripe_client.reachable():
        made = await rt.stripe.v1.refunds.list_async(
            {"charge": row.stripe_charge_id or "", "limit": 100}
        )
    async with rt.sessions.begin() as session:
        for refund in made.data:
            await _absorb(rt, session, refund)
    if await _refuse(rt, row.id):
        await _tell(rt, row.id)


async def _tell(rt: Runtime, refund_id: str) -> None:
    """Whoever asked has long gone from the page: call a person."""
    async with rt.sessions.begin() as session:
        await alerts.sound(session, AlarmKind.REFUND_FAILED, subject=refund_id, now=rt.now())


async def _refuse(rt: Runtime, refund_id: str) -> bool:
    """Note that Stripe did not make it. Gives whether that was news."""
    async with rt.sessions.begin() as session:
        refused = await session.scalar(
            update(Refund)
            .where(Refund.id == refund_id, Refund.status == RefundStatus.ASKED)
            .values(status=RefundStatus.REFUSED, synced_at=rt.now())
            .returning(Refund.id)
        )
    return refused is not None


# --- what Stripe says -----------------------------------------------------------------------------


async def sync(rt: Runtime, refund_id: str) -> None:
    """Fetch a refund as it is now and write it down, whoever made it."""
    with stripe_client.reachable():
        fetched = await rt.stripe.v1.refunds.retrieve_async(refund_id)
    async with rt.sessions.begin() as session:
        await _absorb(rt, session, fetched)


async def _absorb(rt: Runtime, session: AsyncSession, fetched: stripe.Refund) -> None:
    if not await _is_ours(session, fetched):
        await session.execute(
            insert(Refund)
            .values(
                id=secrets.token_hex(16),
                stripe_refund_id=fetched.id,
                stripe_charge_id=stripe_client.id_of(fetched.charge),
                status=RefundStatus(fetched.status or "pending"),
                amount=fetched.amount,
                currency=fetched.currency,
                reason=None if fetched.reason is None else fetched.reason[:64],
                asked_at=datetime.fromtimestamp(fetched.created, UTC),
                synced_at=rt.now(),
            )
            .on_conflict_do_nothing()
        )
    await _write(rt, session, fetched)


async def _is_ours(session: AsyncSession, fetched: stripe.Refund) -> bool:
    """Tie the refund to the row that asked for it. A copied id of ours ties nothing else."""
    claimed = stripe_client.metadata_of(fetched, "refund_id")
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


async def _write(rt: Runtime, session: AsyncSession, fetched: stripe.Refund) -> None:
    """Bring the row up to date, and call a person for money that came back."""
    status, now = RefundStatus(fetched.status or "pending"), rt.now()
    took = stripe_client.id_of(fetched.balance_transaction)
    # Stripe leaves these two out of a refund that has not failed.
    back = stripe_client.id_of(getattr(fetched, "failure_balance_transaction", None))
    why = getattr(fetched, "failure_reason", None)
    await session.execute(
        update(Refund)
        .where(Refund.stripe_refund_id == fetched.id, Refund.status.in_(AFTER[status]))
        .values(
            status=status,
            balance_transaction=func.coalesce(took, Refund.balance_transaction),
            failure_balance_transaction=func.coalesce(back, Refund.failure_balance_transaction),
            failure_reason=None if why is None else str(why)[:64],
            synced_at=now,
        )
    )
    if status is RefundStatus.FAILED:
        await alerts.sound(session, AlarmKind.REFUND_FAILED, subject=fetched.id, now=now)


# --- what can be asked ----------------------------------------------------------------------------


async def of_charge(session: AsyncSession, charge_id: str) -> Sequence[Refund]:
    """The refunds of a payment, the oldest first."""
    query = select(Refund).where(Refund.stripe_charge_id == charge_id)
    return list(await session.scalars(query.order_by(Refund.asked_at, Refund.id).limit(1000)))


async def of_contribution(session: AsyncSession, contribution_id: str) -> Sequence[Refund]:
    """The refunds of a gift and of all its renewals, the oldest first."""
    query = (
        select(Refund)
        .join(Charge, Charge.stripe_charge_id == Refund.stripe_charge_id)
        .join(
            ContributionIntent,
            ContributionIntent.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .where(ContributionIntent.contribution_id == contribution_id)
        .order_by(Refund.asked_at, Refund.id)
        .limit(1000)
    )
    return list(await session.scalars(query))


async def listed(
    session: AsyncSession, *, before: datetime | None = None, limit: int = 100
) -> Sequence[Refund]:
    """Refunds, the newest first; `before` goes on from a page."""
    query = select(Refund).order_by(Refund.asked_at.desc(), Refund.id)
    if before is not None:
        query = query.where(Refund.asked_at < before)
    return list(await session.scalars(query.limit(limit)))
