"""Balance transactions with no charge behind them: Stripe's own fees, reserves and conversions, and
top-ups by the account owner.
"""

from datetime import datetime
from typing import Final

from payments.sandbox import balance, currencies, listing
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.catalog import currency_in
from payments.sandbox.errors import missing_param
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route

STRIPE_FEE_TYPES: Final = {
    "billing": ("stripe_fee", "fee", "Billing - Usage Fee"),
    "radar": ("stripe_fee", "fee", "Radar (for fraud teams)"),
    "fx": ("stripe_fx_fee", "fee", "Currency conversion fee"),
    "tax": ("tax_fee", "tax", "Tax on Stripe's fees"),
}
BALANCE_TYPE_RESERVED: Final = "risk_reserved"
CONVERSION_DESCRIPTION: Final = "Currency conversion"

add_list_and_retrieve_routes("topup", "/v1/topups", {"status": listing.equals("status")})


def charge_fee(
    account: StripeAccount, kind: str, amount: int, currency: str, at: datetime | None = None
) -> JsonObject:
    """Deduct one of STRIPE_FEE_TYPES, in minor units. `at`, a past moment, backdates it.

    Raises ValueError for an unknown kind.
    """
    if kind not in STRIPE_FEE_TYPES:
        raise ValueError(f"kind is one of {', '.join(STRIPE_FEE_TYPES)}")
    type_, category, description = STRIPE_FEE_TYPES[kind]
    fields = {"type": type_, "reporting_category": category, "description": description}
    row = balance.create_transaction(account, {**fields, "amount": -amount, "currency": currency})
    if at is not None:
        row["created"] = row["available_on"] = min(row["created"], int(at.timestamp()))
    return row


def hold_reserve(account: StripeAccount, amount: int, currency: str) -> JsonObject:
    """Move an amount into the risk reserve."""
    return _move_reserve(account, "reserve_hold", -amount, currency)


def release_reserve(account: StripeAccount, amount: int, currency: str) -> JsonObject:
    """Move an amount out of the risk reserve."""
    return _move_reserve(account, "reserve_release", amount, currency)


def _move_reserve(account: StripeAccount, type_: str, amount: int, currency: str) -> JsonObject:
    """Create one transaction in each of the two balances. Returns that of the payments balance."""
    fields = {"type": type_, "currency": currency, "reporting_category": "risk_reserved_funds"}
    reserved = {**fields, "amount": -amount, "balance_type": BALANCE_TYPE_RESERVED}
    balance.create_transaction(account, reserved)
    return balance.create_transaction(account, {**fields, "amount": amount})


def create_adjustment(
    account: StripeAccount, amount: int, currency: str, description: str
) -> JsonObject:
    """Correct the balance by an amount that only the description explains."""
    fields = {"type": "adjustment", "reporting_category": "other_adjustment"}
    fields |= {"description": description, "currency": currency}
    return balance.create_transaction(account, {**fields, "amount": amount})


def convert(account: StripeAccount, amount: int, currency: str, target: str) -> list[JsonObject]:
    """Convert part of the balance to another currency. Returns both transactions."""
    converted, rate = currencies.convert(amount, currency, target, account.state.get("rates"))
    fields = {
        "type": "adjustment",
        "reporting_category": "other_adjustment",
        "description": CONVERSION_DESCRIPTION,
        "exchange_rate": rate,
    }
    return [
        balance.create_transaction(account, {**fields, "amount": -amount, "currency": currency}),
        balance.create_transaction(account, {**fields, "amount": converted, "currency": target}),
    ]


@route("POST", "/v1/topups", reads=("amount", "currency", "description", "metadata"))
def create_topup(call: Call) -> JsonObject:
    """Add money from the owner's bank to the balance; here it arrives at once."""
    account, params = call.account, call.params
    amount = read.positive_integer(params, "amount")
    if amount is None:
        raise missing_param("amount")
    topup = account.create_object(
        "tu",
        "topup",
        {
            "amount": amount,
            "balance_transaction": None,
            "currency": currency_in(params),
            "description": read.text(params, "description"),
            "expected_availability_date": account.clock.timestamp(),
            "failure_code": None,
            "failure_message": None,
            "metadata": read.metadata(params),
            "source": None,
            "statement_descriptor": None,
            "status": "succeeded",
            "transfer_group": None,
        },
    )
    fields = {"type": "topup", "amount": amount, "currency": topup["currency"]}
    row = balance.create_transaction(
        account, {**fields, "source": topup["id"], "description": "Top-up"}
    )
    topup["balance_transaction"] = row["id"]
    account.emit("topup.created", topup)
    account.emit("topup.succeeded", topup)
    return topup
