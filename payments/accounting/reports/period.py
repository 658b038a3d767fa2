"""Period: the time a report is about, as half-open days of the accounting zone.

It comes from an address or a command. What makes no sense is refused with a sentence: two periods
at once, an end before its beginning, a month that has not begun.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from payments.core.calendar import next_month
from payments.core.errors import InvalidField

_PERIOD = re.compile(r"(20[0-9]{2})(?:-(0[1-9]|1[0-2]))?", re.ASCII)
_DAY = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` up to and not including `until`; either may be open."""

    since: date | None = None
    until: date | None = None

    @property
    def label(self) -> str:
        """2026-10, 2026, or the two days; "all" when it is open at both ends."""
        if self.since is None and self.until is None:
            return "all"
        if self.since and self.until:
            if self.until == next_month(self.since) and self.since.day == 1:
                return f"{self.since:%Y-%m}"
            if (self.since.month, self.since.day) == (1, 1) and self.until == date(
                self.since.year + 1, 1, 1
            ):
                return f"{self.since:%Y}"
        first = self.since.isoformat() if self.since else ""
        return f"{first}..{self.until.isoformat() if self.until else ''}"

    def contains(self, day: date) -> bool:
        """Whether a day is in the period."""
        return (self.since is None or day >= self.since) and (
            self.until is None or day < self.until
        )


ALL_TIME = Period()


def month_period(first: date) -> Period:
    """Return the month that begins with a day."""
    return Period(first, next_month(first))


def parse_month(value: str, *, name: str, today: date) -> date:
    """Return the first day of a month such as 2026-10. Raises InvalidField; `name` is the field."""
    match = _PERIOD.fullmatch(value)
    if match is None or match[2] is None:
        raise InvalidField(f"{name}: a month such as 2026-10.", field=name)
    first = date(int(match[1]), int(match[2]), 1)
    if first > today:
        raise InvalidField(f"{name}: {value} has not begun. Choose {today:%Y-%m} or an earlier "
                           "month.", field=name)  # fmt: skip
    return first


def parse_period(query: Mapping[str, str], *, today: date) -> Period:
    """Read the period of an address: `period` is a month or a year, or `from` and `to` are days.

    Raises InvalidField.
    """
    whole, first, last = (query.get(name, "") for name in ("period", "from", "to"))
    if whole and (first or last):
        raise InvalidField(
            "period: choose a period, or the days from and to. Both were given.", field="period"
        )
    if whole:
        return _parse_month_or_year(whole, today)
    since, until = _parse_day(first, "from"), _parse_day(last, "to")
    if since is not None and since > today:
        raise InvalidField(f"from: {first} is still to come.", field="from")
    if since is not None and until is not None and until <= since:
        raise InvalidField(
            f"to: the day after the last one, so later than {first}. No time lies between them.",
            field="to",
        )
    return Period(since, until)


def _parse_month_or_year(value: str, today: date) -> Period:
    match = _PERIOD.fullmatch(value)
    if match is None:
        raise InvalidField(
            "period: a month such as 2026-10, or a year from 2000 to 2099.", field="period"
        )
    if match[2] is not None:
        return month_period(parse_month(value, name="period", today=today))
    year = int(match[1])
    if year > today.year:
        raise InvalidField(f"period: {year} has not begun.", field="period")
    return Period(date(year, 1, 1), date(year + 1, 1, 1))


def _parse_day(value: str, name: str) -> date | None:
    if not value:
        return None
    try:
        if _DAY.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise InvalidField(f"{name}: a day such as 2026-10-31.", field=name)
