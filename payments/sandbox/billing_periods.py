"""Billing periods, counted from an anchor so that a short month never moves the day for good."""

import calendar
from datetime import UTC, datetime, timedelta

from payments.sandbox.form_encoding import JsonObject


def period_start(anchor: int, recurring: JsonObject, number: int) -> int:
    """When the period of this number begins; the anchor begins number 0."""
    count = number * int(recurring["interval_count"])
    start = datetime.fromtimestamp(anchor, UTC)
    if recurring["interval"] == "day":
        moved = start + timedelta(days=count)
    elif recurring["interval"] == "week":
        moved = start + timedelta(weeks=count)
    else:
        moved = _add_months(start, count * (12 if recurring["interval"] == "year" else 1))
    return int(moved.timestamp())


def _add_months(start: datetime, months: int) -> datetime:
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return start.replace(year=year, month=month + 1, day=min(start.day, last))
