"""The booking day: the day of the accounting zone on which reports count a ledger entry.

An entry is booked when it occurred, or, if its month was closed by then, on the first day of the
month after it (`late_entries`). No entry is booked before it occurred, so that the index on the
time still finds the entries of a period.

The rule itself is in functions of the database, so that a report reads as one text: `booked_at`
is the local time, `is_booked_from` and `is_booked_before` are conditions, and
`earliest_occurrence` is the time before which nothing occurred that is booked from a day on. The
view `booked_entries` is the ledger with the day on which a late entry is booked.
"""

# Conditions on an entry `e` of `booked_entries`, with :since, :until and :zone. The first line is
# for the index.
BOOKED_FROM_SQL = """e.occurred_at >= (SELECT earliest_occurrence(:since, :zone))
       AND is_booked_from(e.occurred_at, e.booked_on, :since, :zone)"""
BOOKED_BEFORE_SQL = "is_booked_before(e.occurred_at, e.booked_on, :until, :zone)"
