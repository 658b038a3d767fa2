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
from payments.infra.alerts import AlarmKind
from payments.infra.context import Runtime
from payments.mail import outbox
from payments.risk import quarantine, rate_limit, statement_descriptor
from payments.safety import descriptor_review, quarantine_response, retention, support_cases
from payments.settlement import disputes, refunds
from payments.signups import newsletter, newsletter_delivery, reminder_sender, reminders
from payments.staff import accounts
from webhooks import VERBS as STRIPES
from webhooks import sweeps

log = structlog.get_logger("payments.ops.worker")
MISSED = 365 * 24 * 3600  # seconds: a schedule missed for however long still runs once
app = procrastinate.App(
    connector=InMemoryConnector(),  # replaced by `opened`
    periodic_defaults={"max_delay": MISSED},
)
CONCURRENCY = 8
RESTART_AFTER = 2.0
VERBS = {
    **STRIPES,
    outbox.JOB: subscription_mail.send,
    reminders.ONE: reminder_sender.send,
    reminders.INVITING[0]: reminder_sender.invite,
    newsletter.INVITING[0]: newsletter.invite,
    newsletter.ONE: newsletter_delivery.hand_over,
    subscriptions.STOP: subscription_changes.carry_out_stop,
    quarantine.JOB: quarantine_response.carry_out,
}


def _runtime(context: JobContext) -> Runtime:
    rt = context.additional_context["rt"]
    assert isinstance(rt, Runtime)
    return rt


@app.task(name=job_queue.TASK, queue=job_queue.QUEUE, pass_context=True)
async def sync(context: JobContext, object_type: str, object_id: str, attempt: int) -> None:
    """Bring what we know of one of Stripe's objects up to date, or send one mail."""
    rt = _runtime(context)
    try:
        await VERBS[object_type](rt, object_id)
    except (Exception, asyncio.CancelledError) as error:  # cancelled: this worker has to stop
        if isinstance(error, InvalidRequestError) and error.code == "resource_missing":
            log.warning("object_is_gone", object_type=object_type)
            return
        async with rt.sessions.begin() as session:
            left = await job_queue.again(session, object_type, object_id, attempt=attempt)
            if not left:
                await alerts.sound(session, AlarmKind.STUCK, subject=object_id, now=rt.now())
        log.warning("sync_failed", object_type=object_type, attempt=attempt, exc_info=True)
        if not left or isinstance(error, asyncio.CancelledError):
            raise


Verb = Callable[[Runtime], Awaitable[object]]


def _every(cron: str, name: str, *, lock: bool = True) -> Callable[[Verb], Verb]:
    """Run a verb on a schedule, one at a time however many workers there are."""

    def register(verb: Verb) -> Verb:
        async def scheduled(context: JobContext, timestamp: int) -> None:  # noqa: ARG001
            await verb(_runtime(context))

        task = app.task(
            name=name,
            queue="schedule",
            lock=name if lock else None,
            queueing_lock=name,
            pass_context=True,
        )(scheduled)
        app.periodic(cron=cron)(task)
        return verb

    return register


@_every("* * * * *", "take_up_started")
async def _take_up_started(rt: Runtime) -> None:
    await contributions.take_up_started(rt)


@_every("* * * * *", "take_up_quarantined")
async def _take_up_quarantined(rt: Runtime) -> None:
    await quarantine_response.take_up(rt)


@_every("*/5 * * * *", "take_up_stops")
async def _take_up_stops(rt: Runtime) -> None:
    await subscription_changes.take_up_stops(rt)


# Without a lock: one that died with its worker would keep all later ones from giving it back.
@_every("* * * * *", "give_back_stalled", lock=False)
async def give_back_stalled(rt: Runtime) -> None:
    """Ring anew for what dead workers left, and call a person for what has killed too many."""
    async with rt.sessions.begin() as session:
        for object_id in await job_queue.give_back_stalled(session):
            await alerts.sound(session, AlarmKind.STUCK, subject=object_id, now=rt.now())


@_every("*/5 * * * *", "import_balance")
async def _import_balance(rt: Runtime) -> None:
    await daily_totals.import_and_refresh(rt)


@_every("*/15 * * * *", "sweep_undelivered")
async def _sweep_undelivered(rt: Runtime) -> None:
    await sweeps.undelivered(rt)


@_every("*/10 * * * *", "sweep_overdue")
async def _sweep_overdue(rt: Runtime) -> None:
    await sweeps.overdue(rt)


@_every("*/30 * * * *", "sweep_changed")
async def _sweep_changed(rt: Runtime) -> None:
    await sweeps.changed(rt)


@_every("19 * * * *", "watch_endpoint")
async def _watch_endpoint(rt: Runtime) -> None:
    await sweeps.watch_endpoint(rt)


@_every("29 * * * *", "watch_disputes")
async def _watch_disputes(rt: Runtime) -> None:
    await disputes.watch(rt)


@_every("* * * * *", "take_up_refunds")
async def _take_up_refunds(rt: Runtime) -> None:
    await refunds.take_up_asked(rt)


@_every("7 * * * *", "check_books")
async def _check_books(rt: Runtime) -> None:
    await integrity.check_and_alarm(rt, whole=False)


@_every("53 3 * * *", "check_books_whole")
async def _check_books_whole(rt: Runtime) -> None:
    await integrity.check_and_alarm(rt, rebuild=True)


@_every("11 * * * *", "tell_of_renewals")
async def _tell_of_renewals(rt: Runtime) -> None:
    await payment_methods.tell_of_renewals(rt)
    await payment_methods.tell_of_expiring_cards(rt)


@_every("*/5 * * * *", "watch_for_card_testing")
async def _watch_for_card_testing(rt: Runtime) -> None:
    await card_testing.keep_watch(rt)


@_every("* * * * *", "remind")
async def _remind(rt: Runtime) -> None:
    await reminder_sender.ring_due(rt)
    await reminder_sender.invite(rt)


@_every("* * * * *", "hand_over")
async def _hand_over(rt: Runtime) -> None:
    await newsletter.invite(rt)
    await newsletter_delivery.ring_due(rt)


@_every("37 * * * *", "shred_signups")
async def _shred_signups(rt: Runtime) -> None:
    await newsletter_delivery.tidy(rt)


@_every("33 * * * *", "shred_reminders")
async def _shred_reminders(rt: Runtime) -> None:
    await reminder_sender.tidy(rt, file_time=time.time())


@_every("41 * * * *", "take_up_waiting_mails")
async def _take_up_waiting_mails(rt: Runtime) -> None:
    await subscription_mail.take_up_waiting(rt)


@_every("23 3 * * *", "tidy")
async def _tidy(rt: Runtime) -> None:
    async with rt.sessions.begin() as session:
        await contributions.forget_request_keys(session, rt.now())
        await rate_limit.forget_expired(session, rt.now())
        await accounts.forget_expired(session, rt.now())
        await support_cases.forget_expired(session, rt.now())
        await donors.forget_expired(session, rt.now())
        await sign_in.forget_expired(session, rt.now())
        await outbox.forget_old(session, rt.now())
        await job_queue.prune(session)
    await retention.carry_out(rt)


@_every("17 * * * *", "watch_statement")
async def _watch_statement(rt: Runtime) -> None:
    await statement_descriptor.watch(rt)
    await descriptor_review.watch(rt)


def _pool(**options: Any) -> AsyncConnectionPool:  # noqa: ANN401 - the engine's options, unseen
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


def _connector(rt: Runtime) -> procrastinate.PsycopgConnector:
    url = make_url(rt.settings.database_url.get_secret_value()).set(drivername="postgresql")
    return procrastinate.PsycopgConnector(
        conninfo=url.render_as_string(hide_password=False),
        kwargs={"options": f"-c role={db.APP_ROLE} -c timezone=UTC"},
        min_size=1,
        max_size=CONCURRENCY + 2,
        pool_factory=_pool,
    )


@asynccontextmanager
async def opened(rt: Runtime) -> AsyncIterator[procrastinate.App]:
    """The engine, connected to this runtime's database."""
    with app.replace_connector(_connector(rt)) as connected:
        async with connected.open_async():
            yield connected


async def drain(rt: Runtime, *, concurrency: int = CONCURRENCY) -> None:
    """Do every job that is due now, and stop. The schedules do not run."""
    async with opened(rt) as connected:
        schedules = connected.periodic_registry
        connected.periodic_registry = PeriodicRegistry()  # type: ignore[no-untyped-call]  # theirs
        try:
            await connected.run_worker_async(
                queues=[job_queue.QUEUE],
                wait=False,
                concurrency=concurrency,
                listen_notify=False,
                install_signal_handlers=False,
                delete_jobs="successful",
                additional_context={"rt": rt},
            )
        finally:
            connected.periodic_registry = schedules


async def work(rt: Runtime, *, stop: asyncio.Event, concurrency: int = CONCURRENCY) -> None:
    """Work until `stop` is set, then finish the jobs in hand.

    The engine's worker returns, without an error, when it loses its database: it is started again.
    """
    while not stop.is_set():
        running = asyncio.create_task(_run(rt, concurrency))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            log.warning("worker_lost_its_database", exc_info=running.exception())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RESTART_AFTER)
        running.cancel()
        stopping.cancel()
        await asyncio.gather(running, stopping, return_exceptions=True)


async def _run(rt: Runtime, concurrency: int) -> None:
    async with opened(rt) as connected:
        await connected.run_worker_async(
            concurrency=concurrency,
            fetch_job_polling_interval=1.0,
            delete_jobs="successful",
            shutdown_graceful_timeout=20,
            install_signal_handlers=False,
            additional_context={"rt": rt},
        )
