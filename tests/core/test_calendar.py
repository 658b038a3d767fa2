"""When a morning begins: in every zone, through every change of a clock, once a day."""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.core import calendar

START, DAYS = date(2026, 1, 1), 731
ZONES = sorted(available_timezones())
days = st.dates(date(2000, 1, 1), date(2040, 12, 31))


@pytest.mark.parametrize(
    ("day", "months", "then"),
    [
        (date(2027, 1, 31), 1, date(2027, 2, 28)),
        (date(2028, 1, 31), 1, date(2028, 2, 29)),
        (date(2027, 1, 31), 2, date(2027, 3, 31)),
        (date(2026, 12, 15), 1, date(2027, 1, 15)),
        (date(2028, 2, 29), 12, date(2029, 2, 28)),
    ],
)
def test_a_month_later_is_the_same_day_or_the_last(day: date, months: int, then: date) -> None:
    assert calendar.add_months(day, months) == then


@given(days, st.integers(0, 24))
def test_months_later_never_skips_a_month(day: date, months: int) -> None:
    then = calendar.add_months(day, months)
    assert (then.year - day.year) * 12 + then.month - day.month == months
    assert then.day == day.day or calendar.add_months(then, 0).day < day.day
    assert then.day == day.day or (then + timedelta(days=1)).day == 1


@pytest.mark.parametrize(
    ("day", "zone", "at", "utc"),
    [
        (date(2026, 11, 22), "Europe/Berlin", time(9), datetime(2026, 11, 22, 8, tzinfo=UTC)),
        (
            date(2026, 3, 29),
            "Europe/Berlin",
            time(2, 30),
            datetime(2026, 3, 29, 1, tzinfo=UTC),
        ),  # a gap
        (
            date(2026, 10, 25),
            "Europe/Berlin",
            time(2, 30),
            datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        ),  # twice
        (
            date(2011, 12, 30),
            "Pacific/Apia",
            time(9),
            datetime(2011, 12, 30, 10, tzinfo=UTC),
        ),  # a day that was not
        (
            date(2026, 10, 4),
            "Australia/Lord_Howe",
            time(2, 10),
            datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
        ),
        (date(2026, 11, 22), "Nowhere/Gone", time(9), datetime(2026, 11, 22, 9, tzinfo=UTC)),
    ],
)
def test_gaps_and_folds_go_by_the_rule(day: date, zone: str, at: time, utc: datetime) -> None:
    assert calendar.send_time(day, zone, at) == utc


def changes(zone: str) -> tuple[tuple[datetime, timedelta | None], ...]:
    """When the clock of a zone changes in these years, to the second, and to which offset."""
    clock = ZoneInfo(zone)
    before = datetime.combine(START, time(), UTC) - timedelta(days=2)
    found = [(before, before.astimezone(clock).utcoffset())]
    for number in range(1, DAYS + 5):
        after = found[0][0] + number * timedelta(days=1)
        if after.astimezone(clock).utcoffset() != found[-1][1]:
            while after - before > timedelta(seconds=1):
                middle = before + (after - before) // 2
                if middle.astimezone(clock).utcoffset() == found[-1][1]:
                    before = middle
                else:
                    after = middle
            found.append((after, after.astimezone(clock).utcoffset()))
        before = found[0][0] + number * timedelta(days=1)
    return tuple(found)


@cache
def different_zones() -> list[str]:
    """One of each group of zones whose clocks are the same in these years."""
    return sorted({changes(zone): zone for zone in ZONES}.values())


@pytest.mark.parametrize("part", range(8))
def test_in_every_zone_each_morning_of_two_years_comes_exactly_once(part: int) -> None:
    """Whatever hour is a morning: on an hourly clock a day's morning falls in exactly one hour."""
    for zone in different_zones()[part::8]:
        for at in (calendar.SEND_AT_LOCAL_TIME, time(2, 30)):
            before = None
            for number in range(DAYS):
                day = START + timedelta(days=number)
                begins = calendar.send_time(day, zone, at)
                local = begins.astimezone(calendar.zone_or_utc(zone))
                assert local.date() == day, (zone, day)
                assert local.time() >= at, (zone, day)
                assert before is None or begins - before >= timedelta(hours=22), (zone, day)
                # an instant earlier it had not begun, by the clock on that wall
                earlier = (begins - timedelta(seconds=1)).astimezone(calendar.zone_or_utc(zone))
                assert (earlier.date(), earlier.time()) < (day, at) or earlier.time() > local.time()
                before = begins


def test_a_form_offers_zones_that_exist_and_not_too_many() -> None:
    offered = calendar.zones_for_select()
    assert {"Europe/Amsterdam", "Asia/Yekaterinburg", "UTC"} <= set(offered)
    assert 300 < len(offered) < 450
    assert all(calendar.is_known_zone(zone) for zone in offered)
