"""Invoices: what Stripe asks of a donor for one period of a promise.

An invoice is not kept. It tells which payment intents belong to which contribution, so that every
renewal counts for the one that began it; that a payment failed, which its donor is told once; and
that a promise was charged after it had ended, which a person is told.
"""

from collections.abc import Sequence
from datetime import timedelta

import stripe
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.calendar import from_unix
from payments.core.frequency import Frequency
from payments.giving import contributions, subscriptions
from payments.giving.subscriptions import Subscription
from payments.infra import alerts, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.mail.outbox import MailKind

MIN_ANNUAL_PERIOD = timedelta(days=180)  # a period longer than this is a year's
INVOICE_EXPAND = ["payments.data.payment.payment_intent"]


async def sync(ctx: Context, invoice_id: str) -> None:
    """Fetch an invoice: tie its payments to the contribution, and tell the donor of a failure."""
    with stripe_client.translate_errors():
        invoice = await ctx.stripe.v1.invoices.retrieve_async(
            invoice_id, {"expand": INVOICE_EXPAND}
        )
    owner = await contribution_of(ctx, invoice)
    if owner is None or invoice.payments is None:
        return
    if invoice.status != "paid":
        await _ensure_subscription(ctx, invoice)
    intents = [
        payment.payment.payment_intent
        for payment in invoice.payments.data
        if payment.payment.payment_intent is not None
    ]
    async with ctx.sessions.begin() as session:
        for intent in intents:
            intent_id = stripe_client.id_of(intent)
            assert intent_id is not None
            await contributions.link_payment_intent(
                session, intent_id, owner, frequency_of(invoice)
            )
        await _notify_payment_failure(ctx, session, invoice, intents)


async def _notify_payment_failure(
    ctx: Context,
    session: AsyncSession,
    invoice: stripe.Invoice,
    intents: Sequence[str | stripe.PaymentIntent],
) -> None:
    """One mail for an invoice that could not be paid; none for a promise that has ended."""
    promise = await session.get(Subscription, subscription_of(invoice))
    if promise is None:
        return
    made_at = from_unix(invoice.created)
    if promise.ended_at is not None and made_at > promise.ended_at:
        if invoice.amount_due > 0:
            await alerts.raise_alert(
                session, AlertKind.CHARGED_AFTER_CANCELLATION, object_id=invoice.id, now=ctx.now()
            )
        return
    tried = [intent for intent in intents if isinstance(intent, stripe.PaymentIntent)]
    # a first payment counts as no attempt, and fails days later when it is a bank debit
    has_failed = invoice.attempt_count > 0 or any(one.last_payment_error for one in tried)
    if invoice.status != "open" or not has_failed or not promise.is_live:
        return
    states = {intent.status for intent in tried}
    if "processing" in states:
        return  # a bank was asked and has days to answer: nothing has failed
    kind = MailKind.PAYMENT_FAILED
    if "requires_action" in states:
        kind = MailKind.ACTION_NEEDED
    key = f"failed:{invoice.id}"
    await subscriptions.notify(ctx, session, promise, kind, key=key, object_id=invoice.id)


def subscription_of(invoice: stripe.Invoice) -> str | None:
    """The subscription that made an invoice, if one did."""
    details = invoice.parent.subscription_details if invoice.parent is not None else None
    return stripe_client.id_of(details.subscription) if details is not None else None


def frequency_of(invoice: stripe.Invoice) -> Frequency:
    """The frequency of the payment an invoice asks for, by the length of the period it pays."""
    longest = max(line.period.end - line.period.start for line in invoice.lines.data)
    return Frequency.ANNUAL if longest > MIN_ANNUAL_PERIOD.total_seconds() else Frequency.MONTHLY


async def contribution_of(ctx: Context, invoice: stripe.Invoice) -> str | None:
    """The contribution an invoice is for; None for an invoice that no subscription made.

    It carries our own id with it. Where it does not, its subscription is fetched, if we never met
    it.
    """
    subscription_id = subscription_of(invoice)
    if subscription_id is None:
        return None
    assert invoice.parent is not None
    ours = stripe_client.metadata_value(invoice.parent.subscription_details, "contribution_id")
    async with ctx.sessions() as session:
        known = await session.get(Subscription, subscription_id)
        if known is None and await contributions.exists(session, ours):
            return ours
    if known is not None:
        return known.contribution_id
    return await subscriptions.sync(ctx, subscription_id)


async def _ensure_subscription(ctx: Context, invoice: stripe.Invoice) -> None:
    """An invoice that is not paid matters to a promise: fetch it, if its own word is late."""
    subscription_id = subscription_of(invoice)
    assert subscription_id is not None
    async with ctx.sessions() as session:
        known = await session.get(Subscription, subscription_id)
    if known is None:
        await subscriptions.sync(ctx, subscription_id)
