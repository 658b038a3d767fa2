"""Accounting: what finance reads, takes away and closes, computed from the ledger and never stored
as a truth of its own.

Daily totals and month snapshots are caches that the integrity checks compute again; reports,
exports and closed periods read them and the ledger entries. Every amount is in minor units of one
currency, and two currencies are never added. A closed month never changes. Nothing here says who
gave. This room imports settlement, signups, giving and the rooms below them.

SQL: a report, a check or a statement about a set of rows is text, because it reads as the question
finance asks: one clause a line, and each CTE is named after the rows it holds. Reading or writing
rows as objects is `select()`, `insert()` and `update()`, so that mypy sees the columns. A rule that
several texts need is a view or a function of the database (`booked_entries`, `posted_transactions`,
`booked_at`, `daily_totals_now`) or a named fragment, which holds no other fragment; what a person
typed is always a parameter.
"""
