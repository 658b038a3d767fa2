"""The schedules: what runs at which times, and its name in the job queue.

A schedule may run late, twice or not at all, and two workers may start it: whichever happens, the
result is the same. One that was missed while no worker ran runs once when a worker is back.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import daily_totals, integrity, report_mail
from payments.core.errors import StripeUnavailable
from payments.donors import donors, sign_in
from payments.giving import (
    campaign_totals,
    cancellations,
    card_testing,
    contribution_start,
    notices_due,
    outbox_sender,
    payment_notices,
    second_subscriptions,
)
from payments.infra import (
    alerts,
    isolation,
    job_queue,
    retries,
    schedule_failures,
    shown_pages,
    stripe_health,
)
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.infra.isolation import Step
from payments.infra.outgoing_events import delivery
from payments.mail import outbox, refusals
from payments.risk import rate_limit, statement_descriptor
from payments.safety import (
    descriptor_review,
    quarantine_response,
    retention,
    stop_enforcement,
    stripe_worklist,
    support_cases,
)
from payments.settlement import (
    disputes,
    importer,
    refund_notices,
    refund_proposals,
    refund_requests,
)
from payments.signups import newsletter, newsletter_delivery, reminder_sender
from payments.staff import api_tokens, sessions
from webhooks import arrival, endpoint, sweeps

EVERY_MINUTE = "* * * * *"
EVERY_5_MINUTES = "*/5 * * * *"


@dataclass(frozen=True, slots=True)
class Schedule:
    """One task and its times, as a cron expression in UTC.

    An exclusive one runs one at a time, however many workers there are.
    """

    name: str
    cron: str
    task: Callable[[Context], Awaitable[object]]
    exclusive: bool = True


async def run(ctx: Context, schedule: Schedule) -> None:
    """Run a schedule once. The second failure in a row raises an alert, a success closes it.

    What fails because Stripe answers nobody is no failure of the schedule. Raises what it raised.
    """
    try:
        await schedule.task(ctx)
    except Exception as error:
        unavailable = _outage_in(error)
        if unavailable is None or not await stripe_health.must_wait(ctx, unavailable):
            await schedule_failures.record_failure(ctx, schedule.name)
        raise
    await schedule_failures.record_success(ctx, schedule.name)


def _outage_in(error: BaseException) -> StripeUnavailable | None:
    """Return the error that says Stripe did not answer, if that is all that went wrong."""
    if not isinstance(error, BaseExceptionGroup):
        return error if isinstance(error, StripeUnavailable) else None
    found = [_outage_in(one) for one in error.exceptions]
    return None if None in found else found[0]


async def requeue_abandoned(ctx: Context) -> None:
    """Enqueue again what dead workers left, and raise an alert for what has no attempt left."""
    async with ctx.sessions.begin() as session:
        for object_type, object_id in await job_queue.requeue_abandoned(session):
            await alerts.raise_alert(
                session,
                AlertKind.RETRIES_EXHAUSTED,
                object_id=object_id,
                job=object_type,
                now=ctx.now(),
            )


async def retry_exhausted(ctx: Context) -> None:
    """Give one attempt more to what has none left, for as long as its alert is open."""
    async with ctx.sessions.begin() as session:
        await retries.retry_exhausted(session)


async def check_integrity(ctx: Context) -> None:
    """Check what has changed since the last check."""
    await integrity.run_and_alert(ctx, full=False)


async def check_integrity_full(ctx: Context) -> None:
    """Check everything, and post the whole ledger again to compare."""
    await integrity.run_and_alert(ctx, replay=True)


async def notify_renewals_and_expiring_cards(ctx: Context) -> None:
    """Queue the mails about charges to come that come seldom, expiring cards, and last year."""
    await isolation.run_steps(
        lambda: notices_due.notify_upcoming_renewals(ctx),
        lambda: notices_due.notify_expiring_cards(ctx),
        lambda: payment_notices.enqueue_statements(ctx),
    )


async def notify_payments(ctx: Context) -> None:
    """Queue the mails about payments that came, and about refunds."""
    await isolation.run_steps(
        lambda: payment_notices.enqueue_thanks(ctx), lambda: refund_notices.enqueue(ctx)
    )


async def send_reminders(ctx: Context) -> None:
    """Enqueue the reminders that are due, and send confirmations to new addresses."""
    await isolation.run_steps(
        lambda: reminder_sender.enqueue_due(ctx), lambda: reminder_sender.send_confirmations(ctx)
    )


async def purge_reminders(ctx: Context) -> None:
    """Erase the addresses of reminders that are over."""
    await reminder_sender.purge(ctx, file_time=time.time())


async def deliver_newsletter_signups(ctx: Context) -> None:
    """Send confirmations to new addresses, and enqueue the delivery of confirmed ones."""
    await isolation.run_steps(
        lambda: newsletter.send_confirmations(ctx), lambda: newsletter_delivery.enqueue_due(ctx)
    )


async def check_statement_descriptor(ctx: Context) -> None:
    """Compare the descriptor at Stripe with ours, and ask for a look at a real statement."""
    await isolation.run_steps(
        lambda: statement_descriptor.scheduled_check(ctx),
        lambda: descriptor_review.alert_if_due(ctx),
    )


def _in_transaction(
    ctx: Context, purge: Callable[[AsyncSession, datetime], Awaitable[object]]
) -> Step:
    async def run_purge() -> None:
        async with ctx.sessions.begin() as session:
            await purge(session, ctx.now())

    return run_purge


async def purge_expired(ctx: Context) -> None:
    """Remove what has outlived its retention."""
    await isolation.run_steps(
        _in_transaction(ctx, contribution_start.purge_idempotency_keys),
        _in_transaction(ctx, sessions.purge_expired),
        _in_transaction(ctx, api_tokens.purge_ended),
        _in_transaction(ctx, support_cases.purge_expired),
        _in_transaction(ctx, donors.purge_erasures),
        _in_transaction(ctx, stripe_worklist.purge_erased),
        _in_transaction(ctx, outbox.purge),
        _in_transaction(ctx, refusals.purge),
        _in_transaction(ctx, delivery.purge),
        _in_transaction(ctx, lambda session, _now: job_queue.prune(session)),
        lambda: retention.purge_expired(ctx),
    )


async def purge_requests(ctx: Context) -> None:
    """Remove what anybody can have us store by asking, and what counts how often they asked."""
    await isolation.run_steps(
        _in_transaction(ctx, sign_in.purge_expired),
        _in_transaction(ctx, outbox.purge_sign_ins),
        _in_transaction(ctx, rate_limit.purge_expired),
        _in_transaction(ctx, shown_pages.purge),
    )


SCHEDULES = (
    # What was begun and not finished
    Schedule("resume_started_contributions", EVERY_MINUTE, contribution_start.resume_started),
    Schedule("resume_quarantine_responses", EVERY_MINUTE, quarantine_response.resume),
    Schedule("enforce_emergency_stops", EVERY_5_MINUTES, stop_enforcement.enforce),
    Schedule("resume_cancellations", EVERY_5_MINUTES, cancellations.resume),
    Schedule("enqueue_pauses", "*/10 * * * *", second_subscriptions.enqueue_pauses),
    Schedule("resume_refunds", EVERY_MINUTE, refund_requests.resume_requested),
    Schedule("expire_refund_proposals", "23 * * * *", refund_proposals.expire),
    # With a lock, one that died with its worker would keep every later one from requeueing it.
    Schedule("requeue_abandoned", EVERY_MINUTE, requeue_abandoned, exclusive=False),
    Schedule("retry_exhausted", "47 * * * *", retry_exhausted),
    # What Stripe did
    Schedule("resume_after_outage", EVERY_MINUTE, stripe_health.resume_if_well),
    Schedule("import_balance", EVERY_5_MINUTES, daily_totals.import_and_refresh),
    Schedule("sync_undelivered", "*/15 * * * *", sweeps.sync_undelivered),
    Schedule("sync_overdue", "*/10 * * * *", sweeps.sync_overdue),
    Schedule("sync_new", "*/30 * * * *", sweeps.sync_new),
    # Mails
    Schedule("send_reminders", EVERY_MINUTE, send_reminders),
    Schedule("deliver_newsletter_signups", EVERY_MINUTE, deliver_newsletter_signups),
    Schedule("notify_payments", EVERY_MINUTE, notify_payments),
    Schedule("resend_pending_mails", "41 * * * *", outbox_sender.resend_pending),
    Schedule(
        "notify_renewals_and_expiring_cards", "11 * * * *", notify_renewals_and_expiring_cards
    ),
    # What other programs of the newsroom learn
    Schedule("deliver_events", EVERY_MINUTE, delivery.enqueue_due),
    Schedule(report_mail.SCHEDULE, "21 * * * *", report_mail.send_due),
    # What a person should look at
    Schedule("check_card_testing", EVERY_5_MINUTES, card_testing.scheduled_check),
    Schedule("check_integrity", "7 * * * *", check_integrity),
    Schedule("check_integrity_full", "53 3 * * *", check_integrity_full),
    Schedule("check_webhook_arrival", "*/15 * * * *", arrival.refresh_alert),
    Schedule("check_import", EVERY_5_MINUTES, importer.refresh_stall_alert),
    Schedule("check_webhook_endpoint", "19 * * * *", endpoint.refresh_alert),
    Schedule("check_statement_descriptor", "17 * * * *", check_statement_descriptor),
    Schedule("refresh_dispute_alerts", "29 * * * *", disputes.refresh_alerts),
    # What readers read of a campaign's goal
    Schedule("count_campaigns", "13 2 * * *", campaign_totals.count_all),
    # What has outlived its retention
    Schedule("purge_requests", "*/10 * * * *", purge_requests),
    Schedule("purge_newsletter_signups", "37 * * * *", newsletter_delivery.purge),
    Schedule("purge_reminders", "33 * * * *", purge_reminders),
    Schedule("purge_expired", "23 3 * * *", purge_expired),
)
