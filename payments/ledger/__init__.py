"""Double-entry bookkeeping of the Stripe balance: posting rules, entries and their hash chain.

balance_transactions  every movement of the Stripe balance
corrections           what colleagues moved between accounts, and why
entries               the double entries, appended and never changed
hash_chain            SHA-256 over each entry and the one before
posting_rules         the chart of accounts, and which of them a transaction moves

Every entry moves an amount from one account to another and comes from one of Stripe's balance
transactions: by the posting table, or by a correction of what that said. Entries are appended,
never changed: a trigger refuses it, and the service's database role was never granted it. This room
imports core and infra only.
"""
