"""Stripe's door. A webhook is a bell: it names an object, and the object is fetched as it is now.

The table says which verb syncs which of Stripe's objects. An event about any other object is kept
by its id, counted and answered 200: unknown is a value, not an error.
"""

from collections.abc import Awaitable, Callable, Mapping

from payments import balance, charges, contributions, payment_methods, payouts, subscriptions
from payments.runtime import Runtime

Verb = Callable[[Runtime, str], Awaitable[object]]


async def _import_balance(rt: Runtime, _object_id: str) -> None:
    """What moves the balance without a verb of its own is found by the importer."""
    await balance.import_new(rt)


async def _sync_session(rt: Runtime, session_id: str) -> None:
    """A Checkout page gives a contribution or, in setup mode, a card."""
    fetched = await contributions.sync_session(rt, session_id)
    await payment_methods.apply_session(rt, fetched)


VERBS: Mapping[str, Verb] = {
    "checkout.session": _sync_session,
    "charge": charges.sync,
    "invoice": subscriptions.sync_invoice,
    "subscription": subscriptions.sync,
    "setup_intent": payment_methods.sync_setup,
    "payment_method": payment_methods.sync,
    "customer": payment_methods.sync_customer,
    "payout": payouts.sync,
    "refund": _import_balance,
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
    "refund.created",
    "refund.updated",
    "refund.failed",
)
"""What `payments stripe setup` asks Stripe to send."""
