"""The columns of an interval: how often what a row is about is charged."""

from sqlalchemy import CheckConstraint, Computed, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.frequency import Frequency, Interval, IntervalUnit
from payments.infra import db

FREQUENCY_SQL = (
    "CASE WHEN interval_unit IS NULL THEN 'once'"
    " WHEN interval_count = 1 AND interval_unit = 'month' THEN 'monthly'"
    " WHEN interval_count = 1 AND interval_unit = 'year' THEN 'annual'"
    " ELSE 'periodic' END"
)


class IntervalColumns:
    """An interval in two columns, both null for once, and the frequency that follows from it."""

    interval_unit: Mapped[IntervalUnit | None] = mapped_column(
        db.enum_column(IntervalUnit, "interval_unit_is_known")
    )
    interval_count: Mapped[int | None] = mapped_column(SmallInteger)
    frequency: Mapped[Frequency] = mapped_column(
        db.enum_column(Frequency, "frequency_is_known"), Computed(FREQUENCY_SQL, persisted=True)
    )

    @property
    def interval(self) -> Interval | None:
        """Return the interval; None for a single payment."""
        return interval_of(self.interval_unit, self.interval_count)


def interval_of(unit: IntervalUnit | None, count: int | None) -> Interval | None:
    """Return the interval of two columns; None for once."""
    return None if unit is None or count is None else Interval(unit, count)


def interval_check() -> CheckConstraint:
    """Return a CHECK that a row has both columns or neither."""
    return CheckConstraint(
        "(interval_unit IS NULL) = (interval_count IS NULL) AND coalesce(interval_count, 1) > 0",
        name="interval_is_whole",
    )


def column_values(interval: Interval | None) -> dict[str, object]:
    """Return the values of the columns for an interval; nulls for once."""
    if interval is None:
        return {"interval_unit": None, "interval_count": None}
    return {"interval_unit": interval.unit, "interval_count": interval.count}
