"""Settlement: what Stripe does with the money after a charge, imported and updated.

dispute_evidence  what we answer a bank with
disputes         a bank takes a payment back, or inquires
fraud_warnings   a card network reports likely fraud
importer         every movement of the balance, webhook or not
payouts          money on its way to the bank, reconciled
refund_notices   mails about refunds
refund_proposals  above the limit of one colleague
refund_requests  from a colleague's form to Stripe's answer
refunds          payments given back, here or at Stripe

Balance transactions, payouts, refunds and disputes. Every row mirrors an object of Stripe's as last
fetched; the ledger takes its amounts from the imported balance transactions alone, each posted
exactly once. This room imports giving and the rooms below it.
"""
