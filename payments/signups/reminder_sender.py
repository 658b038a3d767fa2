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
from payments.giving.contributions import Contribution, ContributionStatus
from payments.infra import alerts, job_queue
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.mail import render, smtp
from payments.mail.smtp import Envelope, SendResult
from payments.signups import address_vault, reminder_links, reminder_stats, reminders
from payments.signups.address_vault import SuppressionReason
from payments.signups.reminder_schedule import MAX_MONTHS
from payments.signups.reminder_stats import ReminderStep
from payments.signups.reminders import ACTIVE_STATES, REMINDER_JOB, Reminder, ReminderState

log = structlog.get_logger("payments.signups.reminder_sender")
MAX_DELAY = timedelta(days=7)
CONFIRMATIONS_PER_HOUR = 200
AN_HOUR = timedelta(hours=1)
BATCH_SIZE = 100
ALERT_OBJECT_ID = "reminders"  # of the alarm: there is one for all
PAGE_SIZE = 500
CLOSED_REMINDER_RETENTION = timedelta(
    days=30
)  # a reminder that is over can still be looked at through its link


# --- the confirmation -----------------------------------------------------------------------------


async def send_confirmations(ctx: Context, _object_id: str = "") -> int:
    """Write to those who wait for a confirmation, as many as an hour allows. Gives how many."""
    if not smtp.is_configured(ctx.settings):
        return 0
    invited = 0
    while batch := await _next_unconfirmed(ctx):
        before = invited
        for row_id in batch:
            if await _is_hourly_limit_reached(ctx):
                return invited
            invited += await _try_send_confirmation(ctx, row_id)
        if invited == before:  # nothing but rows that fail, or were not to be written to
            break
    return invited


async def _is_hourly_limit_reached(ctx: Context) -> bool:
    """Whether an hour's worth was sent, so that a person is called."""
    async with ctx.sessions.begin() as session:
        if not await are_confirmations_delayed(session, ctx.now()):
            return False
        await alerts.raise_alert(
            session, AlertKind.CONFIRMATION_LIMIT_REACHED, object_id=ALERT_OBJECT_ID, now=ctx.now()
        )
    return True


async def are_confirmations_delayed(session: AsyncSession, now: datetime) -> bool:
    """Whether confirmations take longer than a moment, which a reader is told."""
    hour = await address_vault.confirmations_sent_since(session, now - AN_HOUR)
    return hour >= CONFIRMATIONS_PER_HOUR


async def _next_unconfirmed(ctx: Context) -> list[str]:
    """Those of a crowd last, and before them the ones that failed."""
    async with ctx.sessions() as session:
        query = (
            select(Reminder.id)
            .where(
                Reminder.state == ReminderState.UNCONFIRMED, Reminder.confirmation_sent_at.is_(None)
            )
            .order_by(Reminder.attempts, Reminder.deprioritised, Reminder.signed_up_at, Reminder.id)
            .limit(BATCH_SIZE)
        )
        return list(await session.scalars(query))


async def _try_send_confirmation(ctx: Context, row_id: str) -> bool:
    """Send one confirmation. One that fails does not stop the others."""
    try:
        return await _send_confirmation(ctx, row_id)
    except Exception:  # whatever is wrong with one row, the next is somebody else's
        log.warning("confirmation_failed", exc_info=True)
    async with ctx.sessions.begin() as session:
        await session.execute(
            update(Reminder).where(Reminder.id == row_id).values(attempts=Reminder.attempts + 1)
        )
    return False


async def _send_confirmation(ctx: Context, row_id: str) -> bool:
    async with ctx.sessions.begin() as session:
        row = await session.get(Reminder, row_id)
        if row is None or row.address_hash is None:
            return False
        await reminders.lock_address(session, row.address_hash)
        row = await session.get(Reminder, row_id, populate_existing=True)
        if row is None:  # another worker was quicker
            return False
        address = address_vault.decrypt(ctx.settings, row.associated_data, row.address_ciphertext)
        if address is None or not await _may_send_confirmation(ctx, session, address):
            await _erase(ctx, session, row)
            return False
    letter = render.render(
        "reminder_confirm", row.language, _confirmation_context(ctx, row, address)
    )

    async def claim() -> bool:
        async with ctx.sessions.begin() as session:
            marked = await session.scalar(
                update(Reminder)
                .where(
                    Reminder.id == row_id,
                    Reminder.state == ReminderState.UNCONFIRMED,
                    Reminder.confirmation_sent_at.is_(None),
                )
                .values(confirmation_sent_at=ctx.now())
                .returning(Reminder.id)
            )
            known = address_vault.address_hashes(ctx.settings, address)
            return marked is not None and await address_vault.claim_confirmation(
                session, known, now=ctx.now()
            )

    envelope = Envelope(f"{row_id}.0", address, row.language, written_at=ctx.now())
    async with smtp.connection(ctx.settings) as server:
        handed = await smtp.send_at_most_once(server, ctx.settings, letter, envelope, claim)
    if handed is SendResult.NO_SUCH_MAILBOX:
        await _suppress_bounced(ctx, address)
    return handed is SendResult.ACCEPTED


async def _may_send_confirmation(ctx: Context, session: AsyncSession, address: str) -> bool:
    known = address_vault.address_hashes(ctx.settings, address)
    if await address_vault.is_suppressed(session, known, now=ctx.now()):
        return False
    return await address_vault.may_send_confirmation(session, known, now=ctx.now())


async def _erase(ctx: Context, session: AsyncSession, row: Reminder) -> None:
    """Nothing may be sent, so nothing is kept."""
    address_vault.destroy_key(ctx.settings, row.id)
    await session.execute(delete(Reminder).where(Reminder.id == row.id))


def _confirmation_context(ctx: Context, row: Reminder, address: str) -> dict[str, object]:
    until = (row.signed_up_at + reminders.CONFIRMATION_LIFETIME).astimezone(
        calendar.zone_or_utc(row.zone)
    )
    return {
        "until": i18n.format_day(until.date(), row.language),
        "confirm_link": reminder_links.confirm_link(ctx, row.id),
        "unsubscribe_link": reminder_links.unsubscribe_link(ctx, _address_hash(ctx, address)),
    }


def _address_hash(ctx: Context, address: str) -> bytes:
    return address_vault.address_hashes(ctx.settings, address)[0]


# --- the reminder ---------------------------------------------------------------------------------


async def enqueue_due(ctx: Context) -> int:
    """Ring for every reminder whose morning has begun. Gives how many."""
    rung, after = 0, (date.min, "")
    while True:
        async with ctx.sessions.begin() as session:
            page = await _page_of_due(ctx, session, after=after)
            due = [id_ for id_, day, zone in page if calendar.send_time(day, zone) <= ctx.now()]
            for row_id in due:
                await job_queue.enqueue_sync(session, REMINDER_JOB, row_id)
            await session.execute(
                update(Reminder).where(Reminder.id.in_(due)).values(enqueued_at=ctx.now())
            )
        rung += len(due)
        if len(page) < PAGE_SIZE:
            return rung
        last_id, last_day, _zone = page[-1]
        after = (last_day, last_id)


async def _page_of_due(
    ctx: Context, session: AsyncSession, *, after: tuple[date, str]
) -> list[tuple[str, date, str]]:
    """Those whose day it may be somewhere, and for whom nobody has rung in the last hour."""
    query = (
        select(Reminder.id, Reminder.due_on, Reminder.zone)
        .where(
            Reminder.state == ReminderState.SCHEDULED,
            Reminder.due_on <= (ctx.now() + calendar.MAX_UTC_DATE_SKEW).date(),
            Reminder.enqueued_at.is_(None) | (Reminder.enqueued_at < ctx.now() - AN_HOUR),
            func.row(Reminder.due_on, Reminder.id) > func.row(*after),
        )
        .order_by(Reminder.due_on, Reminder.id)
        .limit(PAGE_SIZE)
    )
    rows = await session.execute(query)
    return [(row_id, due_on, zone) for row_id, due_on, zone in rows if due_on is not None]


async def send(ctx: Context, reminder_id: str) -> None:
    """Send one reminder, if it is due and still wanted. Raises when no mail server listens."""
    async with ctx.sessions() as session:
        row = await session.get(Reminder, reminder_id)
    if row is None or row.state is not ReminderState.SCHEDULED or row.due_on is None:
        return
    begins = calendar.send_time(row.due_on, row.zone)
    if begins > ctx.now():
        return
    if ctx.now() - begins > MAX_DELAY:
        await _skip_missed(ctx, row)
        return
    if not smtp.is_configured(ctx.settings) or (
        not row.verified and await _is_hourly_limit_reached(ctx)
    ):
        return  # it is rung for again
    address = address_vault.decrypt(ctx.settings, row.associated_data, row.address_ciphertext)
    if address is None:
        await _close(ctx, reminder_id, ReminderState.KEY_LOST)
        return
    if (state := await _find_closing_state(ctx, row, address)) is not None:
        await _close(ctx, reminder_id, state)
        return
    await _deliver(ctx, row, address)


async def _deliver(ctx: Context, row: Reminder, address: str) -> None:
    letter = render.render("reminder", row.language, _template_context(ctx, row, address))
    code = reminder_links.sign_code(ctx, row.id, _address_hash(ctx, address))
    envelope = Envelope(
        f"{row.id}.{row.slot + 1}",
        address,
        row.language,
        written_at=ctx.now(),
        unsubscribe_url=reminder_links.cancel_link(ctx, code),
    )

    async def claim() -> bool:
        return await _mark_sent(ctx, row, address)

    async with smtp.connection(ctx.settings) as server:
        handed = await smtp.send_at_most_once(server, ctx.settings, letter, envelope, claim)
    if handed is SendResult.NO_SUCH_MAILBOX:
        await _suppress_bounced(ctx, address)


async def _mark_sent(ctx: Context, reminder: Reminder, address: str) -> bool:
    """Mark it sent, if nothing has changed since it was looked at, and nobody else has."""
    async with ctx.sessions.begin() as session:
        row = await session.get(Reminder, reminder.id, with_for_update=True)
        if row is None or row.state is not ReminderState.SCHEDULED or row.slot != reminder.slot:
            return False
        if await _closing_state(ctx, session, row, address) is not None:
            return False
        if not row.verified:
            known = address_vault.address_hashes(ctx.settings, address)
            if not await address_vault.claim_confirmation(session, known, now=ctx.now()):
                return False
        row.sent_count += 1
        _advance_slot(ctx, row, final_state=ReminderState.SENT)
        await reminder_stats.record_step(session, ctx.settings, ReminderStep.SENT, now=ctx.now())
    return True


def _advance_slot(ctx: Context, row: Reminder, *, final_state: ReminderState) -> None:
    """This day is behind it; on to the next, or it is over."""
    row.slot, row.enqueued_at = row.slot + 1, None
    if row.slot < row.slots:
        row.due_on = row.send_date(row.slot)
    else:
        reminders.close(ctx.settings, row, final_state, now=ctx.now())


async def _skip_missed(ctx: Context, reminder: Reminder) -> None:
    """Too late: a plea that comes a week after its day is worse than none."""
    async with ctx.sessions.begin() as session:
        row = await session.get(Reminder, reminder.id, with_for_update=True)
        if row is not None and row.state is ReminderState.SCHEDULED and row.slot == reminder.slot:
            _advance_slot(
                ctx, row, final_state=ReminderState.SENT if row.sent_count else ReminderState.MISSED
            )
            await reminder_stats.record_step(
                session, ctx.settings, ReminderStep.MISSED, now=ctx.now()
            )


async def _close(ctx: Context, reminder_id: str, state: ReminderState) -> None:
    async with ctx.sessions.begin() as session:
        row = await session.get(Reminder, reminder_id, with_for_update=True)
        if row is not None and row.state in ACTIVE_STATES:
            reminders.close(ctx.settings, row, state, now=ctx.now())


async def _suppress_bounced(ctx: Context, address: str) -> None:
    async with ctx.sessions.begin() as session:
        known = address_vault.address_hashes(ctx.settings, address)
        await reminders.suppress_address(
            session, ctx.settings, known, SuppressionReason.BOUNCED, now=ctx.now()
        )


async def _find_closing_state(ctx: Context, row: Reminder, address: str) -> ReminderState | None:
    async with ctx.sessions() as session:
        return await _closing_state(ctx, session, row, address)


async def _closing_state(
    ctx: Context, session: AsyncSession, row: Reminder, address: str
) -> ReminderState | None:
    """How a reminder ends that its reader does not want any more."""
    known = address_vault.address_hashes(ctx.settings, address)
    if await address_vault.is_suppressed(session, known, now=ctx.now()):
        return ReminderState.SUPPRESSED
    if not row.verified and not await address_vault.may_send_confirmation(
        session, known, now=ctx.now()
    ):
        return ReminderState.SUPPRESSED
    gave = await _has_contributed(session, known, since=row.signed_up_at)
    return ReminderState.DONATED if gave else None


async def _has_contributed(
    session: AsyncSession, hashes: Sequence[bytes], *, since: datetime
) -> bool:
    """Whether its reader decided to give since then, or was charged: either is an answer."""
    donor_id = await session.scalar(select(Donor.id).where(Donor.address_hash.in_(hashes)).limit(1))
    if donor_id is None:
        return False
    decided = await session.scalar(
        select(Contribution.id)
        .where(
            Contribution.donor_id == donor_id,
            Contribution.created_at >= since,
            Contribution.status.in_((ContributionStatus.PAID, ContributionStatus.PROCESSING)),
        )
        .limit(1)
    )
    return decided is not None or bool(
        await charges.list_payments_of_donor(session, donor_id, since=since, limit=1)
    )


def _template_context(ctx: Context, row: Reminder, address: str) -> dict[str, object]:
    """What a reminder is written from, ready to print."""
    owner = _address_hash(ctx, address)
    code = reminder_links.sign_code(ctx, row.id, owner)
    last = row.slot + 1 >= row.slots
    return {
        "signed_up_on": i18n.format_day(row.signed_up_on, row.language),
        "next_on": None if last else i18n.format_day(row.send_date(row.slot + 1), row.language),
        "verified": row.verified,
        "return_link": reminder_links.return_link(
            ctx.settings, row.intended_contribution, row.language
        ),
        "reschedule_link": reminder_links.reschedule_link(ctx, code),
        "cancel_link": reminder_links.cancel_link(ctx, code),
        "unsubscribe_link": reminder_links.unsubscribe_link(ctx, owner),
    }


# --- what time decides ----------------------------------------------------------------------------


async def purge(ctx: Context, *, file_time: float) -> None:
    """Shred what was not proved in time or is a year old; forget what has long been over."""
    now, settings = ctx.now(), ctx.settings
    unproved = (Reminder.signed_up_at < now - reminders.CONFIRMATION_LIFETIME) & Reminder.state.in_(
        (ReminderState.UNCONFIRMED, ReminderState.CHECKOUT_OPEN)
    )
    a_year_ago = (
        calendar.add_months(now.date(), -MAX_MONTHS) - MAX_DELAY - calendar.MAX_UTC_DATE_SKEW
    )
    query = select(Reminder).where(
        unproved
        | ((Reminder.state == ReminderState.SCHEDULED) & (Reminder.signed_up_on < a_year_ago))
    )
    async with ctx.sessions.begin() as session:
        for row in await session.scalars(query.limit(5000).with_for_update(skip_locked=True)):
            await _erase(ctx, session, row)
        await session.execute(
            delete(Reminder).where(
                Reminder.state.not_in(ACTIVE_STATES),
                Reminder.ended_at < now - CLOSED_REMINDER_RETENTION,
            )
        )
        await address_vault.purge_expired(session, now=now)
        if not await are_confirmations_delayed(session, now):
            await alerts.close(
                session, AlertKind.CONFIRMATION_LIMIT_REACHED, object_id=ALERT_OBJECT_ID, now=now
            )
    await _destroy_orphaned_keys(ctx, file_time=file_time)
    address_vault.rewrap_keys(settings)


async def _destroy_orphaned_keys(ctx: Context, *, file_time: float) -> None:
    """Destroy keys that a crash left without a row that needs them."""
    left = address_vault.orphaned_keys(ctx.settings, now=file_time)
    for start in range(0, len(left), 1000):
        some = left[start : start + 1000]
        async with ctx.sessions() as session:
            query = select(Reminder.id).where(
                Reminder.id.in_(some), Reminder.address_ciphertext.is_not(None)
            )
            needed = set(await session.scalars(query))
        for row_id in set(some) - needed:
            address_vault.destroy_key(ctx.settings, row_id)
