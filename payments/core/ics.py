"""Calendar files: a reminder without an address. Served and forgotten; nothing is kept here.

The entry rings at nine by the clock of the device it is on, wherever that is. Its title and words
are neutral, for a calendar is often shared.
"""

import secrets
from datetime import UTC, date, datetime, timedelta

from icalendar import Alarm, Calendar, Event, vRecur

from payments.core import i18n
from payments.core.calendar import MORNING
from payments.core.i18n import later

TITLE = later("A note to myself")
WORDS = later("You wanted to come back to this page today:")
LONG = timedelta(minutes=15)


def entry(on: date, *, months: int | None, link: str, tongue: str, now: datetime) -> bytes:
    """One entry, once or every so many months, with a link back."""
    say = i18n.translations(tongue).gettext
    begins = datetime.combine(on, MORNING)  # of no zone: nine where the calendar is
    event = Event()
    event.add("uid", secrets.token_hex(16))
    event.add("dtstamp", now.astimezone(UTC))
    event.add("summary", say(TITLE))
    event.add("description", f"{say(WORDS)}\n{link}")
    event.add("url", link)
    event.add("dtstart", begins)
    event.add("dtend", begins + LONG)
    event.add("transp", "TRANSPARENT")
    event.add("class", "PRIVATE")
    if months is not None:
        event.add("rrule", _every(months, on))
    bell = Alarm()
    bell.add("action", "DISPLAY")
    bell.add("trigger", timedelta())
    bell.add("description", say(TITLE))
    event.add_component(bell)
    made = Calendar()
    made.add("version", "2.0")
    made.add("prodid", "-//calendar//EN")
    made.add_component(event)
    return bytes(made.to_ical())


def _every(months: int, on: date) -> vRecur:
    """The same day each time or, in a shorter month, its last."""
    rule: dict[str, object] = {"FREQ": "MONTHLY", "INTERVAL": months}
    if on.day > 28:
        rule |= {"BYMONTHDAY": list(range(28, on.day + 1)), "BYSETPOS": -1}
    return vRecur(rule)
