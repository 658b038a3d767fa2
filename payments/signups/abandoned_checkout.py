"""Abandoned Checkouts: one reminder to a reader who asked for it and did not finish paying.

The address is stored encrypted, with the contribution's id, until Stripe says how the Checkout
ended. A paid one closes the reminder; an abandoned one schedules it for the next morning. Nobody
has confirmed the address, so that mail counts as its confirmation.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from stripe.checkout import Session as CheckoutSession

from payments.core import calendar
from payments.core.identifiers import new_row_id
from payments.core.settings import Settings
from payments.infra import db, stripe_client
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
    hashes: Sequence[bytes],
    contribution_id: str,
    now: datetime,
) -> None:
    """Store a reminder, of an address with these hashes, that is scheduled if a contribution's
    Checkout is abandoned.

    A second one of a contribution changes nothing. Raises InvalidField, KeyStoreMissing.
    """
    row_id = new_row_id()
    values = reminders.row_values(settings, row_id, schedule, address, now=now)
    values |= {"state": ReminderState.CHECKOUT_OPEN, "contribution_id": contribution_id}
    inserted = await session.scalar(
        insert(Reminder)
        .values(**values, address_hash=hashes[0])
        .on_conflict_do_nothing(index_elements=["contribution_id"])
        .returning(Reminder.id)
    )
    if inserted is None:  # the form was sent twice
        address_vault.destroy_key(settings, row_id)


async def on_checkout_ended(ctx: Context, fetched: CheckoutSession) -> None:
    """Close the reminder of a paid Checkout; schedule that of an abandoned one for tomorrow."""
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
        await db.advisory_lock(session, row.address_hash)
        scheduled = select(Reminder.id).where(
            Reminder.address_hash == row.address_hash, Reminder.state == ReminderState.SCHEDULED
        )
        if await session.scalar(scheduled) is not None:
            reminders.close(ctx.settings, row, ReminderState.SUPERSEDED, now=ctx.now())
            return
        today = calendar.local_date(ctx.now(), row.zone)
        row.signed_up_on, row.first_send_on = today, today + timedelta(days=1)
        row.state, row.due_on = ReminderState.SCHEDULED, row.first_send_on
