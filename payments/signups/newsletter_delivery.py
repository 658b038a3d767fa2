"""Handing over: a proved address goes once to the newsroom's own mailing system, and is gone here.

It goes out as a signed webhook (Standard Webhooks) or, where no address for one is set, as a line
of a file that only its owner may read. Whatever answers 2xx has it: the row forgets the address
and the key is destroyed. At least once, not exactly once: were we killed after the answer and
before our own note of it, the same message would come again, under the same `webhook-id`. Whoever
receives it keeps the ids of a month.

What is not taken is tried again for three days, later each time. Then a person is called, and the
address stays sealed for `payments newsletter retry`, until it is thirty days old and is shredded
and counted as lost.
"""

import asyncio
import fcntl
import os
import random
import time
from datetime import datetime, timedelta
from enum import Enum

import aiohttp
import msgspec
import structlog
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from standardwebhooks import Webhook

from payments.core.settings import Settings
from payments.infra import alerts, job_queue
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.signups import address_vault, newsletter
from payments.signups.address_vault import SuppressionReason
from payments.signups.newsletter import ACTIVE_STATES, DELIVERY_JOB, NewsletterSignup, SignupState

log = structlog.get_logger("payments.signups.newsletter_delivery")
EVENT_TYPE = "newsletter.confirmed"
WEBHOOK_TIMEOUT = aiohttp.ClientTimeout(total=20, connect=10)
HTTP_GONE = 410  # of a system that does not want this address, now or ever
FIRST_RETRY_DELAY, MAX_RETRY_DELAY = timedelta(minutes=1), timedelta(hours=4)
RETRY_WINDOW = timedelta(days=3)
SIGNUP_RETENTION = timedelta(
    days=30
)  # from its proof; and as long a link still tells that it was confirmed
UNDELIVERED_RETENTION = timedelta(days=395)
ALERT_OBJECT_ID = "newsletter"  # of the alarm: there is one for all
PAGE_SIZE = 500


class DeliveryResult(Enum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    RETRY = "retry"


# --- one address ----------------------------------------------------------------------------------


async def enqueue_due(ctx: Context) -> int:
    """Ring for every proved address whose time has come again. Gives how many."""
    query = (
        select(NewsletterSignup.id)
        .where(
            NewsletterSignup.state == SignupState.CONFIRMED,
            NewsletterSignup.next_attempt_at <= ctx.now(),
        )
        .order_by(NewsletterSignup.next_attempt_at, NewsletterSignup.id)
        .limit(PAGE_SIZE)
    )
    async with ctx.sessions.begin() as session:
        due = list(await session.scalars(query))
        for row_id in due:
            await job_queue.enqueue_sync(session, DELIVERY_JOB, row_id)
    return len(due)


async def deliver(ctx: Context, row_id: str) -> None:
    """Hand one address over, if it is its time, and note what was answered."""
    async with ctx.sessions() as session:
        row = await session.get(NewsletterSignup, row_id)
    if row is None or row.state is not SignupState.CONFIRMED or row.next_attempt_at is None:
        return
    if row.next_attempt_at > ctx.now():
        return
    address = newsletter.decrypt_address(ctx.settings, row)
    if address is None:
        await _close(ctx, row_id, SignupState.UNDELIVERED)
        return
    match await _send(ctx.settings, row, address, now=ctx.now()):
        case DeliveryResult.ACCEPTED:
            await _close(ctx, row_id, SignupState.DELIVERED)
        case DeliveryResult.REJECTED:
            known = newsletter.address_hashes(ctx.settings, address)
            await newsletter.suppress_address(ctx, known, SuppressionReason.UNSUBSCRIBED)
        case DeliveryResult.RETRY:
            await _schedule_retry(ctx, row_id)


async def _close(ctx: Context, row_id: str, state: SignupState) -> None:
    """Nothing of it is kept. The key goes last: a crash in between leaves one that opens nothing
    and is swept away, and never an address that was not handed over and cannot be.
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
        log.warning("address_not_taken", attempt=row.attempts)
        if ctx.now() - row.delivery_started_at < RETRY_WINDOW:
            row.next_attempt_at = ctx.now() + _backoff(row.attempts)
            return
        row.state, row.next_attempt_at = SignupState.STUCK, None
        await session.flush()
        await _update_alert(session, now=ctx.now())


def _backoff(attempts: int) -> timedelta:
    """Doubling, capped, with jitter."""
    longest = min(FIRST_RETRY_DELAY * float(1 << min(attempts - 1, 20)), MAX_RETRY_DELAY)
    return longest * random.uniform(0.5, 1)  # noqa: S311 - spreads load, hides nothing


async def _update_alert(session: AsyncSession, *, now: datetime) -> None:
    """Call a person while anything is stuck, and no longer."""
    stuck = await session.scalar(
        select(NewsletterSignup.id).where(NewsletterSignup.state == SignupState.STUCK).limit(1)
    )
    if stuck is None:
        await alerts.close(
            session, AlertKind.NEWSLETTER_DELIVERY_FAILED, object_id=ALERT_OBJECT_ID, now=now
        )
    else:
        await alerts.raise_alert(
            session, AlertKind.NEWSLETTER_DELIVERY_FAILED, object_id=ALERT_OBJECT_ID, now=now
        )


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
            log.warning("file_not_written", exc_info=True)
            return DeliveryResult.RETRY
        return DeliveryResult.ACCEPTED
    return DeliveryResult.RETRY


def message_id(row: NewsletterSignup) -> str:
    """The same at each attempt, so that whoever has it already knows."""
    return f"msg_{row.id}"


def _payload(row: NewsletterSignup, address: str) -> dict[str, object]:
    """The same at each attempt, to the byte."""
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
    """Post it, signed. A redirect is not followed: an address goes where the operator said."""
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
            ) as answer,
        ):
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        log.warning("webhook_not_delivered", exc_info=True)
        return DeliveryResult.RETRY
    if 200 <= status < 300:
        return DeliveryResult.ACCEPTED
    log.warning("webhook_refused", outcome=status)
    return DeliveryResult.REJECTED if status == HTTP_GONE else DeliveryResult.RETRY


def _append_line(path: str, line: bytes) -> None:
    """Put a whole line at the end of a file and on the disk, or leave the file as it was."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o600), "ab", buffering=0) as file:  # noqa: PTH123 - of a descriptor
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another has it: later
        os.fchmod(file.fileno(), 0o600)
        before = os.fstat(file.fileno()).st_size
        try:
            if file.write(line) != len(line):
                raise OSError
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), before)
            raise


# --- what nobody took, and what time decides ------------------------------------------------------


async def retry_stuck(ctx: Context, *, dry_run: bool = False) -> int:
    """Try again to hand over what is stuck. Gives how many addresses that is."""
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
    """How many sign-ups are in each state; those that are over, of the last weeks or months."""
    query = select(NewsletterSignup.state, func.count().label("number")).group_by(
        NewsletterSignup.state
    )
    async with ctx.sessions() as session:
        found = {one.state: one.number for one in await session.execute(query)}
    return {state.value: found.get(state, 0) for state in SignupState}


async def purge(ctx: Context, *, file_time: float | None = None) -> None:
    """Shred what was not proved or not taken in time; forget what has long been over."""
    now, store = ctx.now(), newsletter.key_settings(ctx.settings)
    unproved = (NewsletterSignup.state == SignupState.UNCONFIRMED) & (
        NewsletterSignup.signed_up_at < now - newsletter.CONFIRMATION_LIFETIME
    )
    too_old = NewsletterSignup.state.in_((SignupState.CONFIRMED, SignupState.STUCK)) & (
        NewsletterSignup.confirmed_at < now - SIGNUP_RETENTION
    )
    query = (
        select(NewsletterSignup).where(unproved | too_old).order_by(NewsletterSignup.id).limit(5000)
    )
    async with ctx.sessions.begin() as session:
        for row in await session.scalars(query.with_for_update(skip_locked=True)):
            address_vault.destroy_key(store, row.id)
            if row.state is SignupState.UNCONFIRMED:
                await session.delete(row)
            else:
                newsletter.close(row, SignupState.UNDELIVERED, now=now)
        await session.execute(delete(NewsletterSignup).where(_is_past_retention(now)))
        await _update_alert(session, now=now)
    await _destroy_orphaned_keys(
        ctx, store, file_time=time.time() if file_time is None else file_time
    )
    address_vault.rewrap_keys(store)


def _is_past_retention(now: datetime) -> ColumnElement[bool]:
    kept = (NewsletterSignup.state == SignupState.UNDELIVERED) & (
        NewsletterSignup.ended_at >= now - UNDELIVERED_RETENTION
    )
    return (
        NewsletterSignup.state.not_in(ACTIVE_STATES)
        & (NewsletterSignup.ended_at < now - SIGNUP_RETENTION)
        & ~kept
    )


async def _destroy_orphaned_keys(ctx: Context, key_settings: Settings, *, file_time: float) -> None:
    """Destroy keys that a crash left without a row that needs them."""
    left = address_vault.orphaned_keys(key_settings, now=file_time)
    for start in range(0, len(left), 1000):
        some = left[start : start + 1000]
        async with ctx.sessions() as session:
            query = select(NewsletterSignup.id).where(
                NewsletterSignup.id.in_(some), NewsletterSignup.address_ciphertext.is_not(None)
            )
            needed = set(await session.scalars(query))
        for row_id in set(some) - needed:
            address_vault.destroy_key(key_settings, row_id)
