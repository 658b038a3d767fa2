"""Subscriptions that Stripe does not know any more: deleted test data, or an account restored.

Nothing of them can ever be charged, so they end here: recurring revenue does not count them, and no
schedule asks for them again. Their donors are not written to, because nobody knows what became of
them; an alert has a person look.
"""

from payments.giving import change_log
from payments.giving.change_log import ChangeKind
from payments.giving.subscriptions import Subscription, SubscriptionStatus
from payments.infra.context import Context


async def end(ctx: Context, subscription_id: str) -> bool:
    """End a live subscription that is missing at Stripe. Returns whether there was one."""
    async with ctx.sessions.begin() as session:
        subscription = await session.get(Subscription, subscription_id, with_for_update=True)
        if subscription is None or not subscription.is_live:
            return False
        subscription.status = SubscriptionStatus.CANCELED
        subscription.ended_at = subscription.synced_at = ctx.now()
        subscription.current_period_end = subscription.scheduled_end_at = None
        subscription.is_paused, subscription.resumes_at = False, None
        await change_log.record_observed(
            session, subscription_id, ChangeKind.CANCELLED, now=ctx.now()
        )
    return True
