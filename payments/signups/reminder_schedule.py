"""Wishes: when somebody wants to be reminded, and of what, checked before anything is kept.

One day, and if they like once more a week later; or every so many months. At most two mails, and
none later than a year from today, when the address is erased whatever was asked.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from payments.core import calendar
from payments.core.errors import InvalidField
from payments.core.frequency import Frequency
from payments.core.money import Money

MAX_MONTHS = 12  # an address, at the very most
A_DAY = timedelta(days=1)
SECOND_MAIL_AFTER = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class ReminderSchedule:
    """When somebody wants to be reminded, and of what. Made by `wish`, which checks it."""

    signed_up_on: date
    first_send_on: date
    zone: str
    interval_months: int | None = None
    slots: int = 1
    frequency: Frequency | None = None
    amount: Money | None = None
    language: str = "en"

    def send_date(self, slot: int) -> date:
        return send_date(self.signed_up_on, self.first_send_on, self.interval_months, slot)

    @property
    def send_dates(self) -> list[date]:
        """The days on which something is sent, if nothing comes between."""
        return [self.send_date(turn) for turn in range(self.slots)]


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
    """A day or a rhythm, checked. Raises InvalidField naming the limit."""
    if not calendar.is_known_zone(zone):
        raise InvalidField("Choose a time zone from the list, such as Europe/Berlin.", field="zone")
    today = calendar.local_date(now, zone)
    if interval_months is not None:
        if not 1 <= interval_months <= MAX_MONTHS:
            raise InvalidField("Choose every 1 to 12 months.", field="every_months")
        on = calendar.add_months(today, interval_months)
    first, last = today + A_DAY, calendar.add_months(today, MAX_MONTHS)
    if on is None or not first <= on <= last:
        raise InvalidField(
            "Choose a day from %(first)s to %(last)s.",
            field="on",
            first=first,
            last=last,
        )
    # A second mail only where it comes before the address is erased.
    second = 2 * interval_months <= MAX_MONTHS if interval_months is not None else once_more
    return ReminderSchedule(
        today, on, zone, interval_months, 2 if second else 1, frequency, amount, language
    )


def send_date(
    signed_up_on: date, first_send_on: date, interval_months: int | None, slot: int
) -> date:
    """The day of a turn. Months are counted from the day of asking, so that a 31st stays one."""
    if slot == 0:
        return first_send_on
    if interval_months is None:
        return first_send_on + SECOND_MAIL_AFTER * slot
    return calendar.add_months(signed_up_on, interval_months * (slot + 1))
