"""Sweeps: they find what no webhook reported and enqueue the same jobs, so that there is one path.

The balance has its own importer (`payments.settlement.importer`). Here are the others: events that
Stripe could not deliver; contributions, charges, subscriptions, refunds, disputes and payouts that
should have changed by now; refunds, disputes and fraud warnings that are new at Stripe, and
payments that failed there.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import stripe
from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from payments.core.calendar import from_unix
from payments.core.frequency import Frequency
from payments.giving import invoices, payment_methods, subscription_sync
from payments.giving.charges import Charge, ChargeStatus
from payments.giving.checkout_session import CHECKOUT_LIFETIME
from payments.giving.contributions import (
    OUTCOME_PENDING,
    Contribution,
    ContributionStatus,
)
from payments.giving.payment_intent_links import PaymentIntentLink
from payments.giving.subscriptions import LIVE_STATUSES, Subscription
from payments.infra import isolation, job_queue, stripe_client
from payments.infra.context import Context
from payments.mail import outbox
from payments.settlement import importer
from payments.settlement.disputes import CLOSED_STATUSES, Dispute
from payments.settlement.importer import IMPORT_OVERLAP, ImportCursor
from payments.settlement.payouts import PENDING_STATUSES, Payout, ReconciliationStatus
from payments.settlement.refunds import IN_PROGRESS_STATUSES, Refund
from webhooks.intake import StripeEvent
from webhooks.registry import EVENT_TYPES, SYNC_HANDLERS

IdQuery = Select[str] | Select[str | None]
EVENT_RETENTION = timedelta(days=30)  # Stripe lists events for 30 days
OVERDUE_GRACE = timedelta(minutes=5)
SUBSCRIPTION_RESYNC_INTERVAL = timedelta(days=7)  # of every live one, whatever Stripe sent of it
PENDING_RESYNC_INTERVAL = timedelta(days=1)  # of debits and refunds under way, and open disputes
INVOICE_GRACE = timedelta(hours=2)  # Stripe charges a renewal an hour after it made its invoice
FRAUD_WARNING = "radar.early_fraud_warning"
MAX_TYPES_PER_REQUEST = 20  # Stripe's limit for `types`


async def sync_undelivered(ctx: Context) -> int:
    """Enqueue a sync of the object of every event that Stripe could not deliver.

    Returns how many.
    """
    since = int((ctx.now() - EVENT_RETENTION).timestamp())
    return await sync_events(ctx, {"delivery_success": False, "created": {"gte": since}})


async def sync_events(ctx: Context, filters: stripe.params.EventListParams) -> int:
    """Enqueue a sync of the object of every event that Stripe lists and that did not come here.

    Returns how many.
    """
    objects: dict[tuple[str, str], None] = {}  # (type, id), each once, in Stripe's order
    for start in range(0, len(EVENT_TYPES), MAX_TYPES_PER_REQUEST):
        with stripe_client.translate_errors():
            page = await ctx.stripe.v1.events.list_async(
                {
                    **filters,
                    "types": list(EVENT_TYPES[start : start + MAX_TYPES_PER_REQUEST]),
                    "limit": 100,
                }
            )
            events = [event async for event in page.auto_paging_iter()]
        known = await delivered_ids(ctx, [event.id for event in events])
        for event in events:
            changed = event.data.object
            if event.id not in known and "id" in changed and changed["object"] in SYNC_HANDLERS:
                objects[changed["object"], changed["id"]] = None
    return await _enqueue(ctx, list(objects))


async def delivered_ids(ctx: Context, event_ids: Sequence[str]) -> set[str]:
    """Return which events were delivered here: what Stripe could not deliver may have been for
    another endpoint of the account.
    """
    async with ctx.sessions() as session:
        query = select(StripeEvent.id).where(StripeEvent.id.in_(event_ids))
        return set(await session.scalars(query))


async def sync_overdue(ctx: Context, *, limit: int = 500) -> int:
    """Enqueue a sync of what should have changed by now without an event, at most `limit` a query.

    Returns how many.
    """
    now = ctx.now()
    queries = (
        ("checkout.session", _checkouts_without_outcome(now)),
        ("checkout.session", _paid_without_subscription(now)),
        ("charge", _pending_charges(now)),
        ("subscription", _stale_subscriptions(now)),
        ("payout", _incomplete_payouts(now)),
        ("refund", _pending_refunds(now)),
        ("dispute", _open_disputes(now)),
    )
    objects = []
    async with ctx.sessions() as session:
        for object_type, query in queries:
            # Any of them: the oldest might be those that never change.
            ids = await session.scalars(query.order_by(None).order_by(func.random()).limit(limit))
            objects += [(object_type, id_) for id_ in ids if id_ is not None]
    return await _enqueue(ctx, objects)


def _checkouts_without_outcome(now: datetime) -> IdQuery:
    """Checkout Sessions that have ended by now, with an outcome we do not know."""
    return (
        select(Contribution.stripe_session_id)
        .where(
            Contribution.status.in_(OUTCOME_PENDING),
            Contribution.stripe_session_id.is_not(None),
            Contribution.created_at < now - CHECKOUT_LIFETIME - OVERDUE_GRACE,
            # A bank may take a fortnight: its charge is synced once a day instead.
            ~_has_pending_charge(since=now - PENDING_RESYNC_INTERVAL),
        )
        .order_by(Contribution.created_at)
    )


def _paid_without_subscription(now: datetime) -> IdQuery:
    """Recurring contributions that were paid, whose subscription is not known."""
    return (
        select(Contribution.stripe_session_id)
        .outerjoin(Subscription, Subscription.contribution_id == Contribution.id)
        .where(
            Contribution.frequency != Frequency.ONCE,
            Contribution.status == ContributionStatus.PAID,
            Contribution.stripe_session_id.is_not(None),
            Contribution.created_at < now - OVERDUE_GRACE,
            Subscription.stripe_subscription_id.is_(None),
        )
        .order_by(Contribution.created_at.desc())
    )


def _pending_charges(now: datetime) -> IdQuery:
    """Charges that a bank has not answered."""
    return (
        select(Charge.stripe_charge_id)
        .where(
            Charge.status.in_((ChargeStatus.PENDING, ChargeStatus.UNKNOWN)),
            Charge.synced_at < now - PENDING_RESYNC_INTERVAL,
        )
        .order_by(Charge.synced_at)
    )


def _stale_subscriptions(now: datetime) -> IdQuery:
    """Live subscriptions that should have been charged, and each one once a week."""
    return (
        select(Subscription.stripe_subscription_id)
        .where(
            Subscription.status.in_(LIVE_STATUSES),
            or_(
                Subscription.current_period_end < now - OVERDUE_GRACE,
                Subscription.synced_at < now - SUBSCRIPTION_RESYNC_INTERVAL,
            ),
        )
        .order_by(Subscription.synced_at)
    )


def _incomplete_payouts(now: datetime) -> IdQuery:
    """Payouts that should be in the bank, or whose transactions should be listed."""
    return (
        select(Payout.stripe_payout_id)
        .where(_is_past_arrival(now) | _lacks_transactions(now))
        .order_by(Payout.arrives_on)
    )


def _pending_refunds(now: datetime) -> IdQuery:
    """Refunds under way, each one once a day."""
    return (
        select(Refund.stripe_refund_id)
        .where(
            Refund.status.in_(IN_PROGRESS_STATUSES),
            Refund.synced_at < now - PENDING_RESYNC_INTERVAL,
        )
        .order_by(Refund.synced_at)
    )


def _open_disputes(now: datetime) -> IdQuery:
    """Disputes that are open, each one once a day."""
    return (
        select(Dispute.stripe_dispute_id)
        .where(
            Dispute.status.not_in(CLOSED_STATUSES),
            Dispute.synced_at < now - PENDING_RESYNC_INTERVAL,
        )
        .order_by(Dispute.synced_at)
    )


def _is_past_arrival(now: datetime) -> ColumnElement[bool]:
    return and_(Payout.status.in_(PENDING_STATUSES), Payout.arrives_on <= now.date())


def _lacks_transactions(now: datetime) -> ColumnElement[bool]:
    """Whether a payout has left the balance and what was in it is not listed here; once a day."""
    return and_(
        Payout.automatic,
        Payout.transactions_listed_at.is_(None),
        Payout.status.not_in(PENDING_STATUSES),
        Payout.reconciliation_status != ReconciliationStatus.NOT_APPLICABLE,
        or_(
            Payout.synced_at < now - PENDING_RESYNC_INTERVAL,
            Payout.reconciliation_status == ReconciliationStatus.COMPLETED,
        ),
    )


async def sync_new(ctx: Context) -> int:
    """Enqueue a sync of refunds, disputes and fraud warnings that are new at Stripe, whoever made
    them, and of subscriptions with a payment that is open there. Returns how many.
    """
    count = 0

    async def sync_since(object_type: str, list_since: ListSince) -> None:
        nonlocal count
        started_at = ctx.now()
        listed = await list_since(ctx, await _list_since(ctx, object_type))
        count += await _enqueue(ctx, [(object_type, one.id) for one in listed])
        await importer.advance_cursor(ctx, object_type, started_at)

    async def sync_new_cards() -> None:
        nonlocal count
        ids = await payment_methods.unused_setup_intents(ctx)
        count += await _enqueue(ctx, [("setup_intent", id_) for id_ in ids])

    async def sync_with_open_invoice() -> None:
        nonlocal count
        ids = await _with_open_invoice(ctx)
        count += await _enqueue(ctx, [("subscription", id_) for id_ in ids])

    await isolation.run_steps(
        lambda: sync_since("refund", refunds_since),
        lambda: sync_since("dispute", disputes_since),
        lambda: sync_since(FRAUD_WARNING, fraud_warnings_since),
        sync_with_open_invoice,
        sync_new_cards,
    )
    return count


Listed = stripe.Refund | stripe.Dispute | stripe.radar.EarlyFraudWarning
ListSince = Callable[[Context, datetime], Awaitable[Sequence[Listed]]]


async def _list_since(ctx: Context, cursor_name: str) -> datetime:
    async with ctx.sessions() as session:
        reached = await session.scalar(
            select(ImportCursor.reached_at).where(ImportCursor.name == cursor_name)
        )
    return ctx.now() - EVENT_RETENTION if reached is None else reached - IMPORT_OVERLAP


async def refunds_since(ctx: Context, since: datetime) -> list[stripe.Refund]:
    """Return every refund created at Stripe since a moment."""
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.refunds.list_async(
            {"created": {"gte": int(since.timestamp())}, "limit": 100}
        )
        return [refund async for refund in page.auto_paging_iter()]


async def disputes_since(ctx: Context, since: datetime) -> list[stripe.Dispute]:
    """Return every dispute opened at Stripe since a moment."""
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.disputes.list_async(
            {"created": {"gte": int(since.timestamp())}, "limit": 100}
        )
        return [dispute async for dispute in page.auto_paging_iter()]


async def fraud_warnings_since(
    ctx: Context, since: datetime
) -> list[stripe.radar.EarlyFraudWarning]:
    """Return every fraud warning since a moment."""
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.radar.early_fraud_warnings.list_async(
            {"created": {"gte": int(since.timestamp())}, "limit": 100}
        )
        return [warning async for warning in page.auto_paging_iter()]


async def _with_open_invoice(ctx: Context) -> list[str]:
    """Return the subscriptions whose payment failed, or waits for a bank, by what Stripe lists.

    Left out are those whose donor was written to about it, and those that were looked at since
    and today: a bank may take a fortnight.
    """
    now = ctx.now()
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.invoices.list_async(
            {
                "status": "open",
                "created": {"gte": int((now - EVENT_RETENTION).timestamp())},
                "limit": 100,
            }
        )
        unpaid = {
            subscription_id: invoice
            async for invoice in page.auto_paging_iter()
            if (subscription_id := invoices.subscription_of(invoice)) is not None
        }
    query = select(
        Subscription.stripe_subscription_id,
        Subscription.synced_at,
        Subscription.stripe_payment_method_id,
    ).where(Subscription.stripe_subscription_id.in_(unpaid))
    async with ctx.sessions() as session:
        known = {
            id_: (synced_at, subscription_sync.failure_keys(unpaid[id_].id, method_id))
            for id_, synced_at, method_id in await session.execute(query)
        }
        keys = [key for _, pair in known.values() for key in pair]
        announced = await outbox.known_keys(session, keys)
    return [
        id_
        for id_, (synced_at, keys_of_one) in known.items()
        if announced.isdisjoint(keys_of_one)
        and (
            synced_at < from_unix(unpaid[id_].created) + INVOICE_GRACE
            or synced_at < now - PENDING_RESYNC_INTERVAL
        )
    ]


def _has_pending_charge(*, since: datetime) -> ColumnElement[bool]:
    """Whether a charge of the contribution was pending when it was synced since then."""
    return (
        select(Charge.stripe_charge_id)
        .join(
            PaymentIntentLink,
            PaymentIntentLink.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .where(
            PaymentIntentLink.contribution_id == Contribution.id,
            Charge.status == ChargeStatus.PENDING,
            Charge.synced_at >= since,
        )
        .exists()
    )


async def _enqueue(ctx: Context, objects: list[tuple[str, str]]) -> int:
    async with ctx.sessions.begin() as session:
        for object_type, object_id in objects:
            await job_queue.enqueue_sync(session, object_type, object_id)
    return len(objects)
