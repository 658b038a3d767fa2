"""Sweeps: webhooks are for speed, these are for truth. They ring the same bells, so nothing has a
second path.

The balance has its own importer (`payments.settlement.importer`). Here are the others: events
Stripe could not deliver; contributions, subscriptions, refunds, disputes and payouts that should
have moved on by now without a word of it; refunds and disputes that are new at Stripe; and the webhook endpoint itself, which a
click in the dashboard can change without anybody here hearing of it.
"""

from datetime import datetime, timedelta

import stripe
from sqlalchemy import ColumnElement, Select, and_, or_, select

from payments.giving.charges import Charge, ChargeStatus
from payments.giving.checkout_session import CHECKOUT_LIFETIME, Frequency
from payments.giving.contributions import (
    OUTCOME_PENDING,
    Contribution,
    ContributionStatus,
    PaymentIntentLink,
)
from payments.giving.subscriptions import LIVE_STATUSES, Subscription
from payments.infra import alerts, job_queue, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.settlement import importer
from payments.settlement.disputes import CLOSED_STATUSES, Dispute
from payments.settlement.importer import IMPORT_OVERLAP, ImportCursor
from payments.settlement.payouts import Payout, PayoutStatus, ReconciliationStatus
from payments.settlement.refunds import IN_PROGRESS_STATUSES, Refund
from webhooks import EVENT_TYPES, SYNC_HANDLERS

IdQuery = Select[str] | Select[str | None]
EVENT_RETENTION = timedelta(days=30)  # Stripe lists events for 30 days
OVERDUE_GRACE = timedelta(minutes=5)
SUBSCRIPTION_RESYNC_INTERVAL = timedelta(
    days=7
)  # at every living promise, whatever was heard of it
PENDING_RESYNC_INTERVAL = timedelta(
    days=1
)  # at every open dispute, and at debits and refunds under way
MAX_TYPES_PER_REQUEST = 20  # Stripe's limit for `types`
ENDPOINT_OBJECT = "webhook_endpoint"
NO_ENDPOINT_MESSAGE = "there is no webhook endpoint"


async def sync_undelivered(ctx: Context) -> int:
    """Ring for every object of an event that Stripe could not deliver. Gives how many bells."""
    since = int((ctx.now() - EVENT_RETENTION).timestamp())
    named: dict[tuple[str, str], None] = {}
    for start in range(0, len(EVENT_TYPES), MAX_TYPES_PER_REQUEST):
        with stripe_client.translate_errors():
            page = await ctx.stripe.v1.events.list_async(
                {
                    "delivery_success": False,
                    "types": list(EVENT_TYPES[start : start + MAX_TYPES_PER_REQUEST]),
                    "created": {"gte": since},
                    "limit": 100,
                }
            )
            async for event in page.auto_paging_iter():
                about = event.data.object
                if about["object"] in SYNC_HANDLERS and "id" in about:
                    named[(about["object"], about["id"])] = None
    return await _enqueue(ctx, list(named))


async def sync_overdue(ctx: Context, *, limit: int = 500) -> int:
    """Ring for what should have changed by now and did not say so. Gives how many bells."""
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
    named = []
    async with ctx.sessions() as session:
        for object_type, query in queries:
            ids = await session.scalars(query.limit(limit))
            named += [(object_type, id_) for id_ in ids if id_ is not None]
    return await _enqueue(ctx, named)


def _checkouts_without_outcome(now: datetime) -> IdQuery:
    """Pages that have ended by now, and nobody said how."""
    return (
        select(Contribution.stripe_session_id)
        .where(
            Contribution.status.in_(OUTCOME_PENDING),
            Contribution.stripe_session_id.is_not(None),
            Contribution.created_at < now - CHECKOUT_LIFETIME - OVERDUE_GRACE,
            # A bank may take a fortnight: it is asked about once a day, by its charge.
            ~_has_pending_charge(since=now - PENDING_RESYNC_INTERVAL),
        )
        .order_by(Contribution.created_at)
    )


def _paid_without_subscription(now: datetime) -> IdQuery:
    """Standing gifts that were paid, and whose promise is not known."""
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
            Charge.status == ChargeStatus.PENDING, Charge.synced_at < now - PENDING_RESYNC_INTERVAL
        )
        .order_by(Charge.synced_at)
    )


def _stale_subscriptions(now: datetime) -> IdQuery:
    """Promises that should have been charged, and each one once a week."""
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
    """Payouts that should be in the bank, or whose list should be complete."""
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
    under_way = (PayoutStatus.PENDING, PayoutStatus.IN_TRANSIT)
    return and_(Payout.status.in_(under_way), Payout.arrives_on <= now.date())


def _lacks_transactions(now: datetime) -> ColumnElement[bool]:
    """Paid some time ago, and Stripe has not yet told what was in it; it is asked each day."""
    return and_(
        Payout.automatic,
        Payout.transactions_listed_at.is_(None),
        Payout.status.not_in((PayoutStatus.PENDING, PayoutStatus.IN_TRANSIT)),
        Payout.reconciliation_status != ReconciliationStatus.NOT_APPLICABLE,
        or_(
            Payout.synced_at < now - PENDING_RESYNC_INTERVAL,
            Payout.reconciliation_status == ReconciliationStatus.COMPLETED,
        ),
    )


async def sync_new(ctx: Context) -> int:
    """Ring for refunds and disputes that are new at Stripe, whoever made them. Gives how many."""
    since = {walk: await _list_since(ctx, walk) for walk in ("refund", "dispute")}
    start = ctx.now()
    named = [("refund", found.id) for found in await refunds_since(ctx, since["refund"])]
    named += [("dispute", found.id) for found in await disputes_since(ctx, since["dispute"])]
    rung = await _enqueue(ctx, named)
    for walk in since:
        await importer.advance_cursor(ctx, walk, start)
    return rung


async def _list_since(ctx: Context, cursor_name: str) -> datetime:
    async with ctx.sessions() as session:
        reached = await session.scalar(
            select(ImportCursor.reached_at).where(ImportCursor.name == cursor_name)
        )
    return ctx.now() - EVENT_RETENTION if reached is None else reached - IMPORT_OVERLAP


async def refunds_since(ctx: Context, since: datetime) -> list[stripe.Refund]:
    """Every refund Stripe made since a moment."""
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.refunds.list_async(
            {"created": {"gte": int(since.timestamp())}, "limit": 100}
        )
        return [found async for found in page.auto_paging_iter()]


async def disputes_since(ctx: Context, since: datetime) -> list[stripe.Dispute]:
    """Every dispute opened since a moment."""
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.disputes.list_async(
            {"created": {"gte": int(since.timestamp())}, "limit": 100}
        )
        return [found async for found in page.auto_paging_iter()]


async def endpoint_drift(ctx: Context) -> list[str]:
    """How the webhook endpoint at Stripe differs from what this service needs."""
    url = f"{ctx.settings.base_url}/webhooks/stripe"
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.webhook_endpoints.list_async({"limit": 100})
        found = [end async for end in page.auto_paging_iter() if end.url == url]
    if not found:
        return [f"{NO_ENDPOINT_MESSAGE} for {url}; `payments stripe setup` makes one"]
    return [f"{end.id} {drift}" for end in found for drift in _endpoint_drift(end)]


def _endpoint_drift(endpoint: stripe.WebhookEndpoint) -> list[str]:
    asked, wanted = set(endpoint.enabled_events), set(EVENT_TYPES)
    drifts = []
    if endpoint.status != "enabled":
        drifts.append("is disabled")
    if endpoint.api_version != stripe_client.API_VERSION:
        drifts.append(f"renders {endpoint.api_version}, not {stripe_client.API_VERSION}")
    if wanted - asked and "*" not in asked:
        drifts.append(f"does not send {', '.join(sorted(wanted - asked))}")
    return drifts


async def refresh_endpoint_alert(ctx: Context) -> list[str]:
    """Call a person when webhooks do not come as they should. Gives what is wrong."""
    drifts = await endpoint_drift(ctx)
    change = alerts.raise_alert if drifts else alerts.close
    async with ctx.sessions.begin() as session:
        await change(
            session, AlertKind.WEBHOOK_ENDPOINT_DRIFT, object_id=ENDPOINT_OBJECT, now=ctx.now()
        )
    return drifts


def _has_pending_charge(*, since: datetime) -> ColumnElement[bool]:
    """Whether a charge of a contribution was seen under way since then."""
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
