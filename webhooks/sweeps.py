"""Sweeps: webhooks are for speed, these are for truth. They ring the same bells, so nothing has a
second path.

The balance has its own walk (`payments.balance`). Here are the other two: events Stripe could not
deliver, and gifts, promises and payouts that should have moved on by now without a word of it.
"""

from datetime import timedelta

from sqlalchemy import or_, select

from payments import gateway, jobs
from payments.contributions import CHECKOUT_LASTS, UNSETTLED, Contribution
from payments.payouts import Payout, PayoutStatus
from payments.runtime import Runtime
from payments.subscriptions import LIVE, Subscription
from webhooks import EVENTS, VERBS

LOOK_BACK = timedelta(days=30)  # Stripe lists events for 30 days
GRACE = timedelta(minutes=5)
LOOK_AGAIN = timedelta(days=7)  # at every living promise, whatever was heard of it
TYPES_AT_ONCE = 20  # Stripe's limit for `types`


async def undelivered(rt: Runtime) -> int:
    """Ring for every object of an event that Stripe could not deliver. Gives how many bells."""
    since = int((rt.now() - LOOK_BACK).timestamp())
    named: dict[tuple[str, str], None] = {}
    for start in range(0, len(EVENTS), TYPES_AT_ONCE):
        with gateway.reachable():
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
    ended = (
        select(Contribution.stripe_session_id)
        .where(
            Contribution.status.in_(UNSETTLED),
            Contribution.stripe_session_id.is_not(None),
            Contribution.created_at < now - CHECKOUT_LASTS - GRACE,
        )
        .order_by(Contribution.created_at)
    )
    renewed = (
        select(Subscription.stripe_subscription_id)
        .where(
            Subscription.status.in_(LIVE),
            or_(Subscription.renews_at < now - GRACE, Subscription.synced_at < now - LOOK_AGAIN),
        )
        .order_by(Subscription.synced_at)
    )
    arrived = (
        select(Payout.stripe_payout_id)
        .where(
            Payout.status.in_((PayoutStatus.PENDING, PayoutStatus.IN_TRANSIT)),
            Payout.arrives_on <= now.date(),
        )
        .order_by(Payout.arrives_on)
    )
    queries = {"checkout.session": ended, "subscription": renewed, "payout": arrived}
    named = []
    async with rt.sessions() as session:
        for object_type, query in queries.items():
            ids = await session.scalars(query.limit(limit))
            named += [(object_type, id_) for id_ in ids if id_ is not None]
    return await _ring(rt, named)


async def _ring(rt: Runtime, named: list[tuple[str, str]]) -> int:
    async with rt.sessions.begin() as session:
        for object_type, object_id in named:
            await jobs.ring(session, object_type, object_id)
    return len(named)
