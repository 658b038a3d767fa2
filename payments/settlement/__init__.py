"""Settlement: what Stripe does with the money after a charge, imported and updated.

Balance transactions, payouts, refunds and disputes. Every row mirrors an object of Stripe's as last
fetched; the ledger takes its amounts from the imported balance transactions alone, each posted
exactly once. This room imports giving and the rooms below it.
"""
