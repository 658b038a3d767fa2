"""Remind me later: the form, the calendar file, and what the links of the mails open.

Every address gets the same answer. Opening a link changes nothing; the button behind it does, and
leaving works with one POST from a mail program, without signing in (RFC 8058).
"""

import contextlib
import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.core import calendar as core_calendar
from payments.core import i18n, ics, money
from payments.core.errors import InvalidField, LinkInvalid, PaymentsError, Unauthenticated
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.giving import campaigns
from payments.infra.context import Context
from payments.mail import smtp
from payments.risk import rate_limit
from payments.signups import (
    address_vault,
    confirmation,
    reminder_links,
    reminder_schedule,
    reminder_stats,
    reminders,
)
from payments.signups.reminder_schedule import ReminderSchedule
from payments.signups.reminder_stats import ReminderStep
from payments.signups.suppression import SuppressionReason
from payments.web import csrf, forms, rendering, request_locale
from payments.web.account import sign_in
from payments.web.donate import form as donate_form
from payments.web.donate import risk_check
from payments.web.donate.form import FREQUENCY_PHRASES, FormData
from payments.web.forms import SMALL_FORM_BYTES, AnyRequest

SCHEDULE_CHOICES = ("week", "next_month", "first", "on", "every_months")
SIGNUPS_PER_NETWORK, SIGNUP_WINDOW = (
    3,
    timedelta(hours=1),
)  # sign-ups, before it waits behind the others


def _on_link_invalid(request: AnyRequest, error: LinkInvalid) -> Response[str]:
    """One page for a link that was used, is too old, was cut short, or was guessed."""
    ctx: Context = request.app.state.ctx
    return rendering.render(ctx, "remind_link_invalid.html", status=error.status)


class ReminderPages(Controller):
    path = "/remind"
    include_in_schema = False
    exception_handlers = {LinkInvalid: _on_link_invalid}  # noqa: RUF012 - litestar's

    @get()
    async def show(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[str]:
        """The form, with what the reader had in mind carried over."""
        asked = FormData(dict(request.query_params.items()))
        return rendering.render(ctx, "remind.html", **form_context(ctx, asked, errors={}))

    @post("/with", request_max_body_size=donate_form.MAX_FORM_BYTES)
    async def prefilled(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[str]:
        """The form, from the one to give, with what is chosen there and not yet sent."""
        typed = FormData(await forms.form_data(request))
        request_locale.override(typed["locale"])
        kept: dict[str, str] = {}
        with contextlib.suppress(PaymentsError, ValueError):
            frequency = Frequency(typed["frequency"])
            gift = donate_form.read_amount(ctx, typed, frequency)
            kept = {"frequency": frequency, "amount": str(gift.amount), "currency": gift.currency}
        return rendering.render(ctx, "remind.html", **form_context(ctx, FormData(kept), errors={}))

    @post(request_max_body_size=SMALL_FORM_BYTES)
    async def submit(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[str]:
        """Note the wish. Only whoever has proved the mailbox is told more than everybody else."""
        typed = FormData(await forms.form_data(request))
        try:
            wanted = parse_schedule(ctx, typed)
            address = address_vault.validated_email(typed["address"])
            if await _is_verified_owner(ctx, request, typed["code"], address):
                async with ctx.sessions.begin() as session:
                    await reminders.sign_up_verified(
                        session, ctx.settings, wanted, address=address, now=ctx.now()
                    )
                return rendering.render(ctx, "remind_confirmed.html", **_send_dates(wanted))
            late = await sign_up(ctx, request, wanted, address)
        except PaymentsError as error:
            errors = {error.field or "": message_with_dates(error)}
            return rendering.render(
                ctx, "remind.html", status=error.status, **form_context(ctx, typed, errors=errors)
            )
        return rendering.render(
            ctx, "remind_confirmation_sent.html", late=late, **_send_dates(wanted)
        )

    @post("/calendar", request_max_body_size=SMALL_FORM_BYTES)
    async def calendar(self, ctx: NamedDependency[Context], request: AnyRequest) -> Response[Any]:
        """A calendar file instead. An address that was typed is not even looked at."""
        typed = FormData(await forms.form_data(request))
        try:
            wanted = parse_schedule(ctx, typed)
        except PaymentsError as error:
            filled = form_context(ctx, typed, errors={error.field or "": message_with_dates(error)})
            return rendering.render(ctx, "remind.html", status=error.status, **filled)
        async with ctx.sessions.begin() as session:
            await reminder_stats.record_step(
                session, ctx.settings, ReminderStep.CALENDAR, now=ctx.now()
            )
        return Response(
            ics.reminder_ics(
                wanted.first_send_on,
                months=wanted.interval_months,
                link=reminder_links.return_link(
                    ctx.settings, contribution_of_schedule(wanted), wanted.language
                ),
                locale=wanted.language,
                now=ctx.now(),
            ),
            media_type="text/calendar; charset=utf-8",
            headers={"content-disposition": 'attachment; filename="note.ics"'},
        )

    @get("/confirm/{signed:str}")
    async def confirm_form(
        self, ctx: NamedDependency[Context], signed: FromPath[str]
    ) -> Response[str]:
        """What was asked for, and the button. Programs that look into mails do not press it."""
        reminder_id = reminder_links.parse_confirm_link(ctx, signed)
        async with ctx.sessions() as session:
            row = await reminders.get_confirmable(session, reminder_id, now=ctx.now())
        code = reminder_links.sign_code(ctx, row.id, row.address_hash or b"")
        return rendering.render(
            ctx,
            "remind_confirm.html",
            signed=signed,
            code=code,
            done=row.verified,
            **_send_dates(row),
        )

    @post("/confirm/{signed:str}", request_max_body_size=SMALL_FORM_BYTES)
    async def confirm(self, ctx: NamedDependency[Context], signed: FromPath[str]) -> Response[str]:
        """The mailbox is proved."""
        row = await reminders.confirm(ctx, reminder_links.parse_confirm_link(ctx, signed))
        return rendering.render(ctx, "remind_confirmed.html", **_send_dates(row))

    @get("/stop/{code:str}")
    async def cancel_form(
        self, ctx: NamedDependency[Context], code: FromPath[str]
    ) -> Response[str]:
        """The button that ends a reminder."""
        reminder_links.parse_code(ctx, code)
        return rendering.render(ctx, "remind_cancel.html", code=code, done=False)

    @post("/stop/{code:str}", request_max_body_size=SMALL_FORM_BYTES)
    async def cancel(self, ctx: NamedDependency[Context], code: FromPath[str]) -> Response[str]:
        """End it: from our own page or, with one click, from a mail program."""
        reminder_id, _owner = reminder_links.parse_code(ctx, code)
        async with ctx.sessions.begin() as session:
            await reminders.cancel(session, ctx.settings, reminder_id, now=ctx.now())
        return rendering.render(ctx, "remind_cancel.html", code=code, done=True)

    @post("/reactivate/{code:str}", request_max_body_size=SMALL_FORM_BYTES)
    async def reactivate(
        self, ctx: NamedDependency[Context], request: AnyRequest, code: FromPath[str]
    ) -> Response[str]:
        """Take a cancellation back, with the address it was for. One answer for every address."""
        reminder_id, owner = reminder_links.parse_code(ctx, code)
        typed = await forms.form_data(request)
        try:
            async with ctx.sessions.begin() as session:
                await reminders.reactivate(
                    session,
                    ctx.settings,
                    reminder_id,
                    address_hash=owner,
                    address=typed.get("address", ""),
                    now=ctx.now(),
                )
        except InvalidField as error:
            return rendering.render(
                ctx,
                "remind_cancel.html",
                status=422,
                code=code,
                done=True,
                error=message_with_dates(error),
            )
        return rendering.render(ctx, "remind_reactivated.html")

    @get("/again/{code:str}")
    async def reschedule(self, ctx: NamedDependency[Context], code: FromPath[str]) -> Response[str]:
        """Another day. With the code of the mail the address needs no other proof."""
        reminder_id, _owner = reminder_links.parse_code(ctx, code)
        async with ctx.sessions() as session:
            row = await reminders.get(session, reminder_id)
        kept = {"code": code} | ({} if row is None else _fields_of_reminder(row))
        return rendering.render(ctx, "remind.html", **form_context(ctx, FormData(kept), errors={}))

    @get("/never/{signed:str}")
    async def unsubscribe_form(
        self, ctx: NamedDependency[Context], signed: FromPath[str]
    ) -> Response[str]:
        """The button that suppresses an address."""
        reminder_links.parse_unsubscribe_link(ctx, signed)
        return rendering.render(ctx, "remind_unsubscribe.html", signed=signed, done=False)

    @post("/never/{signed:str}", request_max_body_size=SMALL_FORM_BYTES)
    async def unsubscribe_all(
        self, ctx: NamedDependency[Context], signed: FromPath[str]
    ) -> Response[str]:
        """Never again, whoever types the address."""
        address_hash = reminder_links.parse_unsubscribe_link(ctx, signed)
        async with ctx.sessions.begin() as session:
            await reminders.suppress_address(
                session,
                ctx.settings,
                [address_hash],
                SuppressionReason.UNSUBSCRIBED,
                now=ctx.now(),
            )
        return rendering.render(ctx, "remind_unsubscribe.html", signed=signed, done=True)


@get("/back/{packed:str}", include_in_schema=False)
async def return_from_mail(ctx: NamedDependency[Context], packed: FromPath[str]) -> Response[str]:
    """The form, filled in, for whoever follows the link of a reminder. Counted, by the month."""
    async with ctx.sessions.begin() as session:
        await reminder_stats.record_step(session, ctx.settings, ReminderStep.OPENED, now=ctx.now())
    asked = {"campaign": campaigns.REMINDER}
    if (gift := reminder_links.parse_prefill(packed)) is not None:
        frequency, amount = gift
        asked |= {
            "frequency": frequency.value,
            "amount": str(amount.amount),
            "currency": amount.currency,
        }
    filled = donate_form.prefill(ctx, FormData(asked))
    return rendering.render(ctx, "donate.html", **donate_form.form_context(ctx, filled, errors={}))


# --- what was typed -------------------------------------------------------------------------------


async def sign_up(
    ctx: Context, request: AnyRequest, schedule: ReminderSchedule, address: str
) -> bool:
    """Keep a wish whose mailbox is to be proved. Gives whether the proof will take a while."""
    network = risk_check.client_address(ctx.settings, request)
    async with ctx.sessions.begin() as session:
        crowded = await rate_limit.is_over_limit(
            ctx, session, network, "remind", limit=SIGNUPS_PER_NETWORK, period=SIGNUP_WINDOW
        )
        await reminders.sign_up(
            session, ctx.settings, schedule, address=address, deprioritised=crowded, now=ctx.now()
        )
        return await confirmation.is_delayed(session, ctx.now())


async def _is_verified_owner(ctx: Context, request: AnyRequest, code: str, address: str) -> bool:
    """Whether whoever asks holds a mail to this address, or is signed in as its owner."""
    known = address_vault.address_hashes(ctx.settings, address)
    if code:
        try:
            return reminder_links.parse_code(ctx, code)[1] in known
        except LinkInvalid:
            return False
    if not csrf.is_same_origin(request):  # its form has no guard: most readers have no session
        return False
    try:
        donor = await sign_in.current_donor(ctx, request)
    except Unauthenticated:
        return False
    async with ctx.sessions() as session:
        return await reminders.is_address_of_donor(session, known, donor.donor_id)


def parse_schedule(ctx: Context, typed: FormData) -> ReminderSchedule:
    """What the form says. Raises InvalidField."""
    zone = typed["zone"] or ctx.settings.accounting_zone
    today = core_calendar.local_date(ctx.now(), zone)
    days = dict(_suggested_dates(today))
    when, months = typed["when"], None
    on = days.get(when)
    if when == "on":
        on = _parse_date(typed["on"])
    elif when == "every_months":
        months = int(typed["every_months"]) if typed["every_months"] in _interval_choices() else 0
    elif on is None:
        raise InvalidField("Choose when we should write to you.", field="when")
    gift = _prefilled_contribution(typed)
    return reminder_schedule.build_schedule(
        ctx.now(),
        zone,
        on=on,
        interval_months=months,
        once_more=bool(typed["once_more"]),
        frequency=None if gift is None else gift[0],
        amount=None if gift is None else gift[1],
        language=request_locale.current(),
    )


def _suggested_dates(today: date) -> Sequence[tuple[str, date]]:
    return (
        ("week", today + timedelta(weeks=1)),
        ("next_month", core_calendar.add_months(today, 1)),
        ("first", core_calendar.next_month(today)),
    )


def _interval_choices() -> list[str]:
    return [str(number) for number in range(1, reminder_schedule.MAX_MONTHS + 1)]


def _parse_date(text: str) -> date:
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text.strip()):
            return date.fromisoformat(text.strip())
    except ValueError:
        pass
    raise InvalidField("Write the day as year, month and day: 2027-01-31.", field="on")


def _prefilled_contribution(typed: FormData) -> tuple[Frequency, Money] | None:
    """What a link carried over. What makes no sense is left out: it is nothing to refuse."""
    known = typed["frequency"] in list(Frequency) and typed["currency"] in money.GIFT_LIMITS
    if not known or not re.fullmatch(r"[1-9][0-9]{0,8}", typed["amount"]):
        return None
    return Frequency(typed["frequency"]), Money(int(typed["amount"]), typed["currency"])


def contribution_of_schedule(schedule: ReminderSchedule) -> tuple[Frequency, Money] | None:
    if schedule.frequency is None or schedule.amount is None:
        return None
    return schedule.frequency, schedule.amount


def _fields_of_reminder(row: reminders.Reminder) -> dict[str, str]:
    kept = {"zone": row.zone}
    if row.intended_contribution is not None:
        frequency, gift = row.intended_contribution
        kept |= {"frequency": frequency.value, "amount": str(gift.amount)}
        kept["currency"] = gift.currency
    return kept


def message_with_dates(error: PaymentsError) -> str:
    """The sentence of a refusal, with its days as they stand within a sentence."""
    facts = {
        name: i18n.format_day(fact, request_locale.current()) if isinstance(fact, date) else fact
        for name, fact in error.message_params.items()
    }
    return request_locale.translate(error.message, **facts)


# --- what is shown --------------------------------------------------------------------------------


def form_context(ctx: Context, typed: FormData, *, errors: Mapping[str, str]) -> dict[str, Any]:
    """All that remind.html is given. `errors` maps a field's name to what is wrong with it."""
    zone = (
        typed["zone"]
        if core_calendar.is_known_zone(typed["zone"])
        else ctx.settings.accounting_zone
    )
    today = core_calendar.local_date(ctx.now(), zone)
    first, last = reminder_schedule.date_range(today)
    gift, locale = _prefilled_contribution(typed), request_locale.current()
    return {
        "errors": [{"field_id": name or "main", "message": says} for name, says in errors.items()],
        "field_errors": dict(errors),
        "by_mail": address_vault.has_key_store(ctx.settings) and smtp.is_configured(ctx.settings),
        "address": typed["address"],
        "when": typed["when"] if typed["when"] in SCHEDULE_CHOICES else "first",
        "days": {name: i18n.format_day(day, locale) for name, day in _suggested_dates(today)},
        "on": typed["on"],
        "first": first.isoformat(),
        "last": last.isoformat(),
        "every_months": typed["every_months"]
        if typed["every_months"] in _interval_choices()
        else "3",
        "rhythms": _interval_choices(),
        "once_more": bool(typed["once_more"]),
        "zone": zone,
        "zones": sorted({*core_calendar.zones_for_select(), zone}),
        "code": typed["code"],
        "gift": None
        if gift is None
        else (
            request_locale.format_amount(gift[1]),
            request_locale.translate(FREQUENCY_PHRASES[gift[0]]),
        ),
        "kept": {} if gift is None else {n: typed[n] for n in ("frequency", "amount", "currency")},
    }


def _send_dates(schedule: ReminderSchedule | reminders.Reminder) -> dict[str, Any]:
    """The days on which something would be sent, and where."""
    spoken = request_locale.current()
    days = [i18n.format_day(schedule.send_date(turn), spoken) for turn in range(schedule.slots)]
    return {"days": days, "zone": schedule.zone.replace("_", " ")}
