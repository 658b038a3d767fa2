"""Frequency: how often a contribution is charged.

A form offers three frequencies. Stripe knows more: any count of days, weeks, months or years, which
is an interval. Every frequency that is not one of the three is `periodic` in the books, and its
interval says how often.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction

from payments.core import i18n
from payments.core.calendar import add_months

VARYING_AMOUNT = i18n.gettext_noop("a varying amount")  # said where Stripe fixes no amount
_MAX_MONTHS = 36  # the longest interval at Stripe is three years
_MONTH_END_SHIFT = timedelta(days=3)  # from the 28th to the 31st


class Frequency(StrEnum):
    """Once, every month, every year, or at another interval, until the donor cancels."""

    ONCE = "once"
    MONTHLY = "monthly"
    ANNUAL = "annual"
    PERIODIC = "periodic"  # begun at Stripe: no form offers it
    OTHER = "other"  # of payments only: for something else than a contribution

    @property
    def interval(self) -> "Interval | None":
        """The time between two charges; None for once, and where the word does not say it."""
        return {"monthly": MONTH, "annual": YEAR}.get(self.value)


NO_FREQUENCY = "none"  # in the books, of what no payment is behind, such as Stripe's own fees
BOOKED_FREQUENCIES = (*Frequency, NO_FREQUENCY)
OFFERED_FREQUENCIES = (Frequency.ONCE, Frequency.MONTHLY, Frequency.ANNUAL)


class IntervalUnit(StrEnum):
    """Stripe's words for the unit of an interval."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Interval:
    """The time between two charges: `count` units. Made by `of`, so that equal ones are equal."""

    unit: IntervalUnit
    count: int

    @classmethod
    def of(cls, unit: str, count: int) -> "Interval":
        """Return an interval in its largest unit: 12 months are a year, 7 days a week.

        Raises ValueError for a unit that is unknown, and for a count below one.
        """
        if count < 1:
            raise ValueError(f"an interval of {count}")
        if unit == IntervalUnit.MONTH and count % 12 == 0:
            return cls(IntervalUnit.YEAR, count // 12)
        if unit == IntervalUnit.DAY and count % 7 == 0:
            return cls(IntervalUnit.WEEK, count // 7)
        return cls(IntervalUnit(unit), count)

    @classmethod
    def between(cls, start: datetime, end: datetime) -> "Interval":
        """Return the interval whose period begins and ends there.

        Months are tried first: a period that could be of either is a month's.
        """
        for months in range(1, _MAX_MONTHS + 1):
            same_day = add_months(start, months)
            # from 28 February, counted from the 31st, the period ends on 31 March
            if same_day == end or (
                add_months(start, 0, day_of_month=31) == start
                and same_day <= end <= same_day + _MONTH_END_SHIFT
            ):
                return cls.of("month", months)
        return cls.of("day", max(1, round((end - start) / timedelta(days=1))))

    @property
    def frequency(self) -> Frequency:
        """The frequency that the books count it by."""
        return {MONTH: Frequency.MONTHLY, YEAR: Frequency.ANNUAL}.get(self, Frequency.PERIODIC)

    @property
    def months(self) -> int | None:
        """How many months it is; None for days and weeks, which are no whole number of them."""
        return {"month": self.count, "year": 12 * self.count}.get(self.unit.value)

    @property
    def charges_per_month(self) -> Fraction:
        """How often it is charged in a twelfth of a year of 365 days or 52 weeks, exactly."""
        a_year = {"day": 365, "week": 52, "month": 12, "year": 1}[self.unit.value]
        return Fraction(a_year, 12 * self.count)

    def after(self, moment: datetime, *, anchor: datetime) -> datetime:
        """Return the charge after one, where `anchor` is the moment that Stripe counts from."""
        if (months := self.months) is not None:
            return add_months(moment, months, day_of_month=anchor.day)
        days = 7 * self.count if self.unit is IntervalUnit.WEEK else self.count
        return moment + timedelta(days=days)


MONTH = Interval(IntervalUnit.MONTH, 1)
YEAR = Interval(IntervalUnit.YEAR, 1)


def every(interval: Interval | None, locale: str) -> str:
    """Return how often in words, as they stand within a sentence: "every 3 months"; "once"."""
    catalogue = i18n.translations(locale)
    if interval in (None, MONTH, YEAR):
        word = {None: "once", MONTH: "every month", YEAR: "every year"}[interval]
        return catalogue.gettext(word)
    assert interval is not None
    count = interval.count
    phrases = {
        "day": catalogue.ngettext("every day", "every %(count)s days", count),
        "week": catalogue.ngettext("every week", "every %(count)s weeks", count),
        "month": catalogue.ngettext("every %(count)s month", "every %(count)s months", count),
        "year": catalogue.ngettext("every %(count)s year", "every %(count)s years", count),
    }
    return phrases[interval.unit.value] % {"count": count}


def label(interval: Interval | None, locale: str) -> str:
    """Return how often in words, as they stand alone: "Every 3 months"; "Once"."""
    if interval in (None, MONTH, YEAR):
        word = {None: "Once", MONTH: "Monthly", YEAR: "Annual"}[interval]
        return i18n.translations(locale).gettext(word)
    words = every(interval, locale)
    return words[:1].upper() + words[1:]


def duration(interval: Interval | None) -> str:
    """Return an interval as ISO 8601 writes a duration, such as P3M; empty for once."""
    return "" if interval is None else f"P{interval.count}{interval.unit.value[0].upper()}"
