"""Signing up for a reminder, the same from the page and from a program."""

from payments.infra.context import Context
from payments.risk import form_limit
from payments.risk.request_context import RequestContext
from payments.signups import address_vault, reminders
from payments.signups.reminder_schedule import ReminderSchedule


async def sign_up(
    ctx: Context, request_context: RequestContext, schedule: ReminderSchedule, address: str
) -> None:
    """Store a reminder that is to be confirmed.

    Raises InvalidField, KeyStoreMissing, and what `form_limit.use_share` raises.
    """
    normal_address = address_vault.validated_email(address)
    is_past = await form_limit.use_share(ctx, request_context)
    hashes = await address_vault.address_hashes(ctx.settings, normal_address)
    async with ctx.sessions.begin() as session:
        await reminders.sign_up(
            session,
            ctx.settings,
            schedule,
            address=normal_address,
            hashes=hashes,
            deprioritised=is_past,
            now=ctx.now(),
        )
