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
from payments.giving.checkout_session import CHECKOUT_LASTS, Frequency
from payments.giving.contributions import UNSETTLED, Contribution, ContributionIntent, Status
from payments.giving.subscriptions import LIVE, Subscription
from payments.infra import alerts, job_queue, stripe_client
from payments.infra.alerts import AlarmKind
from payments.infra.context import Runtime
from payments.settlement import importer
from payments.settlement.disputes import CLOSED, Dispute
from payments.settlement.importer import OVERLAP, Watermark
from payments.settlement.payouts import Payout, PayoutStatus, Reconciliation
from payments.settlement.refunds import UNDER_WAY, Refund
from webhooks import EVENTS, VERBS

Ids = Select[str] | Select[str | None]
LOOK_BACK = timedelta(days=30)  # Stripe lists events for 30 days
GRACE = timedelta(minutes=5)
LOOK_AGAIN = timedelta(days=7)  # at every living promise, whatever was heard of it
LOOK_DAILY = timedelta(days=1)  # at every open dispute, and at debits and refunds under way
TYPES_AT_ONCE = 20  # Stripe's limit for `types`
ENDPOINT = "webhook_endpoint"
NO_ENDPOINT = "there is no webhook endpoint"


async def undelivered(rt: Runtime) -> int:
    """Ring for every object of an event that Stripe could not deliver. Gives how many bells."""
    since = int((rt.now() - LOOK_BACK).timestamp())
    named: dict[tuple[str, str], None] = {}
    for start in range(0, len(EVENTS), TYPES_AT_ONCE):
        with stripe_client.reachable():
            page = await rt.stripe.v1.events.list_async(
                {
                    "delivery_success": False,
                    "types": list(EVENTS[start : start + TYPES_AT_ONCE]),
                    "created": {"gte": since},
                    "limit": 100,
                }
            )
            async for event in page.auto_paging_iter():
                about = event.data.object
                if about["object"] in VERBS and "id" in about:
                    named[(about["object"], about["id"])] = None
    return await _ring(rt, list(named))


async def overdue(rt: Runtime, *, limit: int = 500) -> int:
    """Ring for what should have changed by now and did not say so. Gives how many bells."""
    now = rt.now()
    queries = (
        ("checkout.session", _unsettled(now)),
        ("checkout.session", _unpromised(now)),
        ("charge", _pending(now)),
        ("subscription", _unrenewed(now)),
        ("payout", _unarrived(now)),
        ("refund", _unfinished(now)),
        ("dispute", _undecided(now)),
    )
    named = []
    async with rt.sessions() as session:
        for object_type, query in queries:
            ids = await session.scalars(query.limit(limit))
            named += [(object_type, id_) for id_ in ids if id_ is not None]
    return await _ring(rt, named)


def _unsettled(now: datetime) -> Ids:
    """Pages that have ended by now, and nobody said how."""
    return (
        select(Contribution.stripe_session_id)
        .where(
            Contribution.status.in_(UNSETTLED),
            Contribution.stripe_session_id.is_not(None),
            Contribution.created_at < now - CHECKOUT_LASTS - GRACE,
            # A bank may take a fortnight: it is asked about once a day, by its charge.
            ~_waits_for_a_bank(since=now - LOOK_DAILY),
        )
        .order_by(Contribution.created_at)
    )


def _unpromised(now: datetime) -> Ids:
    """Standing gifts that were paid, and whose promise is not known."""
    return (
        select(Contribution.stripe_session_id)
        .outerjoin(Subscription, Subscription.contribution_id == Contribution.id)
        .where(
            Contribution.frequency != Frequency.ONCE,
            Contribution.status == Status.PAID,
            Contribution.stripe_session_id.is_not(None),
            Contribution.created_at < now - GRACE,
            Subscription.stripe_subscription_id.is_(None),
        )
        .order_by(Contribution.created_at.desc())
    )


def _pending(now: datetime) -> Ids:
    """Charges that a bank has not answered."""
    return (
        select(Charge.stripe_charge_id)
        .where(Charge.status == ChargeStatus.PENDING, Charge.synced_at < now - LOOK_DAILY)
        .order_by(Charge.synced_at)
    )


def _unrenewed(now: datetime) -> Ids:
    """Promises that should have been charged, and each one once a week."""
    return (
        select(Subscription.stripe_subscription_id)
        .where(
            Subscription.status.in_(LIVE),
            or_(Subscription.renews_at < now - GRACE, Subscription.synced_at < now - LOOK_AGAIN),
        )
        .order_by(Subscription.synced_at)
    )


def _unarrived(now: datetime) -> Ids:
    """Payouts that should be in the bank, or whose list should be complete."""
    return (
        select(Payout.stripe_payout_id)
        .where(_has_not_arrived(now) | _has_no_list(now))
        .order_by(Payout.arrives_on)
    )


def _unfinished(now: datetime) -> Ids:
    """Refunds under way, each one once a day."""
    return (
        select(Refund.stripe_refund_id)
        .where(Refund.status.in_(UNDER_WAY), Refund.synced_at < now - LOOK_DAILY)
        .order_by(Refund.synced_at)
    )


def _undecided(now: datetime) -> Ids:
    """Disputes that are open, each one once a day."""
    return (
        select(Dispute.stripe_dispute_id)
        .where(Dispute.status.not_in(CLOSED), Dispute.synced_at < now - LOOK_DAILY)
        .order_by(Dispute.synced_at)
    )


def _has_not_arrived(now: datetime) -> ColumnElement[bool]:
    under_way = (PayoutStatus.PENDING, PayoutStatus.IN_TRANSIT)
    return and_(Payout.status.in_(under_way), Payout.arrives_on <= now.date())


def _has_no_list(now: datetime) -> ColumnElement[bool]:
    """Paid some time ago, and Stripe has not yet told what was in it; it is asked each day."""
    return and_(
        Payout.automatic,
        Payout.listed_at.is_(None),
        Payout.status.not_in((PayoutStatus.PENDING, PayoutStatus.IN_TRANSIT)),
        Payout.reconciliation != Reconciliation.NOT_APPLICABLE,
        or_(
            Payout.synced_at < now - LOOK_DAILY,
            Payout.reconciliation == Reconciliation.COMPLETED,
        ),
    )


async def changed(rt: Runtime) -> int:
    """Ring for refunds and disputes that are new at Stripe, whoever made them. Gives how many."""
    since = {walk: await _mark(rt, walk) for walk in ("refund", "dispute")}
    start = rt.now()
    named = [("refund", found.id) for found in await refunds_since(rt, since["refund"])]
    named += [("dispute", found.id) for found in await disputes_since(rt, since["dispute"])]
    rung = await _ring(rt, named)
    for walk in since:
        await importer.move(rt, walk, start)
    return rung


async def _mark(rt: Runtime, walk: str) -> datetime:
    async with rt.sessions() as session:
        reached = await session.scalar(select(Watermark.reached).where(Watermark.name == walk))
    return rt.now() - LOOK_BACK if reached is None else reached - OVERLAP


async def refunds_since(rt: Runtime, since: datetime) -> list[stripe.Refund]:
    """Every refund Stripe made since a moment."""
    with stripe_client.reachable():
        page = await rt.stripe.v1.refunds.list_async(
            {"created": {"gte": int(since.timestamp())}, "limit": 100}
        )
        return [found async for found in page.auto_paging_iter()]


async def disputes_since(rt: Runtime, since: datetime) -> list[stripe.Dispute]:
    """Every dispute opened since a moment."""
    with stripe_client.reachable():
        page = await rt.stripe.v1.disputes.list_async(
            {"created": {"gte": int(since.timestamp())}, "limit": 100}
        )
        return [found async for found in page.auto_paging_iter()]


async def endpoint_drift(rt: Runtime) -> list[str]:
    """How the webhook endpoint at Stripe differs from what this service needs."""
    url = f"{rt.settings.base_url}/webhooks/stripe"
    with stripe_client.reachable():
        page = await rt.stripe.v1.webhook_endpoints.list_async({"limit": 100})
        found = [end async for end in page.auto_paging_iter() if end.url == url]
    if not found:
        return [f"{NO_ENDPOINT} for {url}; `payments stripe setup` makes one"]
    return [f"{end.id} {drift}" for end in found for drift in _drift_of(end)]


def _drift_of(end: stripe.WebhookEndpoint) -> list[str]:
    asked, wanted = set(end.enabled_events), set(EVENTS)
    drifts = []
    if end.status != "enabled":
        drifts.append("is disabled")
    if end.api_version != stripe_client.API_VERSION:
        drifts.append(f"renders {end.api_version}, not {stripe_client.API_VERSION}")
    if wanted - asked and "*" not in asked:
        drifts.append(f"does not send {', '.join(sorted(wanted - asked))}")
    return drifts


async def watch_endpoint(rt: Runtime) -> list[str]:
    """Call a person when webhooks do not come as they should. Gives what is wrong."""
    drifts = await endpoint_drift(rt)
    change = alerts.sound if drifts else alerts.close
    async with rt.sessions.begin() as session:
        await change(session, AlarmKind.ENDPOINT, subject=ENDPOINT, now=rt.now())
    return drifts


def _waits_for_a_bank(*, since: datetime) -> ColumnElement[bool]:
    """Whether a charge of a contribution was seen under way since then."""
    return (
        select(Charge.stripe_charge_id)
        .join(
            ContributionIntent,
            ContributionIntent.stripe_payment_intent_id == Charge.stripe_payment_intent_id,
        )
        .where(
            ContributionIntent.contribution_id == Contribution.id,
            Charge.status == ChargeStatus.PENDING,
            Charge.synced_at >= since,
        )
        .exists()
    )


async def _ring(rt: Runtime, named: list[tuple[str, str]]) -> int:
    async with rt.sessions.begin() as session:
        for object_type, object_id in named:
            await job_queue.ring(session, object_type, object_id)
    return len(named)
