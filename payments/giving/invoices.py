"""Invoices: what Stripe charges for one period of a subscription.

An invoice is not stored. It links payment intents to a contribution, so that every renewal counts
for the one that started it. A failed payment is mailed to the donor once for each card it was tried
with; a charge for a subscription that had ended raises an alert.
"""

from collections.abc import Sequence
from datetime import timedelta

import stripe
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.calendar import from_unix
from payments.core.frequency import Interval
from payments.giving import (
    change_log,
    contributions,
    payment_intent_links,
    subscription_differences,
    subscription_origin,
    subscription_sync,
)
from payments.giving.change_log import ChangeKind
from payments.giving.payment_intent_links import ServicePeriod
from payments.giving.subscriptions import GIVEN_UP_STATUSES, Subscription
from payments.infra import alerts, job_queue, stripe_account, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.mail.outbox import MailKind

CARD_SETTLED_WITHIN = timedelta(days=30)  # Stripe tries an invoice for no longer
INVOICE_EXPAND = ["payments.data.payment.payment_intent"]


async def sync(ctx: Context, invoice_id: str) -> None:
    """Fetch an invoice, link its payments to the contribution, and mail the donor of a failure."""
    with stripe_client.translate_errors():
        invoice = await ctx.stripe.v1.invoices.retrieve_async(
            invoice_id, {"expand": INVOICE_EXPAND}
        )
    contribution_id = await contribution_of(ctx, invoice)
    if contribution_id is None or invoice.payments is None:
        return
    if invoice.status != "paid":
        await _ensure_subscription(ctx, invoice)
    intents = [
        payment.payment.payment_intent
        for payment in invoice.payments.data
        if payment.payment.payment_intent is not None
    ]
    interval, service = await interval_of(ctx, invoice), service_of(invoice)
    async with ctx.sessions.begin() as session:
        for intent in intents:
            intent_id = stripe_client.id_of(intent)
            assert intent_id is not None
            await payment_intent_links.link(session, intent_id, contribution_id, interval, service)
        if invoice.status == "paid" and invoice.amount_paid > 0:
            await contributions.mark_paid(session, contribution_id, now=ctx.now())
        await _notify_payment_failure(ctx, session, invoice, intents)
    if invoice.status == "paid":
        await _settle_again(ctx, invoice)
    elif invoice.status == "open":
        await _alert_if_left(ctx, invoice, intents)


async def _settle_again(ctx: Context, invoice: stripe.Invoice) -> None:
    """Enqueue what follows from a new card once the payment is made that its donor was shown.

    It may be made later than the card is given: by Stripe's next attempt, or after its bank asked.
    """
    setup_intent_id = await _setup_intent_of(ctx, invoice)
    if setup_intent_id is not None:
        async with ctx.sessions.begin() as session:
            await job_queue.enqueue_sync(session, "setup_intent", setup_intent_id)


async def _alert_if_left(
    ctx: Context, invoice: stripe.Invoice, intents: Sequence[str | stripe.PaymentIntent]
) -> None:
    """Raise an alert where a bank refuses, days later, the payment that a donor gave a new card
    for, and Stripe does not charge the subscription by itself: nothing else happens to it.
    """
    attempts = [intent for intent in intents if isinstance(intent, stripe.PaymentIntent)]
    is_refused = any(one.last_payment_error for one in attempts)
    if not is_refused or any(one.status == "processing" for one in attempts):
        return
    subscription_id = subscription_of(invoice) or ""
    async with ctx.sessions() as session:
        subscription = await session.get(Subscription, subscription_id)
    if subscription is None or subscription.status not in GIVEN_UP_STATUSES:
        return
    if await _setup_intent_of(ctx, invoice) is not None:
        async with ctx.sessions.begin() as session:
            await alerts.raise_alert(
                session, AlertKind.DEBT_LEFT, object_id=subscription_id, now=ctx.now()
            )


async def _setup_intent_of(ctx: Context, invoice: stripe.Invoice) -> str | None:
    """Return the setup intent of the card that was lately given to pay an invoice, if one was."""
    async with ctx.sessions() as session:
        decision = await change_log.newest_decision(
            session, subscription_of(invoice) or "", ChangeKind.CARD
        )
    if decision is None or decision.decided_at < ctx.now() - CARD_SETTLED_WITHIN:
        return None
    setup_intent_id = decision.stripe_setup_intent_id
    if setup_intent_id is None:
        return None
    with stripe_client.translate_errors():
        setup_intent = await ctx.stripe.v1.setup_intents.retrieve_async(setup_intent_id)
    was_shown = stripe_client.metadata_value(setup_intent, "invoice") == invoice.id
    return setup_intent_id if was_shown else None


async def _notify_payment_failure(
    ctx: Context,
    session: AsyncSession,
    invoice: stripe.Invoice,
    intents: Sequence[str | stripe.PaymentIntent],
) -> None:
    """Enqueue a mail for an invoice that could not be paid, one for each card that was tried.

    None is enqueued about an ended subscription: one made after the end raises an alert. Nobody is
    written to about an account's history.
    """
    subscription = await session.get(Subscription, subscription_of(invoice))
    if subscription is None:
        return
    made_at = from_unix(invoice.created)
    if await stripe_account.is_history(session, made_at):
        return
    if subscription.ended_at is not None and made_at > subscription.ended_at:
        if invoice.amount_due > 0:
            await alerts.raise_alert(
                session,
                AlertKind.CHARGED_AFTER_CANCELLATION,
                object_id=subscription.stripe_subscription_id,
                now=ctx.now(),
            )
        return
    attempts = [intent for intent in intents if isinstance(intent, stripe.PaymentIntent)]
    # a first payment counts as no attempt, and fails days later when it is a bank debit
    has_failed = invoice.attempt_count > 0 or any(one.last_payment_error for one in attempts)
    if invoice.status != "open" or not has_failed or not subscription.is_live:
        return
    statuses = {intent.status for intent in attempts}
    if "processing" in statuses:
        return  # the bank has days to answer: nothing has failed
    method_id = _tried_method(attempts) or subscription.stripe_payment_method_id
    failed_key, action_key = subscription_sync.failure_keys(invoice.id, method_id)
    kind, key = MailKind.PAYMENT_FAILED, failed_key
    if "requires_action" in statuses:
        kind, key = MailKind.ACTION_NEEDED, action_key
    await subscription_differences.notify(
        ctx, session, subscription, kind, key=key, object_id=invoice.id
    )


def _tried_method(attempts: Sequence[stripe.PaymentIntent]) -> str | None:
    """Return the payment method that an invoice was last tried with, if Stripe still names it."""
    for intent in attempts:
        error = intent.last_payment_error
        for tried in (intent.payment_method, getattr(error, "payment_method", None)):
            if tried is not None:
                return stripe_client.id_of(tried)
    return None


def subscription_of(invoice: stripe.Invoice) -> str | None:
    """Return the id of the subscription that made an invoice, if one did."""
    details = invoice.parent.subscription_details if invoice.parent is not None else None
    return stripe_client.id_of(details.subscription) if details is not None else None


async def interval_of(ctx: Context, invoice: stripe.Invoice) -> Interval:
    """Return the interval that an invoice's payment is for.

    It is its subscription's, if the invoice is for the price that the subscription has now; else
    it follows from the period that is paid.
    """
    async with ctx.sessions() as session:
        subscription = await session.get(Subscription, subscription_of(invoice))
    lines = invoice.lines.data
    prices = {
        stripe_client.id_of(line.pricing.price_details.price)
        for line in lines
        if line.pricing is not None and line.pricing.price_details is not None
    }
    if subscription is not None and subscription.stripe_price_id in prices:
        return subscription.every
    longest = max((line.period for line in lines), key=lambda period: period.end - period.start)
    return Interval.between(from_unix(longest.start), from_unix(longest.end))


def service_of(invoice: stripe.Invoice) -> ServicePeriod | None:
    """Return the period that an invoice's payment is for: the longest of what its subscription
    sells in it.

    It is empty where nothing but the rest of a period is charged, of a change within it. None where
    the invoice has no line of a subscription.
    """
    periods, has_prorations = [], False
    for line in invoice.lines.data:
        sold = line.parent.subscription_item_details if line.parent is not None else None
        added = line.parent.invoice_item_details if line.parent is not None else None
        if (sold is not None and sold.proration) or (added is not None and added.proration):
            has_prorations = True
        elif sold is not None:
            period = line.period
            periods.append(ServicePeriod(from_unix(period.start), from_unix(period.end)))
    if periods:
        return max(periods, key=lambda period: period.ends_at - period.starts_at)
    made_at = from_unix(invoice.created)
    return ServicePeriod(made_at, made_at) if has_prorations else None


async def contribution_of(ctx: Context, invoice: stripe.Invoice) -> str | None:
    """Return the contribution of an invoice; None for one that no subscription made.

    It is found by the subscription's row or by our own id in the invoice's metadata; else the
    subscription is fetched.
    """
    subscription_id = subscription_of(invoice)
    if subscription_id is None:
        return None
    assert invoice.parent is not None
    claimed_id = stripe_client.metadata_value(
        invoice.parent.subscription_details, "contribution_id"
    )
    async with ctx.sessions() as session:
        subscription = await session.get(Subscription, subscription_id)
        if subscription is None and await subscription_origin.may_claim(
            session, claimed_id, subscription_id
        ):
            return claimed_id
    if subscription is not None:
        return subscription.contribution_id
    return await subscription_sync.sync(ctx, subscription_id)


async def _ensure_subscription(ctx: Context, invoice: stripe.Invoice) -> None:
    """Fetch the subscription of an unpaid invoice, if its own event is late."""
    subscription_id = subscription_of(invoice)
    assert subscription_id is not None
    async with ctx.sessions() as session:
        subscription = await session.get(Subscription, subscription_id)
    if subscription is None:
        await subscription_sync.sync(ctx, subscription_id)
