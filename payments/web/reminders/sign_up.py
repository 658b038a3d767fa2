"""Signing up for a reminder, the same from the page and from a program."""

from payments.infra.context import Context
from payments.risk import form_limit
from payments.risk.request_context import RequestContext
from payments.signups import reminders
from payments.signups.reminder_schedule import ReminderSchedule


async def sign_up(
    ctx: Context, request_context: RequestContext, schedule: ReminderSchedule, address: str
) -> None:
    """Store a reminder that is to be confirmed.

    Raises InvalidField, KeyStoreMissing, and what `form_limit.limited` raises.
    """
    async with form_limit.limited(ctx, request_context) as (session, is_past):
        await reminders.sign_up(
            session,
            ctx.settings,
            schedule,
            address=address,
            deprioritised=is_past,
            now=ctx.now(),
        )
