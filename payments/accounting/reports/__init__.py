"""Reports: the questions finance asks, answered from ledger rows. Read only; every figure is in
minor units, and no row says who gave.

    period      the time a report is about
    months      gross, fees, refunds, net, from the roll-up
    held        what Stripe held, and all that moved it in a month
    change      why net differs between two months, summing exactly
    lines       one line for each movement, by keyset
    story       what happened to one gift
    recurring   monthly recurring revenue, what is promised and what of it is at risk
    payouts     what went to the bank, proved line by line
    movements   refunds and disputes
    sources     net by campaign, renewals included
    freshness   how old the figures are, and what they leave out

A month is a half-open month of the accounting zone. Currencies are never added together.
"""
