"""Newsletter delivery: a confirmed address goes to the newsroom's mailing system and is erased.

It is sent as a signed webhook (https://www.standardwebhooks.com) or, where no URL for one is set,
appended as a line to a file that only its owner may read. An answer of 2xx erases the address and
destroys its key. Delivery is at least once: if this process dies between the answer and its own
commit, the same message is sent again under the same `webhook-id`, so a receiver should remember
ids for a month.

What is not accepted is retried for three days, with backoff. Then an alert is raised, and the
address waits for `payments newsletter retry` until it is thirty days old, when it is erased and
counted as undelivered.
"""

import asyncio
import fcntl
import os
import time
from datetime import datetime, timedelta
from enum import Enum

import aiohttp
import msgspec
import structlog
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from standardwebhooks import Webhook

from payments.core.calendar import THIRTEEN_MONTHS
from payments.core.settings import Settings
from payments.infra import alerts, job_queue
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.signups import address_vault, newsletter, signup
from payments.signups.newsletter import ACTIVE_STATES, DELIVERY_JOB, NewsletterSignup, SignupState
from payments.signups.signup import CONFIRMATION_LIFETIME
from payments.signups.suppression import SuppressionReason

log = structlog.get_logger("payments.signups.newsletter_delivery")
EVENT_TYPE = "newsletter.confirmed"
WEBHOOK_TIMEOUT = aiohttp.ClientTimeout(total=20, connect=10)
HTTP_GONE = 410  # the mailing system does not want this address, now or ever
FIRST_RETRY_DELAY, MAX_RETRY_DELAY = timedelta(minutes=1), timedelta(hours=4)
RETRY_WINDOW = timedelta(days=3)
UNDELIVERED_ADDRESS_LIFETIME = timedelta(days=30)  # from its confirmation
CLOSED_SIGNUP_RETENTION = timedelta(days=30)  # its link still says that it was confirmed
UNDELIVERED_RETENTION = THIRTEEN_MONTHS  # of the row that counts one
ALERT_OBJECT_ID = "newsletter"  # there is one alert for all
BATCH_SIZE = 500
PURGE = "purge_newsletter_signups"  # the schedule


class DeliveryResult(Enum):
    """What became of one attempt."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"  # for good
    RETRY = "retry"


# --- one address ----------------------------------------------------------------------------------


async def enqueue_due(ctx: Context) -> int:
    """Enqueue a job for every confirmed sign-up whose next attempt is due. Returns how many."""
    query = (
        select(NewsletterSignup.id)
        .where(
            NewsletterSignup.state == SignupState.CONFIRMED,
            NewsletterSignup.next_attempt_at <= ctx.now(),
        )
        .order_by(NewsletterSignup.next_attempt_at, NewsletterSignup.id)
        .limit(BATCH_SIZE)
    )
    async with ctx.sessions.begin() as session:
        due = list(await session.scalars(query))
        for row_id in due:
            await job_queue.enqueue_sync(session, DELIVERY_JOB, row_id)
    return len(due)


async def deliver(ctx: Context, row_id: str) -> None:
    """Deliver one address, if its next attempt is due, and record the result."""
    async with ctx.sessions() as session:
        row = await session.get(NewsletterSignup, row_id)
    if row is None or row.state is not SignupState.CONFIRMED or row.next_attempt_at is None:
        return
    if row.next_attempt_at > ctx.now():
        return
    try:
        address = newsletter.decrypt_address(ctx.settings, row)
    except address_vault.KeyUnreadable:
        async with ctx.sessions.begin() as session:
            await signup.note_key_store(session, is_readable=False, now=ctx.now())
        await _schedule_retry(ctx, row_id)
        return
    async with ctx.sessions.begin() as session:
        await signup.note_key_store(session, is_readable=True, now=ctx.now())
    if address is None:
        await _close(ctx, row_id, SignupState.UNDELIVERED)
        return
    match await _send(ctx.settings, row, address, now=ctx.now()):
        case DeliveryResult.ACCEPTED:
            await _close(ctx, row_id, SignupState.DELIVERED)
        case DeliveryResult.REJECTED:
            hashes = await newsletter.address_hashes(ctx.settings, address)
            async with ctx.sessions.begin() as session:
                await newsletter.suppress_address(
                    session, ctx.settings, hashes, SuppressionReason.UNSUBSCRIBED, now=ctx.now()
                )
        case DeliveryResult.RETRY:
            await _schedule_retry(ctx, row_id)


async def _close(ctx: Context, row_id: str, state: SignupState) -> None:
    """Close a sign-up and destroy its key.

    In this order: a crash in between leaves an orphaned key, which is destroyed later, and never an
    address that was not delivered and cannot be.
    """
    async with ctx.sessions.begin() as session:
        row = await session.get(NewsletterSignup, row_id, with_for_update=True)
        if row is not None and row.state is SignupState.CONFIRMED:
            newsletter.close(row, state, now=ctx.now())
            await session.flush()
            await _update_alert(session, now=ctx.now())
    address_vault.destroy_key(newsletter.key_settings(ctx.settings), row_id)


async def _schedule_retry(ctx: Context, row_id: str) -> None:
    async with ctx.sessions.begin() as session:
        row = await session.get(NewsletterSignup, row_id, with_for_update=True)
        if row is None or row.state is not SignupState.CONFIRMED or row.delivery_started_at is None:
            return
        row.attempts += 1
        log.warning("newsletter_delivery_failed", attempt=row.attempts)
        if ctx.now() - row.delivery_started_at < RETRY_WINDOW:
            row.next_attempt_at = ctx.now() + job_queue.backoff(
                row.attempts, first=FIRST_RETRY_DELAY, longest=MAX_RETRY_DELAY
            )
            return
        row.state, row.next_attempt_at = SignupState.STUCK, None
        await session.flush()
        await _update_alert(session, now=ctx.now())


async def _update_alert(session: AsyncSession, *, now: datetime) -> None:
    """Have the alert open while a sign-up is stuck, and closed otherwise."""
    stuck = await session.scalar(
        select(NewsletterSignup.id).where(NewsletterSignup.state == SignupState.STUCK).limit(1)
    )
    update = alerts.close if stuck is None else alerts.raise_alert
    await update(session, AlertKind.NEWSLETTER_DELIVERY_FAILED, object_id=ALERT_OBJECT_ID, now=now)


# --- the two ways out -----------------------------------------------------------------------------


async def _send(
    settings: Settings, row: NewsletterSignup, address: str, *, now: datetime
) -> DeliveryResult:
    if settings.newsletter_webhook_url:
        return await _post_webhook(settings, row, address, now=now)
    if settings.newsletter_file:
        line = msgspec.json.encode({"id": message_id(row), **_payload(row, address)}) + b"\n"
        try:
            await asyncio.to_thread(_append_line, settings.newsletter_file, line)
        except OSError:
            log.warning("newsletter_file_not_written", exc_info=True)
            return DeliveryResult.RETRY
        return DeliveryResult.ACCEPTED
    return DeliveryResult.RETRY


def message_id(row: NewsletterSignup) -> str:
    """Return the id of a sign-up's message, the same at each attempt."""
    return f"msg_{row.id}"


def _payload(row: NewsletterSignup, address: str) -> dict[str, object]:
    """Return the message, the same at each attempt. Its keys are a contract with the receiver."""
    assert row.confirmed_at is not None
    return {
        "type": EVENT_TYPE,
        "timestamp": row.confirmed_at,
        "data": {
            "address": address,
            "language": row.language,
            "privacy_version": row.privacy_version,
            "agreed_at": row.consented_at,
            "confirmed_at": row.confirmed_at,
        },
    }


async def _post_webhook(
    settings: Settings, row: NewsletterSignup, address: str, *, now: datetime
) -> DeliveryResult:
    """Post the message, signed. A redirect is not followed: it could lead anywhere."""
    assert settings.newsletter_webhook_secret is not None
    body = msgspec.json.encode(_payload(row, address)).decode()
    signer = Webhook(settings.newsletter_webhook_secret.get_secret_value())
    headers = {
        "content-type": "application/json",
        "user-agent": "reader-payments",
        "webhook-id": message_id(row),
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signer.sign(message_id(row), now, body),
    }
    try:
        async with (
            aiohttp.ClientSession(
                timeout=WEBHOOK_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()
            ) as http,
            http.post(
                settings.newsletter_webhook_url,
                data=body.encode(),
                headers=headers,
                allow_redirects=False,
            ) as response,
        ):
            status = response.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        log.warning("newsletter_webhook_unreachable", exc_info=True)
        return DeliveryResult.RETRY
    if 200 <= status < 300:
        return DeliveryResult.ACCEPTED
    log.warning("newsletter_webhook_rejected", outcome=status)
    return DeliveryResult.REJECTED if status == HTTP_GONE else DeliveryResult.RETRY


def _append_line(path: str, line: bytes) -> None:
    """Append a line, on the disk when this returns, or leave the file as it was. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o600), "ab", buffering=0) as file:  # noqa: PTH123 - of a descriptor
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another process has it: OSError
        os.fchmod(file.fileno(), 0o600)
        size = os.fstat(file.fileno()).st_size
        try:
            if file.write(line) != len(line):
                raise OSError
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), size)
            raise


# --- what was not accepted, and retention ---------------------------------------------------------


async def retry_stuck(ctx: Context, *, dry_run: bool = False) -> int:
    """Start the delivery of stuck sign-ups anew, unless `dry_run`. Returns how many are stuck."""
    async with ctx.sessions.begin() as session:
        query = (
            select(NewsletterSignup)
            .where(NewsletterSignup.state == SignupState.STUCK)
            .order_by(NewsletterSignup.id)
        )
        stuck = list(await session.scalars(query.with_for_update(skip_locked=True)))
        for row in () if dry_run else stuck:
            row.state, row.attempts = SignupState.CONFIRMED, 0
            row.delivery_started_at = row.next_attempt_at = ctx.now()
            await job_queue.enqueue_sync(session, DELIVERY_JOB, row.id)
        await session.flush()
        await _update_alert(session, now=ctx.now())
    return len(stuck)


async def state_counts(ctx: Context) -> dict[str, int]:
    """Return how many sign-ups are in each state. Closed ones count until their row is deleted."""
    query = select(NewsletterSignup.state, func.count()).group_by(NewsletterSignup.state)
    async with ctx.sessions() as session:
        counts = dict((await session.execute(query)).all())
    return {state.value: counts.get(state, 0) for state in SignupState}


async def purge(ctx: Context, *, file_time: float | None = None) -> None:
    """Erase addresses not confirmed or not delivered in time, and delete old closed sign-ups.

    `file_time` is now, as a Unix time by the clock of the key directory's file system.
    """
    now, key_settings = ctx.now(), newsletter.key_settings(ctx.settings)
    unconfirmed = (NewsletterSignup.state == SignupState.UNCONFIRMED) & (
        NewsletterSignup.signed_up_at < now - CONFIRMATION_LIFETIME
    )
    undelivered = NewsletterSignup.state.in_((SignupState.CONFIRMED, SignupState.STUCK)) & (
        NewsletterSignup.confirmed_at < now - UNDELIVERED_ADDRESS_LIFETIME
    )
    query = select(NewsletterSignup).where(unconfirmed | undelivered)
    query = query.order_by(NewsletterSignup.id).limit(5000)
    async with ctx.sessions.begin() as session:
        over = list(await session.scalars(query.with_for_update(skip_locked=True)))
        ids = [row.id for row in over]
        destroyed = await signup.destroy_keys(session, key_settings, ids, schedule=PURGE, now=now)
        for row in over:
            if row.id not in destroyed:
                continue
            if row.state is SignupState.UNCONFIRMED:
                await session.delete(row)
            else:
                newsletter.close(row, SignupState.UNDELIVERED, now=now)
        await session.execute(delete(NewsletterSignup).where(_is_past_retention(now)))
        await _update_alert(session, now=now)
    await signup.destroy_orphaned_keys(
        ctx,
        NewsletterSignup,
        key_settings,
        file_time=time.time() if file_time is None else file_time,
        schedule=PURGE,
    )
    address_vault.rewrap_keys(key_settings)


def _is_past_retention(now: datetime) -> ColumnElement[bool]:
    is_counted = (NewsletterSignup.state == SignupState.UNDELIVERED) & (
        NewsletterSignup.ended_at >= now - UNDELIVERED_RETENTION
    )
    return (
        NewsletterSignup.state.not_in(ACTIVE_STATES)
        & (NewsletterSignup.ended_at < now - CLOSED_SIGNUP_RETENTION)
        & ~is_counted
    )
