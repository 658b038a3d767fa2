"""Double-entry bookkeeping of the Stripe balance: posting rules, entries and their hash chain.

Every entry moves an amount from one account to another and comes from one of Stripe's balance
transactions. Entries are appended, never changed: a trigger refuses it, and the service's database
role was never granted it. This room imports core and infra only.
"""
