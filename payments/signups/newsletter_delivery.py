"""Handing over: a proved address goes once to the newsroom's own mailing system, and is gone here.

It goes out as a signed webhook (Standard Webhooks) or, where no address for one is set, as a line
of a file that only its owner may read. Whatever answers 2xx has it: the row forgets the address
and the key is destroyed. At least once, not exactly once: were we killed after the answer and
before our own note of it, the same message would come again, under the same `webhook-id`. Whoever
receives it keeps the ids of a month.

What is not taken is tried again for three days, later each time. Then a person is called, and the
address stays sealed for `payments newsletter replay`, until it is thirty days old and is shredded
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
from payments.infra.alerts import AlarmKind
from payments.infra.context import Runtime
from payments.signups import address_vault, newsletter
from payments.signups.address_vault import Unwanted
from payments.signups.newsletter import LIVE, ONE, Signup, State

log = structlog.get_logger("payments.signups.newsletter_delivery")
EVENT = "newsletter.confirmed"
PATIENCE = aiohttp.ClientTimeout(total=20, connect=10)
GONE = 410  # of a system that does not want this address, now or ever
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=4)
TRIED_FOR = timedelta(days=3)
KEPT = timedelta(days=30)  # from its proof; and as long a link still tells that it was confirmed
COUNTED = timedelta(days=395)
SUBJECT = "newsletter"  # of the alarm: there is one for all
PAGE = 500


class Answer(Enum):
    TAKEN = "taken"
    GONE = "gone"
    NOT_NOW = "not now"


# --- one address ----------------------------------------------------------------------------------


async def ring_due(rt: Runtime) -> int:
    """Ring for every proved address whose time has come again. Gives how many."""
    query = (
        select(Signup.id)
        .where(Signup.state == State.PROVED, Signup.next_at <= rt.now())
        .order_by(Signup.next_at, Signup.id)
        .limit(PAGE)
    )
    async with rt.sessions.begin() as session:
        due = list(await session.scalars(query))
        for row_id in due:
            await job_queue.ring(session, ONE, row_id)
    return len(due)


async def hand_over(rt: Runtime, row_id: str) -> None:
    """Hand one address over, if it is its time, and note what was answered."""
    async with rt.sessions() as session:
        row = await session.get(Signup, row_id)
    if row is None or row.state is not State.PROVED or row.next_at is None:
        return
    if row.next_at > rt.now():
        return
    address = newsletter.opened(rt.settings, row)
    if address is None:
        await _over(rt, row_id, State.LOST)
        return
    match await _offer(rt.settings, row, address, now=rt.now()):
        case Answer.TAKEN:
            await _over(rt, row_id, State.HANDED)
        case Answer.GONE:
            known = newsletter.hashes(rt.settings, address)
            await newsletter.unwanted(rt, known, Unwanted.ASKED)
        case Answer.NOT_NOW:
            await _later(rt, row_id)


async def _over(rt: Runtime, row_id: str, state: State) -> None:
    """Nothing of it is kept. The key goes last: a crash in between leaves one that opens nothing
    and is swept away, and never an address that was not handed over and cannot be.
    """
    async with rt.sessions.begin() as session:
        row = await session.get(Signup, row_id, with_for_update=True)
        if row is not None and row.state is State.PROVED:
            newsletter.end(row, state, now=rt.now())
            await session.flush()
            await _watch(session, now=rt.now())
    address_vault.destroy(newsletter.keys(rt.settings), row_id)


async def _later(rt: Runtime, row_id: str) -> None:
    async with rt.sessions.begin() as session:
        row = await session.get(Signup, row_id, with_for_update=True)
        if row is None or row.state is not State.PROVED or row.trying_since is None:
            return
        row.tries += 1
        log.warning("address_not_taken", attempt=row.tries)
        if rt.now() - row.trying_since < TRIED_FOR:
            row.next_at = rt.now() + _pause(row.tries)
            return
        row.state, row.next_at = State.STUCK, None
        await session.flush()
        await _watch(session, now=rt.now())


def _pause(tries: int) -> timedelta:
    """Doubling, capped, with jitter."""
    longest = min(FIRST_PAUSE * float(1 << min(tries - 1, 20)), LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1)  # noqa: S311 - spreads load, hides nothing


async def _watch(session: AsyncSession, *, now: datetime) -> None:
    """Call a person while anything is stuck, and no longer."""
    stuck = await session.scalar(select(Signup.id).where(Signup.state == State.STUCK).limit(1))
    if stuck is None:
        await alerts.close(session, AlarmKind.NEWSLETTER, subject=SUBJECT, now=now)
    else:
        await alerts.sound(session, AlarmKind.NEWSLETTER, subject=SUBJECT, now=now)


# --- the two ways out -----------------------------------------------------------------------------


async def _offer(settings: Settings, row: Signup, address: str, *, now: datetime) -> Answer:
    if settings.newsletter_webhook_url:
        return await _by_webhook(settings, row, address, now=now)
    if settings.newsletter_file:
        line = msgspec.json.encode({"id": message_id(row), **_message(row, address)}) + b"\n"
        try:
            await asyncio.to_thread(_append, settings.newsletter_file, line)
        except OSError:
            log.warning("file_not_written", exc_info=True)
            return Answer.NOT_NOW
        return Answer.TAKEN
    return Answer.NOT_NOW


def message_id(row: Signup) -> str:
    """The same at each attempt, so that whoever has it already knows."""
    return f"msg_{row.id}"


def _message(row: Signup, address: str) -> dict[str, object]:
    """The same at each attempt, to the byte."""
    assert row.proved_at is not None
    return {
        "type": EVENT,
        "timestamp": row.proved_at,
        "data": {
            "address": address,
            "language": row.language,
            "privacy_version": row.privacy_version,
            "agreed_at": row.agreed_at,
            "confirmed_at": row.proved_at,
        },
    }


async def _by_webhook(settings: Settings, row: Signup, address: str, *, now: datetime) -> Answer:
    """Post it, signed. A redirect is not followed: an address goes where the operator said."""
    assert settings.newsletter_webhook_secret is not None
    body = msgspec.json.encode(_message(row, address)).decode()
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
            aiohttp.ClientSession(timeout=PATIENCE, cookie_jar=aiohttp.DummyCookieJar()) as http,
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
        return Answer.NOT_NOW
    if 200 <= status < 300:
        return Answer.TAKEN
    log.warning("webhook_refused", outcome=status)
    return Answer.GONE if status == GONE else Answer.NOT_NOW


def _append(path: str, line: bytes) -> None:
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


async def replay(rt: Runtime, *, dry_run: bool = False) -> int:
    """Try again to hand over what is stuck. Gives how many addresses that is."""
    async with rt.sessions.begin() as session:
        query = select(Signup).where(Signup.state == State.STUCK).order_by(Signup.id)
        stuck = list(await session.scalars(query.with_for_update(skip_locked=True)))
        for row in () if dry_run else stuck:
            row.state, row.tries = State.PROVED, 0
            row.trying_since = row.next_at = rt.now()
            await job_queue.ring(session, ONE, row.id)
        await session.flush()
        await _watch(session, now=rt.now())
    return len(stuck)


async def counted(rt: Runtime) -> dict[str, int]:
    """How many sign-ups are in each state; those that are over, of the last weeks or months."""
    query = select(Signup.state, func.count().label("number")).group_by(Signup.state)
    async with rt.sessions() as session:
        found = {one.state: one.number for one in await session.execute(query)}
    return {state.value: found.get(state, 0) for state in State}


async def tidy(rt: Runtime, *, file_time: float | None = None) -> None:
    """Shred what was not proved or not taken in time; forget what has long been over."""
    now, store = rt.now(), newsletter.keys(rt.settings)
    unproved = (Signup.state == State.ASKED) & (Signup.asked_at < now - newsletter.PROOF_LASTS)
    too_old = Signup.state.in_((State.PROVED, State.STUCK)) & (Signup.proved_at < now - KEPT)
    query = select(Signup).where(unproved | too_old).order_by(Signup.id).limit(5000)
    async with rt.sessions.begin() as session:
        for row in await session.scalars(query.with_for_update(skip_locked=True)):
            address_vault.destroy(store, row.id)
            if row.state is State.ASKED:
                await session.delete(row)
            else:
                newsletter.end(row, State.LOST, now=now)
        await session.execute(delete(Signup).where(_has_long_been_over(now)))
        await _watch(session, now=now)
    await _destroy_strays(rt, store, file_time=time.time() if file_time is None else file_time)
    address_vault.rewrap(store)


def _has_long_been_over(now: datetime) -> ColumnElement[bool]:
    kept = (Signup.state == State.LOST) & (Signup.ended_at >= now - COUNTED)
    return Signup.state.not_in(LIVE) & (Signup.ended_at < now - KEPT) & ~kept


async def _destroy_strays(rt: Runtime, store: Settings, *, file_time: float) -> None:
    """Destroy keys that a crash left without a row that needs them."""
    left = address_vault.stray_keys(store, now=file_time)
    for start in range(0, len(left), 1000):
        some = left[start : start + 1000]
        async with rt.sessions() as session:
            query = select(Signup.id).where(Signup.id.in_(some), Signup.sealed.is_not(None))
            needed = set(await session.scalars(query))
        for row_id in set(some) - needed:
            address_vault.destroy(store, row_id)
