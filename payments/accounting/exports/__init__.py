"""Exports: what finance takes away, as files with the filters of the screen and no person in them.

    ledger      one row for each movement, as CSV that PostgreSQL itself writes
    sheets      that file once more as XLSX, typed, with its totals
    tables      payouts and recurring revenue as CSV
    journals    for Xero, QuickBooks Online and beancount, a journal a day
    entries     for any other program, each row of the books
    files       each of them whole, with a word for every row that is written

Every file says what it is of, and the same question over the same books gives the same bytes. No
cell begins what a spreadsheet would run: text that could is led by an apostrophe.
"""

# What a spreadsheet may take for the beginning of a formula, the full-width forms included.
FORMULA_PREFIXES = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


def escape_formula(cell: str) -> str:
    """A text cell that no spreadsheet runs."""
    return f"'{cell}" if cell[:1] and cell[0] in FORMULA_PREFIXES else cell
