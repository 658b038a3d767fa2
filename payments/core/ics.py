"""Calendar files: a reminder without an address. Served and forgotten; nothing is kept here.

The entry rings at nine by the clock of the device it is on, wherever that is. Its title and words
are neutral, for a calendar is often shared.
"""

from datetime import UTC, date, datetime, timedelta

from icalendar import Alarm, Calendar, Event, vRecur

from payments.core import i18n
from payments.core.calendar import SEND_AT_LOCAL_TIME
from payments.core.i18n import gettext_noop
from payments.core.identifiers import new_row_id

EVENT_TITLE = gettext_noop("A note to myself")
EVENT_DESCRIPTION = gettext_noop("You wanted to come back to this page today:")
EVENT_DURATION = timedelta(minutes=15)


def reminder_ics(on: date, *, months: int | None, link: str, locale: str, now: datetime) -> bytes:
    """One entry, once or every so many months, with a link back."""
    say = i18n.translations(locale).gettext
    begins = datetime.combine(on, SEND_AT_LOCAL_TIME)  # of no zone: nine where the calendar is
    event = Event()
    event.add("uid", new_row_id())
    event.add("dtstamp", now.astimezone(UTC))
    event.add("summary", say(EVENT_TITLE))
    event.add("description", f"{say(EVENT_DESCRIPTION)}\n{link}")
    event.add("url", link)
    event.add("dtstart", begins)
    event.add("dtend", begins + EVENT_DURATION)
    event.add("transp", "TRANSPARENT")
    event.add("class", "PRIVATE")
    if months is not None:
        event.add("rrule", _recurrence_rule(months, on))
    bell = Alarm()
    bell.add("action", "DISPLAY")
    bell.add("trigger", timedelta())
    bell.add("description", say(EVENT_TITLE))
    event.add_component(bell)
    made = Calendar()
    made.add("version", "2.0")
    made.add("prodid", "-//calendar//EN")
    made.add_component(event)
    return bytes(made.to_ical())


def _recurrence_rule(months: int, on: date) -> vRecur:
    """The same day each time or, in a shorter month, its last."""
    rule: dict[str, object] = {"FREQ": "MONTHLY", "INTERVAL": months}
    if on.day > 28:
        rule |= {"BYMONTHDAY": list(range(28, on.day + 1)), "BYSETPOS": -1}
    return vRecur(rule)
