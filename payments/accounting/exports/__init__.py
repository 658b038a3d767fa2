"""Exports: what finance takes away, as files with the filters of the screen and no person in them.

transactions_csv    one row for each balance transaction, as CSV that PostgreSQL itself writes
xlsx                that file once more as a workbook, typed, with its totals
transaction_totals  what the rows of that file add up to
record_files        refunds, disputes and the audit log as CSV
csv_tables          payouts and recurring revenue as CSV
account_map         our accounts' names in accounting programs, each version
program_rules       which names and settings those programs accept
journal_format      the programs that a file is made for
journals            the ledger under a program's names, a journal a day
deferred_journals   deferred income, a journal a month
csv_journals        for Xero and QuickBooks Online
datev               for DATEV
plain_text          for beancount and hledger
statements          the balance at Stripe as a bank statement
program_amounts     amounts as programs take them
program_files       each of them as named files
ledger_entries      for any other program, each ledger entry
files               each of them whole, reporting its progress
csv_cells           cells that no spreadsheet takes for a formula, and amounts in major units
csv_stream          CSV as PostgreSQL writes it, in chunks

Every file says what it is of, and the same question over the same ledger gives the same bytes.
"""

from collections.abc import Callable

ZIP_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the zip format's earliest: the bytes must not change
ProgressCallback = Callable[[int], object]  # is called with how many more rows are written
