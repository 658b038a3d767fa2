"""Mornings: the day somebody chose and the moment it begins where they live.

A date and a zone are kept, never an instant, for governments move clocks. A month later is the same
day of that month, or its last; the day first chosen is kept, so 31 January leads to 28 February and
then to 31 March. A time that the clock shows twice is the first of the two (PEP 495, fold 0); a
time that it skips is the first instant after the gap.
"""

import calendar
import functools
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from importlib.resources import files
from typing import TypeVar
from zoneinfo import ZoneInfo, available_timezones

SEND_AT_LOCAL_TIME = time(9)
MAX_UTC_DATE_SKEW = timedelta(days=2)  # no place on earth is this far from UTC's date


Day = TypeVar("Day", date, datetime)


def from_unix(seconds: float) -> datetime:
    """Return a Unix timestamp, as Stripe writes every time, as an aware datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def add_months(day: Day, months: int, *, day_of_month: int | None = None) -> Day:
    """Return the same day of a later month, or that month's last day.

    `months` may be negative. `day_of_month` is the day to aim at where the given day is itself the
    end of a shorter month: from 28 February with 31 it leads to 31 March. A time of day stays.
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return day.replace(
        year=year, month=month + 1, day=min(day.day if day_of_month is None else day_of_month, last)
    )


def first_of_month(day: date) -> date:
    """Return the first day of the month a day is in."""
    return date(day.year, day.month, 1)


def next_month(day: date) -> date:
    """Return the first day of the month after the one a day is in."""
    return add_months(first_of_month(day), 1)


def months_before(first: date, count: int) -> date:
    """Return the first day of the month so many months earlier, or later when negative."""
    return add_months(first_of_month(first), -count)


def last_of_month(day: date) -> date:
    """Return the last day of the month a day is in."""
    return next_month(day) - timedelta(days=1)


def months_between(since: date, until: date) -> Iterator[date]:
    """Yield the first day of each month from `since`, itself a first day, up to `until`."""
    month = since
    while month < until:
        yield month
        month = next_month(month)


def local_date(now: datetime, zone: str) -> date:
    """What day it is there."""
    return now.astimezone(zone_or_utc(zone)).date()


def send_time(day: date, zone: str, at: time = SEND_AT_LOCAL_TIME) -> datetime:
    """The instant, in UTC, at which a day's morning begins there."""
    there = zone_or_utc(zone)
    local = datetime.combine(day, at, there)
    instant = local.astimezone(UTC)
    if instant.astimezone(there).replace(tzinfo=None) == local.replace(tzinfo=None):
        return instant
    return _end_of_gap(local)


def _end_of_gap(local: datetime) -> datetime:
    """The first instant after the gap that swallowed a local time."""
    there = local.tzinfo
    # By the clock as it was before the gap the time comes late, by the clock after it early.
    before, after = local.replace(fold=1).astimezone(UTC), local.astimezone(UTC)
    offset = after.astimezone(there).utcoffset()
    seconds = int((after - before).total_seconds())
    low, high = 0, seconds  # the clock has changed at `high`, and not yet at `low`
    while high - low > 1:
        middle = (low + high) // 2
        moment = before + timedelta(seconds=middle)
        if moment.astimezone(there).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return before + timedelta(seconds=high)


def is_known_zone(name: str) -> bool:
    return name in _known_zones()


def zone_or_utc(name: str) -> ZoneInfo:
    """A zone by its name; UTC for one that is no longer known, so that nobody waits for ever."""
    return ZoneInfo(name if is_known_zone(name) else "UTC")


@functools.cache
def _known_zones() -> frozenset[str]:
    return frozenset(available_timezones())


@functools.cache
def zones_for_select() -> Sequence[str]:
    """The zones a form offers: one or more for each country, by name."""
    table = files("tzdata.zoneinfo").joinpath("zone.tab").read_text(encoding="utf-8")
    lines = (line for line in table.splitlines() if line and not line.startswith("#"))
    return sorted({line.split("\t")[2] for line in lines} & _known_zones() | {"UTC"})
