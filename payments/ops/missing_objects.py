"""What we hold and Stripe does not have: found when it is fetched, or by reconciliation.

Stripe deletes nothing that was paid. So an object that is missing there means another account,
deleted test data, or a row that was made here; a person looks at it. What is safe is repaired: a
subscription ends, and a customer leads to no donor. The books are never changed.
"""

from dataclasses import dataclass

import structlog
from sqlalchemy import text

from payments.giving import missing_subscriptions, subscriptions
from payments.infra import alerts, stripe_objects
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.risk import emergency_stops, quarantine

log = structlog.get_logger("payments.ops.missing_objects")
SUBSCRIPTION, CUSTOMER = "subscription", "customer"
# What the jobs of ours are about.
OBJECT_TYPES = {
    subscriptions.CANCEL_JOB: SUBSCRIPTION,
    subscriptions.SECOND_JOB: SUBSCRIPTION,
    subscriptions.FORGIVE_JOB: SUBSCRIPTION,
    emergency_stops.ENFORCE_SUBSCRIPTION_JOB: SUBSCRIPTION,
    emergency_stops.ENFORCE_PAYMENT_JOB: "charge",
    quarantine.QUARANTINE_JOB: "charge",
}


@dataclass(frozen=True, slots=True)
class StoredObjects:
    """Where the objects of one type are stored here."""

    table: str
    id_column: str


STORED = {
    SUBSCRIPTION: StoredObjects("subscriptions", "stripe_subscription_id"),
    "charge": StoredObjects("charges", "stripe_charge_id"),
    "refund": StoredObjects("refunds", "stripe_refund_id"),
    "dispute": StoredObjects("disputes", "stripe_dispute_id"),
    "radar.early_fraud_warning": StoredObjects("fraud_warnings", "stripe_warning_id"),
    "payout": StoredObjects("payouts", "stripe_payout_id"),
    "balance_transaction": StoredObjects("balance_transactions", "id"),
}


async def handle(ctx: Context, job: str, object_id: str) -> bool:
    """Repair what is safe about the object of a kind of job, if Stripe does not have it, and raise
    an alert about it. Returns whether it is missing.

    Stripe is asked for the object itself: the job may have met something else that is missing.
    Nothing is done about one that we do not hold either. Raises AccountNotVerified,
    WrongStripeAccount and StripeUnavailable.
    """
    object_type = OBJECT_TYPES.get(job, job)
    if not await stripe_objects.is_missing(ctx, object_type, object_id):
        return False
    log.warning("stripe_object_missing", object_type=object_type)
    await _repair(ctx, object_type, object_id)
    return True


async def _repair(ctx: Context, object_type: str, object_id: str) -> None:
    if object_type == CUSTOMER:
        await _forget_customer(ctx, object_id)
        return
    if object_type not in STORED or not await _is_stored(ctx, STORED[object_type], object_id):
        return
    if object_type == SUBSCRIPTION and not await missing_subscriptions.end(ctx, object_id):
        return  # it had ended
    async with ctx.sessions.begin() as session:
        await alerts.raise_alert(
            session, AlertKind.MISSING_AT_STRIPE, object_id=object_id, now=ctx.now()
        )


async def _is_stored(ctx: Context, stored: StoredObjects, object_id: str) -> bool:
    query = f"SELECT 1 FROM {stored.table} WHERE {stored.id_column} = :id"  # noqa: S608 - constants
    async with ctx.sessions() as session:
        return await session.scalar(text(query), {"id": object_id}) is not None


async def _forget_customer(ctx: Context, customer_id: str) -> None:
    """Let a customer lead to no donor: their address is not to be had there any more."""
    query = text("DELETE FROM donor_customers WHERE stripe_customer_id = :id")
    async with ctx.sessions.begin() as session:
        await session.execute(query, {"id": customer_id})
