"""Dates, months and time zones.

What happens on a day somewhere is stored as a date and a zone, never as an instant, because
governments change clocks. A month later is the same day of that month, or its last: 31 January
leads to 28 February and then, by `day_of_month`, to 31 March. A local time that the clock shows
twice is the first of the two (PEP 495, fold 0); one that it skips is the first instant after the
gap.
"""

import calendar
import functools
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from importlib.resources import files
from typing import TypeVar
from zoneinfo import ZoneInfo, available_timezones

SEND_AT_LOCAL_TIME = time(9)
# How long what leads to a person is stored: a donor of last December is known this December.
THIRTEEN_MONTHS = timedelta(days=395)
MAX_UTC_DATE_SKEW = timedelta(days=2)  # no zone's date is this far from UTC's
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
    """Return the date in a zone at an instant."""
    return now.astimezone(zone_or_utc(zone)).date()


def send_time(day: date, zone: str, at: time = SEND_AT_LOCAL_TIME) -> datetime:
    """Return the instant, in UTC, at which it is `at` on a day in a zone."""
    zone_info = zone_or_utc(zone)
    local = datetime.combine(day, at, zone_info)
    instant = local.astimezone(UTC)
    if instant.astimezone(zone_info).replace(tzinfo=None) == local.replace(tzinfo=None):
        return instant
    return _end_of_gap(local)


def _end_of_gap(local: datetime) -> datetime:
    """Return the first instant after the gap in which a local time does not exist."""
    # PEP 495: fold 1 reads a skipped time by the offset after the gap, which is an earlier instant;
    # fold 0 by the offset before it.
    before, after = local.replace(fold=1).astimezone(UTC), local.astimezone(UTC)
    offset_after = after.astimezone(local.tzinfo).utcoffset()
    # Seconds after `before`: the clock has not changed at `low` and has changed at `high`.
    low, high = 0, int((after - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        instant = before + timedelta(seconds=middle)
        if instant.astimezone(local.tzinfo).utcoffset() == offset_after:
            high = middle
        else:
            low = middle
    return before + timedelta(seconds=high)


def is_known_zone(name: str) -> bool:
    """Whether a name is an IANA zone that this machine knows."""
    return name in _known_zones()


def zone_or_utc(name: str) -> ZoneInfo:
    """Return a zone by its name; UTC for one that is no longer known, so that nothing is lost."""
    return ZoneInfo(name if is_known_zone(name) else "UTC")


@functools.cache
def _known_zones() -> frozenset[str]:
    return frozenset(available_timezones())


@functools.cache
def zones_for_select() -> Sequence[str]:
    """Return the zones that a form offers, sorted: those of tzdata's zone.tab, and UTC."""
    table = files("tzdata.zoneinfo").joinpath("zone.tab").read_text(encoding="utf-8")
    lines = (line for line in table.splitlines() if line and not line.startswith("#"))
    return sorted({line.split("\t")[2] for line in lines} & _known_zones() | {"UTC"})
