"""How money reaches the bank: balance transactions, payouts, refunds and disputes.

The importer posts every balance transaction of Stripe to the ledger exactly once, whether or not a
webhook came. It imports giving and the rooms below it.
"""
