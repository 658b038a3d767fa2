"""Signing up for a reminder, the same from the page and from a program."""

from payments.infra.context import Context
from payments.signups import confirmation, reminders
from payments.signups.reminder_schedule import ReminderSchedule
from payments.web import signup_limit
from payments.web.forms import AnyRequest


async def sign_up(
    ctx: Context, request: AnyRequest, schedule: ReminderSchedule, address: str
) -> bool:
    """Store a reminder that is to be confirmed. Returns whether its confirmation will be delayed.

    Raises InvalidField, KeyStoreMissing.
    """
    async with ctx.sessions.begin() as session:
        await reminders.sign_up(
            session,
            ctx.settings,
            schedule,
            address=address,
            deprioritised=await signup_limit.is_exceeded(ctx, session, request),
            now=ctx.now(),
        )
        return await confirmation.is_delayed(session, ctx.now())
