"""Figures in SQL: what the words gross, fees, refunds, disputes and change of balance are, once.

A total of a page, a line of a file and the sheet of its totals are sums of these over ledger
entries, so that one word is one figure wherever it stands. Minor units.
"""

# What an entry adds, by the accounts at its two ends. One entry is of contributions or of other
# income, never of both.
_GROSS_SQL = """CASE WHEN credit LIKE ANY ('{income:%,other:income}') THEN amount
                 WHEN debit LIKE ANY ('{income:%,other:income}') THEN -amount ELSE 0 END"""


def _taken_sql(*accounts: str) -> str:
    """Return what an entry moves into accounts, and not out of them again."""
    names = f"LIKE ANY ('{{{','.join(accounts)}}}')"
    return f"""CASE WHEN debit {names} THEN amount ELSE 0 END
             - CASE WHEN credit {names} THEN amount ELSE 0 END"""


# Into or out of the balance at Stripe that a transaction is of; money it holds is its other end.
_BALANCE_CHANGE_SQL = """CASE
    WHEN debit = 'stripe:balance' THEN amount
    WHEN credit = 'stripe:balance' THEN -amount
    WHEN debit LIKE 'stripe:%' AND debit <> 'stripe:held' THEN amount
    WHEN credit LIKE 'stripe:%' AND credit <> 'stripe:held' THEN -amount
    WHEN debit = 'stripe:held' THEN amount
    WHEN credit = 'stripe:held' THEN -amount
    ELSE 0 END"""
FIGURES = {
    "gross": _GROSS_SQL,
    "fees": _taken_sql("expense:%", "other:fees"),
    "refunds": _taken_sql("refunds", "other:refunds"),
    "disputes": _taken_sql("disputes", "other:disputes"),
    "balance_change": _BALANCE_CHANGE_SQL,
}


def is_other_sql(entry: str = "") -> str:
    """Return whether an entry is of other income; `entry` is its name in the statement."""
    debit, credit = (f"{entry}.{end}" if entry else end for end in ("debit", "credit"))
    return f"'other' IN (split_part({debit}, ':', 1), split_part({credit}, ':', 1))"


# The sums of rows with the columns debit, credit and amount.
SUMS_SQL = ",\n           ".join(
    f"CAST(coalesce(sum({figure}), 0) AS bigint) AS {name}" for name, figure in FIGURES.items()
)
