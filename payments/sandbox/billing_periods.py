"""Billing periods, counted from an anchor so that a short month does not move the day for good."""

import calendar
from datetime import UTC, datetime, timedelta

from payments.sandbox.form_encoding import JsonObject


def period_start(anchor: int, recurring: JsonObject, number: int) -> int:
    """Return the Unix time at which a period begins; the anchor, a Unix time, begins number 0."""
    count = number * int(recurring["interval_count"])
    start = datetime.fromtimestamp(anchor, UTC)
    if recurring["interval"] == "day":
        begins = start + timedelta(days=count)
    elif recurring["interval"] == "week":
        begins = start + timedelta(weeks=count)
    else:
        begins = _add_months(start, count * (12 if recurring["interval"] == "year" else 1))
    return int(begins.timestamp())


def _add_months(start: datetime, months: int) -> datetime:
    # payments.core.calendar has the like; the sandbox imports no other room.
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return start.replace(year=year, month=month + 1, day=min(start.day, last))
