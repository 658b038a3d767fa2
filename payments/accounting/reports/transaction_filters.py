"""Transaction filters: which balance transactions a page, a sum or a file is about.

The filters come from an address or a command. Every one that is set must hold; one that makes no
sense, or contradicts another, is refused with a sentence.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from payments.accounting import booking_day, sql_text
from payments.accounting.reports import figure_sql
from payments.accounting.reports.period import ALL_TIME, Period
from payments.core import money
from payments.core.errors import InvalidField
from payments.core.frequency import BOOKED_FREQUENCIES, NO_FREQUENCY
from payments.core.identifiers import ROW_ID_PATTERN, SLUG_HELP, SLUG_PATTERN
from payments.giving import donor_payments
from payments.ledger.posting_rules import (
    ADJUSTMENT_TRANSACTION_TYPES,
    ADJUSTMENT_TYPE,
    CONVERSION_CATEGORY,
    TRANSACTION_TYPES,
    LedgerAccount,
    TransactionType,
)

# --- what a transaction is, in SQL: a row `bt` of balance_transactions or posted_transactions -----

_STRIPE_TYPES = {  # our type -> the types of Stripe's balance transactions that are always it
    ours: sql_text.in_list(type_ for type_, its in TRANSACTION_TYPES.items() if its is ours)
    for ours in dict.fromkeys(TRANSACTION_TYPES.values())
}
TYPE_SQL = "\n         ".join([
    "CASE",
    *(f"WHEN bt.type IN {types} THEN '{ours}'" for ours, types in _STRIPE_TYPES.items()),
    f"WHEN bt.type <> '{ADJUSTMENT_TYPE}' THEN '{TransactionType.ADJUSTMENT}'",
    *(
        f"WHEN bt.reporting_category = '{category}' THEN '{ours}'"
        for category, ours in ADJUSTMENT_TRANSACTION_TYPES.items()
    ),
    f"WHEN bt.reporting_category = '{CONVERSION_CATEGORY}' AND bt.exchange_rate IS NOT NULL",
    f"THEN '{TransactionType.FX}'",
    f"ELSE '{TransactionType.ADJUSTMENT}' END",
])  # fmt: skip
CORRECTION_TYPE = "correction"  # of a line that colleagues booked
# The corrections that are in the books, each with the transaction `bt` that it is of.
CORRECTIONS_SQL = """corrections
      JOIN booked_entries e
        ON e.balance_transaction = corrections.balance_transaction
       AND e.correction_id = corrections.id
      JOIN posted_transactions bt ON bt.id = corrections.balance_transaction"""
# By Stripe's own types where an adjustment is never that, so that the planner knows how many.
_TYPE_CONDITIONS = {
    str(ours): f"bt.type IN {types}"
    for ours, types in _STRIPE_TYPES.items()
    if ours not in ADJUSTMENT_TRANSACTION_TYPES.values()
}

ID_LENGTH_SHOWN = 10  # characters of a transaction's id in a list: its end

# --- the filters ----------------------------------------------------------------------------------


def stripe_id_pattern(*prefixes: str) -> re.Pattern[str]:
    """Return the form of Stripe's ids with one of these prefixes."""
    return re.compile(rf"({'|'.join(prefixes)})_[A-Za-z0-9_]{{1,250}}", re.ASCII)


_ID_CONDITIONS = (  # what an id looks like -> the transactions that are about it
    (stripe_id_pattern("txn"), "bt.id = :id"),
    (stripe_id_pattern("ch", "py"), "bt.charge = :id"),
    (
        stripe_id_pattern("pi"),
        """bt.charge IN (
           SELECT stripe_charge_id FROM charges WHERE stripe_payment_intent_id = :id)""",
    ),
    (
        stripe_id_pattern("sub"),
        """bt.id IN (
           SELECT balance_transaction
             FROM ledger_entries
             JOIN subscriptions USING (contribution_id)
            WHERE stripe_subscription_id = :id)""",
    ),
    (
        ROW_ID_PATTERN,
        "bt.id IN (SELECT balance_transaction FROM ledger_entries WHERE contribution_id = :id)",
    ),
    (
        donor_payments.REFERENCE_PATTERN,
        """bt.charge IN (
           SELECT stripe_charge_id FROM charges WHERE receipt_number(stripe_charge_id) = :id)""",
    ),
    (stripe_id_pattern("po", "re", "pyr", "dp", "du", "trr", "fee"), "bt.source = :id"),
    (
        stripe_id_pattern("evt"),
        """ARRAY[bt.charge, bt.source]::text[] && ARRAY(
           SELECT CAST(object_id AS text) FROM stripe_events WHERE id = :id)""",
    ),
    # as lists show them: the beginning of a contribution's, the end of a transaction's
    (
        re.compile(r"[0-9a-f]{8}"),
        "bt.contribution_id IN (SELECT id FROM contributions WHERE left(id, 8) = :id)",
    ),
    (re.compile(rf"[A-Za-z0-9]{{{ID_LENGTH_SHOWN}}}"), "right(bt.id, char_length(:id)) = :id"),
)
_FACTORS_SQL = " ".join(
    f"WHEN bt.currency = '{code}' THEN {10 ** money.exponent(code)}"
    for code in money.GIFT_LIMITS
    if money.exponent(code) != 2
)
# An amount in major units, of any of a line's; without a sign it is either's.
_AMOUNT_SQL = f"CAST(:amount AS numeric) * CASE {_FACTORS_SQL} ELSE 100 END"
_AMOUNT_CONDITIONS = {
    True: f"{_AMOUNT_SQL} IN (bt.amount, -bt.fee, bt.net)",
    False: f"{_AMOUNT_SQL} IN (abs(bt.amount), abs(bt.fee), abs(bt.net))",
}
_TYPED_AMOUNT = re.compile(
    rf"(?P<sign>[-+{money.MINUS}]?)[^0-9.,+-]{{0,4}}(?P<whole>[0-9]+([.,][0-9]{{3}})*)"
    r"([.,](?P<fraction>[0-9]{1,2}))?[^0-9.,+-]{0,4}",
    re.ASCII,
)
_CURRENCY_PATTERN = re.compile(r"[a-z]{3}")
TYPES = (*TransactionType, CORRECTION_TYPE)
# The name of a filter -> what it may be, and that in words.
FILTER_RULES: Mapping[str, tuple[tuple[str, ...] | re.Pattern[str], str]] = {
    "type": (TYPES, "one of " + ", ".join(TYPES)),
    "frequency": (BOOKED_FREQUENCIES, "one of " + ", ".join(BOOKED_FREQUENCIES)),
    "currency": (_CURRENCY_PATTERN, "three letters, such as usd"),
    "account": (tuple(LedgerAccount), "one of " + ", ".join(LedgerAccount)),
    "campaign": (SLUG_PATTERN, SLUG_HELP),
    "id": (
        re.compile(r"[A-Za-z0-9_]{1,255}"),
        (
            "a whole id: of a contribution, a transaction (txn_…), a charge (ch_…), a payment"
            " intent (pi_…), a subscription (sub_…), a refund (re_…), a dispute (dp_…), a payout"
            " (po_…), a receipt's number, or what a list shows of one"
        ),
    ),
    "amount": (
        re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,3})?", re.ASCII),
        "an amount such as 12.50, or -25 for one that left",
    ),
}


@dataclass(frozen=True, slots=True)
class Filters:
    """Which transactions. Everything that is set must hold."""

    period: Period = ALL_TIME
    type: str | None = None
    frequency: str | None = None
    currency: str | None = None
    account: str | None = None
    campaign: str | None = None
    id: str | None = None
    amount: str | None = None  # in major units; without a sign, of either

    def describe(self) -> str:
        """Return the filters in one line, such as `period=2026-10 currency=usd`."""
        filters = {name: getattr(self, name) for name in FILTER_RULES}
        return " ".join([
            f"period={self.period.label}",
            *(f"{name}={value}" for name, value in filters.items() if value is not None),
        ])  # fmt: skip

    def conditions(self, zone: ZoneInfo) -> tuple[str, dict[str, object]]:
        """Return the conditions on a row `bt` of posted_transactions, and their parameters."""
        since = """bt.occurred_at >= (SELECT earliest_occurrence(:since, :zone))
       AND is_booked_from(bt.occurred_at, bt.booked_on, :since, :zone)"""
        until = "is_booked_before(bt.occurred_at, bt.booked_on, :until, :zone)"
        account = """EXISTS (
           SELECT FROM ledger_entries its_entry
            WHERE its_entry.balance_transaction = bt.id
              AND its_entry.correction_id IS NULL
              AND :account IN (its_entry.debit, its_entry.credit))"""
        frequency = "bt.frequency = :frequency"
        if self.frequency == NO_FREQUENCY:
            frequency = "bt.frequency IS NULL"
        return sql_text.where(
            [
                ("since", since, self.period.since),
                ("until", until, self.period.until),
                ("type", _TYPE_CONDITIONS.get(self.type or "", f"{TYPE_SQL} = :type"), self.type),
                ("frequency", frequency, self.frequency),
                ("currency", "bt.currency = :currency", self.currency),
                ("campaign", "bt.campaign = :campaign", self.campaign),
                ("account", account, self.account),
                ("id", _id_condition(self.id or "") or "false", self.id),
                ("amount", _AMOUNT_CONDITIONS[(self.amount or "").startswith("-")], self.amount),
            ],
            {"zone": zone.key},
        )

    def correction_conditions(self, zone: ZoneInfo) -> tuple[str, dict[str, object]]:
        """Return the same of a correction in `CORRECTIONS_SQL`: it counts on its own day."""
        frequency = f"""CASE WHEN {figure_sql.is_other_sql("e")} THEN 'other'
            ELSE coalesce(bt.frequency, '{NO_FREQUENCY}') END = :frequency"""
        return sql_text.where(
            [
                ("since", booking_day.BOOKED_FROM_SQL, self.period.since),
                ("until", booking_day.BOOKED_BEFORE_SQL, self.period.until),
                ("type", f":type = '{CORRECTION_TYPE}'", self.type),
                ("frequency", frequency, self.frequency),
                ("currency", "e.currency = :currency", self.currency),
                ("campaign", "bt.campaign = :campaign", self.campaign),
                ("account", ":account IN (e.debit, e.credit)", self.account),
                ("id", _id_condition(self.id or "") or "false", self.id),
                ("amount", f"{_AMOUNT_SQL} = e.amount", self.amount),
            ],
            {"zone": zone.key},
        )


def _id_condition(object_id: str) -> str | None:
    return next(
        (condition for form, condition in _ID_CONDITIONS if form.fullmatch(object_id)), None
    )


def as_typed(name: str, value: str) -> str:
    """Return a filter as it is looked for, from how a colleague types or copies it from a page."""
    value = value.strip()
    if name == "currency":
        return value.lower()
    if name == "id":
        return donor_payments.reference_of(value).removeprefix("\N{HORIZONTAL ELLIPSIS}")
    return _plain_amount(value) if name == "amount" else value


def _plain_amount(value: str) -> str:
    """Return an amount without symbols and thousands, with a point; anything else as it is."""
    typed = _TYPED_AMOUNT.fullmatch(value)
    if typed is None:
        return value
    sign = "-" if typed["sign"] in ("-", money.MINUS) else ""
    whole = re.sub(r"[.,]", "", typed["whole"])
    return f"{sign}{whole}.{typed['fraction']}" if typed["fraction"] else f"{sign}{whole}"


def check_filter(name: str, value: str) -> None:
    """Raise InvalidField for a value that a filter cannot have."""
    allowed, help_text = FILTER_RULES[name]
    if isinstance(allowed, tuple):
        is_allowed = value in allowed
    else:
        is_allowed = allowed.fullmatch(value) is not None
    if name == "id":
        is_allowed = is_allowed and _id_condition(value) is not None
    if not is_allowed:
        raise InvalidField(f"{name}: {help_text}.", field=name)


def parse_filters(query: Mapping[str, str], period: Period) -> Filters:
    """Read the filters of an address. Raises InvalidField for nonsense or a contradiction."""
    values = {name: as_typed(name, query[name]) for name in FILTER_RULES if query.get(name)}
    for name, value in values.items():
        check_filter(name, value)
    income = values.get("account", "").partition("income:")[2]
    if income and values.get("frequency", income) != income:
        raise InvalidField(
            f"account: income:{income} has no line that is {values['frequency']}.", field="account"
        )
    if values.get("frequency") == NO_FREQUENCY and "campaign" in values:
        raise InvalidField(
            "campaign: what belongs to no contribution has no campaign.", field="campaign"
        )
    return Filters(period, **values)
