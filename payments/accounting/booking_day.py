"""The booking day: the day of the accounting zone on which reports count a ledger entry.

An entry is booked when it occurred, or, if its month was closed by then, on the first day of the
month after it (`late_entries`). No entry is booked before it occurred, so that the index on the
time still finds the entries of a period.

These are fragments of SQL. They read the entry as `e` and its late entry as `late`, and take :zone.
"""

LATE_ENTRIES_JOIN_SQL = "LEFT JOIN late_entries late ON late.seq = e.seq"


def booked_at(time_column: str = "e.occurred_at") -> str:
    """The booking day as a local timestamp. `time_column` is the time the entry occurred."""
    return f"coalesce(CAST(late.booked_on AS timestamp), {time_column} AT TIME ZONE :zone)"


def booked_day(entry: str = "e", late: str = "late") -> str:
    """The booking day as a date, of the aliases given."""
    return f"coalesce({late}.booked_on, CAST({entry}.occurred_at AT TIME ZONE :zone AS date))"


def may_be_booked_from(since: str, time_column: str = "e.occurred_at") -> str:
    """A condition for the index: true of every entry booked on a day or later, and of some others.

    `since` is an expression of a date or local timestamp.
    """
    return f"""{time_column} >= LEAST(
                   CAST({since} AS timestamp) AT TIME ZONE :zone,
                   (SELECT min(late_entry.occurred_at)
                      FROM late_entries booked_late
                      JOIN ledger_entries late_entry USING (seq)
                     WHERE booked_late.booked_on >= {since}))"""  # noqa: S608 - constants only


def booked_from(time_column: str, since: str = ":since") -> str:
    """The condition that an entry is booked on a day or later."""
    return f"""{may_be_booked_from(since, time_column)}
           AND CASE WHEN late.booked_on IS NULL
                    THEN {time_column} >= CAST({since} AS timestamp) AT TIME ZONE :zone
                    ELSE late.booked_on >= {since} END"""


def booked_before(time_column: str, until: str = ":until") -> str:
    """The condition that an entry is booked before a day."""
    return f"""{time_column} < CAST({until} AS timestamp) AT TIME ZONE :zone
           AND (late.booked_on IS NULL OR late.booked_on < {until})"""
