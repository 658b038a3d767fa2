"""The chart of accounts and the posting table: what each of Stripe's movements means, from one
account to another. Pure: no database, no clock, no arithmetic but + and -.

Whatever the other end is, the Stripe end of the rows of one balance transaction adds up to its
`net`, so the stripe accounts are Stripe's balances by construction. What is not in the table, or
is named in `UNKNOWN`, goes to suspense, never guessed. `tests/test_ledger.py` compares both with
the SDK's own list of types, so that an upgrade that adds one waits for somebody to decide.

Money that Stripe sets aside stays ours: it is `held` on its way between two of Stripe's balances,
which is nothing once both of its transactions are here. A conversion of the balance comes as two
adjustments with an exchange rate, one in each currency, and passes through `clearing:fx`: what is
left there in one currency is what was paid for the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Account(StrEnum):
    STRIPE = "stripe:balance"
    RESERVED = "stripe:reserved"
    PREFUNDING = "stripe:prefunding"
    ISSUING = "stripe:issuing"
    HELD = "stripe:held"
    IN_TRANSIT = "in-transit"
    BANK = "bank"
    INCOME_ONCE = "income:once"
    INCOME_MONTHLY = "income:monthly"
    INCOME_ANNUAL = "income:annual"
    REFUNDS = "refunds"
    DISPUTES = "disputes"
    PROCESSING = "expense:processing"
    DISPUTE_FEES = "expense:disputes"
    BILLING = "expense:billing"
    TAX = "expense:tax"
    FX = "expense:fx"
    CLEARING = "clearing:fx"
    SUSPENSE = "suspense"


INCOME = {
    "once": Account.INCOME_ONCE,
    "monthly": Account.INCOME_MONTHLY,
    "annual": Account.INCOME_ANNUAL,
}
CHARGES = ("charge", "payment")
RETURNS = ("refund", "payment_refund", "refund_failure", "payment_failure_refund")
# A type of Stripe's balance transactions -> the account at the other end of the Stripe balance.
OTHER_END = {
    "refund": Account.REFUNDS,
    "payment_refund": Account.REFUNDS,
    "refund_failure": Account.REFUNDS,
    "payment_failure_refund": Account.REFUNDS,  # a bank debit that its bank took back
    "stripe_fee": Account.BILLING,
    "stripe_fx_fee": Account.FX,
    "tax_fee": Account.TAX,
    "payout": Account.IN_TRANSIT,
    "payout_failure": Account.IN_TRANSIT,
    "payout_cancel": Account.IN_TRANSIT,
    "topup": Account.BANK,
    "topup_reversal": Account.BANK,
    "reserve_hold": Account.HELD,
    "reserve_release": Account.HELD,
    "reserve_transaction": Account.HELD,
    "reserved_funds": Account.HELD,
    "payment_network_reserve_hold": Account.HELD,
    "payment_network_reserve_release": Account.HELD,
    "payout_minimum_balance_hold": Account.HELD,
    "payout_minimum_balance_release": Account.HELD,
}
# An adjustment says only in its reporting category what it is.
# https://docs.stripe.com/reports/reporting-categories
ADJUSTMENT = "adjustment"
ADJUSTMENTS = {
    "dispute": Account.DISPUTES,
    "dispute_reversal": Account.DISPUTES,
    "refund_failure": Account.REFUNDS,
    "fee": Account.BILLING,
}
CONVERSIONS = "other_adjustment"
# What a newsroom's account may never see. Each goes to suspense and calls a person.
UNKNOWN = frozenset({
    "advance", "advance_funding", "anticipation_repayment", "application_fee",
    "application_fee_refund", "climate_order_purchase", "climate_order_refund",
    "connect_collection_transfer", "contribution", "fee_credit_funding", "inbound_transfer",
    "inbound_transfer_reversal", "issuing_authorization_hold", "issuing_authorization_release",
    "issuing_dispute", "issuing_dispute_provisional_credit",
    "issuing_dispute_provisional_credit_reversal", "issuing_transaction", "obligation_outbound",
    "obligation_reversal_inbound", "payment_reversal",
    "payment_unreconciled", "stripe_balance_payment_debit",
    "stripe_balance_payment_debit_reversal", "tax_fund", "transfer", "transfer_cancel",
    "transfer_failure", "transfer_refund",
})  # fmt: skip
# Which of Stripe's balances a transaction moves; another one's word is only held.
BALANCES = {
    "payments": Account.STRIPE,
    "risk_reserved": Account.RESERVED,
    "refund_and_dispute_prefunding": Account.PREFUNDING,
    "issuing": Account.ISSUING,
}
FEES = {"stripe_fee": Account.PROCESSING, "tax": Account.TAX}


@dataclass(frozen=True, slots=True)
class Owner:
    """The contribution that a charge, or its return, is for."""

    contribution_id: str
    frequency: str


@dataclass(frozen=True, slots=True)
class Movement:
    """One balance transaction as the table needs it. Minor units of the settlement currency."""

    type: str
    amount: int
    fee: int
    net: int
    fees: Sequence[tuple[str, int]]
    category: str = ""
    balance: str = "payments"
    is_converted: bool = False


@dataclass(frozen=True, slots=True)
class Posting:
    """One row of the books before it is written. `amount` is above zero."""

    debit: Account
    credit: Account
    amount: int


def is_for_a_contribution(type_: str, category: str = "") -> bool:
    """Whether this movement waits until its contribution is known."""
    if type_ == ADJUSTMENT:
        return ADJUSTMENTS.get(category) in (Account.DISPUTES, Account.REFUNDS)
    return type_ in CHARGES or type_ in RETURNS


def postings(movement: Movement, owner: Owner | None) -> list[Posting]:
    """The rows of one balance transaction. The owner decides which income a charge is."""
    assert movement.net == movement.amount - movement.fee
    assert sum(amount for _, amount in movement.fees) == movement.fee
    at_stripe = BALANCES.get(movement.balance, Account.HELD)
    other = _other_end(movement, owner)
    if other is at_stripe:
        other = Account.SUSPENSE
    flows = {other: movement.amount}
    for kind, amount in movement.fees:
        account = FEES.get(kind, Account.SUSPENSE)
        if other is Account.DISPUTES and account is Account.PROCESSING:
            account = Account.DISPUTE_FEES
        flows[account] = flows.get(account, 0) - amount
    return [
        _between(at_stripe, account, amount) for account, amount in flows.items() if amount != 0
    ]


def _other_end(movement: Movement, owner: Owner | None) -> Account:
    if movement.type in CHARGES and owner is not None:
        return INCOME[owner.frequency]
    if movement.type != ADJUSTMENT:
        return OTHER_END.get(movement.type, Account.SUSPENSE)
    if movement.category == CONVERSIONS and movement.is_converted:
        return Account.CLEARING
    return ADJUSTMENTS.get(movement.category, Account.SUSPENSE)


def _between(at_stripe: Account, other: Account, amount: int) -> Posting:
    """Money that comes to Stripe's balance from an account, or goes there when negative."""
    if amount > 0:
        return Posting(at_stripe, other, amount)
    return Posting(other, at_stripe, -amount)
