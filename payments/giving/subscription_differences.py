"""What differs in a subscription since the last fetch: logged, and mailed to its donor, once."""

from datetime import datetime
from typing import Any

import stripe
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import i18n
from payments.core.calendar import local_date
from payments.giving import change_log
from payments.giving.change_log import Actor, ChangeKind
from payments.giving.contributions import Contribution
from payments.giving.subscriptions import (
    ARREARS_STATUSES,
    FORGIVE_JOB,
    LIVE_STATUSES,
    SECOND_NOTICE_WITHIN,
    Subscription,
    list_live_others,
)
from payments.infra import job_queue
from payments.infra.context import Context
from payments.mail import outbox
from payments.mail.outbox import MailKind


async def record_differences(
    ctx: Context,
    session: AsyncSession,
    subscription: Subscription,
    before: dict[str, Any],
    fetched: stripe.Subscription,
) -> None:
    """Log what differs from the values `before`, and enqueue one mail for each change."""
    id_, is_live = subscription.stripe_subscription_id, subscription.is_live

    async def record(kind: ChangeKind, mail_kind: MailKind) -> None:
        change = await change_log.record_observed(session, id_, kind, now=ctx.now())
        await notify(ctx, session, subscription, mail_kind, key=f"{mail_kind}:{change.id}")

    if before["status"] in LIVE_STATUSES and not is_live:
        details = fetched.cancellation_details
        lapsed = details is not None and details.reason == "payment_failed"
        kind = ChangeKind.LAPSED if lapsed else ChangeKind.CANCELLED
        await change_log.record_observed(session, id_, kind, now=ctx.now())
        await notify(ctx, session, subscription, MailKind(kind.value), key=f"ended:{id_}")
    if not is_live:
        return
    interval_before = (before["interval_unit"], before["interval_count"])
    if interval_before != (subscription.interval_unit, subscription.interval_count):
        await record(ChangeKind.FREQUENCY, MailKind.FREQUENCY_CHANGED)
    else:
        if before["amount"] != subscription.amount:
            await record(ChangeKind.AMOUNT, MailKind.AMOUNT_CHANGED)
        if _is_on_another_day(ctx, before, subscription):
            await record(ChangeKind.DAY, MailKind.DAY_CHANGED)
    if (before["is_paused"], before["resumes_at"]) != (
        subscription.is_paused,
        subscription.resumes_at,
    ):
        await _record_pause_change(ctx, session, subscription)
    if (end_change := _end_change(ctx, before["scheduled_end_at"], subscription)) is not None:
        await record(end_change, MailKind(end_change.value))
    if before["stripe_payment_method_id"] != subscription.stripe_payment_method_id:
        has_card = subscription.stripe_payment_method_id is not None
        mail_kind = MailKind.CARD_CHANGED if has_card else MailKind.NEEDS_CARD
        await record(ChangeKind.CARD, mail_kind)


def _is_on_another_day(ctx: Context, before: dict[str, Any], subscription: Subscription) -> bool:
    """Whether the next charge is on another day than it would have been, counted as before.

    A day is the accounting zone's, as the donor was shown it.
    """
    due, expected = subscription.current_period_end, before["current_period_end"]
    anchor = before["billing_anchor_at"]
    if due is None or expected is None or anchor == subscription.billing_anchor_at:
        return False
    while expected < ctx.now():  # renewals that nobody reported
        expected = subscription.every.after(expected, anchor=anchor)
    zone = ctx.settings.accounting_zone
    return local_date(due, zone) != local_date(expected, zone)


def _end_change(
    ctx: Context, end_before: datetime | None, subscription: Subscription
) -> ChangeKind | None:
    """Return what became of the scheduled end: set, moved to another day, taken back; else None.

    A day is the accounting zone's, as the donor was shown it.
    """
    end = subscription.scheduled_end_at
    if end is None:
        return None if end_before is None else ChangeKind.END_CANCELLED
    if end_before is None:
        return ChangeKind.END_SCHEDULED
    zone = ctx.settings.accounting_zone
    is_same_day = local_date(end, zone) == local_date(end_before, zone)
    return None if is_same_day else ChangeKind.END_MOVED


async def _record_pause_change(
    ctx: Context, session: AsyncSession, subscription: Subscription
) -> None:
    """Log a pause, a skip or a resumption. At Stripe a skip is a pause over one charge.

    A pause leaves invoices as they are that were made before it, and Stripe would try them again:
    whoever pauses here was shown that nothing is charged, so they are voided.
    """
    kind = ChangeKind.PAUSED if subscription.is_paused else ChangeKind.RESUMED
    equivalent_kinds = (ChangeKind.SKIPPED,) if subscription.is_paused else ()
    change = await change_log.record_observed(
        session,
        subscription.stripe_subscription_id,
        kind,
        now=ctx.now(),
        equivalent_kinds=equivalent_kinds,
    )
    is_owing = subscription.is_paused and subscription.status in ARREARS_STATUSES
    if is_owing and change.actor is not Actor.STRIPE:
        await job_queue.enqueue_sync(session, FORGIVE_JOB, subscription.stripe_subscription_id)
    if change.actor is Actor.SERVICE and await _is_second_unmailed(ctx, session, subscription):
        return  # the mail about that one says it
    mail_kind = MailKind(change.kind.value)
    await notify(ctx, session, subscription, mail_kind, key=f"{mail_kind}:{change.id}")


async def _is_second_unmailed(ctx: Context, session: AsyncSession, held: Subscription) -> bool:
    """Whether one that was begun beside a held subscription is yet to be mailed about."""
    contribution = await session.get_one(Contribution, held.contribution_id)
    if contribution.donor_id is None:
        return False
    others = await list_live_others(session, contribution.donor_id, held.stripe_subscription_id)
    since = max(held.started_at, ctx.now() - SECOND_NOTICE_WITHIN)
    keys = [
        second_key(other.stripe_subscription_id) for other in others if other.started_at > since
    ]
    return len(await outbox.known_keys(session, keys)) < len(keys)


def second_key(subscription_id: str) -> str:
    """Return the key of the mail about a subscription that was begun beside another one."""
    return f"{MailKind.SECOND_BEGUN}:{subscription_id}"


async def notify(
    ctx: Context,
    session: AsyncSession,
    subscription: Subscription,
    kind: MailKind,
    *,
    key: str,
    object_id: str | None = None,
) -> None:
    """Enqueue a mail about a subscription to its donor, one for each `key`."""
    language = await session.scalar(
        select(Contribution.language).where(Contribution.id == subscription.contribution_id)
    )
    await outbox.enqueue(
        session,
        kind,
        key=key,
        now=ctx.now(),
        subscription_id=subscription.stripe_subscription_id,
        object_id=object_id,
        language=language or i18n.DEFAULT_LOCALE,
    )
