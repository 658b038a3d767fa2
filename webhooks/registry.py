"""Which handler syncs which type of Stripe object, and on which events.

An event about any other object is stored by its id, counted and answered 200: unknown is a value,
not an error.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from payments.giving import (
    card_testing,
    charges,
    checkout,
    invoices,
    payment_methods,
    subscription_sync,
    subscriptions,
)
from payments.infra import job_queue, stripe_client
from payments.infra.context import Context
from payments.risk import statement_descriptor
from payments.settlement import disputes, fraud_warnings, importer, payouts, refunds
from payments.signups import abandoned_checkout

SyncHandler = Callable[[Context, str], Awaitable[object]]  # the second is the object's id


@dataclass(frozen=True, slots=True)
class SyncedType:
    """One type of Stripe object: what syncs it, and the events after which it has changed."""

    handler: SyncHandler
    event_types: tuple[str, ...]


def _with_balance_import(handler: SyncHandler) -> SyncHandler:
    """Return the handler, followed by an import of the balance: the importer finds what a refund
    or a dispute moved, with the payment it is about. One import is enough for many objects.
    """

    async def sync(ctx: Context, object_id: str) -> None:
        await handler(ctx, object_id)
        async with ctx.sessions.begin() as session:
            await importer.enqueue_import(session)

    return sync


async def _sync_checkout_session(ctx: Context, session_id: str) -> None:
    """Sync the contribution of a Checkout Session or, in setup mode, the payment method."""
    checkout_session = await checkout.sync_session(ctx, session_id)
    await payment_methods.apply_setup_session(ctx, checkout_session)
    subscription_id = stripe_client.id_of(checkout_session.subscription)
    if subscription_id is not None:
        async with ctx.sessions.begin() as session:
            # The subscription's own event may have been lost; a job that waits already is enough.
            if await session.get(subscriptions.Subscription, subscription_id) is None:
                await job_queue.enqueue_sync(session, "subscription", subscription_id)
    await card_testing.on_checkout_ended(ctx, checkout_session)
    await abandoned_checkout.on_checkout_ended(ctx, checkout_session)


async def _sync_charge(ctx: Context, charge_id: str) -> None:
    """Sync a charge, and look whether it is one declined card too many."""
    await charges.sync(ctx, charge_id)
    await card_testing.evaluate(ctx)


async def _sync_invoice(ctx: Context, invoice_id: str) -> None:
    """Sync an invoice, and post charges that waited to know what they are for."""
    await invoices.sync(ctx, invoice_id)
    async with ctx.sessions.begin() as session:
        await charges.post_unposted(session, now=ctx.now())


SYNCED_TYPES: Mapping[str, SyncedType] = {
    "checkout.session": SyncedType(
        _sync_checkout_session,
        (
            "checkout.session.completed",
            "checkout.session.expired",
            "checkout.session.async_payment_succeeded",
            "checkout.session.async_payment_failed",
        ),
    ),
    "charge": SyncedType(
        _sync_charge,
        (
            "charge.succeeded",
            "charge.failed",
            "charge.pending",
            "charge.updated",
            "charge.refunded",
        ),
    ),
    "subscription": SyncedType(
        subscription_sync.sync,
        (
            "customer.subscription.created",
            "customer.subscription.updated",
            "customer.subscription.deleted",
            "customer.subscription.paused",
            "customer.subscription.resumed",
        ),
    ),
    "invoice": SyncedType(
        _sync_invoice,
        (
            "invoice.paid",
            "invoice.payment_failed",
            "invoice.payment_action_required",
        ),
    ),
    "payment_method": SyncedType(
        payment_methods.sync,
        (
            "payment_method.attached",
            "payment_method.updated",
            "payment_method.automatically_updated",
            "payment_method.detached",
        ),
    ),
    "customer": SyncedType(payment_methods.sync_customer, ("customer.updated",)),
    "setup_intent": SyncedType(payment_methods.sync_setup_intent, ("setup_intent.succeeded",)),
    "payout": SyncedType(
        payouts.sync,
        (
            "payout.created",
            "payout.updated",
            "payout.paid",
            "payout.failed",
            "payout.canceled",
            "payout.reconciliation_completed",
        ),
    ),
    "refund": SyncedType(
        _with_balance_import(refunds.sync),
        (
            "refund.created",
            "refund.updated",
            "refund.failed",
        ),
    ),
    "dispute": SyncedType(
        _with_balance_import(disputes.sync),
        (
            "charge.dispute.created",
            "charge.dispute.updated",
            "charge.dispute.closed",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.funds_reinstated",
        ),
    ),
    "radar.early_fraud_warning": SyncedType(
        fraud_warnings.sync,
        (
            "radar.early_fraud_warning.created",
            "radar.early_fraud_warning.updated",
        ),
    ),
    "account": SyncedType(statement_descriptor.check_and_alert, ("account.updated",)),
}
SYNC_HANDLERS: Mapping[str, SyncHandler] = {
    object_type: synced.handler for object_type, synced in SYNCED_TYPES.items()
}
EVENT_TYPES: tuple[str, ...] = tuple(
    event_type for synced in SYNCED_TYPES.values() for event_type in synced.event_types
)
"""What `payments stripe setup` asks Stripe to send."""
