"""Mails due by the calendar: an expiring card, and a charge that is near and comes seldom.

Each is mailed once for each card and each charge. Nothing is sent about a subscription that is not
charged again.
"""

from datetime import timedelta

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.frequency import IntervalUnit
from payments.giving import billing_dates
from payments.giving.contributions import Contribution
from payments.giving.current_card import CARD_EXPIRY_NOTICE
from payments.giving.subscriptions import LIVE_STATUSES, Subscription
from payments.infra.context import Context
from payments.mail import outbox
from payments.mail.outbox import MailKind

# Half a year, in each unit: whoever is charged as seldom as that is notified before.
SELDOM_FROM = {
    IntervalUnit.DAY: 181,
    IntervalUnit.WEEK: 26,
    IntervalUnit.MONTH: 6,
    IntervalUnit.YEAR: 1,
}


async def notify_expiring_cards(ctx: Context) -> int:
    """Enqueue a mail for each expiring card: one that expires soon. Returns how many are new.

    A card that the network renews in time has a later date by then.
    """
    today = ctx.now().date()
    enqueued = 0
    async with ctx.sessions.begin() as session:
        expiring = await _charged_again(
            session, Subscription.card_expires_on.between(today, today + CARD_EXPIRY_NOTICE)
        )
        for subscription, language in expiring:
            enqueued += await outbox.enqueue(
                session,
                MailKind.CARD_EXPIRING,
                key=f"expiring:{subscription.stripe_payment_method_id}:"
                f"{subscription.card_expires_on}:{subscription.stripe_subscription_id}",
                now=ctx.now(),
                subscription_id=subscription.stripe_subscription_id,
                language=language,
            )
    return enqueued


async def notify_upcoming_renewals(ctx: Context) -> int:
    """Enqueue a mail before each charge that comes every six months or less often.

    The first after a pause is one too. Returns how many mails are new.
    """
    now = ctx.now()
    until = now + timedelta(days=ctx.settings.renewal_notice_days)
    enqueued = 0
    async with ctx.sessions.begin() as session:
        renewing = await _charged_again(
            session,
            or_(
                *(
                    and_(Subscription.interval_unit == unit, Subscription.interval_count >= count)
                    for unit, count in SELDOM_FROM.items()
                )
            ),
            Subscription.current_period_end.between(now, until),
        )
        for subscription, language in renewing:
            due = billing_dates.next_charge_at(subscription)  # after a pause it may be another
            if due is None or due > until:
                continue
            enqueued += await outbox.enqueue(
                session,
                MailKind.RENEWS_SOON,
                key=f"renews:{subscription.stripe_subscription_id}:{due.date()}",
                now=now,
                subscription_id=subscription.stripe_subscription_id,
                language=language,
            )
    return enqueued


async def _charged_again(
    session: AsyncSession, *conditions: ColumnElement[bool]
) -> list[tuple[Subscription, str]]:
    """Return live subscriptions that are charged before any scheduled end, and their language."""
    rows = await session.execute(
        select(Subscription, Contribution.language)
        .join(Contribution, Contribution.id == Subscription.contribution_id)
        .where(
            *conditions,
            Subscription.status.in_(LIVE_STATUSES),
            or_(
                Subscription.scheduled_end_at.is_(None),
                Subscription.current_period_end < Subscription.scheduled_end_at,
            ),
        )
        .order_by(Subscription.stripe_subscription_id)
    )
    return [(subscription, language) for subscription, language in rows]
