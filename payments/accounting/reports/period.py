"""The time a report is about: half-open days of the accounting zone, from an address or a command.

What makes no sense is refused in words: two periods at once, an end before its beginning, a month
that has not begun.
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
        """Whether a day is in it."""
        return (self.since is None or day >= self.since) and (
            self.until is None or day < self.until
        )


ALL_TIME = Period()

# A line that came too late for a month that was closed is booked later than it happened. No line
# is booked before it happened, so the index on the time still finds the rows.
LATE_ENTRIES_JOIN_SQL = "LEFT JOIN late_entries AS late ON late.seq = e.seq"


def booked_from(time_column: str, since: str = ":since") -> str:
    """The condition that a line is booked on a day or later; `at` is the column of its time."""
    begins = f"CAST({since} AS timestamp) AT TIME ZONE :zone"
    return f"""{time_column} >= LEAST({begins}, (
            SELECT min(x.occurred_at) FROM late_entries y JOIN ledger_entries x ON x.seq = y.seq
             WHERE y.booked_on >= {since}))
        AND CASE WHEN late.booked_on IS NULL THEN {time_column} >= {begins}
                 ELSE late.booked_on >= {since} END"""  # noqa: S608 - our own words


def booked_before(time_column: str, until: str = ":until") -> str:
    """The condition that a line is booked before a day."""
    return (
        f"{time_column} < CAST({until} AS timestamp) AT TIME ZONE :zone"
        f" AND (late.booked_on IS NULL OR late.booked_on < {until})"
    )


def month_period(first: date) -> Period:
    return Period(first, next_month(first))


def parse_month(value: str, *, name: str, today: date) -> date:
    """The first day of a month such as 2026-10. Raises InvalidField."""
    found = _PERIOD.fullmatch(value)
    if found is None or found[2] is None:
        raise InvalidField(f"{name}: a month such as 2026-10.", field=name)
    first = date(int(found[1]), int(found[2]), 1)
    if first > today:
        raise InvalidField(f"{name}: {value} has not begun. Choose {today:%Y-%m} or an earlier "
                           "month.", field=name)  # fmt: skip
    return first


def parse_period(query: Mapping[str, str], *, today: date) -> Period:
    """The period of an address: `period` is a month or a year, or `from` and `to` are days."""
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
    found = _PERIOD.fullmatch(value)
    if found is None:
        raise InvalidField(
            "period: a month such as 2026-10, or a year from 2000 to 2099.", field="period"
        )
    if found[2] is not None:
        return month_period(parse_month(value, name="period", today=today))
    year = int(found[1])
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
