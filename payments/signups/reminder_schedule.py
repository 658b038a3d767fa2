"""Wishes: when somebody wants to be reminded, and of what, checked before anything is kept.

One day, and if they like once more a week later; or every so many months. At most two mails, and
none later than a year from today, when the address is erased whatever was asked.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from payments.core import calendar
from payments.core.errors import InvalidField
from payments.core.money import Money
from payments.giving.checkout_session import Frequency

KEPT_MONTHS = 12  # an address, at the very most
A_DAY = timedelta(days=1)
ONCE_MORE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Wish:
    """When somebody wants to be reminded, and of what. Made by `wish`, which checks it."""

    asked_on: date
    first_on: date
    zone: str
    months: int | None = None
    turns: int = 1
    frequency: Frequency | None = None
    gift: Money | None = None
    language: str = "en"

    def day(self, turn: int) -> date:
        return day_of(self.asked_on, self.first_on, self.months, turn)

    @property
    def days(self) -> list[date]:
        """The days on which something is sent, if nothing comes between."""
        return [self.day(turn) for turn in range(self.turns)]


def wish(
    now: datetime,
    zone: str,
    *,
    on: date | None = None,
    months: int | None = None,
    once_more: bool = False,
    frequency: Frequency | None = None,
    gift: Money | None = None,
    language: str = "en",
) -> Wish:
    """A day or a rhythm, checked. Raises InvalidField naming the limit."""
    if not calendar.is_zone(zone):
        raise InvalidField("Choose a time zone from the list, such as Europe/Berlin.", field="zone")
    today = calendar.local_day(now, zone)
    if months is not None:
        if not 1 <= months <= KEPT_MONTHS:
            raise InvalidField("Choose every 1 to 12 months.", field="every_months")
        on = calendar.add_months(today, months)
    first, last = today + A_DAY, calendar.add_months(today, KEPT_MONTHS)
    if on is None or not first <= on <= last:
        raise InvalidField(
            "Choose a day from %(first)s to %(last)s.",
            field="on",
            first=first,
            last=last,
        )
    # A second mail only where it comes before the address is erased.
    second = 2 * months <= KEPT_MONTHS if months is not None else once_more
    return Wish(today, on, zone, months, 2 if second else 1, frequency, gift, language)


def day_of(asked_on: date, first_on: date, months: int | None, turn: int) -> date:
    """The day of a turn. Months are counted from the day of asking, so that a 31st stays one."""
    if turn == 0:
        return first_on
    if months is None:
        return first_on + ONCE_MORE * turn
    return calendar.add_months(asked_on, months * (turn + 1))
