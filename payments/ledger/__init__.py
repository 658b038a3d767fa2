"""The books: one row for each movement of money between two accounts, chained by hashes.

Rows are only appended. Each comes from a balance transaction of Stripe, so every sum can be checked
against Stripe's. Only settlement posts. It imports infra and core.
"""
