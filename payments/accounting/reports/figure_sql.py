"""Figures in SQL: what the words gross, fees, refunds, disputes and change of balance are, once.

A total of a page, a line of a file and the sheet of its totals are sums of these over ledger
entries, so that one word is one figure wherever it stands. Minor units.
"""

# The sums of rows with the columns debit, credit and amount. An entry is of contributions or of
# other income, never of both. The balance that changes is the one at Stripe which the transaction
# is of; what Stripe holds is the other end.
SUMS_SQL = """
           CAST(coalesce(sum(CASE
               WHEN credit LIKE ANY ('{income:%,other:income}') THEN amount
               WHEN debit LIKE ANY ('{income:%,other:income}') THEN -amount
               ELSE 0 END), 0) AS bigint) AS gross,
           CAST(coalesce(sum(
               CASE WHEN debit LIKE ANY ('{expense:%,other:fees}') THEN amount ELSE 0 END
               - CASE WHEN credit LIKE ANY ('{expense:%,other:fees}') THEN amount ELSE 0 END),
               0) AS bigint) AS fees,
           CAST(coalesce(sum(
               CASE WHEN debit IN ('refunds', 'other:refunds') THEN amount ELSE 0 END
               - CASE WHEN credit IN ('refunds', 'other:refunds') THEN amount ELSE 0 END),
               0) AS bigint) AS refunds,
           CAST(coalesce(sum(
               CASE WHEN debit IN ('disputes', 'other:disputes') THEN amount ELSE 0 END
               - CASE WHEN credit IN ('disputes', 'other:disputes') THEN amount ELSE 0 END),
               0) AS bigint) AS disputes,
           CAST(coalesce(sum(CASE
               WHEN debit = 'stripe:balance' THEN amount
               WHEN credit = 'stripe:balance' THEN -amount
               WHEN debit LIKE 'stripe:%' AND debit <> 'stripe:held' THEN amount
               WHEN credit LIKE 'stripe:%' AND credit <> 'stripe:held' THEN -amount
               WHEN debit = 'stripe:held' THEN amount
               WHEN credit = 'stripe:held' THEN -amount
               ELSE 0 END), 0) AS bigint) AS balance_change"""
NAMES = ("gross", "fees", "refunds", "disputes", "balance_change")


def is_other_sql(entry: str = "") -> str:
    """Return whether an entry is of other income; `entry` is its name in the statement."""
    debit, credit = (f"{entry}.{end}" if entry else end for end in ("debit", "credit"))
    return f"'other' IN (split_part({debit}, ':', 1), split_part({credit}, ':', 1))"
