"""What readers give: contributions, checkout, subscriptions and their changes, charges, campaigns.

Its rows say what donors decided and what Stripe last reported of it; what money moved is said by
the ledger. A row is written before Stripe is asked, with the row's id as the idempotency key. It
imports donors, risk, ledger, mail, staff, infra and core.
"""
