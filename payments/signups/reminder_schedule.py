"""Reminder schedules: when somebody wants to be reminded, and of what.

A schedule is one day, and optionally a second a week later; or two days so many months apart. That
is two mails at most, and none later than a year after the sign-up, when the address is erased.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from payments.core import calendar
from payments.core.errors import InvalidField
from payments.core.frequency import Frequency
from payments.core.money import Money

MAX_MONTHS = 12  # from the sign-up to the last mail
SECOND_MAIL_AFTER = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class ReminderSchedule:
    """A schedule that `build_schedule` has checked."""

    signed_up_on: date
    first_send_on: date
    zone: str
    interval_months: int | None = None
    slots: int = 1
    frequency: Frequency | None = None
    amount: Money | None = None
    language: str = "en"

    def send_date(self, slot: int) -> date:
        """Return the day of a slot."""
        return send_date(self.signed_up_on, self.first_send_on, self.interval_months, slot)

    @property
    def send_dates(self) -> list[date]:
        """The days on which a mail is sent, if nothing speaks against it."""
        return [self.send_date(slot) for slot in range(self.slots)]


def build_schedule(
    now: datetime,
    zone: str,
    *,
    on: date | None = None,
    interval_months: int | None = None,
    once_more: bool = False,
    frequency: Frequency | None = None,
    amount: Money | None = None,
    language: str = "en",
) -> ReminderSchedule:
    """Check a day, or an interval in months, and return the schedule. Raises InvalidField.

    `once_more` adds a second mail a week after the day. `frequency` and `amount` are what the link
    of the mail fills in.
    """
    if not calendar.is_known_zone(zone):
        raise InvalidField("Choose a time zone from the list, such as Europe/Berlin.", field="zone")
    today = calendar.local_date(now, zone)
    if interval_months is not None:
        if not 1 <= interval_months <= MAX_MONTHS:
            raise InvalidField("Choose every 1 to 12 months.", field="every_months")
        on = calendar.add_months(today, interval_months)
    first, last = date_range(today)
    if on is None or not first <= on <= last:
        raise InvalidField(
            "Choose a day from %(first)s to %(last)s.",
            field="on",
            first=first,
            last=last,
        )
    # A second mail only where it comes before the address is erased.
    has_second = 2 * interval_months <= MAX_MONTHS if interval_months is not None else once_more
    slots = 2 if has_second else 1
    return ReminderSchedule(today, on, zone, interval_months, slots, frequency, amount, language)


def date_range(today: date) -> tuple[date, date]:
    """Return the first and the last day that may be chosen today."""
    return today + timedelta(days=1), calendar.add_months(today, MAX_MONTHS)


def send_date(
    signed_up_on: date, first_send_on: date, interval_months: int | None, slot: int
) -> date:
    """Return the day of a slot. Months are counted from the sign-up, so that a 31st stays one."""
    if slot == 0:
        return first_send_on
    if interval_months is None:
        return first_send_on + SECOND_MAIL_AFTER * slot
    return calendar.add_months(signed_up_on, interval_months * (slot + 1))
