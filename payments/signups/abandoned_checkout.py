"""Unfinished gifts: a reader on the way to pay ticked that they want to be told once if they do not
finish.

The address they typed waits, sealed, beside the contribution until Stripe says how the Checkout
ended. Whoever paid is forgotten; whoever did not gets one neutral mail the next morning. Nobody has
proved the mailbox, so that mail takes the place of a confirmation.
"""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from stripe.checkout import Session as CheckoutSession

from payments.core import calendar
from payments.core.identifiers import new_row_id
from payments.core.settings import Settings
from payments.infra import stripe_client
from payments.infra.context import Context
from payments.signups import address_vault, reminders
from payments.signups.reminder_schedule import ReminderSchedule
from payments.signups.reminders import Reminder, ReminderState


async def remind_if_abandoned(
    session: AsyncSession,
    settings: Settings,
    schedule: ReminderSchedule,
    *,
    address: str,
    contribution_id: str,
    now: datetime,
) -> None:
    """A reader on the way to pay wants to be reminded once if they do not finish."""
    row_id = new_row_id()
    values = reminders.row_values(settings, row_id, schedule, address, now=now)
    values |= {"state": ReminderState.CHECKOUT_OPEN, "contribution_id": contribution_id}
    known = address_vault.address_hashes(settings, address)
    made = await session.scalar(
        insert(Reminder)
        .values(**values, address_hash=known[0])
        .on_conflict_do_nothing(index_elements=["contribution_id"])
        .returning(Reminder.id)
    )
    if made is None:  # pressed twice
        address_vault.destroy_key(settings, row_id)


async def on_checkout_ended(ctx: Context, fetched: CheckoutSession) -> None:
    """Whoever did not finish is told once, tomorrow morning; of whoever did, nothing is kept."""
    contribution_id = stripe_client.metadata_value(fetched, "contribution_id")
    if fetched.status == "open" or contribution_id is None:
        return
    async with ctx.sessions.begin() as session:
        query = select(Reminder).where(Reminder.contribution_id == contribution_id)
        row = await session.scalar(query.with_for_update())
        if row is None or row.state is not ReminderState.CHECKOUT_OPEN or row.address_hash is None:
            return
        if fetched.status == "complete":
            reminders.close(ctx.settings, row, ReminderState.DONATED, now=ctx.now())
            return
        await reminders.lock_address(session, row.address_hash)
        others = select(Reminder.id).where(
            Reminder.address_hash == row.address_hash, Reminder.state == ReminderState.SCHEDULED
        )
        if await session.scalar(others) is not None:
            reminders.close(ctx.settings, row, ReminderState.SUPERSEDED, now=ctx.now())
            return
        today = calendar.local_date(ctx.now(), row.zone)
        row.signed_up_on, row.first_send_on = today, today + timedelta(days=1)
        row.state, row.due_on = ReminderState.SCHEDULED, row.first_send_on
