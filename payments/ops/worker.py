"""The worker: runs the jobs of the queue and the schedules, until it is stopped.

A job names a type and an id, and `JOB_HANDLERS` says what handles that type. A job that fails is
enqueued again, later each time, and raises an alert when no attempt is left.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import procrastinate
import structlog
from procrastinate import JobContext
from procrastinate.periodic import PeriodicRegistry
from procrastinate.testing import InMemoryConnector
from psycopg import AsyncConnection, OperationalError
from psycopg_pool import AsyncConnectionPool
from stripe import InvalidRequestError

from payments.accounting import daily_totals
from payments.core.errors import StripeUnavailable
from payments.giving import (
    cancellations,
    debts,
    outbox_sender,
    second_subscriptions,
    subscriptions,
)
from payments.infra import (
    alerts,
    connections,
    job_queue,
    service_role,
    stripe_account,
    stripe_health,
    stripe_objects,
)
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.infra.idle_connections import IdleConnections
from payments.infra.outgoing_events import delivery
from payments.mail import outbox
from payments.ops import missing_objects, schedules
from payments.ops.schedules import SCHEDULES, Schedule
from payments.risk import emergency_stops, quarantine
from payments.safety import quarantine_response, stop_enforcement
from payments.settlement import importer
from payments.signups import newsletter, newsletter_delivery, reminder_sender, reminders
from webhooks.registry import SYNC_HANDLERS

log = structlog.get_logger("payments.ops.worker")
JobHandler = Callable[[Context, str], Awaitable[object]]  # the second is the object's id

CONCURRENCY = 8
SESSION_SETTINGS = {"timezone": "UTC", "role": service_role.APP_ROLE}  # of the queue's connections
POLLING_INTERVAL_SECONDS = 1.0
SHUTDOWN_TIMEOUT_SECONDS = 20  # for the jobs in hand
RESTART_DELAY_SECONDS = 2.0
MAX_SCHEDULE_DELAY_SECONDS = 365 * 24 * 3600  # however late, a missed schedule still runs once


async def _import_balance(ctx: Context, _object_id: str) -> None:
    """Import the balance and refresh the totals, after refunds and disputes of any number."""
    await daily_totals.import_and_refresh(ctx)


JOB_HANDLERS: Mapping[str, JobHandler] = {
    **SYNC_HANDLERS,
    importer.IMPORT_JOB: _import_balance,
    outbox.MAIL_JOB: outbox_sender.send,
    reminders.REMINDER_JOB: reminder_sender.send,
    reminders.CONFIRMATIONS_JOB: reminder_sender.send_confirmations,
    newsletter.CONFIRMATIONS_JOB: newsletter.send_confirmations,
    newsletter.DELIVERY_JOB: newsletter_delivery.deliver,
    delivery.DELIVERY_JOB: delivery.deliver,
    subscriptions.CANCEL_JOB: cancellations.perform,
    subscriptions.SECOND_JOB: second_subscriptions.process,
    subscriptions.FORGIVE_JOB: debts.void_paused,
    quarantine.QUARANTINE_JOB: quarantine_response.process,
    emergency_stops.ENFORCE_SUBSCRIPTION_JOB: stop_enforcement.stop_subscription,
    emergency_stops.ENFORCE_PAYMENT_JOB: stop_enforcement.stop_payment,
}
# What does nothing without Stripe. The others may fail for want of it, and then wait as well.
STRIPE_JOBS = frozenset(
    {
        *SYNC_HANDLERS,
        subscriptions.CANCEL_JOB,
        subscriptions.SECOND_JOB,
        subscriptions.FORGIVE_JOB,
        quarantine.QUARANTINE_JOB,
        emergency_stops.ENFORCE_SUBSCRIPTION_JOB,
        emergency_stops.ENFORCE_PAYMENT_JOB,
    }
)
queue_app = procrastinate.App(
    connector=InMemoryConnector(),  # replaced by `open_engine`
    periodic_defaults={"max_delay": MAX_SCHEDULE_DELAY_SECONDS},
)


@queue_app.task(name=job_queue.SYNC_TASK, queue=job_queue.SYNC_QUEUE, pass_context=True)
async def run_job(
    context: JobContext,
    object_type: str,
    object_id: str,
    attempt: int,
    is_postponed: bool = False,  # noqa: ARG001 - for `job_queue.bring_forward`
) -> None:
    """Run the handler of the type. If it fails, enqueue the next attempt or raise an alert.

    While Stripe does not answer anybody, or not us, what needs it waits and spends no attempt.
    """
    ctx = _context(context)
    try:
        async with ctx.sessions() as session:
            is_outage, has_failed = await stripe_health.failures_of_job(
                session, object_type, object_id
            )
        if is_outage and object_type in STRIPE_JOBS:
            await _postpone(ctx, object_type, object_id, attempt)
            return
        if object_type in STRIPE_JOBS:
            await stripe_account.ensure_bound(ctx)
        await _handle(ctx, object_type, object_id)
    except (Exception, asyncio.CancelledError) as error:  # cancelled: this worker has to stop
        if isinstance(error, StripeUnavailable) and await stripe_health.must_wait(ctx, error):
            await _postpone(ctx, object_type, object_id, attempt)
            return
        async with ctx.sessions.begin() as session:
            will_retry = await job_queue.retry_later(
                session, object_type, object_id, attempt=attempt
            )
            if not will_retry:
                await alerts.raise_alert(
                    session,
                    AlertKind.RETRIES_EXHAUSTED,
                    object_id=object_id,
                    job=object_type,
                    now=ctx.now(),
                )
        log.warning("job_failed", object_type=object_type, attempt=attempt, exc_info=True)
        if not will_retry or isinstance(error, asyncio.CancelledError):
            raise
        return
    if has_failed:
        async with ctx.sessions.begin() as session:
            await job_queue.set_failed_aside(session, object_id, object_type=object_type)
            await alerts.close_all(
                session,
                *stripe_health.FAILURES,
                object_ids=[object_id],
                job=object_type,
                now=ctx.now(),
            )


async def _handle(ctx: Context, object_type: str, object_id: str) -> None:
    """Run the handler of the type; what Stripe does not have is done, once that is handled."""
    try:
        await JOB_HANDLERS[object_type](ctx, object_id)
    except InvalidRequestError as error:
        is_missing = stripe_objects.is_missing_error(error)
        if not is_missing or not await missing_objects.handle(ctx, object_type, object_id):
            raise


async def _postpone(ctx: Context, object_type: str, object_id: str, attempt: int) -> None:
    """Enqueue the same attempt for later."""
    log.info("job_postponed", object_type=object_type, attempt=attempt)
    async with ctx.sessions.begin() as session:
        await job_queue.postpone(
            session, object_type, object_id, attempt=attempt, delay=stripe_health.pause()
        )


def _register(schedule: Schedule) -> None:
    async def run_schedule(context: JobContext, timestamp: int) -> None:  # noqa: ARG001 - the engine's
        await schedules.run(_context(context), schedule)

    task = queue_app.task(
        name=schedule.name,
        queue=job_queue.SCHEDULE_QUEUE,
        lock=schedule.name if schedule.exclusive else None,
        queueing_lock=schedule.name,
        pass_context=True,
    )(run_schedule)
    queue_app.periodic(cron=schedule.cron)(task)


for _schedule in SCHEDULES:
    _register(_schedule)


def _context(job_context: JobContext) -> Context:
    ctx = job_context.additional_context["ctx"]
    assert isinstance(ctx, Context)
    return ctx


def _connection_pool(**options: Any) -> AsyncConnectionPool:  # noqa: ANN401 - the engine's options
    """Return the engine's pool of connections. When one is found dead, all idle ones are replaced.

    The pool by itself finds dead ones one by one and waits twice as long after each: after a
    restart of the database, a worker that had been busy started no job for half a minute. Each of
    the engine's statements is a transaction of its own: none needs BEGIN and COMMIT.
    """
    idle = IdleConnections()

    async def configure(connection: AsyncConnection) -> None:
        await connection.set_autocommit(True)
        await connections.set_up(connection, SESSION_SETTINGS)
        idle.returned(connection)

    async def returned(connection: AsyncConnection) -> None:
        idle.returned(connection)

    async def check_alive(connection: AsyncConnection) -> None:
        if not idle.needs_ping(connection):
            return
        try:
            await AsyncConnectionPool.check_connection(connection)
        except OperationalError:
            await pool.drain()
            raise

    pool = AsyncConnectionPool(
        **options | {"configure": configure, "check": check_alive, "reset": returned}
    )
    return pool


def _connector(
    ctx: Context, connection_class: type[AsyncConnection]
) -> procrastinate.PsycopgConnector:
    return procrastinate.PsycopgConnector(
        kwargs=connections.parameters(ctx.settings.database_url.get_secret_value()),
        min_size=1,
        max_size=CONCURRENCY + 2,
        pool_factory=_connection_pool,
        connection_class=connection_class,
    )


@asynccontextmanager
async def open_connector(
    ctx: Context, connection_class: type[AsyncConnection] = AsyncConnection
) -> AsyncIterator[procrastinate.PsycopgConnector]:
    """Yield connections of the queue's engine to the database of the context."""
    connector = _connector(ctx, connection_class)
    await connector.open_async()
    try:
        yield connector
    finally:
        await connector.close_async()


@asynccontextmanager
async def open_engine(ctx: Context) -> AsyncIterator[procrastinate.App]:
    """Yield the queue's engine, connected to the database of the context."""
    async with open_connector(ctx) as connector:
        with queue_app.replace_connector(connector) as connected:
            yield connected


async def run_due_jobs(
    ctx: Context,
    *,
    concurrency: int = CONCURRENCY,
    connector: procrastinate.PsycopgConnector | None = None,
) -> None:
    """Run every job that is due now, and those that they enqueue, and return. The schedules do not
    run.

    Connect for this run only, unless connections are given.
    """
    if connector is None:
        async with open_connector(ctx) as opened:
            await run_due_jobs(ctx, concurrency=concurrency, connector=opened)
        return
    with queue_app.replace_connector(connector) as connected:
        periodic = connected.periodic_registry
        connected.periodic_registry = PeriodicRegistry()  # type: ignore[no-untyped-call]  # theirs
        due_before: list[int] = []
        try:
            while True:
                # The engine stops looking while its last jobs run, which may enqueue others. Those
                # that are the same as before wait for a worker that is not here.
                async with ctx.sessions() as session:
                    due = await job_queue.due_job_ids(session)
                if not due or due == due_before:
                    return
                due_before = due
                await connected.run_worker_async(
                    queues=[job_queue.SYNC_QUEUE, job_queue.SCHEDULE_QUEUE],
                    wait=False,
                    concurrency=concurrency,
                    listen_notify=False,
                    install_signal_handlers=False,
                    delete_jobs="successful",
                    additional_context={"ctx": ctx},
                )
        finally:
            connected.periodic_registry = periodic


async def run_until_stopped(
    ctx: Context, *, stop: asyncio.Event, concurrency: int = CONCURRENCY
) -> None:
    """Run jobs and schedules until `stop` is set, then finish the jobs in hand.

    The engine's worker returns, without an error, when it loses its database: it is started again.
    """
    while not stop.is_set():
        running = asyncio.create_task(_run_worker(ctx, concurrency))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            log.warning("worker_database_lost", exc_info=running.exception())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RESTART_DELAY_SECONDS)
        running.cancel()
        stopping.cancel()
        await asyncio.gather(running, stopping, return_exceptions=True)


async def _run_worker(ctx: Context, concurrency: int) -> None:
    async with open_engine(ctx) as connected:
        await connected.run_worker_async(
            concurrency=concurrency,
            fetch_job_polling_interval=POLLING_INTERVAL_SECONDS,
            delete_jobs="successful",
            shutdown_graceful_timeout=SHUTDOWN_TIMEOUT_SECONDS,
            install_signal_handlers=False,
            additional_context={"ctx": ctx},
        )
