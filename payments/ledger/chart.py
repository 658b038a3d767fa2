"""The chart of accounts and the posting table: what each of Stripe's movements means, from one
account to another. Pure: no database, no clock, no arithmetic but + and -.

Whatever the other end is, the Stripe end of the rows of one balance transaction adds up to its
`net`, so the stripe accounts are Stripe's balance by construction. What is not in the table goes
to suspense, never guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Account(StrEnum):
    STRIPE = "stripe:balance"
    IN_TRANSIT = "in-transit"
    BANK = "bank"
    INCOME_ONCE = "income:once"
    INCOME_MONTHLY = "income:monthly"
    INCOME_ANNUAL = "income:annual"
    REFUNDS = "refunds"
    DISPUTES = "disputes"
    PROCESSING = "expense:processing"
    BILLING = "expense:billing"
    TAX = "expense:tax"
    FX = "expense:fx"
    SUSPENSE = "suspense"


INCOME = {
    "once": Account.INCOME_ONCE,
    "monthly": Account.INCOME_MONTHLY,
    "annual": Account.INCOME_ANNUAL,
}
CHARGES = ("charge", "payment")
RETURNS = ("refund", "payment_refund", "refund_failure")
# A type of Stripe's balance transactions -> the account at the other end of the Stripe balance.
OTHER_END = {
    "refund": Account.REFUNDS,
    "payment_refund": Account.REFUNDS,
    "refund_failure": Account.REFUNDS,
    "stripe_fee": Account.BILLING,
    "stripe_fx_fee": Account.FX,
    "tax_fee": Account.TAX,
    "payout": Account.IN_TRANSIT,
    "payout_failure": Account.IN_TRANSIT,
    "payout_cancel": Account.IN_TRANSIT,
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


@dataclass(frozen=True, slots=True)
class Posting:
    """One row of the books before it is written. `amount` is above zero."""

    debit: Account
    credit: Account
    amount: int


def is_for_a_contribution(type_: str) -> bool:
    """Whether this type waits until its contribution is known."""
    return type_ in CHARGES or type_ in RETURNS


def postings(movement: Movement, owner: Owner | None) -> list[Posting]:
    """The rows of one balance transaction. The owner decides which income a charge is."""
    assert movement.net == movement.amount - movement.fee
    assert sum(amount for _, amount in movement.fees) == movement.fee
    if movement.type in CHARGES and owner is not None:
        other = INCOME[owner.frequency]
    else:
        other = OTHER_END.get(movement.type, Account.SUSPENSE)
    flows = {other: movement.amount}
    for kind, amount in movement.fees:
        account = FEES.get(kind, Account.SUSPENSE)
        flows[account] = flows.get(account, 0) - amount
    return [_between(account, amount) for account, amount in flows.items() if amount != 0]


def _between(other: Account, amount: int) -> Posting:
    """Money that comes to the Stripe balance from an account, or goes there when negative."""
    if amount > 0:
        return Posting(Account.STRIPE, other, amount)
    return Posting(other, Account.STRIPE, -amount)
