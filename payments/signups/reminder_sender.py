"""Reminding: what the worker sends to readers who asked, each mail at most once.

Two mails exist. The confirmation goes to a mailbox nobody has proved, once in 90 days, and no more
than a few hundred an hour in all: whoever asks from a crowd waits behind everybody else, and a
person is called. The reminder goes on its morning, or up to a week late; later it is dropped and
counted. It is never sent to somebody who cancelled, bounced, complained, said never, or has given
since they asked.

At most once, where every other mail here is at least once: the row is marked after the mail server
has accepted the recipient and before it is given the letter. A crash in between loses a mail, and
repeats none. With the last mail the key of the address is destroyed before the letter leaves.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import structlog
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import calendar, i18n
from payments.donors.donors import Donor
from payments.giving import charges
from payments.giving.contributions import Contribution, Status
from payments.infra import alerts, job_queue
from payments.infra.alerts import AlarmKind
from payments.infra.context import Runtime
from payments.mail import render, smtp
from payments.mail.smtp import Envelope, Handed
from payments.signups import address_vault, reminder_links, reminder_stats, reminders
from payments.signups.address_vault import Unwanted
from payments.signups.reminder_schedule import KEPT_MONTHS
from payments.signups.reminder_stats import Step
from payments.signups.reminders import LIVE, ONE, Reminder, State

log = structlog.get_logger("payments.signups.reminder_sender")
AT_MOST_LATE = timedelta(days=7)
INVITED_IN_AN_HOUR = 200
AN_HOUR = timedelta(hours=1)
AT_A_TIME = 100
SUBJECT = "reminders"  # of the alarm: there is one for all
PAGE = 500
TOLD_FOR = timedelta(days=30)  # a reminder that is over can still be looked at through its link


# --- the confirmation -----------------------------------------------------------------------------


async def invite(rt: Runtime, _what: str = "") -> int:
    """Write to those who wait for a confirmation, as many as an hour allows. Gives how many."""
    if not smtp.is_configured(rt.settings):
        return 0
    invited = 0
    while batch := await _uninvited(rt):
        before = invited
        for row_id in batch:
            if await _is_enough(rt):
                return invited
            invited += await _invite_one(rt, row_id)
        if invited == before:  # nothing but rows that fail, or were not to be written to
            break
    return invited


async def _is_enough(rt: Runtime) -> bool:
    """Whether an hour's worth was sent, so that a person is called."""
    async with rt.sessions.begin() as session:
        if not await is_crowded(session, rt.now()):
            return False
        await alerts.sound(session, AlarmKind.MANY_REMINDERS, subject=SUBJECT, now=rt.now())
    return True


async def is_crowded(session: AsyncSession, now: datetime) -> bool:
    """Whether confirmations take longer than a moment, which a reader is told."""
    hour = await address_vault.invitations_since(session, now - AN_HOUR)
    return hour >= INVITED_IN_AN_HOUR


async def _uninvited(rt: Runtime) -> list[str]:
    """Those of a crowd last, and before them the ones that failed."""
    async with rt.sessions() as session:
        query = (
            select(Reminder.id)
            .where(Reminder.state == State.ASKED, Reminder.invited_at.is_(None))
            .order_by(Reminder.tries, Reminder.crowded, Reminder.asked_at, Reminder.id)
            .limit(AT_A_TIME)
        )
        return list(await session.scalars(query))


async def _invite_one(rt: Runtime, row_id: str) -> bool:
    """Send one confirmation. One that fails does not stop the others."""
    try:
        return await _send_confirmation(rt, row_id)
    except Exception:  # whatever is wrong with one row, the next is somebody else's
        log.warning("confirmation_failed", exc_info=True)
    async with rt.sessions.begin() as session:
        await session.execute(
            update(Reminder).where(Reminder.id == row_id).values(tries=Reminder.tries + 1)
        )
    return False


async def _send_confirmation(rt: Runtime, row_id: str) -> bool:
    async with rt.sessions.begin() as session:
        row = await session.get(Reminder, row_id)
        if row is None or row.address_hash is None:
            return False
        await reminders.alone(session, row.address_hash)
        row = await session.get(Reminder, row_id, populate_existing=True)
        if row is None:  # another worker was quicker
            return False
        address = address_vault.opened(rt.settings, row.cell, row.sealed)
        if address is None or not await _may_be_invited(rt, session, address):
            await _shred(rt, session, row)
            return False
    letter = render.compose("reminder_confirm", row.language, _confirmation(rt, row, address))

    async def claim() -> bool:
        async with rt.sessions.begin() as session:
            marked = await session.scalar(
                update(Reminder)
                .where(
                    Reminder.id == row_id,
                    Reminder.state == State.ASKED,
                    Reminder.invited_at.is_(None),
                )
                .values(invited_at=rt.now())
                .returning(Reminder.id)
            )
            known = address_vault.hashes(rt.settings, address)
            return marked is not None and await address_vault.claim_invitation(
                session, known, now=rt.now()
            )

    envelope = Envelope(f"{row_id}.0", address, row.language, written_at=rt.now())
    async with smtp.connection(rt.settings) as server:
        handed = await smtp.hand_over_once(server, rt.settings, letter, envelope, claim)
    if handed is Handed.NO_SUCH_MAILBOX:
        await _bounced(rt, address)
    return handed is Handed.TAKEN


async def _may_be_invited(rt: Runtime, session: AsyncSession, address: str) -> bool:
    known = address_vault.hashes(rt.settings, address)
    if await address_vault.is_suppressed(session, known, now=rt.now()):
        return False
    return await address_vault.may_invite(session, known, now=rt.now())


async def _shred(rt: Runtime, session: AsyncSession, row: Reminder) -> None:
    """Nothing may be sent, so nothing is kept."""
    address_vault.destroy(rt.settings, row.id)
    await session.execute(delete(Reminder).where(Reminder.id == row.id))


def _confirmation(rt: Runtime, row: Reminder, address: str) -> dict[str, object]:
    until = (row.asked_at + reminders.PROOF_LASTS).astimezone(calendar.zone_of(row.zone))
    return {
        "until": i18n.day(until.date(), row.language),
        "confirm_link": reminder_links.confirm(rt, row.id),
        "never_link": reminder_links.never(rt, _owner(rt, address)),
    }


def _owner(rt: Runtime, address: str) -> bytes:
    return address_vault.hashes(rt.settings, address)[0]


# --- the reminder ---------------------------------------------------------------------------------


async def ring_due(rt: Runtime) -> int:
    """Ring for every reminder whose morning has begun. Gives how many."""
    rung, after = 0, (date.min, "")
    while True:
        async with rt.sessions.begin() as session:
            page = await _due_by_date(rt, session, after=after)
            due = [id_ for id_, day, zone in page if calendar.begins(day, zone) <= rt.now()]
            for row_id in due:
                await job_queue.ring(session, ONE, row_id)
            await session.execute(
                update(Reminder).where(Reminder.id.in_(due)).values(rung_at=rt.now())
            )
        rung += len(due)
        if len(page) < PAGE:
            return rung
        last_id, last_day, _zone = page[-1]
        after = (last_day, last_id)


async def _due_by_date(
    rt: Runtime, session: AsyncSession, *, after: tuple[date, str]
) -> list[tuple[str, date, str]]:
    """Those whose day it may be somewhere, and for whom nobody has rung in the last hour."""
    query = (
        select(Reminder.id, Reminder.due_on, Reminder.zone)
        .where(
            Reminder.state == State.WAITING,
            Reminder.due_on <= (rt.now() + calendar.AWAY).date(),
            Reminder.rung_at.is_(None) | (Reminder.rung_at < rt.now() - AN_HOUR),
            func.row(Reminder.due_on, Reminder.id) > func.row(*after),
        )
        .order_by(Reminder.due_on, Reminder.id)
        .limit(PAGE)
    )
    rows = await session.execute(query)
    return [(row_id, due_on, zone) for row_id, due_on, zone in rows if due_on is not None]


async def send(rt: Runtime, reminder_id: str) -> None:
    """Send one reminder, if it is due and still wanted. Raises when no mail server listens."""
    async with rt.sessions() as session:
        row = await session.get(Reminder, reminder_id)
    if row is None or row.state is not State.WAITING or row.due_on is None:
        return
    begins = calendar.begins(row.due_on, row.zone)
    if begins > rt.now():
        return
    if rt.now() - begins > AT_MOST_LATE:
        await _drop(rt, row)
        return
    if not smtp.is_configured(rt.settings) or (not row.proved and await _is_enough(rt)):
        return  # it is rung for again
    address = address_vault.opened(rt.settings, row.cell, row.sealed)
    if address is None:
        await _end(rt, reminder_id, State.LOST)
        return
    if (state := await _not_wanted(rt, row, address)) is not None:
        await _end(rt, reminder_id, state)
        return
    await _hand_over(rt, row, address)


async def _hand_over(rt: Runtime, row: Reminder, address: str) -> None:
    letter = render.compose("reminder", row.language, _facts(rt, row, address))
    code = reminder_links.code(rt, row.id, _owner(rt, address))
    envelope = Envelope(
        f"{row.id}.{row.turn + 1}",
        address,
        row.language,
        written_at=rt.now(),
        leave=reminder_links.stop(rt, code),
    )

    async def claim() -> bool:
        return await _claim(rt, row, address)

    async with smtp.connection(rt.settings) as server:
        handed = await smtp.hand_over_once(server, rt.settings, letter, envelope, claim)
    if handed is Handed.NO_SUCH_MAILBOX:
        await _bounced(rt, address)


async def _claim(rt: Runtime, seen: Reminder, address: str) -> bool:
    """Mark it sent, if nothing has changed since it was looked at, and nobody else has."""
    async with rt.sessions.begin() as session:
        row = await session.get(Reminder, seen.id, with_for_update=True)
        if row is None or row.state is not State.WAITING or row.turn != seen.turn:
            return False
        if await _why_not(rt, session, row, address) is not None:
            return False
        if not row.proved:
            known = address_vault.hashes(rt.settings, address)
            if not await address_vault.claim_invitation(session, known, now=rt.now()):
                return False
        row.mails += 1
        _turn(rt, row, over=State.SENT)
        await reminder_stats.count(session, rt.settings, Step.SENT, now=rt.now())
    return True


def _turn(rt: Runtime, row: Reminder, *, over: State) -> None:
    """This day is behind it; on to the next, or it is over."""
    row.turn, row.rung_at = row.turn + 1, None
    if row.turn < row.turns:
        row.due_on = row.day(row.turn)
    else:
        reminders.end(rt.settings, row, over, now=rt.now())


async def _drop(rt: Runtime, seen: Reminder) -> None:
    """Too late: a plea that comes a week after its day is worse than none."""
    async with rt.sessions.begin() as session:
        row = await session.get(Reminder, seen.id, with_for_update=True)
        if row is not None and row.state is State.WAITING and row.turn == seen.turn:
            _turn(rt, row, over=State.SENT if row.mails else State.LATE)
            await reminder_stats.count(session, rt.settings, Step.LATE, now=rt.now())


async def _end(rt: Runtime, reminder_id: str, state: State) -> None:
    async with rt.sessions.begin() as session:
        row = await session.get(Reminder, reminder_id, with_for_update=True)
        if row is not None and row.state in LIVE:
            reminders.end(rt.settings, row, state, now=rt.now())


async def _bounced(rt: Runtime, address: str) -> None:
    async with rt.sessions.begin() as session:
        known = address_vault.hashes(rt.settings, address)
        await reminders.unwanted(session, rt.settings, known, Unwanted.BOUNCED, now=rt.now())


async def _not_wanted(rt: Runtime, row: Reminder, address: str) -> State | None:
    async with rt.sessions() as session:
        return await _why_not(rt, session, row, address)


async def _why_not(rt: Runtime, session: AsyncSession, row: Reminder, address: str) -> State | None:
    """How a reminder ends that its reader does not want any more."""
    known = address_vault.hashes(rt.settings, address)
    if await address_vault.is_suppressed(session, known, now=rt.now()):
        return State.UNWANTED
    if not row.proved and not await address_vault.may_invite(session, known, now=rt.now()):
        return State.UNWANTED
    gave = await _has_given(session, known, since=row.asked_at)
    return State.GAVE if gave else None


async def _has_given(session: AsyncSession, known: Sequence[bytes], *, since: datetime) -> bool:
    """Whether its reader decided to give since then, or was charged: either is an answer."""
    donor_id = await session.scalar(select(Donor.id).where(Donor.address_hash.in_(known)).limit(1))
    if donor_id is None:
        return False
    decided = await session.scalar(
        select(Contribution.id)
        .where(
            Contribution.donor_id == donor_id,
            Contribution.created_at >= since,
            Contribution.status.in_((Status.PAID, Status.PROCESSING)),
        )
        .limit(1)
    )
    return decided is not None or bool(
        await charges.of_donor(session, donor_id, since=since, limit=1)
    )


def _facts(rt: Runtime, row: Reminder, address: str) -> dict[str, object]:
    """What a reminder is written from, ready to print."""
    owner = _owner(rt, address)
    code = reminder_links.code(rt, row.id, owner)
    last = row.turn + 1 >= row.turns
    return {
        "asked_on": i18n.day(row.asked_on, row.language),
        "next_on": None if last else i18n.day(row.day(row.turn + 1), row.language),
        "proved": row.proved,
        "back_link": reminder_links.back(rt.settings, row.gift, row.language),
        "again_link": reminder_links.again(rt, code),
        "stop_link": reminder_links.stop(rt, code),
        "never_link": reminder_links.never(rt, owner),
    }


# --- what time decides ----------------------------------------------------------------------------


async def tidy(rt: Runtime, *, file_time: float) -> None:
    """Shred what was not proved in time or is a year old; forget what has long been over."""
    now, settings = rt.now(), rt.settings
    unproved = (Reminder.asked_at < now - reminders.PROOF_LASTS) & Reminder.state.in_(
        (State.ASKED, State.WATCHING)
    )
    a_year_ago = calendar.add_months(now.date(), -KEPT_MONTHS) - AT_MOST_LATE - calendar.AWAY
    query = select(Reminder).where(
        unproved | ((Reminder.state == State.WAITING) & (Reminder.asked_on < a_year_ago))
    )
    async with rt.sessions.begin() as session:
        for row in await session.scalars(query.limit(5000).with_for_update(skip_locked=True)):
            await _shred(rt, session, row)
        await session.execute(
            delete(Reminder).where(Reminder.state.not_in(LIVE), Reminder.ended_at < now - TOLD_FOR)
        )
        await address_vault.forget_old(session, now=now)
        if not await is_crowded(session, now):
            await alerts.close(session, AlarmKind.MANY_REMINDERS, subject=SUBJECT, now=now)
    await _destroy_strays(rt, file_time=file_time)
    address_vault.rewrap(settings)


async def _destroy_strays(rt: Runtime, *, file_time: float) -> None:
    """Destroy keys that a crash left without a row that needs them."""
    left = address_vault.stray_keys(rt.settings, now=file_time)
    for start in range(0, len(left), 1000):
        some = left[start : start + 1000]
        async with rt.sessions() as session:
            query = select(Reminder.id).where(Reminder.id.in_(some), Reminder.sealed.is_not(None))
            needed = set(await session.scalars(query))
        for row_id in set(some) - needed:
            address_vault.destroy(rt.settings, row_id)
