"""The balance: one balance transaction for each movement of money; its amount never changes.

A charge's transaction is pending for two days, then available; available funds are paid out. The
balance is the sum of the transactions and is stored nowhere else.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from payments.sandbox import currencies, listing
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.errors import invalid_request, not_found
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_retrieve_route, route

BALANCE_TYPE_PAYMENTS: Final = "payments"
PENDING_PERIOD: Final = timedelta(days=2)

_FILTERS: Final = {
    "currency": listing.equals("currency"),
    "source": listing.equals("source"),
    "type": listing.equals("type"),
}
_OBJECT_NAME: Final = "balance_transaction"


add_retrieve_route(_OBJECT_NAME, "/v1/balance_transactions")


@route("GET", "/v1/balance_transactions", reads=(*listing.reads(_FILTERS), "payout"))
def list_transactions(call: Call) -> JsonObject:
    """List balance transactions; with `payout`, those of an automatic payout."""
    store, filters = call.account.store, dict(_FILTERS)
    payout_id = read.text(call.params, "payout")
    if payout_id is not None:
        payout = store.get("payout", payout_id)
        if payout is None:
            raise not_found("payout", payout_id, "payout")
        if not payout["automatic"]:
            message = "Balance transaction history can only be filtered on automatic transfers."
            raise invalid_request(message, "payout")
        # A link says what belongs to a payout. Until it is reconciled, some may be missing.
        is_partial = payout["reconciliation_status"] == "in_progress" and delays_reconciliation(
            call.account
        )
        hidden = store.linked(_OBJECT_NAME, "payout", payout_id)[1::2] if is_partial else []
        filters["payout"] = lambda row, value: row["id"] not in hidden  # noqa: ARG005
    return listing.page(store, _OBJECT_NAME, call.path, call.params, filters)


def delays_reconciliation(account: StripeAccount) -> bool:
    """Return whether a payout's transactions are complete only some time after it was paid."""
    return bool(account.state.get("reconciliation_delay_seconds", 0))


@route("GET", "/v1/balance")
def retrieve(call: Call) -> JsonObject:
    """GET /v1/balance: available and pending amounts by currency, in minor units."""
    account = call.account
    sums: dict[str, dict[str, int]] = {"available": {"usd": 0}, "pending": {"usd": 0}}
    for row in account.store.of_kind(_OBJECT_NAME):
        if row["balance_type"] != BALANCE_TYPE_PAYMENTS:
            continue  # reserved funds are not part of Stripe's answer
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


def create_transaction(account: StripeAccount, fields: JsonObject) -> JsonObject:
    """Create a balance transaction from `type`, `amount`, `currency` and any other field.

    `amount` and `fee` are minor units. Funds become available at once unless `available_on`, a
    Unix time, says otherwise.
    """
    now = account.clock.timestamp()
    fee, available_on = fields.pop("fee", 0), fields.pop("available_on", now)
    row = account.create_object(
        "txn",
        _OBJECT_NAME,
        {
            "available_on": available_on,
            "balance_type": BALANCE_TYPE_PAYMENTS,
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
        account.store.link(_OBJECT_NAME, "source", row["source"], row["id"])
    if row["balance_type"] == BALANCE_TYPE_PAYMENTS:
        not_paid_out(account, row["currency"]).append(row["id"])
        schedule_payout_run(account, available_on)
    return row


def not_paid_out(account: StripeAccount, currency: str) -> list[str]:
    """Return the ids of transactions not yet paid out, oldest first; callers change the list."""
    by_currency: dict[str, list[str]] = account.state.setdefault("not_paid_out", {})
    return by_currency.setdefault(currency, [])


def available_amount(account: StripeAccount, currency: str) -> int:
    """Return what can be paid out now, in minor units."""
    rows = account.store.of_kind(_OBJECT_NAME)
    return sum(
        row["net"]
        for row in rows
        if (row["currency"], row["status"], row["balance_type"])
        == (currency, "available", BALANCE_TYPE_PAYMENTS)
    )


def to_settlement(account: StripeAccount, amount: int, currency: str) -> tuple[int, float | None]:
    """Convert minor units to the settlement currency at the present rates.

    Returns the amount and the exchange rate; the rate is None when nothing was converted.
    """
    return currencies.to_settlement(amount, currency, account.state.get("rates"))


def midnight_after(moment: datetime) -> datetime:
    """Return the first midnight at or after a moment, in UTC."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day if day == moment else day + timedelta(days=1)


def schedule_payout_run(account: StripeAccount, timestamp: int) -> None:
    """Schedule the payouts of the first midnight at or after a Unix time, only once."""
    midnight = int(midnight_after(datetime.fromtimestamp(timestamp, UTC)).timestamp())
    if midnight <= account.clock.now().timestamp():
        midnight += 86400
    scheduled: dict[str, bool] = account.state.setdefault("scheduled_payout_runs", {})
    if str(midnight) not in scheduled:
        scheduled[str(midnight)] = True
        account.schedule_at(midnight, "run_payouts", str(midnight))


def default_available_on(account: StripeAccount) -> int:
    """Return the Unix time at which a charge made now becomes available."""
    return int((midnight_after(account.clock.now()) + PENDING_PERIOD).timestamp())


def add_billing_volume(account: StripeAccount, amount: int, currency: str) -> None:
    """Add to the month's subscription revenue; Stripe Billing takes its fee on the first."""
    volume: dict[str, int] = account.state.setdefault("billing_volume", {})
    if not volume:
        today = account.clock.now().astimezone(UTC)
        first = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
        midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
        account.schedule_at(midnight.timestamp(), "charge_billing_fee", "account")
    volume[currency] = volume.get(currency, 0) + amount


@when_due("charge_billing_fee")
def charge_billing_fee(account: StripeAccount, _object_id: str) -> None:
    """Deduct Stripe Billing's monthly fee in a transaction of its own."""
    month = account.clock.now() - timedelta(days=1)
    for currency, amount in account.state.pop("billing_volume", {}).items():
        fee = currencies.billing_fee(amount)
        if fee:
            description = f"Billing - Usage Fee ({month:%Y-%m})"
            fields = {"type": "stripe_fee", "reporting_category": "fee", "amount": -fee}
            create_transaction(
                account, {**fields, "currency": currency, "description": description}
            )


def _fee_details(fee: int, currency: str) -> list[JsonObject]:
    if not fee:
        return []
    detail = {"application": None, "description": "Stripe processing fees", "type": "stripe_fee"}
    return [{**detail, "amount": fee, "currency": currency}]
