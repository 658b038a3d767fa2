"""What Stripe moves by itself, with no charge behind it: fees, taxes, reserves, conversions; and
money its owner puts in.
"""

from datetime import datetime
from typing import Final

from payments.sandbox import balance, currencies, listing
from payments.sandbox import params as read
from payments.sandbox.account import Account
from payments.sandbox.catalog import currency_of
from payments.sandbox.errors import invalid, missing
from payments.sandbox.routes import Call, resource, route
from payments.sandbox.wire import Obj

FEES: Final = {
    "billing": ("stripe_fee", "fee", "Billing - Usage Fee"),
    "radar": ("stripe_fee", "fee", "Radar (for fraud teams)"),
    "fx": ("stripe_fx_fee", "fee", "Currency conversion fee"),
    "tax": ("tax_fee", "tax", "Tax on Stripe's fees"),
}
RESERVED: Final = "risk_reserved"
CONVERSION: Final = "Currency conversion"

resource("topup", "/v1/topups", {"status": listing.same("status")})


def charge_fee(
    account: Account, kind: str, amount: int, currency: str, at: datetime | None = None
) -> Obj:
    """Stripe takes a fee of its own: one of `FEES`. One of an earlier moment is told late."""
    if kind not in FEES:
        raise ValueError(f"kind is one of {', '.join(FEES)}")
    type_, category, description = FEES[kind]
    fields = {"type": type_, "reporting_category": category, "description": description}
    row = balance.record(account, {**fields, "amount": -amount, "currency": currency})
    if at is not None:
        row["created"] = row["available_on"] = min(row["created"], int(at.timestamp()))
    return row


def hold_reserve(account: Account, amount: int, currency: str) -> Obj:
    """Stripe sets money aside for what may come back."""
    return _set_aside(account, "reserve_hold", -amount, currency)


def release_reserve(account: Account, amount: int, currency: str) -> Obj:
    """Stripe lets go of money it had set aside."""
    return _set_aside(account, "reserve_release", amount, currency)


def _set_aside(account: Account, type_: str, amount: int, currency: str) -> Obj:
    """One transaction in each of two balances."""
    fields = {"type": type_, "currency": currency, "reporting_category": "risk_reserved_funds"}
    aside = {**fields, "amount": -amount, "balance_type": RESERVED}
    balance.record(account, aside)
    return balance.record(account, {**fields, "amount": amount})


def adjust(account: Account, amount: int, currency: str, description: str) -> Obj:
    """Something Stripe puts right, and says in words only what."""
    fields = {"type": "adjustment", "reporting_category": "other_adjustment"}
    words = {"description": description, "currency": currency}
    return balance.record(account, {**fields, **words, "amount": amount})


def convert(account: Account, amount: int, currency: str, target: str) -> list[Obj]:
    """Part of the balance becomes another currency: two transactions."""
    gained, rate = currencies.convert(amount, currency, target, account.facts.get("rates"))
    fields = {
        "type": "adjustment",
        "reporting_category": "other_adjustment",
        "description": CONVERSION,
        "exchange_rate": rate,
    }
    return [
        balance.record(account, {**fields, "amount": -amount, "currency": currency}),
        balance.record(account, {**fields, "amount": gained, "currency": target}),
    ]


@route("POST", "/v1/topups")
def top_up(call: Call) -> Obj:
    """The owner's bank sends money; here it is there at once."""
    account, params = call.account, call.params
    amount = read.integer(params, "amount")
    if amount is None:
        raise missing("amount")
    if amount < 1:
        raise invalid("Invalid positive integer", "amount", "parameter_invalid_integer")
    topup = account.make(
        "tu",
        "topup",
        {
            "amount": amount,
            "balance_transaction": None,
            "currency": currency_of(params),
            "description": read.text(params, "description"),
            "expected_availability_date": account.clock.stamp(),
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
    row = balance.record(account, {**fields, "source": topup["id"], "description": "Top-up"})
    topup["balance_transaction"] = row["id"]
    account.emit("topup.created", topup)
    account.emit("topup.succeeded", topup)
    return topup
