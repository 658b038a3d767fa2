"""Reminders for programs."""

from datetime import date
from functools import partial
from typing import Annotated, Literal

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from payments.core import i18n
from payments.core.errors import InvalidField
from payments.core.frequency import Frequency
from payments.core.identifiers import new_row_id
from payments.infra.context import Context
from payments.risk import form_limit
from payments.signups import address_vault, reminder_links, reminder_schedule, reminders
from payments.signups.reminder_schedule import ReminderSchedule
from payments.web import risk_check
from payments.web.api.contributions import PATTERN_END, Locale, Proof
from payments.web.errors import problem_responses
from payments.web.forms import AnyRequest, strict_json
from payments.web.reminders import sign_up

MAX_BODY_BYTES = 4 * 1024
EmailText = Annotated[str, msgspec.Meta(max_length=320)]
Code = Annotated[str, msgspec.Meta(max_length=500)]
Month = Annotated[str, msgspec.Meta(pattern=rf"^2[0-9]{{3}}-(0[1-9]|1[0-2]){PATTERN_END}")]
Months = Annotated[int, msgspec.Meta(ge=1, le=12)]


class ReminderCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When to write to whom. Exactly one of `on`, `month` (its first day) and `every_months`.

    `once_more` allows a second mail a week after `on`, if nothing was given by then. `frequency`,
    `amount` (minor units) and `currency` are what the link of the mail fills in; all three or none.
    `proof` is needed after an answer of 428: see `getChallenge`.
    """

    address: EmailText
    on: date | None = None
    month: Month | None = None
    every_months: Months | None = None
    once_more: bool = False
    frequency: Frequency | None = None
    amount: int | None = None
    currency: str | None = None
    zone: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    locale: Locale | None = None
    proof: Proof | None = None


class ReminderCancel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code of a reminder's mail: the last part of its link to stop."""

    code: Code


class ReminderReactivate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code of a mail, and the address it went to: the address was erased when it was
    cancelled.
    """

    code: Code
    address: EmailText


class ReminderAccepted(msgspec.Struct, frozen=True):
    """The same for every address."""

    status: Literal["noted", "cancelled"]


FIELD_HELP = {
    "address": "an e-mail address of at most 320 characters",
    "on": "a day, such as 2027-01-31",
    "month": "a month, such as 2027-01",
    "every_months": "a whole number from 1 to 12",
    "once_more": "true or false",
    "frequency": "once, monthly or annual",
    "amount": "a whole number of minor units, such as 500 for $5.00",
    "currency": "three letters, such as usd",
    "zone": "an IANA time zone, such as Europe/Berlin",
    "locale": "a language, such as en or pt-BR",
    "proof": "the solution of a challenge, in base64",
    "code": "the last part of the link to stop, from the mail",
}
_strict_json = partial(strict_json, field_help=FIELD_HELP, no_effect_message="Nothing was saved.")
ERROR_RESPONSES = problem_responses(400, 404, 409, 410, 413, 415, 422, 428, 429, 503)


class RemindersApi(Controller):
    """Signs up for reminders, and cancels and reactivates them."""

    path = "/api/reminders"
    tags = ("Reminders",)

    @post(
        operation_id="askForReminder",
        summary="Ask for a reminder",
        before_request=_strict_json(ReminderCreate),
        request_max_body_size=MAX_BODY_BYTES,
        status_code=202,
        responses=ERROR_RESPONSES,
    )
    async def create(
        self, ctx: NamedDependency[Context], request: AnyRequest, data: JSONBody[ReminderCreate]
    ) -> ReminderAccepted:
        """Whoever owns the mailbox gets one mail to confirm it, and nothing before they do. The
        answer does not tell whether the address is known, has a reminder, or wants none.
        """
        schedule = _parse_schedule(ctx, data)
        address = address_vault.validated_email(data.address)
        request_context = await risk_check.request_context_of_api(
            ctx, request, new_row_id(), data.proof, purpose=form_limit.SIGN_UP
        )
        await sign_up.sign_up(ctx, request_context, schedule, address)
        return ReminderAccepted("noted")

    @post(
        "/cancel",
        operation_id="cancelReminder",
        summary="Cancel a reminder",
        before_request=_strict_json(ReminderCancel),
        request_max_body_size=MAX_BODY_BYTES,
        status_code=200,
        responses=ERROR_RESPONSES,
    )
    async def cancel(
        self, ctx: NamedDependency[Context], data: JSONBody[ReminderCancel]
    ) -> ReminderAccepted:
        """Nothing more is sent, and the address is erased."""
        reminder_id, _address_hash = reminder_links.parse_code(ctx, data.code)
        async with ctx.sessions.begin() as session:
            await reminders.cancel(session, ctx.settings, reminder_id, now=ctx.now())
        return ReminderAccepted("cancelled")

    @post(
        "/reactivate",
        operation_id="reactivateReminder",
        summary="Take a cancellation back",
        before_request=_strict_json(ReminderReactivate),
        request_max_body_size=MAX_BODY_BYTES,
        status_code=200,
        responses=ERROR_RESPONSES,
    )
    async def reactivate(
        self, ctx: NamedDependency[Context], data: JSONBody[ReminderReactivate]
    ) -> ReminderAccepted:
        """Nobody but the holder of a mail can, and only with the address it went to."""
        reminder_id, address_hash = reminder_links.parse_code(ctx, data.code)
        hashes = await address_vault.address_hashes(ctx.settings, data.address)
        async with ctx.sessions.begin() as session:
            await reminders.reactivate(
                session,
                ctx.settings,
                reminder_id,
                address_hash=address_hash,
                address=data.address,
                hashes=hashes,
                now=ctx.now(),
            )
        return ReminderAccepted("noted")


def _parse_schedule(ctx: Context, data: ReminderCreate) -> ReminderSchedule:
    """Return the schedule that a program asks for. Raises InvalidField."""
    if [data.on, data.month, data.every_months].count(None) != 2:
        raise InvalidField(
            "Give exactly one of on, month and every_months. Nothing was saved.", field="on"
        )
    gift = None
    if (data.frequency, data.amount, data.currency) != (None, None, None):
        if data.frequency is None or data.amount is None or data.currency is None:
            raise InvalidField(
                "Give frequency, amount and currency together, or none of them.", field="amount"
            )
        gift = ctx.settings.validate_gift(data.amount, data.currency)
    return reminder_schedule.build_schedule(
        ctx.now(),
        data.zone or ctx.settings.accounting_zone,
        on=data.on or _first_day_of(data.month),
        interval_months=data.every_months,
        once_more=data.once_more,
        frequency=data.frequency,
        amount=gift,
        language=i18n.negotiate_locale(data.locale, offered=ctx.settings.offered_locales),
    )


def _first_day_of(month: str | None) -> date | None:
    return None if month is None else date.fromisoformat(f"{month}-01")
