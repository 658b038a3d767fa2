"""Posting rules: the chart of accounts, and the entries that each type of Stripe's balance
transactions makes. Pure functions: no database, no clock, no arithmetic but + and -.

Whatever the contra accounts are, the entries of one balance transaction move the Stripe account by
exactly its `net`, so the stripe accounts equal Stripe's balances by construction. A type that is
not in the table, or is in `SUSPENSE_TYPES`, goes to suspense and is never guessed.
`tests/ledger/test_posting.py` compares both with the SDK's own list of types, so that an upgrade
that adds a type fails until somebody decides what it means.

The table has versions, and every entry says by which it was posted: what was decided once stays
proved by the version it was decided with. A change that would post one transaction otherwise is a
new version in `POSTING_TABLES`, beside the others, and never an edit of one.

Money that Stripe reserves stays ours: it is in `stripe:held` on its way between two of Stripe's
balances, and that account is empty once both transactions are posted. A conversion of the balance
comes as two adjustments with an exchange rate, one in each currency, and passes through
`clearing:fx`: what is left there in one currency is what was paid for the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class LedgerAccount(StrEnum):
    """The chart of accounts."""

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
    INCOME_PERIODIC = "income:periodic"
    OTHER_INCOME = "other:income"
    OTHER_REFUNDS = "other:refunds"
    OTHER_DISPUTES = "other:disputes"
    OTHER_FEES = "other:fees"
    REFUNDS = "refunds"
    DISPUTES = "disputes"
    PROCESSING = "expense:processing"
    DISPUTE_FEES = "expense:disputes"
    BILLING = "expense:billing"
    TAX = "expense:tax"
    FX = "expense:fx"
    CLEARING = "clearing:fx"
    SUSPENSE = "suspense"
    UNEXPLAINED = "unexplained"  # what two colleagues accepted without knowing what it was


INCOME_ACCOUNTS = {
    "once": LedgerAccount.INCOME_ONCE,
    "monthly": LedgerAccount.INCOME_MONTHLY,
    "annual": LedgerAccount.INCOME_ANNUAL,
    "periodic": LedgerAccount.INCOME_PERIODIC,
}
OTHER_INCOME = "other"  # the frequency of what is paid for something else than a contribution
# An account of contributions -> the one of other income. What is paid for something else moves no
# other account than these, Stripe's own and suspense: an integrity check says so.
OTHER_ACCOUNTS = {
    LedgerAccount.REFUNDS: LedgerAccount.OTHER_REFUNDS,
    LedgerAccount.DISPUTES: LedgerAccount.OTHER_DISPUTES,
    LedgerAccount.PROCESSING: LedgerAccount.OTHER_FEES,
    LedgerAccount.DISPUTE_FEES: LedgerAccount.OTHER_FEES,
    LedgerAccount.BILLING: LedgerAccount.OTHER_FEES,
    LedgerAccount.TAX: LedgerAccount.OTHER_FEES,
    LedgerAccount.FX: LedgerAccount.OTHER_FEES,
}
CHARGE_TYPES = ("charge", "payment")
# Where a refund is posted: the account `refunds`, see `CONTRA_ACCOUNTS`.
REFUND_TYPES = ("refund", "payment_refund", "refund_failure", "payment_failure_refund")
# A type of Stripe's balance transactions -> the contra account of the Stripe account.
CONTRA_ACCOUNTS = {
    "refund": LedgerAccount.REFUNDS,
    "payment_refund": LedgerAccount.REFUNDS,
    "refund_failure": LedgerAccount.REFUNDS,
    "payment_failure_refund": LedgerAccount.REFUNDS,  # a bank debit that its bank took back
    "stripe_fee": LedgerAccount.BILLING,
    "stripe_fx_fee": LedgerAccount.FX,
    "tax_fee": LedgerAccount.TAX,
    "payout": LedgerAccount.IN_TRANSIT,
    "payout_failure": LedgerAccount.IN_TRANSIT,
    "payout_cancel": LedgerAccount.IN_TRANSIT,
    "topup": LedgerAccount.BANK,
    "topup_reversal": LedgerAccount.BANK,
    "reserve_hold": LedgerAccount.HELD,
    "reserve_release": LedgerAccount.HELD,
    "reserve_transaction": LedgerAccount.HELD,
    "reserved_funds": LedgerAccount.HELD,
    "payment_network_reserve_hold": LedgerAccount.HELD,
    "payment_network_reserve_release": LedgerAccount.HELD,
    "payout_minimum_balance_hold": LedgerAccount.HELD,
    "payout_minimum_balance_release": LedgerAccount.HELD,
}
# An adjustment says only in its reporting category what it is.
# https://docs.stripe.com/reports/reporting-categories
ADJUSTMENT_TYPE = "adjustment"
ADJUSTMENT_ACCOUNTS = {
    "dispute": LedgerAccount.DISPUTES,
    "dispute_reversal": LedgerAccount.DISPUTES,
    "refund_failure": LedgerAccount.REFUNDS,
    "fee": LedgerAccount.BILLING,
}
CONVERSION_CATEGORY = "other_adjustment"


class TransactionType(StrEnum):
    """What a balance transaction is, in the words of lists and files."""

    CHARGE = "charge"
    REFUND = "refund"
    REFUND_FAILURE = "refund_failure"
    DISPUTE = "dispute"
    DISPUTE_REVERSAL = "dispute_reversal"
    FEE = "fee"
    ADJUSTMENT = "adjustment"  # whatever is none of the others
    PAYOUT = "payout"
    PAYOUT_REVERSAL = "payout_reversal"
    FX = "fx"


_TYPE_OF_CONTRA_ACCOUNT = {
    LedgerAccount.REFUNDS: TransactionType.REFUND,
    LedgerAccount.BILLING: TransactionType.FEE,
    LedgerAccount.FX: TransactionType.FEE,
    LedgerAccount.TAX: TransactionType.FEE,
    LedgerAccount.IN_TRANSIT: TransactionType.PAYOUT,
}
# A type of Stripe's balance transactions -> ours; one that is missing is an adjustment. What comes
# back moves the same account as what went, so only its name tells them apart.
TRANSACTION_TYPES = {
    **dict.fromkeys(CHARGE_TYPES, TransactionType.CHARGE),
    **{
        type_: _TYPE_OF_CONTRA_ACCOUNT[account]
        for type_, account in CONTRA_ACCOUNTS.items()
        if account in _TYPE_OF_CONTRA_ACCOUNT
    },
    "refund_failure": TransactionType.REFUND_FAILURE,
    "payout_failure": TransactionType.PAYOUT_REVERSAL,
    "payout_cancel": TransactionType.PAYOUT_REVERSAL,
}
# The same of an adjustment, by its reporting category.
ADJUSTMENT_TRANSACTION_TYPES = {name: TransactionType(name) for name in ADJUSTMENT_ACCOUNTS}
# What a newsroom's account may never see. Each goes to suspense and raises an alert.
SUSPENSE_TYPES = frozenset({
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
# `balance_type` of a transaction -> the account it moves; an unknown one moves `stripe:held`.
BALANCE_ACCOUNTS = {
    "payments": LedgerAccount.STRIPE,
    "risk_reserved": LedgerAccount.RESERVED,
    "refund_and_dispute_prefunding": LedgerAccount.PREFUNDING,
    "issuing": LedgerAccount.ISSUING,
}
UNEXPLAINED_FEE = "unexplained"  # a type that Stripe does not have
FEE_ACCOUNTS = {"stripe_fee": LedgerAccount.PROCESSING, "tax": LedgerAccount.TAX}


@dataclass(frozen=True, slots=True)
class PostingTable:
    """One version of what is posted where: the mappings above, as they were then."""

    contra_accounts: Mapping[str, LedgerAccount]
    adjustment_accounts: Mapping[str, LedgerAccount]
    balance_accounts: Mapping[str, LedgerAccount]
    fee_accounts: Mapping[str, LedgerAccount]
    income_accounts: Mapping[str, LedgerAccount]
    other_accounts: Mapping[LedgerAccount, LedgerAccount]


# Every version there ever was; new transactions are posted by the highest. A version that entries
# were posted by is never changed and never removed: their proof computes them by it again.
POSTING_TABLES: dict[int, PostingTable] = {
    1: PostingTable(
        contra_accounts=CONTRA_ACCOUNTS,
        adjustment_accounts=ADJUSTMENT_ACCOUNTS,
        balance_accounts=BALANCE_ACCOUNTS,
        fee_accounts=FEE_ACCOUNTS,
        income_accounts=INCOME_ACCOUNTS,
        other_accounts=OTHER_ACCOUNTS,
    ),
}


def current_version() -> int:
    """Return the version by which new transactions are posted."""
    return max(POSTING_TABLES)


@dataclass(frozen=True, slots=True)
class Attribution:
    """The contribution that a charge, or its refund or dispute, belongs to.

    Of other income the frequency is `OTHER_INCOME`, and there is no contribution.
    """

    contribution_id: str | None
    frequency: str


@dataclass(frozen=True, slots=True)
class TransactionFacts:
    """What the rules need of a balance transaction. Minor units of the settlement currency."""

    type: str
    amount: int
    fee: int
    net: int
    fees: Sequence[tuple[str, int]]  # type and amount of each part of `fee`
    reporting_category: str = ""
    balance_type: str = "payments"
    is_converted: bool = False


@dataclass(frozen=True, slots=True)
class Posting:
    """`amount` minor units, above zero, from the credited account to the debited one."""

    debit: LedgerAccount
    credit: LedgerAccount
    amount: int


def needs_contribution(
    type_: str, reporting_category: str = "", *, version: int | None = None
) -> bool:
    """Whether a transaction is posted only once its contribution is known.

    `version` is that of the posting table, None for the current one.
    """
    if type_ == ADJUSTMENT_TYPE:
        table = POSTING_TABLES[version or current_version()]
        return table.adjustment_accounts.get(reporting_category) in (
            LedgerAccount.DISPUTES,
            LedgerAccount.REFUNDS,
        )
    return type_ in CHARGE_TYPES or type_ in REFUND_TYPES


def postings(
    facts: TransactionFacts, attribution: Attribution | None, *, version: int | None = None
) -> list[Posting]:
    """Return the postings of one balance transaction, by a version of the table or the current one.

    The attribution's frequency decides which income account a charge is credited to; a charge
    without one goes to suspense. So does a fee whose parts are not its sum: nothing raises.
    """
    table = POSTING_TABLES[version or current_version()]
    fees = facts.fees
    if sum(amount for _, amount in fees) != facts.fee:
        fees = ((UNEXPLAINED_FEE, facts.fee),)
    stripe_account = table.balance_accounts.get(facts.balance_type, LedgerAccount.HELD)
    contra_account = _contra_account(table, facts, attribution)
    if contra_account is stripe_account:
        contra_account = LedgerAccount.SUSPENSE
    amounts = {_account_for(table, contra_account, attribution): facts.amount}
    for fee_type, amount in fees:
        account = table.fee_accounts.get(fee_type, LedgerAccount.SUSPENSE)
        if contra_account is LedgerAccount.DISPUTES and account is LedgerAccount.PROCESSING:
            account = LedgerAccount.DISPUTE_FEES
        account = _account_for(table, account, attribution)
        amounts[account] = amounts.get(account, 0) - amount
    return [
        _signed_posting(stripe_account, account, amount)
        for account, amount in amounts.items()
        if amount != 0
    ]


def _contra_account(
    table: PostingTable, facts: TransactionFacts, attribution: Attribution | None
) -> LedgerAccount:
    if facts.type in CHARGE_TYPES and attribution is not None:
        if attribution.frequency == OTHER_INCOME:
            return LedgerAccount.OTHER_INCOME
        return table.income_accounts[attribution.frequency]
    if facts.type != ADJUSTMENT_TYPE:
        return table.contra_accounts.get(facts.type, LedgerAccount.SUSPENSE)
    if facts.reporting_category == CONVERSION_CATEGORY and facts.is_converted:
        return LedgerAccount.CLEARING
    return table.adjustment_accounts.get(facts.reporting_category, LedgerAccount.SUSPENSE)


def _account_for(
    table: PostingTable, account: LedgerAccount, attribution: Attribution | None
) -> LedgerAccount:
    """Return the account of other income that stands for an account, where that is what it is."""
    if attribution is None or attribution.frequency != OTHER_INCOME:
        return account
    return table.other_accounts.get(account, account)


def _signed_posting(
    stripe_account: LedgerAccount, contra_account: LedgerAccount, amount: int
) -> Posting:
    """Return the posting of money that enters the Stripe account, or leaves it when negative."""
    if amount > 0:
        return Posting(stripe_account, contra_account, amount)
    return Posting(contra_account, stripe_account, -amount)
