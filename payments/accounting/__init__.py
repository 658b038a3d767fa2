"""Accounting: what finance reads, takes away and closes, computed from the ledger and never stored
as a truth of its own.

accounting_zone     the zone of the books, recorded, and changed by a recorded act
booking_day         the day on which reports count an entry
chain_verification  whether the hash chain is whole; the replay
close_pack          the files of a closed month, signed
cohort_retention    of those that first paid in a month, how many paid later
contribution_report  the figures of a period by currency, to read, print and mail
correction_checks   the rules of corrections as SQL
corrections         what colleagues move between accounts: proposed, approved, booked
daily_totals        how much moved between two accounts on each day
deferred_income     what was paid for several months counts in each of them
exports             files for finance
integrity           running the checks, their results and alerts
integrity_checks    the rules as SQL
late_entries        entries of a month that was already closed
month_snapshots     the month cache: figures of months that are over
mrr_rollforward     monthly recurring revenue and what changed it
pack_archive        the one form of a pack's zip file
pack_manifest       what a pack says of itself, and the signature under it
pack_verification   whether a pack is as it was signed
payment_recovery    dunning: renewals that failed and were paid after all
period_close        the months that finance has closed
report_mail         the monthly mail of the contribution report
reports             the questions finance asks
sql_text            constants and conditions as SQL text
statement_timeout   of what reads the whole ledger

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
