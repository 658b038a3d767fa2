"""Payment methods: what a promise is charged to, replaced by its donor, by the network, or at
Stripe.

A method may change in seven ways, and each of them rings for the subscriptions it can touch: what
the next charge goes to is read from Stripe and written by `subscriptions`. A card the donor
replaces is put where the failing one sits, the subscription before the customer, checked by
fetching; an invoice left open is then paid, once.
"""

import contextlib
from collections.abc import Sequence
from datetime import timedelta

import stripe
from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from stripe.checkout import Session as CheckoutSession

from payments.core.errors import StripeRejected
from payments.giving import change_log, current_card, subscriptions
from payments.giving.change_log import Actor, ChangeKind
from payments.giving.contributions import Contribution
from payments.giving.subscription_changes import SubscriptionEnded
from payments.giving.subscriptions import LIVE_STATUSES, Subscription
from payments.infra import job_queue, stripe_client
from payments.infra.context import Context
from payments.mail import outbox
from payments.mail.outbox import MailKind

CARD_EXPIRY_NOTICE = timedelta(days=30)


async def start_card_update(
    ctx: Context,
    subscription_id: str,
    *,
    actor: Actor,
    return_path: str,
    origin: str = "",
    locale: str | None = None,
) -> str:
    """Open a Checkout page that takes another card and charges nothing. Gives its address.

    `origin` is the address of ours that the donor came by, and comes back to.
    """
    async with ctx.sessions.begin() as session:
        promise = await subscriptions.get_or_none(session, subscription_id)
        if promise is None or not promise.is_live:
            raise SubscriptionEnded("This contribution has already ended. Nothing more is charged.")
        decision = await change_log.record_decision(
            session, subscription_id, ChangeKind.CARD, actor=actor, now=ctx.now()
        )
    address = f"{origin or ctx.settings.base_url}{return_path}"
    ours = {"subscription_id": subscription_id, "decision": decision.id}
    try:
        with stripe_client.translate_errors():
            made = await ctx.stripe.v1.checkout.sessions.create_async(
                {
                    "mode": "setup",
                    "ui_mode": "hosted_page",
                    "customer": promise.stripe_customer_id,
                    "currency": promise.currency,
                    "setup_intent_data": {"metadata": ours},
                    "metadata": ours,
                    "expires_at": int((ctx.now() + timedelta(minutes=60)).timestamp()),
                    "success_url": address,
                    "cancel_url": address,
                    "locale": stripe_client.checkout_locale(locale),
                },
                {"idempotency_key": decision.id},
            )
    except stripe.InvalidRequestError as error:  # the customer is gone, for one
        raise StripeRejected(
            "Our payment provider did not open its page. Nothing was changed or charged."
        ) from error
    assert made.url is not None
    return made.url


async def apply_setup_session(ctx: Context, fetched: CheckoutSession) -> None:
    """A Checkout page that took a card is done: put the card to use."""
    if fetched.mode == "setup" and fetched.status == "complete":
        intent = stripe_client.id_of(fetched.setup_intent)
        if intent is not None:
            await sync_setup_intent(ctx, intent)


async def sync_setup_intent(ctx: Context, setup_intent_id: str) -> None:
    """Fetch a setup intent; a card that was taken for a promise of ours is put to use."""
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.setup_intents.retrieve_async(setup_intent_id)
    method = stripe_client.id_of(fetched.payment_method)
    subscription_id = stripe_client.metadata_value(fetched, "subscription_id")
    if fetched.status != "succeeded" or method is None or subscription_id is None:
        return
    async with ctx.sessions() as session:
        promise = await subscriptions.get_or_none(session, subscription_id)
    if promise is None or not promise.is_live:
        return
    if promise.stripe_customer_id != stripe_client.id_of(fetched.customer):
        return  # somebody's card for somebody else's promise
    async with ctx.sessions() as session:
        was_used = await change_log.setup_intent_used(session, setup_intent_id)
    if not was_used:  # a bell that rings a month later must not bring an older card back
        await _make_default(ctx, subscription_id, method, idempotency_key=setup_intent_id)
        async with ctx.sessions.begin() as session:
            await change_log.mark_setup_intent_used(
                session, stripe_client.metadata_value(fetched, "decision"), setup_intent_id
            )
    async with ctx.sessions() as session:
        promise = await subscriptions.get_or_none(session, subscription_id)
    if promise is not None and promise.stripe_payment_method_id == method:
        await pay_open_invoice(ctx, subscription_id, method)


async def _make_default(
    ctx: Context, subscription_id: str, payment_method_id: str, *, idempotency_key: str
) -> None:
    """Set the method where the failing one sits, and check by fetching that it is in use."""
    refused = False
    with stripe_client.translate_errors():
        before = await subscriptions.fetch(ctx, subscription_id)
        card = current_card.current_card(before)
        if card is None or card.id != payment_method_id:
            try:
                await _set_default_at_stripe(
                    ctx, before, payment_method_id, idempotency_key=idempotency_key
                )
            except stripe.InvalidRequestError:  # the promise has ended, or the card is gone again
                refused = True
    await subscriptions.sync(ctx, subscription_id)
    async with ctx.sessions() as session:
        after = await subscriptions.get_or_none(session, subscription_id)
    if refused or after is None or not after.is_live:
        return
    if after.stripe_payment_method_id != payment_method_id:
        raise StripeRejected("The new card is not the one in use at our payment provider.")


async def _set_default_at_stripe(
    ctx: Context, fetched: stripe.Subscription, payment_method_id: str, *, idempotency_key: str
) -> None:
    """Make a method the default where the one in use sits: of the promise, or of its customer."""
    if fetched.default_payment_method is None and await _is_only_live_subscription(ctx, fetched):
        customer = stripe_client.id_of(fetched.customer)
        assert customer is not None
        await ctx.stripe.v1.customers.update_async(
            customer,
            {"invoice_settings": {"default_payment_method": payment_method_id}},
            {"idempotency_key": f"default-customer-{idempotency_key}"},
        )
        return
    await ctx.stripe.v1.subscriptions.update_async(
        fetched.id,
        {"default_payment_method": payment_method_id},
        {"idempotency_key": f"default-{idempotency_key}"},
    )


async def _is_only_live_subscription(ctx: Context, fetched: stripe.Subscription) -> bool:
    """Whether no other promise lives by the customer's default."""
    async with ctx.sessions() as session:
        others = await session.scalars(
            select(Subscription.stripe_subscription_id).where(
                Subscription.stripe_customer_id == stripe_client.id_of(fetched.customer),
                Subscription.stripe_subscription_id != fetched.id,
                Subscription.status.in_(LIVE_STATUSES),
            )
        )
    return others.first() is None


async def pay_open_invoice(ctx: Context, subscription_id: str, payment_method_id: str) -> None:
    """Pay what is owed with the new card: once, however often we are told of it."""
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.subscriptions.retrieve_async(
            subscription_id, {"expand": ["latest_invoice"]}
        )
        invoice = fetched.latest_invoice
        if not isinstance(invoice, stripe.Invoice) or invoice.status != "open":
            return
        # The invoice's own events tell of a refusal; one that is paid already is what we wanted.
        with contextlib.suppress(stripe.CardError, stripe.InvalidRequestError):
            await ctx.stripe.v1.invoices.pay_async(
                invoice.id,
                {"payment_method": payment_method_id},
                {"idempotency_key": f"pay-{invoice.id}-{payment_method_id}"},
            )
    await subscriptions.sync(ctx, subscription_id)


# --- rung by Stripe -------------------------------------------------------------------------------


async def sync(ctx: Context, payment_method_id: str) -> None:
    """A method was changed, detached or renewed by the network: look at what is charged to it.

    One that nothing is charged to changes nothing: when it is put to use, the subscription or the
    customer tells of it.
    """
    async with ctx.sessions.begin() as session:
        await _enqueue_syncs(session, Subscription.stripe_payment_method_id == payment_method_id)


async def sync_customer(ctx: Context, customer_id: str) -> None:
    """A customer was changed, perhaps in the method they pay with: look at their promises."""
    async with ctx.sessions.begin() as session:
        await _enqueue_syncs(session, Subscription.stripe_customer_id == customer_id)


async def _enqueue_syncs(session: AsyncSession, condition: ColumnElement[bool]) -> None:
    ids = await session.scalars(
        select(Subscription.stripe_subscription_id).where(
            condition, Subscription.status.in_(LIVE_STATUSES)
        )
    )
    for subscription_id in ids:
        await job_queue.enqueue_sync(session, "subscription", subscription_id)


# --- by the clock ---------------------------------------------------------------------------------


async def notify_expiring_cards(ctx: Context) -> int:
    """Tell once of a card that ends before long. A card the network renewed has a later date."""
    today = ctx.now().date()
    async with ctx.sessions.begin() as session:
        rows = await session.execute(
            select(Subscription, Contribution.language)
            .join(Contribution, Contribution.id == Subscription.contribution_id)
            .where(
                Subscription.status.in_(LIVE_STATUSES),
                Subscription.card_expires_on.between(today, today + CARD_EXPIRY_NOTICE),
                _will_be_charged_again(),
            )
            .order_by(Subscription.stripe_subscription_id)
        )
        told = 0
        for promise, language in rows:
            told += await outbox.enqueue(
                session,
                MailKind.CARD_EXPIRING,
                key=f"expiring:{promise.stripe_payment_method_id}:{promise.card_expires_on}:"
                f"{promise.stripe_subscription_id}",
                now=ctx.now(),
                subscription_id=promise.stripe_subscription_id,
                language=language,
            )
    return told


async def notify_upcoming_renewals(ctx: Context) -> int:
    """Tell once before each annual charge."""
    now = ctx.now()
    until = now + timedelta(days=ctx.settings.renewal_notice_days)
    async with ctx.sessions.begin() as session:
        rows: Sequence[tuple[Subscription, str]] = [
            (promise, language)
            for promise, language in await session.execute(
                select(Subscription, Contribution.language)
                .join(Contribution, Contribution.id == Subscription.contribution_id)
                .where(
                    Subscription.status.in_(LIVE_STATUSES),
                    Subscription.frequency == "annual",
                    Subscription.is_paused.is_(False),
                    Subscription.current_period_end.between(now, until),
                    _will_be_charged_again(),
                )
                .order_by(Subscription.stripe_subscription_id)
            )
        ]
        told = 0
        for promise, language in rows:
            assert promise.current_period_end is not None
            told += await outbox.enqueue(
                session,
                MailKind.RENEWS_SOON,
                key=f"renews:{promise.stripe_subscription_id}:{promise.current_period_end.date()}",
                now=now,
                subscription_id=promise.stripe_subscription_id,
                language=language,
            )
    return told


def _will_be_charged_again() -> ColumnElement[bool]:
    """Whether a charge comes before the last day that was set, if one was."""
    return or_(
        Subscription.scheduled_end_at.is_(None),
        Subscription.current_period_end < Subscription.scheduled_end_at,
    )
