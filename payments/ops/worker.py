"""The clock's door: one task that syncs an object, and the schedules. Each is a few lines that
call a verb.

Schedules may run late, twice or not at all: every verb here gives the same end whichever happens.
A schedule that was missed while the worker was down runs when it comes back.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import procrastinate
import structlog
from procrastinate import JobContext
from procrastinate.periodic import PeriodicRegistry
from procrastinate.testing import InMemoryConnector
from psycopg import AsyncConnection, OperationalError
from psycopg_pool import AsyncConnectionPool
from sqlalchemy.engine import make_url
from stripe import InvalidRequestError

from payments.accounting import daily_totals, integrity
from payments.donors import donors, sign_in
from payments.giving import (
    card_testing,
    contributions,
    payment_methods,
    subscription_changes,
    subscription_mail,
    subscriptions,
)
from payments.infra import alerts, db, job_queue
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.mail import outbox
from payments.risk import quarantine, rate_limit, statement_descriptor
from payments.safety import descriptor_review, quarantine_response, retention, support_cases
from payments.settlement import disputes, refunds
from payments.signups import newsletter, newsletter_delivery, reminder_sender, reminders
from payments.staff import accounts
from webhooks import SYNC_HANDLERS as STRIPES
from webhooks import sweeps

log = structlog.get_logger("payments.ops.worker")
MAX_SCHEDULE_DELAY_SECONDS = (
    365 * 24 * 3600
)  # seconds: a schedule missed for however long still runs once
queue_app = procrastinate.App(
    connector=InMemoryConnector(),  # replaced by `opened`
    periodic_defaults={"max_delay": MAX_SCHEDULE_DELAY_SECONDS},
)
CONCURRENCY = 8
RESTART_DELAY_SECONDS = 2.0
JOB_HANDLERS = {
    **STRIPES,
    outbox.MAIL_JOB: subscription_mail.send,
    reminders.REMINDER_JOB: reminder_sender.send,
    reminders.CONFIRMATIONS_JOB[0]: reminder_sender.send_confirmations,
    newsletter.CONFIRMATIONS_JOB[0]: newsletter.send_confirmations,
    newsletter.DELIVERY_JOB: newsletter_delivery.deliver,
    subscriptions.CANCEL_JOB: subscription_changes.perform_cancellation,
    quarantine.QUARANTINE_JOB: quarantine_response.process,
}


def _context(job_context: JobContext) -> Context:
    ctx = job_context.additional_context["ctx"]
    assert isinstance(ctx, Context)
    return ctx


@queue_app.task(name=job_queue.SYNC_TASK, queue=job_queue.SYNC_QUEUE, pass_context=True)
async def run_job(context: JobContext, object_type: str, object_id: str, attempt: int) -> None:
    """Bring what we know of one of Stripe's objects up to date, or send one mail."""
    ctx = _context(context)
    try:
        await JOB_HANDLERS[object_type](ctx, object_id)
    except (Exception, asyncio.CancelledError) as error:  # cancelled: this worker has to stop
        if isinstance(error, InvalidRequestError) and error.code == "resource_missing":
            log.warning("object_is_gone", object_type=object_type)
            return
        async with ctx.sessions.begin() as session:
            left = await job_queue.retry_later(session, object_type, object_id, attempt=attempt)
            if not left:
                await alerts.raise_alert(
                    session, AlertKind.RETRIES_EXHAUSTED, object_id=object_id, now=ctx.now()
                )
        log.warning("sync_failed", object_type=object_type, attempt=attempt, exc_info=True)
        if not left or isinstance(error, asyncio.CancelledError):
            raise


ScheduledTask = Callable[[Context], Awaitable[object]]


def _cron(cron: str, name: str, *, lock: bool = True) -> Callable[[ScheduledTask], ScheduledTask]:
    """Run a verb on a schedule, one at a time however many workers there are."""

    def register(verb: ScheduledTask) -> ScheduledTask:
        async def scheduled(context: JobContext, timestamp: int) -> None:  # noqa: ARG001
            await verb(_context(context))

        task = queue_app.task(
            name=name,
            queue="schedule",
            lock=name if lock else None,
            queueing_lock=name,
            pass_context=True,
        )(scheduled)
        queue_app.periodic(cron=cron)(task)
        return verb

    return register


@_cron("* * * * *", "take_up_started")
async def _resume_started_contributions(ctx: Context) -> None:
    await contributions.resume_started(ctx)


@_cron("* * * * *", "take_up_quarantined")
async def _resume_quarantine_responses(ctx: Context) -> None:
    await quarantine_response.resume(ctx)


@_cron("*/5 * * * *", "take_up_stops")
async def _resume_cancellations(ctx: Context) -> None:
    await subscription_changes.resume_cancellations(ctx)


# Without a lock: one that died with its worker would keep all later ones from giving it back.
@_cron("* * * * *", "give_back_stalled", lock=False)
async def requeue_abandoned(ctx: Context) -> None:
    """Ring anew for what dead workers left, and call a person for what has killed too many."""
    async with ctx.sessions.begin() as session:
        for object_id in await job_queue.requeue_abandoned(session):
            await alerts.raise_alert(
                session, AlertKind.RETRIES_EXHAUSTED, object_id=object_id, now=ctx.now()
            )


@_cron("*/5 * * * *", "import_balance")
async def _import_balance(ctx: Context) -> None:
    await daily_totals.import_and_refresh(ctx)


@_cron("*/15 * * * *", "sweep_undelivered")
async def _sync_undelivered(ctx: Context) -> None:
    await sweeps.sync_undelivered(ctx)


@_cron("*/10 * * * *", "sweep_overdue")
async def _sync_overdue(ctx: Context) -> None:
    await sweeps.sync_overdue(ctx)


@_cron("*/30 * * * *", "sweep_changed")
async def _sync_new(ctx: Context) -> None:
    await sweeps.sync_new(ctx)


@_cron("19 * * * *", "watch_endpoint")
async def _check_webhook_endpoint(ctx: Context) -> None:
    await sweeps.refresh_endpoint_alert(ctx)


@_cron("29 * * * *", "watch_disputes")
async def _refresh_dispute_alerts(ctx: Context) -> None:
    await disputes.refresh_alerts(ctx)


@_cron("* * * * *", "take_up_refunds")
async def _resume_refunds(ctx: Context) -> None:
    await refunds.resume_requested(ctx)


@_cron("7 * * * *", "check_books")
async def _check_integrity(ctx: Context) -> None:
    await integrity.run_and_alert(ctx, full=False)


@_cron("53 3 * * *", "check_books_whole")
async def _check_integrity_full(ctx: Context) -> None:
    await integrity.run_and_alert(ctx, replay=True)


@_cron("11 * * * *", "tell_of_renewals")
async def _notify_renewals_and_expiring_cards(ctx: Context) -> None:
    await payment_methods.notify_upcoming_renewals(ctx)
    await payment_methods.notify_expiring_cards(ctx)


@_cron("*/5 * * * *", "watch_for_card_testing")
async def _check_card_testing(ctx: Context) -> None:
    await card_testing.scheduled_check(ctx)


@_cron("* * * * *", "remind")
async def _send_reminders(ctx: Context) -> None:
    await reminder_sender.enqueue_due(ctx)
    await reminder_sender.send_confirmations(ctx)


@_cron("* * * * *", "hand_over")
async def _deliver_newsletter_signups(ctx: Context) -> None:
    await newsletter.send_confirmations(ctx)
    await newsletter_delivery.enqueue_due(ctx)


@_cron("37 * * * *", "shred_signups")
async def _purge_newsletter_signups(ctx: Context) -> None:
    await newsletter_delivery.purge(ctx)


@_cron("33 * * * *", "shred_reminders")
async def _purge_reminders(ctx: Context) -> None:
    await reminder_sender.purge(ctx, file_time=time.time())


@_cron("41 * * * *", "take_up_waiting_mails")
async def _resend_waiting_mails(ctx: Context) -> None:
    await subscription_mail.resend_waiting(ctx)


@_cron("23 3 * * *", "tidy")
async def _purge_expired(ctx: Context) -> None:
    async with ctx.sessions.begin() as session:
        await contributions.purge_idempotency_keys(session, ctx.now())
        await rate_limit.purge_expired(session, ctx.now())
        await accounts.purge_expired(session, ctx.now())
        await support_cases.purge_expired(session, ctx.now())
        await donors.purge_erasures(session, ctx.now())
        await sign_in.purge_expired(session, ctx.now())
        await outbox.purge(session, ctx.now())
        await job_queue.prune(session)
    await retention.purge_expired(ctx)


@_cron("17 * * * *", "watch_statement")
async def _check_statement_descriptor(ctx: Context) -> None:
    await statement_descriptor.scheduled_check(ctx)
    await descriptor_review.alert_if_due(ctx)


def _connection_pool(**options: Any) -> AsyncConnectionPool:  # noqa: ANN401 - the engine's options, unseen
    """The engine's connections: when one is found dead, all that are at rest are replaced.

    The pool by itself finds them out one by one and waits twice as long after each: after a restart
    of the database, a worker that had been busy took up nothing for half a minute.
    """

    async def lives(connection: AsyncConnection) -> None:
        try:
            await AsyncConnectionPool.check_connection(connection)
        except OperationalError:
            await pool.drain()
            raise

    pool = AsyncConnectionPool(**options | {"check": lives})
    return pool


def _connector(ctx: Context) -> procrastinate.PsycopgConnector:
    url = make_url(ctx.settings.database_url.get_secret_value()).set(drivername="postgresql")
    return procrastinate.PsycopgConnector(
        conninfo=url.render_as_string(hide_password=False),
        kwargs={"options": f"-c role={db.APP_ROLE} -c timezone=UTC"},
        min_size=1,
        max_size=CONCURRENCY + 2,
        pool_factory=_connection_pool,
    )


@asynccontextmanager
async def open_engine(ctx: Context) -> AsyncIterator[procrastinate.App]:
    """The engine, connected to this runtime's database."""
    with queue_app.replace_connector(_connector(ctx)) as connected:
        async with connected.open_async():
            yield connected


async def run_due_jobs(ctx: Context, *, concurrency: int = CONCURRENCY) -> None:
    """Do every job that is due now, and stop. The schedules do not run."""
    async with open_engine(ctx) as connected:
        schedules = connected.periodic_registry
        connected.periodic_registry = PeriodicRegistry()  # type: ignore[no-untyped-call]  # theirs
        try:
            await connected.run_worker_async(
                queues=[job_queue.SYNC_QUEUE],
                wait=False,
                concurrency=concurrency,
                listen_notify=False,
                install_signal_handlers=False,
                delete_jobs="successful",
                additional_context={"ctx": ctx},
            )
        finally:
            connected.periodic_registry = schedules


async def run_until_stopped(
    ctx: Context, *, stop: asyncio.Event, concurrency: int = CONCURRENCY
) -> None:
    """Work until `stop` is set, then finish the jobs in hand.

    The engine's worker returns, without an error, when it loses its database: it is started again.
    """
    while not stop.is_set():
        running = asyncio.create_task(_run_worker(ctx, concurrency))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            log.warning("worker_lost_its_database", exc_info=running.exception())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RESTART_DELAY_SECONDS)
        running.cancel()
        stopping.cancel()
        await asyncio.gather(running, stopping, return_exceptions=True)


async def _run_worker(ctx: Context, concurrency: int) -> None:
    async with open_engine(ctx) as connected:
        await connected.run_worker_async(
            concurrency=concurrency,
            fetch_job_polling_interval=1.0,
            delete_jobs="successful",
            shutdown_graceful_timeout=20,
            install_signal_handlers=False,
            additional_context={"ctx": ctx},
        )
