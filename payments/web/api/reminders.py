"""Reminders for programs, and what a mail server tells of its bounces."""

import hmac
from datetime import date
from functools import partial
from typing import Annotated, Literal

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from payments.core import i18n, money
from payments.core.errors import InvalidField, NotFound
from payments.giving.checkout_session import Frequency
from payments.infra.context import Runtime
from payments.signups import address_vault, reminder_links, reminder_schedule, reminders
from payments.signups.address_vault import Unwanted
from payments.signups.reminder_schedule import Wish
from payments.web.api.contributions import END, Locale
from payments.web.errors import problems
from payments.web.forms import AnyRequest, exactly
from payments.web.reminders import pages

MAX_BODY = 4 * 1024
MAX_EVENTS = 64 * 1024
Typed = Annotated[str, msgspec.Meta(max_length=320)]
Code = Annotated[str, msgspec.Meta(max_length=500)]
Month = Annotated[str, msgspec.Meta(pattern=rf"^2[0-9]{{3}}-(0[1-9]|1[0-2]){END}")]
Months = Annotated[int, msgspec.Meta(ge=1, le=12)]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When to write to whom. Exactly one of `on`, `month` (its first day) and `every_months`.

    `once_more` allows a second mail a week after `on`, if nothing was given by then. `frequency`,
    `amount` (minor units) and `currency` are what the link of the mail fills in; all three or none.
    """

    address: Typed
    on: date | None = None
    month: Month | None = None
    every_months: Months | None = None
    once_more: bool = False
    frequency: Frequency | None = None
    amount: int | None = None
    currency: str | None = None
    zone: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    locale: Locale | None = None


class Cancelled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code of a reminder's mail: the last part of its link to stop."""

    code: Code


class Reactivated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code of a mail, and the address it went to: the address was erased when it was
    cancelled.
    """

    code: Code
    address: Typed


class Noted(msgspec.Struct, frozen=True):
    """The same for every address."""

    status: Literal["noted", "cancelled"]


class MailEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of a mail. `bounce` is a mailbox that is not there; not one that is full."""

    kind: Literal["bounce", "complaint"]
    address: Typed


class MailEvents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    events: Annotated[list[MailEvent], msgspec.Meta(max_length=200)]


WANTED = {
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
    "code": "the last part of the link to stop, from the mail",
    "events": "a list of at most 200 of {kind: bounce or complaint, address}",
    "kind": "bounce or complaint",
}
_exactly = partial(exactly, wanted=WANTED, nothing="Nothing was noted.")
REFUSALS = problems(400, 404, 409, 410, 413, 415, 422, 429, 503)
REASONS = {"bounce": Unwanted.BOUNCED, "complaint": Unwanted.COMPLAINED}


class RemindersApi(Controller):
    path = "/api/reminders"
    tags = ("Reminders",)

    @post(
        operation_id="askForReminder",
        summary="Ask for a reminder",
        before_request=_exactly(Asked),
        request_max_body_size=MAX_BODY,
        status_code=202,
        responses=REFUSALS,
    )
    async def ask(
        self, rt: NamedDependency[Runtime], request: AnyRequest, data: JSONBody[Asked]
    ) -> Noted:
        """Whoever owns the mailbox gets one mail to confirm it, and nothing before they do. The
        answer does not tell whether the address is known, has a reminder, or wants none.
        """
        wanted = _wish(rt, data)
        await pages.note(rt, request, wanted, address_vault.normal(data.address))
        return Noted("noted")

    @post(
        "/cancel",
        operation_id="cancelReminder",
        summary="Cancel a reminder",
        before_request=_exactly(Cancelled),
        request_max_body_size=MAX_BODY,
        status_code=200,
        responses=REFUSALS,
    )
    async def cancel(self, rt: NamedDependency[Runtime], data: JSONBody[Cancelled]) -> Noted:
        """Nothing more is sent, and the address is erased."""
        reminder_id, _owner = reminder_links.held(rt, data.code)
        async with rt.sessions.begin() as session:
            await reminders.cancel(session, rt.settings, reminder_id, now=rt.now())
        return Noted("cancelled")

    @post(
        "/reactivate",
        operation_id="reactivateReminder",
        summary="Take a cancellation back",
        before_request=_exactly(Reactivated),
        request_max_body_size=MAX_BODY,
        status_code=200,
        responses=REFUSALS,
    )
    async def reactivate(self, rt: NamedDependency[Runtime], data: JSONBody[Reactivated]) -> Noted:
        """Nobody but the holder of a mail can, and only with the address it went to."""
        reminder_id, owner = reminder_links.held(rt, data.code)
        async with rt.sessions.begin() as session:
            await reminders.reactivate(
                session, rt.settings, reminder_id, owner=owner, address=data.address, now=rt.now()
            )
        return Noted("noted")


@post(
    "/webhooks/mail",
    operation_id="tellOfMail",
    summary="Tell of bounces and complaints",
    tags=["Mail"],
    before_request=_exactly(MailEvents),
    request_max_body_size=MAX_EVENTS,
    status_code=200,
    responses=problems(400, 404, 413, 415, 422, 503),
)
async def mail_events(
    rt: NamedDependency[Runtime], request: AnyRequest, data: JSONBody[MailEvents]
) -> dict[str, int]:
    """Send `Authorization: Bearer` with PAYMENTS_MAIL_EVENTS_TOKEN. Kept is a keyed hash: a bounce
    for half a year, a complaint for good. What is no address is passed over.
    """
    token = rt.settings.mail_events_token
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token is None or not hmac.compare_digest(given.encode(), token.get_secret_value().encode()):
        raise NotFound("There is nothing at this address.")
    taken = 0
    for event in data.events:
        try:
            known = address_vault.hashes(rt.settings, event.address)
        except InvalidField:
            continue
        async with rt.sessions.begin() as session:
            await reminders.unwanted(session, rt.settings, known, REASONS[event.kind], now=rt.now())
        taken += 1
    return {"taken": taken}


def _wish(rt: Runtime, data: Asked) -> Wish:
    """Checked. Raises InvalidField naming the field and the limit."""
    if [data.on, data.month, data.every_months].count(None) != 2:
        raise InvalidField(
            "Give exactly one of on, month and every_months. Nothing was noted.", field="on"
        )
    gift = None
    if (data.frequency, data.amount, data.currency) != (None, None, None):
        if data.frequency is None or data.amount is None or data.currency is None:
            raise InvalidField(
                "Give frequency, amount and currency together, or none of them.", field="amount"
            )
        highest = money.maximum(data.currency, rt.settings.maximum_gifts)
        gift = money.check_gift(data.amount, data.currency, maximum=highest.amount)
    return reminder_schedule.wish(
        rt.now(),
        data.zone or rt.settings.accounting_zone,
        on=data.on or _first_of(data.month),
        months=data.every_months,
        once_more=data.once_more,
        frequency=data.frequency,
        gift=gift,
        language=i18n.negotiate(data.locale),
    )


def _first_of(month: str | None) -> date | None:
    return None if month is None else date.fromisoformat(f"{month}-01")
