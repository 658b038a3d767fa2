"""Reports: the questions finance asks, answered from ledger entries. Read only, in minor units; no
row says who gave.

period                 the time a report is about
period_totals          the same figures of any days, by currency
monthly                gross, fees, refunds and net by month, from the daily totals
stripe_balance         what Stripe held, and all that moved it in a month
accrual                what was earned in a month, beside what was received
variance               why net differs between two periods, summing exactly
figure_sql             what gross, fees, refunds, disputes and change of balance are, in SQL
transaction_filters    which balance transactions a list or file is about
transactions           one line for each balance transaction, by keyset pages
article_sums           what came by the articles gifts began from, where they are stored
contribution_timeline  what happened to one contribution
recurring              MRR, what subscriptions commit to, and what of it is at risk
recurring_figures      ARR, churn, average and lifetime value, each defined in a sentence
payouts                what went to the bank, reconciled line by line
refunds_and_disputes   what was given or taken back, and what needs a response
sorting                the order of a list that is read page by page
sources                net by campaign, renewals included
dispute_rates          disputes by month, beside the networks' thresholds
freshness              how old the figures are, and what they leave out
other_income           what the account takes for something else

A month is a half-open month of the accounting zone. Currencies are never added together.
"""

PAGE_SIZE = 50  # rows of a list on a page
