"""Payment methods: what a subscription is charged to, and how its donor replaces it.

A method changes in seven ways: by its donor, by the card network, at Stripe. Each event enqueues a
sync of the subscriptions it can touch; what the next charge goes to is read from Stripe and stored
by `subscription_sync`. A donor's new card is set where the failing one is, on the subscription
before the customer, and checked by fetching; then the debt its donor was shown is settled
(`debts`), once.
"""

from datetime import timedelta

import stripe
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from stripe.checkout import Session as CheckoutSession

from payments.core.errors import InvalidField, StripeRejected
from payments.giving import (
    change_log,
    current_card,
    debts,
    donor_address,
    subscription_sync,
    subscriptions,
)
from payments.giving.change_decisions import SubscriptionEnded
from payments.giving.change_log import Actor, ChangeKind, SubscriptionChange
from payments.giving.checkout_session import CHECKOUT_LIFETIME
from payments.giving.debts import CardUpdatePlan
from payments.giving.subscriptions import LIVE_STATUSES, Subscription
from payments.infra import job_queue, stripe_client
from payments.infra.context import Context
from payments.risk import emergency_stops

SWEEP_PERIOD = timedelta(days=30)  # in which a card given on Stripe's page is looked for


async def start_card_update(
    ctx: Context,
    subscription_id: str,
    *,
    actor: Actor,
    return_path: str,
    shown: str | None = None,
    origin: str = "",
    locale: str | None = None,
) -> str:
    """Open a Checkout page that takes another card and charges nothing. Returns its address.

    `shown` is the fingerprint of the plan that the donor saw: what it charges is charged once the
    card is in use. None is for who saw none, and nothing is charged. `origin` is the address of
    ours that the donor came by, and comes back to. Raises SubscriptionEnded, InvalidField when the
    plan is another by now, StopStands, StripeRejected and StripeUnavailable.
    """
    async with ctx.sessions() as session:
        subscription = await subscriptions.get_or_none(session, subscription_id)
        if subscription is None or not subscription.may_be_charged:
            raise SubscriptionEnded("This contribution has already ended. Nothing more is charged.")
        await emergency_stops.require_not_stopped(session, subscription_id)
    plan = CardUpdatePlan() if shown is None else await debts.plan_for(ctx, subscription_id)
    if plan.fingerprint != (shown or ""):
        raise InvalidField(
            "The amount owed has changed while this page was open. Please check again. "
            "Nothing was changed or charged."
        )
    async with ctx.sessions.begin() as session:
        decision = await change_log.record_decision(
            session, subscription_id, ChangeKind.CARD, actor=actor, now=ctx.now()
        )
    address = f"{origin or ctx.settings.base_url}{return_path}"
    metadata = {"subscription_id": subscription_id, "decision": decision.id}
    if plan.invoice_id is not None:
        metadata["invoice"] = plan.invoice_id
    try:
        with stripe_client.translate_errors():
            checkout = await ctx.stripe.v1.checkout.sessions.create_async(
                {
                    "mode": "setup",
                    "ui_mode": "hosted_page",
                    "customer": subscription.stripe_customer_id,
                    "currency": subscription.currency,
                    "setup_intent_data": {"metadata": metadata},
                    "metadata": metadata,
                    "expires_at": int((ctx.now() + CHECKOUT_LIFETIME).timestamp()),
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
    assert checkout.url is not None
    return checkout.url


async def apply_setup_session(ctx: Context, fetched: CheckoutSession) -> None:
    """Make the card that a completed Checkout page took the default. Ignores other sessions."""
    if fetched.mode == "setup" and fetched.status == "complete":
        setup_intent_id = stripe_client.id_of(fetched.setup_intent)
        if setup_intent_id is not None:
            await sync_setup_intent(ctx, setup_intent_id)


async def sync_setup_intent(ctx: Context, setup_intent_id: str) -> None:
    """Fetch a setup intent, make its card the default of the subscription it was taken for, and
    settle the debt its donor was shown. Raises StripeRejected when another card is still in use.

    While an emergency stop holds the subscription nothing is done; `unused_setup_intents` finds the
    card again when it is lifted.
    """
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.setup_intents.retrieve_async(setup_intent_id)
    payment_method_id = stripe_client.id_of(fetched.payment_method)
    subscription_id = stripe_client.metadata_value(fetched, "subscription_id")
    if fetched.status != "succeeded" or payment_method_id is None or subscription_id is None:
        return
    async with ctx.sessions() as session:
        subscription = await subscriptions.get_or_none(session, subscription_id)
    if subscription is None or not subscription.may_be_charged:
        return
    if subscription.stripe_customer_id != stripe_client.id_of(fetched.customer):
        return  # a card of one customer, for another's subscription
    async with ctx.sessions() as session:
        if await emergency_stops.is_stopped(session, subscription_id):
            return
        was_used = await change_log.setup_intent_used(session, setup_intent_id)
    if not was_used:  # an event that comes a month later must not bring an older card back
        decision_id = stripe_client.metadata_value(fetched, "decision")
        is_accepted = await _make_default(
            ctx, subscription_id, payment_method_id, idempotency_key=setup_intent_id
        )
        async with ctx.sessions.begin() as session:
            await change_log.mark_setup_intent_used(session, decision_id, setup_intent_id)
            if not is_accepted and decision_id is not None:
                await change_log.mark_failed(session, decision_id, now=ctx.now())
    async with ctx.sessions() as session:
        subscription = await subscriptions.get_or_none(session, subscription_id)
    if subscription is not None and subscription.stripe_payment_method_id == payment_method_id:
        await debts.collect_newest(
            ctx,
            subscription_id,
            payment_method_id,
            shown_invoice_id=stripe_client.metadata_value(fetched, "invoice"),
        )


async def _make_default(
    ctx: Context, subscription_id: str, payment_method_id: str, *, idempotency_key: str
) -> bool:
    """Set the method where the failing one is, and check by fetching that it is in use.

    Returns False when Stripe refuses. Raises StripeRejected when it agrees and uses another.
    """
    was_refused = False
    with stripe_client.translate_errors():
        before = await subscription_sync.fetch(ctx, subscription_id)
        card = current_card.from_subscription(before)
        if card is None or card.id != payment_method_id:
            try:
                await _set_default_at_stripe(
                    ctx, before, payment_method_id, idempotency_key=idempotency_key
                )
            except stripe.InvalidRequestError:  # the subscription has ended, or the card is gone
                was_refused = True
    await subscription_sync.sync(ctx, subscription_id)
    async with ctx.sessions() as session:
        after = await subscriptions.get_or_none(session, subscription_id)
    if was_refused or after is None or not after.may_be_charged:
        return not was_refused
    if after.stripe_payment_method_id != payment_method_id:
        raise StripeRejected("The new card is not the one in use at our payment provider.")
    return True


async def _set_default_at_stripe(
    ctx: Context, fetched: stripe.Subscription, payment_method_id: str, *, idempotency_key: str
) -> None:
    """Make a method the default where the one in use is: the subscription's, or its customer's."""
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
    """Whether the customer has no other live subscription, which may use the same default."""
    async with ctx.sessions() as session:
        others = await session.scalars(
            select(Subscription.stripe_subscription_id).where(
                Subscription.stripe_customer_id == stripe_client.id_of(fetched.customer),
                Subscription.stripe_subscription_id != fetched.id,
                Subscription.status.in_(LIVE_STATUSES),
            )
        )
    return others.first() is None


async def unused_setup_intents(ctx: Context) -> list[str]:
    """Return the setup intents of cards that donors gave on Stripe's page and that are not in use.

    Stripe is asked only while a donor who asked for that page has not been seen to use it.
    """
    async with ctx.sessions() as session:
        since = await session.scalar(
            select(func.min(SubscriptionChange.decided_at)).where(
                SubscriptionChange.kind == ChangeKind.CARD,
                SubscriptionChange.done_at.is_(None),
                SubscriptionChange.decided_at > ctx.now() - SWEEP_PERIOD,
            )
        )
    if since is None:
        return []
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.setup_intents.list_async(
            {"created": {"gte": int(since.timestamp())}, "limit": 100}
        )
        ids = [
            intent.id
            async for intent in page.auto_paging_iter()
            if intent.status == "succeeded"
            and stripe_client.metadata_value(intent, "subscription_id") is not None
        ]
    async with ctx.sessions() as session:
        used = await session.scalars(
            select(SubscriptionChange.stripe_setup_intent_id).where(
                SubscriptionChange.stripe_setup_intent_id.in_(ids)
            )
        )
        known = set(used)
    return [id_ for id_ in ids if id_ not in known]


# --- events of Stripe -----------------------------------------------------------------------------


async def sync(ctx: Context, payment_method_id: str) -> None:
    """Enqueue a sync of what is charged to a method that was changed, detached or renewed.

    For one that nothing is charged to there is nothing to do: when it becomes a default, the
    subscription or the customer has an event of its own.
    """
    async with ctx.sessions.begin() as session:
        await _enqueue_syncs(session, Subscription.stripe_payment_method_id == payment_method_id)


async def sync_customer(ctx: Context, customer_id: str) -> None:
    """Follow a changed customer's address, and enqueue a sync of their subscriptions: their default
    method may be another.
    """
    await donor_address.sync_address(ctx, customer_id)
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
