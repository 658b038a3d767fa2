"""The reminder sender: what the worker sends to readers who asked, each mail at most once.

A reminder goes out in the morning of its day, or up to a week late; later it is dropped and
counted. It is never sent to somebody who cancelled, bounced, complained, unsubscribed, or gave
since they signed up. Addresses that nobody has confirmed get a confirmation first (`confirmation`).

At most once, where every other mail of this service is sent at least once: the row is marked after
the mail server has accepted the recipient and before it is given the text. A crash in between loses
a mail, and repeats none. With the last mail the key of the address is destroyed before the text is
sent.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import calendar, i18n
from payments.donors.donors import Donor
from payments.giving import donor_payments
from payments.giving.contributions import Contribution, ContributionStatus
from payments.infra import job_queue
from payments.infra.context import Context
from payments.mail import delivery, render, smtp
from payments.mail.delivery import Claim
from payments.mail.smtp import Envelope, SendResult
from payments.signups import (
    address_vault,
    confirmation,
    reminder_links,
    reminder_stats,
    reminders,
    signup,
    suppression,
)
from payments.signups.confirmation import SignupKind
from payments.signups.reminder_schedule import MAX_MONTHS
from payments.signups.reminder_stats import ReminderStep
from payments.signups.reminders import ACTIVE_STATES, REMINDER_JOB, Reminder, ReminderState
from payments.signups.signup import CONFIRMATION_LIFETIME
from payments.signups.suppression import SuppressionReason

MAX_DELAY = timedelta(days=7)  # after which a reminder is dropped
REENQUEUE_INTERVAL = timedelta(hours=1)  # of a reminder that is due and was not sent
BATCH_SIZE = 500
PURGE = "purge_reminders"  # the schedule
CLOSED_REMINDER_RETENTION = timedelta(days=30)  # its links still say what became of it
KIND = SignupKind(
    table=Reminder,
    is_unconfirmed=Reminder.state == ReminderState.UNCONFIRMED,
    template="reminder_confirm",
    key_settings=lambda settings: settings,
    address_hashes=address_vault.address_hashes,
    other_hashes=None,
    suppress_address=reminders.suppress_address,
    confirm_link=reminder_links.confirm_link,
    unsubscribe_link=reminder_links.unsubscribe_link,
    zone=lambda _ctx, reminder: reminder.zone,
)


async def send_confirmations(ctx: Context, _object_id: str = "") -> int:
    """Send the confirmations of reminders that wait. Returns how many were sent."""
    return await confirmation.send_confirmations(ctx, KIND)


async def enqueue_due(ctx: Context) -> int:
    """Enqueue a job for every reminder whose morning has begun. Returns how many."""
    enqueued, after = 0, (date.min, "")
    while True:
        async with ctx.sessions.begin() as session:
            page = await _page_of_due(ctx, session, after=after)
            due = [
                row_id
                for row_id, due_on, zone in page
                if calendar.send_time(due_on, zone) <= ctx.now()
            ]
            for row_id in due:
                await job_queue.enqueue_sync(session, REMINDER_JOB, row_id)
            await session.execute(
                update(Reminder).where(Reminder.id.in_(due)).values(enqueued_at=ctx.now())
            )
        enqueued += len(due)
        if len(page) < BATCH_SIZE:
            return enqueued
        last_id, last_due_on, _zone = page[-1]
        after = (last_due_on, last_id)


async def _page_of_due(
    ctx: Context, session: AsyncSession, *, after: tuple[date, str]
) -> list[tuple[str, date, str]]:
    """Return id, day and zone of reminders not lately enqueued whose day has begun somewhere."""
    query = (
        select(Reminder.id, Reminder.due_on, Reminder.zone)
        .where(
            Reminder.state == ReminderState.SCHEDULED,
            Reminder.due_on <= (ctx.now() + calendar.MAX_UTC_DATE_SKEW).date(),
            Reminder.enqueued_at.is_(None)
            | (Reminder.enqueued_at < ctx.now() - REENQUEUE_INTERVAL),
            func.row(Reminder.due_on, Reminder.id) > func.row(*after),
        )
        .order_by(Reminder.due_on, Reminder.id)
        .limit(BATCH_SIZE)
    )
    rows = await session.execute(query)
    return [(row_id, due_on, zone) for row_id, due_on, zone in rows if due_on is not None]


async def send(ctx: Context, reminder_id: str) -> None:
    """Send one reminder, if it is due and nothing speaks against it. Raises if it is not taken."""
    async with ctx.sessions() as session:
        row = await session.get(Reminder, reminder_id)
    if row is None or row.state is not ReminderState.SCHEDULED or row.due_on is None:
        return
    send_at = calendar.send_time(row.due_on, row.zone)
    if send_at > ctx.now():
        return
    if ctx.now() - send_at > MAX_DELAY:
        await _skip_missed(ctx, row)
        return
    if not smtp.is_configured(ctx.settings) or (
        not row.verified and await confirmation.alert_if_delayed(ctx)
    ):
        return  # it is enqueued again in an hour
    try:
        address = address_vault.decrypt(ctx.settings, row.associated_data, row.address_ciphertext)
    except address_vault.KeyUnreadable:
        async with ctx.sessions.begin() as session:  # and it is enqueued again in an hour
            await signup.note_key_store(session, is_readable=False, now=ctx.now())
    else:
        async with ctx.sessions.begin() as session:
            await signup.note_key_store(session, is_readable=True, now=ctx.now())
        await _send_to(ctx, row, address)


async def _send_to(ctx: Context, row: Reminder, address: str | None) -> None:
    """Send a reminder that is due, or close it where something speaks against it."""
    if address is None:
        await _close(ctx, row.id, ReminderState.KEY_LOST)
        return
    hashes = await address_vault.address_hashes(ctx.settings, address)
    if (state := await _find_closing_state(ctx, row, hashes)) is not None:
        await _close(ctx, row.id, state)
        return
    await _deliver(ctx, row, address, hashes)


async def _deliver(ctx: Context, row: Reminder, address: str, hashes: Sequence[bytes]) -> None:
    mail = render.render("reminder", row.language, _template_context(ctx, row, hashes[0]))
    code = reminder_links.sign_code(ctx, row.id, hashes[0])
    envelope = Envelope(
        f"{row.id}.{row.slot + 1}",
        address,
        row.language,
        written_at=ctx.now(),
        unsubscribe_url=reminder_links.cancel_link(ctx, code),
    )

    async def mark_sent() -> bool:
        return await _mark_sent(ctx, row, hashes)

    async def unmark() -> None:
        await _unmark(ctx, row, address, hashes)

    result = await delivery.send_at_most_once(ctx, mail, envelope, Claim(mark_sent, unmark))
    if result is SendResult.NO_SUCH_MAILBOX:
        async with ctx.sessions.begin() as session:
            await reminders.suppress_address(
                session, ctx.settings, hashes, SuppressionReason.BOUNCED, now=ctx.now()
            )


async def _mark_sent(ctx: Context, reminder: Reminder, hashes: Sequence[bytes]) -> bool:
    """Mark a slot as sent. Returns False if it was, or if something speaks against it by now."""
    async with ctx.sessions.begin() as session:
        row = await session.get(Reminder, reminder.id, with_for_update=True)
        if row is None or row.state is not ReminderState.SCHEDULED or row.slot != reminder.slot:
            return False
        if await _closing_state(ctx, session, row, hashes) is not None:
            return False
        if not row.verified and not await confirmation.reserve(session, hashes, now=ctx.now()):
            return False
        row.sent_count += 1
        _advance_slot(ctx, row, final_state=ReminderState.SENT)
        await reminder_stats.record_step(session, ctx.settings, ReminderStep.SENT, now=ctx.now())
    return True


async def _unmark(ctx: Context, reminder: Reminder, address: str, hashes: Sequence[bytes]) -> None:
    """Undo the mark of a mail whose text the server refused: it is sent another time.

    Of a reminder that was over with it, the address is encrypted anew.
    """
    async with ctx.sessions.begin() as session:
        row = await session.get(Reminder, reminder.id, with_for_update=True)
        if row is None or row.slot != reminder.slot + 1:
            return
        if row.state is ReminderState.SENT:
            row.state, row.ended_at, row.address_hash = ReminderState.SCHEDULED, None, hashes[0]
            row.contribution_id = reminder.contribution_id
            row.address_ciphertext = address_vault.encrypt(
                ctx.settings, row.associated_data, address
            )
        elif row.state is not ReminderState.SCHEDULED:
            return  # its owner ended it meanwhile
        row.slot, row.due_on, row.sent_count = reminder.slot, reminder.due_on, row.sent_count - 1
        if not row.verified:
            await confirmation.release(session, hashes)
        await reminder_stats.take_back_step(session, ctx.settings, ReminderStep.SENT, now=ctx.now())


def _advance_slot(ctx: Context, row: Reminder, *, final_state: ReminderState) -> None:
    """Go on to the next slot, or close the reminder after its last."""
    row.slot, row.enqueued_at = row.slot + 1, None
    if row.slot < row.slots:
        row.due_on = row.send_date(row.slot)
    else:
        reminders.close(ctx.settings, row, final_state, now=ctx.now())


async def _skip_missed(ctx: Context, reminder: Reminder) -> None:
    """Drop a slot whose reminder was not sent within `MAX_DELAY`."""
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


async def _find_closing_state(
    ctx: Context, row: Reminder, hashes: Sequence[bytes]
) -> ReminderState | None:
    async with ctx.sessions() as session:
        return await _closing_state(ctx, session, row, hashes)


async def _closing_state(
    ctx: Context, session: AsyncSession, row: Reminder, hashes: Sequence[bytes]
) -> ReminderState | None:
    """Return the state to close a reminder with, if something speaks against sending it."""
    if await suppression.is_suppressed(session, hashes, now=ctx.now()):
        return ReminderState.SUPPRESSED
    if not row.verified and not await confirmation.may_send(session, hashes, now=ctx.now()):
        return ReminderState.SUPPRESSED
    has_contributed = await _has_contributed(session, hashes, since=row.signed_up_at)
    return ReminderState.DONATED if has_contributed else None


async def _has_contributed(
    session: AsyncSession, hashes: Sequence[bytes], *, since: datetime
) -> bool:
    """Whether the owner of an address gave since then, or was charged for a subscription: also by a
    bank that has yet to answer.
    """
    donor_id = await session.scalar(select(Donor.id).where(Donor.address_hash.in_(hashes)).limit(1))
    if donor_id is None:
        return False
    contributed = await session.scalar(
        select(Contribution.id)
        .where(
            Contribution.donor_id == donor_id,
            Contribution.created_at >= since,
            Contribution.status.in_((ContributionStatus.PAID, ContributionStatus.PROCESSING)),
        )
        .limit(1)
    )
    return contributed is not None or await donor_payments.was_charged_since(
        session, donor_id, since
    )


def _template_context(ctx: Context, row: Reminder, address_hash: bytes) -> dict[str, object]:
    """Return the variables of the mail, ready to print."""
    code = reminder_links.sign_code(ctx, row.id, address_hash)
    is_last = row.slot + 1 >= row.slots
    return {
        "signed_up_on": i18n.format_day(row.signed_up_on, row.language),
        "next_on": None if is_last else i18n.format_day(row.send_date(row.slot + 1), row.language),
        "verified": row.verified,
        # to a mailbox that is not proved, no word of what was to be given
        "return_link": reminder_links.return_link(
            ctx.settings, row.intended_contribution if row.verified else None, row.language
        ),
        "reschedule_link": reminder_links.reschedule_link(ctx, code),
        "cancel_link": reminder_links.cancel_link(ctx, code),
        "unsubscribe_link": reminder_links.unsubscribe_link(ctx, address_hash),
    }


# --- retention ------------------------------------------------------------------------------------


async def purge(ctx: Context, *, file_time: float) -> None:
    """Erase reminders that were not confirmed in time or are a year old, and old closed ones.

    `file_time` is now, as a Unix time by the clock of the key directory's file system.
    """
    now, settings = ctx.now(), ctx.settings
    expired = (Reminder.signed_up_at < now - CONFIRMATION_LIFETIME) & Reminder.state.in_(
        (ReminderState.UNCONFIRMED, ReminderState.CHECKOUT_OPEN)
    )
    a_year_ago = (
        calendar.add_months(now.date(), -MAX_MONTHS) - MAX_DELAY - calendar.MAX_UTC_DATE_SKEW
    )
    overdue = (Reminder.state == ReminderState.SCHEDULED) & (Reminder.signed_up_on < a_year_ago)
    query = select(Reminder).where(expired | overdue).order_by(Reminder.id).limit(5000)
    async with ctx.sessions.begin() as session:
        over = list(await session.scalars(query.with_for_update(skip_locked=True)))
        ids = [row.id for row in over]
        destroyed = await signup.destroy_keys(session, settings, ids, schedule=PURGE, now=now)
        await session.execute(delete(Reminder).where(Reminder.id.in_(destroyed)))
        await session.execute(
            delete(Reminder).where(
                Reminder.state.not_in(ACTIVE_STATES),
                Reminder.ended_at < now - CLOSED_REMINDER_RETENTION,
            )
        )
        await suppression.purge_expired(session, now=now)
        await confirmation.purge_expired(session, ctx.settings, now=now)
    await signup.destroy_orphaned_keys(ctx, Reminder, settings, file_time=file_time, schedule=PURGE)
    address_vault.rewrap_keys(settings)
