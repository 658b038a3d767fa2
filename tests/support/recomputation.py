"""The books once more, from nothing but what Stripe lists: the standard library alone, and the
definitions of docs/books.md.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

Ask = Callable[[str, dict[str, str]], dict[str, Any]]  # a path and parameters of Stripe's API
Sums = Counter[tuple[str, str]]  # by currency and figure, in minor units

PAID = ("charge", "payment")
RETURNED = ("refund", "payment_refund", "payment_failure_refund", "refund_failure")
OF_STRIPE = ("stripe_fee", "stripe_fx_fee", "tax_fee")


def list_all(ask: Ask, path: str) -> Iterator[dict[str, Any]]:
    """Yield every object of a list, the newest first."""
    after: dict[str, str] = {}
    while True:
        page = ask(path, {"limit": "100", **after})
        yield from page["data"]
        if not page["has_more"]:
            return
        after = {"starting_after": page["data"][-1]["id"]}


def day_of(at: int, zone: str) -> date:
    """The day of a moment of Stripe's, in a zone."""
    return datetime.fromtimestamp(at, ZoneInfo(zone)).date()


def sums(transactions: list[dict[str, Any]], zone: str, since: date, until: date) -> Sums:
    """What the days from `since` up to `until` brought, by settlement currency."""
    found: Sums = Counter()
    for one in transactions:
        day, currency = day_of(one["created"], zone), one["currency"]
        if day >= until:
            continue
        if one.get("balance_type", "payments") == "payments":
            found[currency, "closing"] += one["net"]
            found[currency, "opening"] += one["net"] if day < since else 0
        if day < since:
            continue
        found[currency, "balance_change"] += one["net"]  # of each of Stripe's balances
        kind = one["type"]
        if kind in PAID:
            found[currency, "payments"] += 1
            found[currency, "gross"] += one["amount"]
        elif kind in RETURNED:
            found[currency, "refunds"] -= one["amount"]
        elif kind == "adjustment" and str(one["source"]).startswith(("dp_", "du_")):
            found[currency, "disputes"] -= one["amount"]
        elif kind in OF_STRIPE:
            found[currency, "fees"] -= one["amount"]
        found[currency, "fees"] += one["fee"]
    for currency in {currency for currency, _ in found}:
        less = ("fees", "refunds", "disputes")
        found[currency, "net"] = found[currency, "gross"] - sum(found[currency, x] for x in less)
    return found
