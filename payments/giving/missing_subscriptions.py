"""Subscriptions that Stripe does not know any more: deleted test data, or an account restored.

Nothing of them can ever be charged, so they end here: recurring revenue does not count them, and no
schedule asks for them again. Their donors are not written to, because nobody knows what became of
them; an alert has a person look. Where Stripe has one after all, it goes on as it was.
"""

from sqlalchemy.ext.asyncio import AsyncSession

from payments.giving import change_log
from payments.giving.change_log import ChangeKind
from payments.giving.subscriptions import Subscription, SubscriptionStatus
from payments.infra import alerts
from payments.infra.alerts import AlertKind
from payments.infra.context import Context


async def end(ctx: Context, subscription_id: str) -> bool:
    """End a live subscription that is missing at Stripe. Returns whether there was one."""
    async with ctx.sessions.begin() as session:
        subscription = await session.get(Subscription, subscription_id, with_for_update=True)
        if subscription is None or not subscription.is_live:
            return False
        subscription.status = SubscriptionStatus.CANCELED
        subscription.ended_at = subscription.synced_at = ctx.now()
        subscription.missing_since = subscription.ended_at
        subscription.current_period_end = subscription.scheduled_end_at = None
        subscription.is_paused, subscription.resumes_at = False, None
        await change_log.record_observed(
            session, subscription_id, ChangeKind.CANCELLED, now=ctx.now()
        )
    return True


async def undo_end(ctx: Context, session: AsyncSession, subscription_id: str) -> None:
    """Take back that a subscription was missing: Stripe has it. No mail said that it ended."""
    await change_log.take_back_cancellation(session, subscription_id)
    await alerts.close(
        session, AlertKind.MISSING_AT_STRIPE, object_id=subscription_id, now=ctx.now()
    )
