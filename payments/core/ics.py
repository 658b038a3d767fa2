"""Calendar files (iCalendar): a reminder without an address, the next payment. None is stored.

The entry is at nine by the clock of the device it is on. Its title and text are neutral, because a
calendar is often shared.
"""

from datetime import UTC, date, datetime, timedelta

from icalendar import Alarm, Calendar, Event, vRecur

from payments.core import i18n
from payments.core.calendar import SEND_AT_LOCAL_TIME
from payments.core.i18n import gettext_noop
from payments.core.identifiers import new_row_id

EVENT_TITLE = gettext_noop("A note to myself")
EVENT_DESCRIPTION = gettext_noop("You wanted to come back to this page today:")
PAYMENT_TITLE = gettext_noop("Your regular payment")
PAYMENT_DESCRIPTION = gettext_noop("You can see or change it here:")
EVENT_DURATION = timedelta(minutes=15)


def reminder_ics(on: date, *, months: int | None, link: str, locale: str, now: datetime) -> bytes:
    """Return a calendar file with one entry that leads back to the donation form.

    The entry is on one day or, where `months` is given, recurs at that interval.
    """
    gettext = i18n.translations(locale).gettext
    title, description = gettext(EVENT_TITLE), gettext(EVENT_DESCRIPTION)
    return _calendar_file(title, description, on, months=months, day=on.day, link=link, now=now)


def payment_ics(
    on: date, *, months: int | None, day: int, link: str, locale: str, now: datetime
) -> bytes:
    """Return a calendar file with an entry for each payment from the next one on, or for that one
    alone, where `months` is not given.

    `day` is the day of the month that payments are counted from: of the 31st, one is on the 28th.
    """
    gettext = i18n.translations(locale).gettext
    title, description = gettext(PAYMENT_TITLE), gettext(PAYMENT_DESCRIPTION)
    return _calendar_file(title, description, on, months=months, day=day, link=link, now=now)


def _calendar_file(
    title: str,
    description: str,
    on: date,
    *,
    months: int | None,
    day: int,
    link: str,
    now: datetime,
) -> bytes:
    starts_at = datetime.combine(on, SEND_AT_LOCAL_TIME)  # without a zone: the device's local time
    event = Event()
    event.add("uid", new_row_id())
    event.add("dtstamp", now.astimezone(UTC))
    event.add("summary", title)
    event.add("description", f"{description}\n{link}")
    event.add("url", link)
    event.add("dtstart", starts_at)
    event.add("dtend", starts_at + EVENT_DURATION)
    event.add("transp", "TRANSPARENT")
    event.add("class", "PRIVATE")
    if months is not None:
        event.add("rrule", _recurrence_rule(months, day))
    display_alarm = Alarm()
    display_alarm.add("action", "DISPLAY")
    display_alarm.add("trigger", timedelta())
    display_alarm.add("description", title)
    event.add_component(display_alarm)
    calendar_file = Calendar()
    calendar_file.add("version", "2.0")
    calendar_file.add("prodid", "-//calendar//EN")
    calendar_file.add_component(event)
    return bytes(calendar_file.to_ical())


def _recurrence_rule(months: int, day: int) -> vRecur:
    """Return a rule for the same day of each month or, in a shorter month, its last day."""
    rule: dict[str, object] = {"FREQ": "MONTHLY", "INTERVAL": months}
    if day > 28:
        rule |= {"BYMONTHDAY": list(range(28, day + 1)), "BYSETPOS": -1}
    return vRecur(rule)
