"""Stripe's door. A webhook is a bell: it names an object, and the object is fetched as it is now.

The table says which verb syncs which of Stripe's objects. An event about any other object is kept
by its id, counted and answered 200: unknown is a value, not an error.
"""

from collections.abc import Awaitable, Callable, Mapping

from payments.accounting import daily_totals
from payments.giving import (
    card_testing,
    charges,
    checkout,
    invoices,
    payment_methods,
    subscriptions,
)
from payments.infra import job_queue, stripe_client
from payments.infra.context import Context
from payments.risk import statement_descriptor
from payments.settlement import disputes, payouts, refunds
from payments.signups import abandoned_checkout

SyncHandler = Callable[[Context, str], Awaitable[object]]


def _with_balance_import(handler: SyncHandler) -> SyncHandler:
    """What a refund or a dispute moves is found by the importer, with the payment it is about."""

    async def sync(ctx: Context, object_id: str) -> None:
        await handler(ctx, object_id)
        await daily_totals.import_and_refresh(ctx)

    return sync


async def _sync_checkout_session(ctx: Context, session_id: str) -> None:
    """A Checkout page gives a contribution or, in setup mode, a card."""
    fetched = await checkout.sync_session(ctx, session_id)
    await payment_methods.apply_setup_session(ctx, fetched)
    promise = stripe_client.id_of(fetched.subscription)
    async with ctx.sessions.begin() as session:
        # Its own bell may have been lost; one that is waiting takes this one in.
        if promise is not None and await session.get(subscriptions.Subscription, promise) is None:
            await job_queue.enqueue_sync(session, "subscription", promise)
    await abandoned_checkout.on_checkout_ended(ctx, fetched)


async def _sync_charge(ctx: Context, charge_id: str) -> None:
    """A charge may be one declined card too many."""
    await charges.sync(ctx, charge_id)
    await card_testing.evaluate(ctx)


async def _sync_invoice(ctx: Context, invoice_id: str) -> None:
    """An invoice tells what its charges are for: then what waited for that can be posted."""
    await invoices.sync(ctx, invoice_id)
    async with ctx.sessions.begin() as session:
        await charges.post_unposted(session, now=ctx.now())


SYNC_HANDLERS: Mapping[str, SyncHandler] = {
    "checkout.session": _sync_checkout_session,
    "charge": _sync_charge,
    "invoice": _sync_invoice,
    "subscription": subscriptions.sync,
    "setup_intent": payment_methods.sync_setup_intent,
    "payment_method": payment_methods.sync,
    "customer": payment_methods.sync_customer,
    "payout": payouts.sync,
    "refund": _with_balance_import(refunds.sync),
    "dispute": _with_balance_import(disputes.sync),
    "radar.early_fraud_warning": disputes.sync_fraud_warning,
    "account": statement_descriptor.check_and_alert,
}
EVENT_TYPES = (
    "checkout.session.completed",
    "checkout.session.expired",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "charge.succeeded",
    "charge.failed",
    "charge.pending",
    "charge.updated",
    "charge.refunded",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "payment_method.attached",
    "payment_method.updated",
    "payment_method.automatically_updated",
    "payment_method.detached",
    "customer.updated",
    "setup_intent.succeeded",
    "payout.created",
    "payout.updated",
    "payout.paid",
    "payout.failed",
    "payout.canceled",
    "payout.reconciliation_completed",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "radar.early_fraud_warning.created",
    "radar.early_fraud_warning.updated",
    "account.updated",
)
"""What `payments stripe setup` asks Stripe to send."""
