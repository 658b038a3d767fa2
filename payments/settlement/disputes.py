"""Disputes: a donor's bank takes a payment back, or asks about it; and the warnings that precede.

A row is Stripe's dispute as last fetched. The money that moves, the fee and what is given back
after a dispute is won come to the books from the balance, never from here. An inquiry (`warning_…`)
moves nothing. A dispute that waits for an answer is an alarm, and another one when only three days
are left; a lost one whose promise is still charged is a third, because the next charge may be
disputed too. What to do is a person's decision: nothing is stopped or refunded here.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import stripe
from sqlalchemy import CheckConstraint, String, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import from_unix
from payments.giving.charges import Charge
from payments.giving.contributions import PaymentIntentLink
from payments.giving.subscriptions import LIVE_STATUSES, Subscription
from payments.infra import alerts, db, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context

EVIDENCE_DUE_SOON = timedelta(days=3)  # before the evidence is due


class DisputeStatus(StrEnum):
    WARNING_NEEDS_RESPONSE = "warning_needs_response"
    WARNING_UNDER_REVIEW = "warning_under_review"
    WARNING_CLOSED = "warning_closed"
    NEEDS_RESPONSE = "needs_response"
    UNDER_REVIEW = "under_review"
    APPEAL_NEEDS_RESPONSE = "appeal_needs_response"
    APPEAL_UNDER_REVIEW = "appeal_under_review"
    PREVENTED = "prevented"
    WON = "won"
    LOST = "lost"


NEEDS_RESPONSE_STATUSES = (
    DisputeStatus.WARNING_NEEDS_RESPONSE,
    DisputeStatus.NEEDS_RESPONSE,
    DisputeStatus.APPEAL_NEEDS_RESPONSE,
)
INQUIRY_STATUSES = (
    DisputeStatus.WARNING_NEEDS_RESPONSE,
    DisputeStatus.WARNING_UNDER_REVIEW,
    DisputeStatus.WARNING_CLOSED,
)
CLOSED_STATUSES = (
    DisputeStatus.WARNING_CLOSED,
    DisputeStatus.PREVENTED,
    DisputeStatus.WON,
    DisputeStatus.LOST,
)


class Dispute(db.Base):
    """Stripe's dispute as last fetched. `amount` is in minor units of what the reader was shown."""

    __tablename__ = "disputes"
    __table_args__ = (CheckConstraint("amount > 0", name="amount_is_positive"), db.currency_check())

    stripe_dispute_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    stripe_charge_id: Mapped[db.StripeId] = mapped_column(index=True)
    status: Mapped[DisputeStatus] = mapped_column(db.enum_column(DisputeStatus, "status_is_known"))
    amount: Mapped[db.MinorUnits]
    currency: Mapped[db.Currency]
    reason: Mapped[str] = mapped_column(String(64))  # Stripe's word
    opened_at: Mapped[db.Timestamp] = mapped_column(index=True)
    evidence_due_at: Mapped[db.Timestamp | None]
    evidence_submitted: Mapped[bool]  # evidence was submitted
    is_charge_refundable: Mapped[bool]  # an inquiry ends when the payment is refunded
    synced_at: Mapped[db.Timestamp]


class FraudWarning(db.Base):
    """A card network's early warning that a payment was not its owner's."""

    __tablename__ = "fraud_warnings"

    stripe_warning_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    stripe_charge_id: Mapped[db.StripeId] = mapped_column(index=True)
    fraud_type: Mapped[str] = mapped_column(String(64))  # Stripe's word
    actionable: Mapped[bool]  # neither refunded nor disputed yet
    warned_at: Mapped[db.Timestamp] = mapped_column(index=True)
    synced_at: Mapped[db.Timestamp]


async def sync(ctx: Context, dispute_id: str) -> None:
    """Fetch a dispute as it is now, write it down, and call a person where one is needed."""
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.disputes.retrieve_async(dispute_id)
    async with ctx.sessions.begin() as session:
        row = await _upsert(ctx, session, fetched)
        await _update_alerts(ctx, session, row)


async def _upsert(ctx: Context, session: AsyncSession, fetched: stripe.Dispute) -> Dispute:
    details = fetched.evidence_details
    charge = stripe_client.id_of(fetched.charge)
    assert charge is not None
    seen = {
        "status": DisputeStatus(fetched.status),
        "amount": fetched.amount,
        "evidence_due_at": _from_unix(details.due_by),
        "evidence_submitted": details.submission_count > 0,
        "is_charge_refundable": fetched.is_charge_refundable,
        "synced_at": ctx.now(),
    }
    await session.execute(
        insert(Dispute)
        .values(
            stripe_dispute_id=fetched.id,
            stripe_charge_id=charge,
            currency=fetched.currency,
            reason=fetched.reason[:64],
            opened_at=from_unix(fetched.created),
            **seen,
        )
        .on_conflict_do_update(index_elements=["stripe_dispute_id"], set_=seen)
    )
    return await session.get_one(Dispute, fetched.id, populate_existing=True)


def _from_unix(seconds: int | None) -> datetime | None:
    return None if seconds is None else from_unix(seconds)


async def _update_alerts(ctx: Context, session: AsyncSession, row: Dispute) -> None:
    """Open the alarms that fit what is known of a dispute, close those that do not."""
    due, now = row.evidence_due_at, ctx.now()
    waits = row.status in NEEDS_RESPONSE_STATUSES
    is_urgent = waits and due is not None and due - now <= EVIDENCE_DUE_SOON
    is_charged_on = row.status is DisputeStatus.LOST and await _has_live_subscription(session, row)
    for kind, is_so in (
        (AlertKind.DISPUTE_OPENED, waits),
        (AlertKind.EVIDENCE_DUE, is_urgent),
        (AlertKind.DISPUTE_LOST, is_charged_on),
    ):
        change = alerts.raise_alert if is_so else alerts.close
        await change(session, kind, object_id=row.stripe_dispute_id, now=now)


async def _has_live_subscription(session: AsyncSession, row: Dispute) -> bool:
    """Whether the disputed payment belongs to a promise that is still charged."""
    found = await session.scalar(
        select(Subscription.stripe_subscription_id)
        .join(PaymentIntentLink, PaymentIntentLink.contribution_id == Subscription.contribution_id)
        .join(Charge, Charge.stripe_payment_intent_id == PaymentIntentLink.stripe_payment_intent_id)
        .where(
            Charge.stripe_charge_id == row.stripe_charge_id,
            Subscription.status.in_(LIVE_STATUSES),
        )
        .limit(1)
    )
    return found is not None


async def refresh_alerts(ctx: Context, *, limit: int = 1000) -> int:
    """Look at the alarms of all disputes again: time has passed, promises have ended.

    Gives how many wait for an answer.
    """
    query = (
        select(Dispute)
        .where(Dispute.status.in_((*NEEDS_RESPONSE_STATUSES, DisputeStatus.LOST)))
        .order_by(Dispute.opened_at.desc())
        .limit(limit)
    )
    async with ctx.sessions.begin() as session:
        rows = list(await session.scalars(query))
        for row in rows:
            await _update_alerts(ctx, session, row)
    return sum(row.status in NEEDS_RESPONSE_STATUSES for row in rows)


async def sync_fraud_warning(ctx: Context, warning_id: str) -> None:
    """Fetch an early fraud warning as it is now; while something can be done it is an alarm."""
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.radar.early_fraud_warnings.retrieve_async(warning_id)
    charge = stripe_client.id_of(fetched.charge)
    assert charge is not None
    seen = {"actionable": fetched.actionable, "synced_at": ctx.now()}
    async with ctx.sessions.begin() as session:
        await session.execute(
            insert(FraudWarning)
            .values(
                stripe_warning_id=fetched.id,
                stripe_charge_id=charge,
                fraud_type=fetched.fraud_type[:64],
                warned_at=from_unix(fetched.created),
                **seen,
            )
            .on_conflict_do_update(index_elements=["stripe_warning_id"], set_=seen)
        )
        change = alerts.raise_alert if fetched.actionable else alerts.close
        await change(session, AlertKind.FRAUD_WARNING, object_id=fetched.id, now=ctx.now())


async def active_dispute(session: AsyncSession, charge_id: str) -> Dispute | None:
    """The dispute that took, or may take, this payment's money, if there is one."""
    query = (
        select(Dispute)
        .where(
            Dispute.stripe_charge_id == charge_id,
            Dispute.status.not_in((*INQUIRY_STATUSES, DisputeStatus.PREVENTED, DisputeStatus.WON)),
        )
        .order_by(Dispute.opened_at.desc())
        .limit(1)
    )
    found: Dispute | None = await session.scalar(query)
    return found


async def list_needing_response(session: AsyncSession, *, limit: int = 100) -> Sequence[Dispute]:
    """Disputes that wait for an answer, the most urgent first."""
    query = (
        select(Dispute)
        .where(Dispute.status.in_(NEEDS_RESPONSE_STATUSES))
        .order_by(Dispute.evidence_due_at.nulls_last(), Dispute.stripe_dispute_id)
        .limit(limit)
    )
    return list(await session.scalars(query))


async def list_recent(
    session: AsyncSession, *, before: datetime | None = None, limit: int = 100
) -> Sequence[Dispute]:
    """Disputes, the newest first; `before` goes on from a page."""
    query = select(Dispute).order_by(Dispute.opened_at.desc(), Dispute.stripe_dispute_id)
    if before is not None:
        query = query.where(Dispute.opened_at < before)
    return list(await session.scalars(query.limit(limit)))
