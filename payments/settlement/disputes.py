"""Disputes: a donor's bank takes a payment back, or inquires about it (`warning_…` statuses).

A row is Stripe's dispute as last fetched. The amounts that move reach the ledger from the balance
transactions, never from here; an inquiry moves nothing. There are three alerts: a dispute needs a
response; it is due within three days; it was lost and its subscription is still charged, so that
the next charge may be disputed too. What to do is a person's decision: nothing is cancelled or
refunded here.
"""

from datetime import timedelta

import stripe
from sqlalchemy import CheckConstraint, String, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import from_unix
from payments.core.open_enum import OpenEnum
from payments.giving.charges import Charge
from payments.giving.payment_intent_links import PaymentIntentLink
from payments.giving.subscriptions import LIVE_STATUSES, Subscription
from payments.infra import alerts, db, stripe_account, stripe_client, unknown_values
from payments.infra.alerts import Alert, AlertKind
from payments.infra.context import Context

LOST_ALERT_PERIOD = timedelta(days=366)  # after which a subscription that goes on is trusted
EVIDENCE_DUE_SOON = timedelta(days=3)  # before the evidence is due


class DisputeStatus(OpenEnum):
    """Stripe's words. https://docs.stripe.com/api/disputes/object#dispute_object-status"""

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
    UNKNOWN = "unknown"  # a word that is new at Stripe


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
    """Stripe's dispute as last fetched. `amount` is in minor units of what the donor paid."""

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
    evidence_submitted: Mapped[bool]
    is_charge_refundable: Mapped[bool]  # an inquiry ends when the payment is refunded
    is_withdrawn: Mapped[bool]  # its amount left our balance, and has not come back
    synced_at: Mapped[db.Timestamp]


async def sync(ctx: Context, dispute_id: str) -> None:
    """Fetch a dispute as it is now, store it, and open or close its alerts."""
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.disputes.retrieve_async(dispute_id)
    async with ctx.sessions.begin() as session:
        dispute = await _upsert(ctx, session, fetched)
        await _update_alerts(ctx, session, dispute)
        await unknown_values.update_alert(session, dispute_id, dispute.status, now=ctx.now())


async def _upsert(ctx: Context, session: AsyncSession, fetched: stripe.Dispute) -> Dispute:
    details = fetched.evidence_details
    charge_id = stripe_client.id_of(fetched.charge)
    assert charge_id is not None
    changing = {
        "status": DisputeStatus(fetched.status),
        "amount": fetched.amount,
        "evidence_due_at": None if details.due_by is None else from_unix(details.due_by),
        "evidence_submitted": details.submission_count > 0,
        "is_charge_refundable": fetched.is_charge_refundable,
        "is_withdrawn": _is_withdrawn(fetched),
        "synced_at": ctx.now(),
    }
    await session.execute(
        insert(Dispute)
        .values(
            stripe_dispute_id=fetched.id,
            stripe_charge_id=charge_id,
            currency=fetched.currency,
            reason=fetched.reason[:64],
            opened_at=from_unix(fetched.created),
            **changing,
        )
        .on_conflict_do_update(index_elements=["stripe_dispute_id"], set_=changing)
    )
    return await session.get_one(Dispute, fetched.id, populate_existing=True)


def _is_withdrawn(fetched: stripe.Dispute) -> bool:
    """Whether a dispute took its amount off our balance and has not put it back, by the money that
    moved: an inquiry moves none, and of a prevented dispute the status does not say. Of one that is
    lost a part may come back, and the whole still counts as taken; of another the sums may differ
    by the rates of exchange.
    """
    moved = [transaction.amount for transaction in fetched.balance_transactions]
    is_lost = fetched.status == DisputeStatus.LOST
    taken, put_back = sum(amount < 0 for amount in moved), sum(amount > 0 for amount in moved)
    return taken > put_back or (is_lost and sum(moved) < 0)


async def _update_alerts(ctx: Context, session: AsyncSession, dispute: Dispute) -> None:
    """Open the alerts that apply to a dispute, and close those that do not."""
    due_at, now = dispute.evidence_due_at, ctx.now()
    needs_response = dispute.status in NEEDS_RESPONSE_STATUSES
    is_due_soon = needs_response and due_at is not None and due_at - now <= EVIDENCE_DUE_SOON
    is_lost = dispute.status is DisputeStatus.LOST
    for kind, applies in (
        (AlertKind.DISPUTE_OPENED, needs_response),
        (AlertKind.EVIDENCE_DUE, is_due_soon),
        (
            AlertKind.DISPUTE_LOST,
            is_lost
            and await _has_live_subscription(session, dispute)
            and not await stripe_account.is_history(session, dispute.opened_at),
        ),
    ):
        change = alerts.raise_alert if applies else alerts.close
        await change(session, kind, object_id=dispute.stripe_dispute_id, now=now)


async def _has_live_subscription(session: AsyncSession, dispute: Dispute) -> bool:
    """Whether the disputed payment belongs to a subscription that is still charged."""
    subscription_id = await session.scalar(
        select(Subscription.stripe_subscription_id)
        .join(PaymentIntentLink, PaymentIntentLink.contribution_id == Subscription.contribution_id)
        .join(Charge, Charge.stripe_payment_intent_id == PaymentIntentLink.stripe_payment_intent_id)
        .where(
            Charge.stripe_charge_id == dispute.stripe_charge_id,
            Subscription.status.in_(LIVE_STATUSES),
        )
        .limit(1)
    )
    return subscription_id is not None


async def refresh_alerts(ctx: Context) -> int:
    """Update the alerts of all open disputes, and of the lost ones that have an alert or a year:
    time has passed, subscriptions have ended. Returns how many disputes need a response.
    """
    has_alert = (
        select(Alert.id)
        .where(Alert.object_id == Dispute.stripe_dispute_id, Alert.closed_at.is_(None))
        .exists()
    )
    is_recent = Dispute.opened_at > ctx.now() - LOST_ALERT_PERIOD
    query = (  # without a limit: it is counted over
        select(Dispute)
        .where(
            or_(
                Dispute.status.in_(NEEDS_RESPONSE_STATUSES),
                (Dispute.status == DisputeStatus.LOST) & (is_recent | has_alert),
            )
        )
        .order_by(Dispute.opened_at.desc(), Dispute.stripe_dispute_id)
    )
    async with ctx.sessions.begin() as session:
        disputes = list(await session.scalars(query))
        for dispute in disputes:
            await _update_alerts(ctx, session, dispute)
    return sum(dispute.status in NEEDS_RESPONSE_STATUSES for dispute in disputes)


async def active_dispute(session: AsyncSession, charge_id: str) -> Dispute | None:
    """Return the newest dispute that took, or may take, the money of a payment, if there is one."""
    query = (
        select(Dispute)
        .where(
            Dispute.stripe_charge_id == charge_id,
            Dispute.status.not_in((*INQUIRY_STATUSES, DisputeStatus.PREVENTED, DisputeStatus.WON)),
        )
        .order_by(Dispute.opened_at.desc())
        .limit(1)
    )
    dispute: Dispute | None = await session.scalar(query)
    return dispute
