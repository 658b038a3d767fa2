"""Period: the time a report is about, as half-open days of the accounting zone.

It comes from an address or a command: a month, a quarter, a year, a fiscal year, or any days. What
makes no sense is refused with a sentence: two periods at once, an end before its beginning, a
period that has not begun.

A fiscal year has the number of the year it ends in, and begins with the month of
`PAYMENTS_FISCAL_YEAR_START`. That month only names periods: no figure depends on it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from payments.core.calendar import add_months, last_of_month, next_month
from payments.core.errors import InvalidField

WORD_FOR_ALL = "all"
FORMS = "2026-10, 2026-Q4, 2026, FY2026, FY2026-Q1, 2026-10-01..2026-11-01 or all"
QUARTERS = 4
MONTHS_OF_QUARTER = 3
MONTHS_OF_YEAR = 12
_MONTH = re.compile(r"(20[0-9]{2})-(0[1-9]|1[0-2])", re.ASCII)
_YEAR_OR_QUARTER = re.compile(r"(FY)?(20[0-9]{2})(?:-Q([1-4]))?", re.ASCII)
_DAY = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", re.ASCII)
_BETWEEN_DAYS = ".."


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` up to and not including `until`; either may be open."""

    since: date | None = None
    until: date | None = None

    @property
    def label(self) -> str:
        """2026-10, 2026, or the two days; "all" when it is open at both ends."""
        if self.since is None and self.until is None:
            return WORD_FOR_ALL
        if self.since and self.until:
            if self.until == next_month(self.since) and self.since.day == 1:
                return f"{self.since:%Y-%m}"
            if (self.since.month, self.since.day) == (1, 1) and self.until == date(
                self.since.year + 1, 1, 1
            ):
                return f"{self.since:%Y}"
        first = self.since.isoformat() if self.since else ""
        return f"{first}{_BETWEEN_DAYS}{self.until.isoformat() if self.until else ''}"

    @property
    def words(self) -> str:
        """October 2026, 2026, July 2025 to June 2026, or the first and the last day."""
        first = "" if self.since is None else _day_in_words(self.since)
        last = "" if self.until is None else _day_in_words(self.until - timedelta(days=1))
        if not first or not last:
            return f"from {first}" if first else f"until {last}" if last else "all time"
        months = self.whole_months
        if self.since is None or self.until is None or not months:
            return first if first == last else f"{first} to {last}"
        if months == 1:
            return f"{self.since:%B %Y}"
        if months == MONTHS_OF_YEAR and self.since.month == 1:
            return f"{self.since:%Y}"
        last_month = self.until - timedelta(days=1)
        begins = f"{self.since:%B}"
        if self.since.year != last_month.year:
            begins += f" {self.since:%Y}"
        return f"{begins} to {last_month:%B %Y}"

    @property
    def whole_months(self) -> int:
        """How many months it is; 0 where it is no whole ones."""
        if self.since is None or self.until is None or (self.since.day, self.until.day) != (1, 1):
            return 0
        years = self.until.year - self.since.year
        return years * MONTHS_OF_YEAR + self.until.month - self.since.month

    def contains(self, day: date) -> bool:
        """Whether a day is in the period."""
        return (self.since is None or day >= self.since) and (
            self.until is None or day < self.until
        )

    def up_to(self, last: date) -> "Period":
        """Return the part of it that ends with a day, itself where it ends earlier."""
        after = last + timedelta(days=1)
        return Period(self.since, after if self.until is None else min(self.until, after))

    def part_within(self, other: "Period") -> "Period":
        """Return the days that are in both, of which there is one at least."""
        since = max((day for day in (self.since, other.since) if day), default=None)
        until = min((day for day in (self.until, other.until) if day), default=None)
        return Period(since, until)

    def year_before(self) -> "Period | None":
        """Return the same period a year earlier, None where it is open at an end.

        Whole months lead to whole months: February 2028 to all of February 2027. Of other days the
        first and the last lead to the same day of that year, 29 February to the 28th.
        """
        if self.since is None or self.until is None:
            return None
        if self.whole_months:
            return Period(
                add_months(self.since, -MONTHS_OF_YEAR), add_months(self.until, -MONTHS_OF_YEAR)
            )
        last = add_months(self.until - timedelta(days=1), -MONTHS_OF_YEAR)
        return Period(add_months(self.since, -MONTHS_OF_YEAR), last + timedelta(days=1))

    def just_before(self) -> "Period | None":
        """Return the period of the same length that ends where it begins: as many months, or days.

        None where it is open at an end.
        """
        if self.since is None or self.until is None:
            return None
        if months := self.whole_months:
            return Period(add_months(self.since, -months), self.since)
        return Period(self.since - (self.until - self.since), self.since)


ALL_TIME = Period()


def month_period(first: date) -> Period:
    """Return the month that begins with a day."""
    return Period(first, next_month(first))


def year_period(year: int, *, first_month: int = 1) -> Period:
    """Return a year, or the fiscal year that ends in it and begins with a month."""
    since = date(year - (first_month > 1), first_month, 1)
    return Period(since, add_months(since, MONTHS_OF_YEAR))


def quarter_period(year: int, quarter: int, *, first_month: int = 1) -> Period:
    """Return the first to fourth quarter of a year, or of the fiscal year that ends in it."""
    begins = year_period(year, first_month=first_month).since
    assert begins is not None
    since = add_months(begins, (quarter - 1) * MONTHS_OF_QUARTER)
    return Period(since, add_months(since, MONTHS_OF_QUARTER))


def fiscal_year_of(day: date, first_month: int) -> int:
    """Return the number of the fiscal year a day is in: the year it ends in."""
    return day.year + (first_month > 1 and day.month >= first_month)


def parse_month(value: str, *, name: str, today: date) -> date:
    """Return the first day of a month such as 2026-10. Raises InvalidField; `name` is the field."""
    match = _MONTH.fullmatch(value)
    if match is None:
        raise InvalidField(f"{name}: a month such as 2026-10.", field=name)
    first = date(int(match[1]), int(match[2]), 1)
    if first > today:
        raise InvalidField(f"{name}: {value} has not begun. Choose {today:%Y-%m} or an earlier "
                           "month.", field=name)  # fmt: skip
    return first


def parse_period(query: Mapping[str, str], *, today: date, fiscal_year_start: int = 1) -> Period:
    """Read the period of an address: `period` names one, or `from` and `to` are days.

    `fiscal_year_start` is the month a fiscal year begins with. Raises InvalidField.
    """
    whole, first, last = (query.get(name, "") for name in ("period", "from", "to"))
    if whole == WORD_FOR_ALL:
        whole = ""
    if whole and (first or last):
        raise InvalidField(
            "period: choose a period, or the days from and to. Both were given.", field="period"
        )
    if whole and _BETWEEN_DAYS not in whole:
        return parse_whole_period(
            whole, name="period", today=today, fiscal_year_start=fiscal_year_start
        )
    first_name, last_name = "from", "to"
    if whole:
        first, _, last = whole.partition(_BETWEEN_DAYS)
        first_name = last_name = "period"
    since, until = _parse_day(first, first_name), _parse_day(last, last_name)
    if since is not None and since > today:
        raise InvalidField(f"{first_name}: {first} is still to come.", field=first_name)
    if since is not None and until is not None and until <= since:
        raise InvalidField(
            f"{last_name}: the day after the last one, so later than {first}. No time lies between"
            " them.",
            field=last_name,
        )
    return Period(since, until)


def parse_whole_period(value: str, *, name: str, today: date, fiscal_year_start: int = 1) -> Period:
    """Return a month, quarter, year or fiscal year. Raises InvalidField; `name` is the field."""
    if _MONTH.fullmatch(value):
        return month_period(parse_month(value, name=name, today=today))
    match = _YEAR_OR_QUARTER.fullmatch(value)
    if match is None:
        raise InvalidField(f"{name}: a month such as 2026-10, a year from 2000 to 2099, or another"
                           f" of {FORMS}.", field=name)  # fmt: skip
    year, first_month = int(match[2]), fiscal_year_start if match[1] else 1
    found = year_period(year, first_month=first_month)
    if match[3]:
        found = quarter_period(year, int(match[3]), first_month=first_month)
    if found.since is not None and found.since > today:
        raise InvalidField(f"{name}: {value} has not begun.", field=name)
    return found


def _parse_day(value: str, name: str) -> date | None:
    if not value:
        return None
    try:
        if _DAY.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise InvalidField(f"{name}: a day such as 2026-10-31.", field=name)


def _day_in_words(day: date) -> str:
    return f"{day:%-d %B %Y}"


def whole_months_of(period: Period, *, first: date, last: date) -> tuple[date, date]:
    """Return the months a period touches, as the first day and the day after the last.

    Where it is open, from the month of `first` or up to the end of the month of `last`.
    """
    since = (period.since or first).replace(day=1)
    until = period.until - timedelta(days=1) if period.until else last
    return since, last_of_month(until) + timedelta(days=1)
