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
from payments.infra.context import Runtime
from payments.risk import statement_descriptor
from payments.settlement import disputes, payouts, refunds
from payments.signups import abandoned_checkout

Verb = Callable[[Runtime, str], Awaitable[object]]


def _then_import(verb: Verb) -> Verb:
    """What a refund or a dispute moves is found by the importer, with the payment it is about."""

    async def sync(rt: Runtime, object_id: str) -> None:
        await verb(rt, object_id)
        await daily_totals.import_and_refresh(rt)

    return sync


async def _sync_session(rt: Runtime, session_id: str) -> None:
    """A Checkout page gives a contribution or, in setup mode, a card."""
    fetched = await checkout.sync_session(rt, session_id)
    await payment_methods.apply_session(rt, fetched)
    promise = stripe_client.id_of(fetched.subscription)
    async with rt.sessions.begin() as session:
        # Its own bell may have been lost; one that is waiting takes this one in.
        if promise is not None and await session.get(subscriptions.Subscription, promise) is None:
            await job_queue.ring(session, "subscription", promise)
    await abandoned_checkout.checkout_ended(rt, fetched)


async def _sync_charge(rt: Runtime, charge_id: str) -> None:
    """A charge may be one declined card too many."""
    await charges.sync(rt, charge_id)
    await card_testing.judge(rt)


async def _sync_invoice(rt: Runtime, invoice_id: str) -> None:
    """An invoice tells what its charges are for: then what waited for that can be posted."""
    await invoices.sync(rt, invoice_id)
    async with rt.sessions.begin() as session:
        await charges.post_waiting(session, now=rt.now())


VERBS: Mapping[str, Verb] = {
    "checkout.session": _sync_session,
    "charge": _sync_charge,
    "invoice": _sync_invoice,
    "subscription": subscriptions.sync,
    "setup_intent": payment_methods.sync_setup,
    "payment_method": payment_methods.sync,
    "customer": payment_methods.sync_customer,
    "payout": payouts.sync,
    "refund": _then_import(refunds.sync),
    "dispute": _then_import(disputes.sync),
    "radar.early_fraud_warning": disputes.sync_warning,
    "account": statement_descriptor.check,
}
EVENTS = (
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
