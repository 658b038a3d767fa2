"""Periods: months, quarters, years, fiscal years and any days; the same a year before."""

from datetime import date

import pytest

from payments.accounting.reports.period import ALL_TIME, Period, parse_period, whole_months_of
from payments.core.errors import InvalidField

TODAY = date(2026, 11, 30)


@pytest.mark.parametrize(
    ("typed", "since", "until", "words"),
    [
        ("2026-10", date(2026, 10, 1), date(2026, 11, 1), "October 2026"),
        ("2026-Q4", date(2026, 10, 1), date(2027, 1, 1), "October to December 2026"),
        ("2026", date(2026, 1, 1), date(2027, 1, 1), "2026"),
        ("FY2027", date(2026, 7, 1), date(2027, 7, 1), "July 2026 to June 2027"),
        ("FY2027-Q1", date(2026, 7, 1), date(2026, 10, 1), "July to September 2026"),
        ("FY2026-Q2", date(2025, 10, 1), date(2026, 1, 1), "October to December 2025"),
        ("2026-10-05..2026-10-06", date(2026, 10, 5), date(2026, 10, 6), "5 October 2026"),
        ("2024-02-29..", date(2024, 2, 29), None, "from 29 February 2024"),
        ("..2026-10-01", None, date(2026, 10, 1), "until 30 September 2026"),
        ("all", None, None, "all time"),
    ],
)
def test_a_period_is_named_and_says_its_days(
    typed: str, since: date | None, until: date | None, words: str
) -> None:
    found = parse_period({"period": typed}, today=TODAY, fiscal_year_start=7)
    assert (found.since, found.until, found.words) == (since, until, words)
    assert parse_period({"period": found.label}, today=TODAY) == found


@pytest.mark.parametrize(
    ("field", "typed", "words"),
    [
        ("period", {"period": "2026-12"}, "2026-12 has not begun"),
        ("period", {"period": "2027-Q1"}, "2027-Q1 has not begun"),
        ("period", {"period": "FY2028"}, "FY2028 has not begun"),
        ("period", {"period": "FY2027-Q3"}, "FY2027-Q3 has not begun"),
        ("period", {"period": "2026-Q5"}, "a month such as"),
        ("period", {"period": "fy2026"}, "another of"),
        ("period", {"period": "2026-02-29.."}, "a day such as"),
        ("period", {"period": "2026-10-02..2026-10-01"}, "No time lies between"),
        ("period", {"period": "2026-12-01..2026-12-02"}, "still to come"),
        ("period", {"period": "2026-10", "to": "2026-10-05"}, "Both were given"),
        ("from", {"from": "2026-12-01"}, "still to come"),
        ("from", {"from": "2026-02-29"}, "a day such as"),
        ("to", {"from": "2026-10-05", "to": "2026-10-05"}, "No time lies between"),
        ("to", {"to": "1 May"}, "a day such as"),
    ],
)
def test_a_period_that_makes_no_sense_is_refused_by_its_field(
    field: str, typed: dict[str, str], words: str
) -> None:
    with pytest.raises(InvalidField, match=words) as refused:
        parse_period(typed, today=TODAY, fiscal_year_start=7)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("typed", "year_before", "just_before"),
    [
        ("2024-02", "2023-02", "2024-01"),  # 29 days beside 28
        ("2025-02", "2024-02", "2025-01"),
        ("2026-Q1", "2025-01-01..2025-04-01", "2025-10-01..2026-01-01"),
        ("2025", "2024", "2024"),
        ("2024-02-01..2024-02-29", "2023-02-01..2023-03-01", "2024-01-04..2024-02-01"),
        ("2024-02-29..2024-03-11", "2023-02-28..2023-03-11", "2024-02-18..2024-02-29"),
        ("2025-02-10..2025-03-01", "2024-02-10..2024-02-29", "2025-01-22..2025-02-10"),
    ],
)
def test_a_period_has_one_a_year_before_and_one_just_before(
    typed: str, year_before: str, just_before: str
) -> None:
    found = parse_period({"period": typed}, today=TODAY)
    before, earlier = found.year_before(), found.just_before()
    assert before is not None
    assert earlier is not None
    assert before == parse_period({"period": year_before}, today=TODAY)
    assert earlier == parse_period({"period": just_before}, today=TODAY)
    for one in (ALL_TIME, Period(since=date(2026, 1, 1)), Period(until=date(2026, 1, 1))):
        assert (one.year_before(), one.just_before()) == (None, None)


def test_the_months_of_a_period_are_those_it_touches() -> None:
    first, last = date(2026, 5, 20), date(2026, 11, 30)
    for typed, months in (
        ("2026-10-31..2026-11-02", (date(2026, 10, 1), date(2026, 12, 1))),
        ("2026-10-15..2026-11-01", (date(2026, 10, 1), date(2026, 11, 1))),
        ("all", (date(2026, 5, 1), date(2026, 12, 1))),
    ):
        found = parse_period({"period": typed}, today=TODAY)
        assert whole_months_of(found, first=first, last=last) == months
