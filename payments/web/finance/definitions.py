"""Definitions: what each word above a column of figures means, in one sentence.

A word has one meaning on all pages and in all files. A table shows the definitions of its own
columns below itself; a label that is not here is a year, a currency, a program or a frequency.
"""

from payments.accounting.reports import recurring_figures

DEFINITIONS = {
    # of the months, of a period, and of whatever filters are set
    "Payments": "How many payments arrived; refunds do not take any away.",
    "Gross": "What donors paid, before Stripe's fees and before anything went back.",
    "Fees": "All that Stripe charged: for payments, for disputes, for its services, and tax on it.",
    "Refunds": "What went back to donors because we or they asked for it.",
    "Disputes": "What donors' banks took back, less what they gave back to us.",
    "Returned": "Refunds and disputes together.",
    "Net": "Gross less fees, refunds and disputes.",
    "Net a year before": "Net of the same month one year earlier.",
    "Change": "By how much net differs from the month a year before.",
    "Other movements": "What changed the balance at Stripe and is no part of net: payouts to the "
    "bank, conversions, reserves, and what is in suspense.",
    "Change of balance": "By how much the balance at Stripe changed: net and other movements, or, "
    "of one line, the amount before the fee less the fee taken.",
    "Before fee": "The amount of this movement before Stripe's fee for it; below zero it left.",
    "Fee taken": "Stripe's fee for this one movement.",
    "Moved": "What a correction moved from one account to the other; no money moved at Stripe.",
    "Contributions that paid": "Contributions with at least one payment in this time, each once.",
    "first-time donors among them": "Of those, the ones whose first payment ever is in this time.",
    "Stripe's own fees": "Fees that belong to no payment, such as those for Billing.",
    "Other income": "What the Stripe account took for something else than contributions.",
    "Difference": "The first of the two figures beside it less the second.",
    # of the variance
    "Change of net": "By how much this cause made net of the later period differ.",
    "Contributions of this cause": "How many contributions fall under it; each falls under one.",
    "Paid before": "Gross of this contribution in the earlier period.",
    "Paid after": "Gross of this contribution in the later period.",
    # of sources
    "First payments": "Gross of payments that were the first of their contribution.",
    "Renewals": "Gross of all later payments.",
    "Gifts begun, at least": "How often the form was sent after this story, rounded down to tens.",
    "Given, less what went back": "Gross on the days of the matching, less refunds and disputes.",
    "Added": "What the sponsor adds to each gift.",
    "At most": "The most the sponsor adds altogether.",
    "To be asked of the sponsor": "What the sponsor owes for these gifts by now.",
    # of payouts
    "Paid out": "What Stripe sent to the bank, or took back from it.",
    "Transactions": "How many movements Stripe lists in the payout.",
    "Change of balance, our books": "The same of this movement as our books have it.",
    "Change of balance, Stripe's list": "The same as Stripe's list of the payout has it.",
    # of refunds and disputes
    "As the donor saw it": "The amount in the currency the donor paid in.",
    # of one contribution
    "Amount": "The amount of this event, in the currency beside it.",
    # of the report
    "This period": "The figure of the period of the report.",
    "A year earlier": "The same figure of the same period one year earlier.",
    "Count": "How many there were.",
    # of dispute rates
    "Disputed payments": "Payments whose bank opened a dispute; inquiries are not among them.",
    "Inquiries": "Questions of a bank that have taken no money.",
    "Fraud warnings": "Payments that a card network reported as fraud before any dispute.",
    # of exports
    "Debits": "What the journals of this period add to accounts on their debit side.",
    "Credits": "What they add on the credit side; the two must be equal.",
    # of recurring revenue
    "Active": "Recurring contributions that will be charged again.",
    "Each month": "What a month of these contributions brings if all of them are paid; MRR counts "
    "those that were paid for, in the currency that was settled.",
    "Of a varying amount, not counted": "Those whose amount is not the same every time.",
    "Of these set to end": "Those that end by themselves, for their donors cancelled them.",
    "Less each month then": "By how much less a month brings once they have ended.",
    "Opening": "Monthly recurring revenue at the beginning of the month.",
    "New": "Of people who never gave regularly before, and of further contributions of others.",
    "Reactivated": "Of contributions, or people, that had stopped or paused and paid again.",
    "Raised": "By how much donors raised their contributions.",
    "Lowered": "By how much donors lowered their contributions.",
    "Paused": "Of contributions that were paused, skipped or moved to another day.",
    "Cancelled": "Of contributions that the donor, support or Stripe ended.",
    "Lost to failed payments": "Of contributions whose payment failed or was returned, and was "
    "never paid.",
    "Currency": "Of donors who changed the currency of their contribution, and what exchange "
    "rates did to those that stayed the same.",
    "Closing": "Monthly recurring revenue at the end of the month: opening and all movements.",
    "Contributions": "How many contributions that is, each once.",
    "Failed": "Renewals whose first attempt failed in that month.",
    "Paid later": "Those that were paid after all.",
    "Share": "How many of those that failed were paid later.",
    "Amount paid later": "What those brought that were paid after all.",
    "Amount not paid": "What was not paid after all.",
    "Started": "Contributions whose first payment was in that month.",
} | {
    word: meaning[0].upper() + meaning[1:]
    for word, meaning in recurring_figures.DEFINITIONS.items()
}


def definition_of(label: str) -> str:
    """Return what a label means, or an empty text for one that defines itself."""
    return DEFINITIONS.get(label, "")
