"""The form of a reminder: its fields as a schedule, and a schedule as what the form prints."""

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from payments.core import calendar, i18n, money
from payments.core.errors import InvalidField, PaymentsError
from payments.core.frequency import OFFERED_FREQUENCIES, Frequency
from payments.core.money import Money
from payments.infra.context import Context
from payments.mail import smtp
from payments.signups import address_vault, reminder_schedule
from payments.signups.reminder_schedule import ReminderSchedule
from payments.signups.reminders import Reminder
from payments.web import request_locale
from payments.web.donate.form import FREQUENCY_PHRASES, FormData

SCHEDULE_CHOICES = ("week", "next_month", "first", "on", "every_months")
DEFAULT_CHOICE, DEFAULT_INTERVAL_MONTHS = "week", "3"
INTERVAL_CHOICES = tuple(str(months) for months in range(1, reminder_schedule.MAX_MONTHS + 1))


def parse_schedule(ctx: Context, typed: FormData) -> ReminderSchedule:
    """Return the schedule that a form asks for. Raises InvalidField."""
    zone = typed["zone"] or ctx.settings.accounting_zone
    today = calendar.local_date(ctx.now(), zone)
    choice, interval_months = typed["when"], None
    on = dict(_suggested_dates(today)).get(choice)
    if choice == "on":
        on = _parse_date(typed["on"])
    elif choice == "every_months":
        months = typed["every_months"]
        interval_months = int(months) if months in INTERVAL_CHOICES else 0
    elif on is None:
        raise InvalidField("Choose when we should write to you.", field="when")
    frequency, amount = _prefilled_contribution(typed) or (None, None)
    return reminder_schedule.build_schedule(
        ctx.now(),
        zone,
        on=on,
        interval_months=interval_months,
        once_more=bool(typed["once_more"]),
        frequency=frequency,
        amount=amount,
        language=request_locale.current(),
    )


def _suggested_dates(today: date) -> Sequence[tuple[str, date]]:
    """Return the days to choose from, the earliest first, by the words for each."""
    days = {
        "week": today + timedelta(weeks=1),
        "first": calendar.next_month(today),
        "next_month": calendar.add_months(today, 1),
    }
    return sorted(days.items(), key=lambda named: named[1])


def _parse_date(text: str) -> date:
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text.strip()):
            return date.fromisoformat(text.strip())
    except ValueError:
        pass
    raise InvalidField("Write the day as year-month-day, for example 2027-01-31.", field="on")


def _prefilled_contribution(typed: FormData) -> tuple[Frequency, Money] | None:
    """Return what a link filled in; None for nothing, or for what makes no sense."""
    is_known = typed["frequency"] in OFFERED_FREQUENCIES and typed["currency"] in money.GIFT_LIMITS
    if not is_known or not re.fullmatch(r"[1-9][0-9]{0,8}", typed["amount"]):
        return None
    return Frequency(typed["frequency"]), Money(int(typed["amount"]), typed["currency"])


def intended_contribution(schedule: ReminderSchedule | Reminder) -> tuple[Frequency, Money] | None:
    """Return the frequency and amount of a schedule, if it has them."""
    if isinstance(schedule, Reminder):
        return schedule.intended_contribution
    if schedule.frequency is None or schedule.amount is None:
        return None
    return schedule.frequency, schedule.amount


def fields_of_contribution(frequency: Frequency, amount: Money) -> dict[str, str]:
    """Return the form's fields for a frequency and an amount."""
    return {
        "frequency": frequency.value,
        "amount": str(amount.amount),
        "currency": amount.currency,
    }


def fields_of_reminder(reminder: Reminder) -> dict[str, str]:
    """Return the form's fields for another reminder like this one, on a day to be chosen."""
    fields = {"zone": reminder.zone}
    if reminder.intended_contribution is not None:
        fields |= fields_of_contribution(*reminder.intended_contribution)
    return fields


def form_context(ctx: Context, typed: FormData, *, errors: Mapping[str, str]) -> dict[str, Any]:
    """Return what remind.html prints. `errors` maps a field's name to what is wrong with it."""
    is_known_zone = calendar.is_known_zone(typed["zone"])
    zone = typed["zone"] if is_known_zone else ctx.settings.accounting_zone
    today = calendar.local_date(ctx.now(), zone)
    first, last = reminder_schedule.date_range(today)
    locale = request_locale.current()
    contribution = _prefilled_contribution(typed)
    has_known_interval = typed["every_months"] in INTERVAL_CHOICES
    return {
        "errors": [
            {"field_id": name or "main", "message": message} for name, message in errors.items()
        ],
        "field_errors": dict(errors),
        "by_mail": address_vault.has_key_store(ctx.settings) and smtp.is_configured(ctx.settings),
        "address": typed["address"],
        "when": typed["when"] if typed["when"] in SCHEDULE_CHOICES else DEFAULT_CHOICE,
        "days": [(name, i18n.format_day(day, locale)) for name, day in _suggested_dates(today)],
        "on": typed["on"],
        "first": first.isoformat(),
        "last": last.isoformat(),
        "every_months": typed["every_months"] if has_known_interval else DEFAULT_INTERVAL_MONTHS,
        "interval_choices": INTERVAL_CHOICES,
        "once_more": bool(typed["once_more"]),
        "zone": zone,
        "zones": [
            (name, _zone_label(name)) for name in sorted({*calendar.zones_for_select(), zone})
        ],
        "code": typed["code"],
        "contribution": contribution
        and {
            "amount": request_locale.format_amount(contribution[1]),
            "frequency": request_locale.translate(FREQUENCY_PHRASES[contribution[0]]),
        },
        "prefilled": {} if contribution is None else fields_of_contribution(*contribution),
    }


def _zone_label(name: str) -> str:
    """Return a time zone as people know it: `Berlin (Europe)`, `UTC`."""
    area, _, place = name.replace("_", " ").partition("/")
    return f"{place.rpartition('/')[2]} ({area})" if place else area


def send_dates_context(schedule: ReminderSchedule | Reminder) -> dict[str, Any]:
    """Return the days on which a mail is sent and the time zone, ready to print.

    Also what leads on: the fields that ask for the same as a calendar file, and the link that
    leads back to the form as it was.
    """
    locale = request_locale.current()
    days = [i18n.format_day(schedule.send_date(slot), locale) for slot in range(schedule.slots)]
    contribution = intended_contribution(schedule)
    fields = {} if contribution is None else fields_of_contribution(*contribution)
    return {
        "days": days,
        "zone": _zone_label(schedule.zone),
        "calendar_fields": {
            **fields,
            "zone": schedule.zone,
            "when": "on",
            "on": schedule.send_date(0).isoformat(),
        },
        "form_url": "/donate?" + urlencode(fields) if fields else "/donate",
    }


def error_message(error: PaymentsError) -> str:
    """Return the message of an error, with its days as a sentence has them."""
    locale = request_locale.current()
    params = {
        name: i18n.format_day(param, locale) if isinstance(param, date) else param
        for name, param in error.message_params.items()
    }
    return request_locale.translate(error.message, **params)
