"""The balance: every movement of money, each a balance transaction that never changes its amount.

A charge's transaction is pending for two days, then available; what is available is paid out. The
balance is the sum of the transactions and is kept nowhere else.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from payments.sandbox import currencies, listing
from payments.sandbox import params as read
from payments.sandbox.account import Account, when_due
from payments.sandbox.errors import invalid, not_found
from payments.sandbox.routes import Call, retrieved, route
from payments.sandbox.wire import Obj

PAYMENTS: Final = "payments"
PENDING_FOR: Final = timedelta(days=2)

_FILTERS: Final = {
    "currency": listing.same("currency"),
    "source": listing.same("source"),
    "type": listing.same("type"),
}
_KIND: Final = "balance_transaction"


retrieved(_KIND, "/v1/balance_transactions")


@route("GET", "/v1/balance_transactions")
def list_all(call: Call) -> Obj:
    store, filters = call.account.store, dict(_FILTERS)
    payout_id = read.text(call.params, "payout")
    if payout_id is not None:
        payout = store.find("payout", payout_id)
        if payout is None:
            raise not_found("payout", payout_id, "payout")
        if not payout["automatic"]:
            message = "Balance transaction history can only be filtered on automatic transfers."
            raise invalid(message, "payout")
        # The link is the membership; before Stripe has finished its list, some may be missing.
        is_partial = payout["reconciliation_status"] == "in_progress" and is_slow(call.account)
        hidden = store.linked(_KIND, "payout", payout_id)[1::2] if is_partial else []
        filters["payout"] = lambda row, wanted: row["id"] not in hidden  # noqa: ARG005
    return listing.page(store, _KIND, call.path, call.params, filters)


def is_slow(account: Account) -> bool:
    """Whether the lists of payouts are finished only some time after they were paid."""
    return bool(account.facts.get("reconciles_after", 0))


@route("GET", "/v1/balance")
def show(call: Call) -> Obj:
    account = call.account
    sums: dict[str, dict[str, int]] = {"available": {"usd": 0}, "pending": {"usd": 0}}
    for row in account.store.of_kind(_KIND):
        if row["balance_type"] != PAYMENTS:
            continue  # set aside: Stripe's answer does not count it
        for status, by_currency in sums.items():
            by_currency.setdefault(row["currency"], 0)
            by_currency[row["currency"]] += row["net"] if row["status"] == status else 0
    parts = {
        status: [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency, amount in sorted(by_currency.items())
        ]
        for status, by_currency in sums.items()
    }
    return {"object": "balance", "livemode": False, **parts}


def record(account: Account, fields: Obj) -> Obj:
    """A balance transaction: `type`, `amount`, `currency`, and what differs from the usual."""
    now = account.clock.stamp()
    fee, available_on = fields.pop("fee", 0), fields.pop("available_on", now)
    row = account.make(
        "txn",
        _KIND,
        {
            "available_on": available_on,
            "balance_type": PAYMENTS,
            "description": None,
            "exchange_rate": None,
            "fee": fee,
            "fee_details": _fee_details(fee, fields["currency"]),
            "net": fields["amount"] - fee,
            "reporting_category": fields["type"],
            "source": None,
            "status": "available" if available_on <= now else "pending",
            **fields,
        },
    )
    del row["livemode"]
    if row["source"]:
        account.store.link(_KIND, "source", row["source"], row["id"])
    if row["balance_type"] == PAYMENTS:
        waiting(account, row["currency"]).append(row["id"])
        close_day_on(account, available_on)
    return row


def waiting(account: Account, currency: str) -> list[str]:
    """The transactions not yet paid out, oldest first."""
    by_currency: dict[str, list[str]] = account.facts.setdefault("waiting", {})
    return by_currency.setdefault(currency, [])


def available(account: Account, currency: str) -> int:
    """What could be paid out now."""
    rows = account.store.of_kind(_KIND)
    return sum(
        row["net"]
        for row in rows
        if (row["currency"], row["status"], row["balance_type"])
        == (currency, "available", PAYMENTS)
    )


def settled(account: Account, amount: int, currency: str) -> tuple[int, float | None]:
    """An amount in its settlement currency, by the rates of the moment."""
    return currencies.settle(amount, currency, account.facts.get("rates"))


def midnight_after(moment: datetime) -> datetime:
    """The first midnight at or after a moment, in UTC."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day if day == moment else day + timedelta(days=1)


def close_day_on(account: Account, moment: int) -> None:
    """Have the day closed, and its funds paid out, at the midnight a moment leads to."""
    midnight = int(midnight_after(datetime.fromtimestamp(moment, UTC)).timestamp())
    if midnight <= account.clock.now().timestamp():
        midnight += 86400
    days: dict[str, bool] = account.facts.setdefault("days", {})
    if str(midnight) not in days:
        days[str(midnight)] = True
        account.at(midnight, "close_day", str(midnight))


def usual_availability(account: Account) -> int:
    """When a charge made now can be paid out."""
    return int((midnight_after(account.clock.now()) + PENDING_FOR).timestamp())


def add_billing_volume(account: Account, amount: int, currency: str) -> None:
    """Count subscription revenue, on which Stripe Billing takes its fee on the first."""
    volume: dict[str, int] = account.facts.setdefault("billing_volume", {})
    if not volume:
        today = account.clock.now().astimezone(UTC)
        first = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
        midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
        account.at(midnight.timestamp(), "charge_billing_fee", "account")
    volume[currency] = volume.get(currency, 0) + amount


@when_due("charge_billing_fee")
def charge_billing_fee(account: Account, _subject: str) -> None:
    """Stripe Billing's monthly fee: a transaction of its own, with no charge behind it."""
    month = account.clock.now() - timedelta(days=1)
    for currency, amount in account.facts.pop("billing_volume", {}).items():
        fee = currencies.billing_fee(amount)
        if fee:
            description = f"Billing - Usage Fee ({month:%Y-%m})"
            fields = {"type": "stripe_fee", "reporting_category": "fee", "amount": -fee}
            record(account, {**fields, "currency": currency, "description": description})


def _fee_details(fee: int, currency: str) -> list[Obj]:
    if not fee:
        return []
    detail = {"application": None, "description": "Stripe processing fees", "type": "stripe_fee"}
    return [{**detail, "amount": fee, "currency": currency}]
