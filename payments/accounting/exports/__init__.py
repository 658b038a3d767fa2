"""Exports: what finance takes away, as files with the filters of the screen and no person in them.

transactions_csv    one row for each balance transaction, as CSV that PostgreSQL itself writes
xlsx                that file once more as a workbook, typed, with its totals
transaction_totals  what the rows of that file add up to
csv_tables          payouts and recurring revenue as CSV
journal_format      the programs that a journal is made for
journals            for Xero, QuickBooks Online and beancount, a journal a day
ledger_entries      for any other program, each ledger entry
files               each of them whole, reporting its progress
csv_cells           cells that no spreadsheet takes for a formula, and amounts in major units
csv_stream          CSV as PostgreSQL writes it, in chunks

Every file says what it is of, and the same question over the same ledger gives the same bytes.
"""

from collections.abc import Callable

ZIP_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the zip format's earliest: the bytes must not change
ProgressCallback = Callable[[int], object]  # is called with how many more rows are written
