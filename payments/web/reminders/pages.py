"""Remind me later: the form, the calendar file, and what the links of the mails open.

Every address gets the same answer. Opening a link changes nothing; the button behind it does, and
leaving works with one POST from a mail program, without signing in (RFC 8058).
"""

import contextlib
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from payments.core import calendar as core_calendar
from payments.core import i18n, ics, money
from payments.core.errors import InvalidField, LinkSpent, NotSignedIn, PaymentsError
from payments.core.money import Money
from payments.giving import campaigns
from payments.giving.checkout_session import Frequency
from payments.infra.context import Runtime
from payments.mail import smtp
from payments.risk import rate_limit as crowds
from payments.signups import (
    address_vault,
    reminder_links,
    reminder_schedule,
    reminder_sender,
    reminder_stats,
    reminders,
)
from payments.signups.reminder_schedule import Wish
from payments.signups.reminder_stats import Step
from payments.web import forms, locale, templates
from payments.web.account import sign_in
from payments.web.donate import form as donate_form
from payments.web.donate import risk_check
from payments.web.donate.form import EVERY, Typed
from payments.web.forms import SMALL, AnyRequest

WHENS = ("week", "next_month", "first", "on", "every_months")
A_NETWORK_MAY, IN = 3, reminder_sender.AN_HOUR  # sign-ups, before it waits behind the others


def _spent(request: AnyRequest, error: LinkSpent) -> Response[str]:
    """One page for a link that was used, is too old, was cut short, or was guessed."""
    rt: Runtime = request.app.state.rt
    return templates.page(rt, "remind_spent.html", status=error.status)


class RemindPage(Controller):
    path = "/remind"
    include_in_schema = False
    exception_handlers = {LinkSpent: _spent}  # noqa: RUF012 - litestar's

    @get()
    async def show(self, rt: NamedDependency[Runtime], request: AnyRequest) -> Response[str]:
        """The form, with what the reader had in mind carried over."""
        asked = Typed(dict(request.query_params.items()))
        return templates.page(rt, "remind.html", **form(rt, asked, errors={}))

    @post("/with", request_max_body_size=donate_form.MAX_BODY)
    async def carried(self, rt: NamedDependency[Runtime], request: AnyRequest) -> Response[str]:
        """The form, from the one to give, with what is chosen there and not yet sent."""
        typed = Typed(await forms.typed(request))
        locale.choose(typed["locale"])
        kept: dict[str, str] = {}
        with contextlib.suppress(PaymentsError, ValueError):
            frequency = Frequency(typed["frequency"])
            gift = donate_form.amount_of(rt, typed, frequency)
            kept = {"frequency": frequency, "amount": str(gift.amount), "currency": gift.currency}
        return templates.page(rt, "remind.html", **form(rt, Typed(kept), errors={}))

    @post(request_max_body_size=SMALL)
    async def ask(self, rt: NamedDependency[Runtime], request: AnyRequest) -> Response[str]:
        """Note the wish. Only whoever has proved the mailbox is told more than everybody else."""
        typed = Typed(await forms.typed(request))
        try:
            wanted = wish(rt, typed)
            address = address_vault.normal(typed["address"])
            if await _has_proved(rt, request, typed["code"], address):
                async with rt.sessions.begin() as session:
                    await reminders.ask_proved(
                        session, rt.settings, wanted, address=address, now=rt.now()
                    )
                return templates.page(rt, "remind_set.html", **_days(wanted))
            late = await note(rt, request, wanted, address)
        except PaymentsError as error:
            errors = {error.field or "": told(error)}
            return templates.page(
                rt, "remind.html", status=error.status, **form(rt, typed, errors=errors)
            )
        return templates.page(rt, "remind_asked.html", late=late, **_days(wanted))

    @post("/calendar", request_max_body_size=SMALL)
    async def calendar(self, rt: NamedDependency[Runtime], request: AnyRequest) -> Response[Any]:
        """A calendar file instead. An address that was typed is not even looked at."""
        typed = Typed(await forms.typed(request))
        try:
            wanted = wish(rt, typed)
        except PaymentsError as error:
            filled = form(rt, typed, errors={error.field or "": told(error)})
            return templates.page(rt, "remind.html", status=error.status, **filled)
        async with rt.sessions.begin() as session:
            await reminder_stats.count(session, rt.settings, Step.CALENDAR, now=rt.now())
        return Response(
            ics.entry(
                wanted.first_on,
                months=wanted.months,
                link=reminder_links.back(rt.settings, gift_of(wanted), wanted.language),
                tongue=wanted.language,
                now=rt.now(),
            ),
            media_type="text/calendar; charset=utf-8",
            headers={"content-disposition": 'attachment; filename="note.ics"'},
        )

    @get("/confirm/{signed:str}")
    async def what(self, rt: NamedDependency[Runtime], signed: FromPath[str]) -> Response[str]:
        """What was asked for, and the button. Programs that look into mails do not press it."""
        reminder_id = reminder_links.to_confirm(rt, signed)
        async with rt.sessions() as session:
            row = await reminders.to_prove(session, reminder_id, now=rt.now())
        code = reminder_links.code(rt, row.id, row.address_hash or b"")
        return templates.page(
            rt, "remind_confirm.html", signed=signed, code=code, done=row.proved, **_days(row)
        )

    @post("/confirm/{signed:str}", request_max_body_size=SMALL)
    async def confirm(self, rt: NamedDependency[Runtime], signed: FromPath[str]) -> Response[str]:
        """The mailbox is proved."""
        row = await reminders.confirm(rt, reminder_links.to_confirm(rt, signed))
        return templates.page(rt, "remind_set.html", **_days(row))

    @get("/stop/{code:str}")
    async def ask_to_stop(self, rt: NamedDependency[Runtime], code: FromPath[str]) -> Response[str]:
        """The button that ends a reminder."""
        reminder_links.held(rt, code)
        return templates.page(rt, "remind_stop.html", code=code, done=False)

    @post("/stop/{code:str}", request_max_body_size=SMALL)
    async def stop(self, rt: NamedDependency[Runtime], code: FromPath[str]) -> Response[str]:
        """End it: from our own page or, with one click, from a mail program."""
        reminder_id, _owner = reminder_links.held(rt, code)
        async with rt.sessions.begin() as session:
            await reminders.cancel(session, rt.settings, reminder_id, now=rt.now())
        return templates.page(rt, "remind_stop.html", code=code, done=True)

    @post("/reactivate/{code:str}", request_max_body_size=SMALL)
    async def reactivate(
        self, rt: NamedDependency[Runtime], request: AnyRequest, code: FromPath[str]
    ) -> Response[str]:
        """Take a cancellation back, with the address it was for. One answer for every address."""
        reminder_id, owner = reminder_links.held(rt, code)
        typed = await forms.typed(request)
        try:
            async with rt.sessions.begin() as session:
                await reminders.reactivate(
                    session,
                    rt.settings,
                    reminder_id,
                    owner=owner,
                    address=typed.get("address", ""),
                    now=rt.now(),
                )
        except InvalidField as error:
            return templates.page(
                rt, "remind_stop.html", status=422, code=code, done=True, error=told(error)
            )
        return templates.page(rt, "remind_back.html")

    @get("/again/{code:str}")
    async def again(self, rt: NamedDependency[Runtime], code: FromPath[str]) -> Response[str]:
        """Another day. With the code of the mail the address needs no other proof."""
        reminder_id, _owner = reminder_links.held(rt, code)
        async with rt.sessions() as session:
            row = await reminders.find(session, reminder_id)
        kept = {"code": code} | ({} if row is None else _as_typed(row))
        return templates.page(rt, "remind.html", **form(rt, Typed(kept), errors={}))

    @get("/never/{signed:str}")
    async def ask_never(self, rt: NamedDependency[Runtime], signed: FromPath[str]) -> Response[str]:
        """The button that suppresses an address."""
        reminder_links.owner_who_wants_none(rt, signed)
        return templates.page(rt, "remind_never.html", signed=signed, done=False)

    @post("/never/{signed:str}", request_max_body_size=SMALL)
    async def never(self, rt: NamedDependency[Runtime], signed: FromPath[str]) -> Response[str]:
        """Never again, whoever types the address."""
        owner = reminder_links.owner_who_wants_none(rt, signed)
        async with rt.sessions.begin() as session:
            await reminders.never(session, rt.settings, owner, now=rt.now())
        return templates.page(rt, "remind_never.html", signed=signed, done=True)


@get("/back/{packed:str}", include_in_schema=False)
async def back(rt: NamedDependency[Runtime], packed: FromPath[str]) -> Response[str]:
    """The form, filled in, for whoever follows the link of a reminder. Counted, by the month."""
    async with rt.sessions.begin() as session:
        await reminder_stats.count(session, rt.settings, Step.OPENED, now=rt.now())
    asked = {"campaign": campaigns.REMINDER}
    if (gift := reminder_links.gift_of(packed)) is not None:
        frequency, amount = gift
        asked |= {
            "frequency": frequency.value,
            "amount": str(amount.amount),
            "currency": amount.currency,
        }
    filled = donate_form.filled_in(rt, Typed(asked))
    return templates.page(rt, "donate.html", **donate_form.form(rt, filled, errors={}))


# --- what was typed -------------------------------------------------------------------------------


async def note(rt: Runtime, request: AnyRequest, wanted: Wish, address: str) -> bool:
    """Keep a wish whose mailbox is to be proved. Gives whether the proof will take a while."""
    network = risk_check.address(rt.settings, request)
    async with rt.sessions.begin() as session:
        crowded = await crowds.is_crowd(
            rt, session, network, "remind", most=A_NETWORK_MAY, period=IN
        )
        await reminders.ask(
            session, rt.settings, wanted, address=address, crowded=crowded, now=rt.now()
        )
        return await reminder_sender.is_crowded(session, rt.now())


async def _has_proved(rt: Runtime, request: AnyRequest, code: str, address: str) -> bool:
    """Whether whoever asks holds a mail to this address, or is signed in as its owner."""
    known = address_vault.hashes(rt.settings, address)
    if code:
        try:
            return reminder_links.held(rt, code)[1] in known
        except LinkSpent:
            return False
    try:
        donor = await sign_in.signed_in(rt, request)
    except NotSignedIn:
        return False
    async with rt.sessions() as session:
        return await reminders.belongs_to(session, known, donor.donor_id)


def wish(rt: Runtime, typed: Typed) -> Wish:
    """What the form says. Raises InvalidField."""
    zone = typed["zone"] or rt.settings.accounting_zone
    today = core_calendar.local_day(rt.now(), zone)
    days = dict(_suggested(today))
    when, months = typed["when"], None
    on = days.get(when)
    if when == "on":
        on = _day(typed["on"])
    elif when == "every_months":
        months = int(typed["every_months"]) if typed["every_months"] in _rhythms() else 0
    elif on is None:
        raise InvalidField("Choose when we should write to you.", field="when")
    gift = _gift(typed)
    return reminder_schedule.wish(
        rt.now(),
        zone,
        on=on,
        months=months,
        once_more=bool(typed["once_more"]),
        frequency=None if gift is None else gift[0],
        gift=None if gift is None else gift[1],
        language=locale.spoken(),
    )


def _suggested(today: date) -> Sequence[tuple[str, date]]:
    return (
        ("week", today + reminder_schedule.ONCE_MORE),
        ("next_month", core_calendar.add_months(today, 1)),
        ("first", core_calendar.first_of_next_month(today)),
    )


def _rhythms() -> list[str]:
    return [str(number) for number in range(1, reminder_schedule.KEPT_MONTHS + 1)]


def _day(text: str) -> date:
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text.strip()):
            return date.fromisoformat(text.strip())
    except ValueError:
        pass
    raise InvalidField("Write the day as year, month and day: 2027-01-31.", field="on")


def _gift(typed: Typed) -> tuple[Frequency, Money] | None:
    """What a link carried over. What makes no sense is left out: it is nothing to refuse."""
    known = typed["frequency"] in list(Frequency) and typed["currency"] in money.BOUNDS
    if not known or not re.fullmatch(r"[1-9][0-9]{0,8}", typed["amount"]):
        return None
    return Frequency(typed["frequency"]), Money(int(typed["amount"]), typed["currency"])


def gift_of(wanted: Wish) -> tuple[Frequency, Money] | None:
    if wanted.frequency is None or wanted.gift is None:
        return None
    return wanted.frequency, wanted.gift


def _as_typed(row: reminders.Reminder) -> dict[str, str]:
    kept = {"zone": row.zone}
    if row.gift is not None:
        frequency, gift = row.gift
        kept |= {"frequency": frequency.value, "amount": str(gift.amount)}
        kept["currency"] = gift.currency
    return kept


def told(refusal: PaymentsError) -> str:
    """The sentence of a refusal, with its days as they stand within a sentence."""
    facts = {
        name: i18n.day(fact, locale.spoken()) if isinstance(fact, date) else fact
        for name, fact in refusal.facts.items()
    }
    return locale.say(refusal.sentence, **facts)


# --- what is shown --------------------------------------------------------------------------------


def form(rt: Runtime, typed: Typed, *, errors: Mapping[str, str]) -> dict[str, Any]:
    """All that remind.html is given. `errors` maps a field's name to what is wrong with it."""
    zone = typed["zone"] if core_calendar.is_zone(typed["zone"]) else rt.settings.accounting_zone
    today = core_calendar.local_day(rt.now(), zone)
    gift, spoken = _gift(typed), locale.spoken()
    return {
        "errors": [{"field_id": name or "main", "message": says} for name, says in errors.items()],
        "field_errors": dict(errors),
        "by_mail": address_vault.can_keep(rt.settings) and smtp.is_configured(rt.settings),
        "address": typed["address"],
        "when": typed["when"] if typed["when"] in WHENS else "first",
        "days": {name: i18n.day(day, spoken) for name, day in _suggested(today)},
        "on": typed["on"],
        "first": (today + reminder_schedule.A_DAY).isoformat(),
        "last": core_calendar.add_months(today, reminder_schedule.KEPT_MONTHS).isoformat(),
        "every_months": typed["every_months"] if typed["every_months"] in _rhythms() else "3",
        "rhythms": _rhythms(),
        "once_more": bool(typed["once_more"]),
        "zone": zone,
        "zones": sorted({*core_calendar.offered(), zone}),
        "code": typed["code"],
        "gift": None if gift is None else (locale.amount(gift[1]), locale.say(EVERY[gift[0]])),
        "kept": {} if gift is None else {n: typed[n] for n in ("frequency", "amount", "currency")},
    }


def _days(wanted: Wish | reminders.Reminder) -> dict[str, Any]:
    """The days on which something would be sent, and where."""
    spoken = locale.spoken()
    days = [i18n.day(wanted.day(turn), spoken) for turn in range(wanted.turns)]
    return {"days": days, "zone": wanted.zone.replace("_", " ")}
