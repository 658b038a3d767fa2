"""The checkbox of the donation form for one reminder if the reader does not finish paying.

It is never ticked for a reader.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from payments.core import calendar
from payments.core.errors import InvalidField
from payments.core.settings import Settings
from payments.giving.checkout_session import ContributionRequest
from payments.infra.context import Context
from payments.mail import smtp
from payments.signups import abandoned_checkout, address_vault, reminder_schedule
from payments.signups.reminder_schedule import ReminderSchedule
from payments.web import request_locale

CHECKBOX_FIELD, ADDRESS_FIELD = "remind", "remind_address"
REMINDER_FIELDS = frozenset({CHECKBOX_FIELD, ADDRESS_FIELD})


@dataclass(frozen=True, slots=True)
class AbandonedCheckoutReminder:
    """The reminder that a reader asked for."""

    schedule: ReminderSchedule
    address: str


def is_offered(settings: Settings) -> bool:
    """Whether addresses can be stored, and mails be sent."""
    return address_vault.has_key_store(settings) and smtp.is_configured(settings)


def requested_reminder(
    ctx: Context, typed: Mapping[str, str], contribution_request: ContributionRequest
) -> AbandonedCheckoutReminder | None:
    """Return the reminder that a form asks for, if its box is ticked. Raises InvalidField.

    An address without the tick is not read.
    """
    if not typed.get(CHECKBOX_FIELD) or not is_offered(ctx.settings):
        return None
    try:
        address = address_vault.validated_email(typed.get(ADDRESS_FIELD, ""))
    except InvalidField as error:
        raise InvalidField(error.message, field=ADDRESS_FIELD) from None
    zone = ctx.settings.accounting_zone
    tomorrow = calendar.local_date(ctx.now(), zone) + timedelta(days=1)
    return AbandonedCheckoutReminder(
        reminder_schedule.build_schedule(
            ctx.now(),
            zone,
            on=tomorrow,
            frequency=contribution_request.frequency,
            amount=contribution_request.money,
            language=request_locale.current(),
        ),
        address,
    )


async def store_reminder(
    ctx: Context, contribution_id: str, reminder: AbandonedCheckoutReminder | None
) -> None:
    """Store a reminder, if there is one, until it is known whether the reader finished."""
    if reminder is None:
        return
    hashes = await address_vault.address_hashes(ctx.settings, reminder.address)
    async with ctx.sessions.begin() as session:
        await abandoned_checkout.remind_if_abandoned(
            session,
            ctx.settings,
            reminder.schedule,
            address=reminder.address,
            hashes=hashes,
            contribution_id=contribution_id,
            now=ctx.now(),
        )
