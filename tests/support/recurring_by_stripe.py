"""Recurring revenue as Stripe's own objects tell it: read over HTTP, with nothing of ours.

Written from the definitions on the page, to be compared with it. Of all subscriptions, each month's
last moment is looked at: what is paid for it, and if nothing is, what became of the payment.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import httpx

A_YEAR = {"day": 365, "week": 52, "month": 12, "year": 1}
REPLACED_WITHIN = 31 * 86_400
Figures = dict[tuple[str, str], dict[str, int]]  # by month and currency


def listed(stripe: httpx.Client, path: str, **params: str) -> Iterator[dict[str, Any]]:
    """Every object of one of Stripe's lists."""
    more: dict[str, str] = {}
    while True:
        page = stripe.get(f"/v1/{path}", params=params | {"limit": "100"} | more).json()
        yield from page["data"]
        if not page["has_more"]:
            return
        more = {"starting_after": page["data"][-1]["id"]}


@dataclass
class Paid:
    """One payment of a subscription: what for, and what it is worth a month."""

    start: int
    end: int
    currency: str  # that was settled
    worth: Fraction
    charged_in: str
    charged: Fraction


@dataclass
class Gift:
    """A subscription: what was paid for it, what failed, when it was ended, and by whom it is."""

    person: str
    begun: int
    ended: int | None
    lapsed: bool
    paid: list[Paid] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)  # beginnings of periods that were not paid

    def at(self, moment: int) -> Paid | None:
        """What is paid for a moment's last second."""
        found = [one for one in self.paid if one.start < moment <= one.end]
        return max(found, key=lambda one: one.start) if found else None

    def paid_before(self, moment: int) -> bool:
        """Whether anything was paid for a time before a moment."""
        return any(one.start < moment for one in self.paid)

    def cause(self, month_end: int) -> str:
        """Why nothing is paid for the end of a month after one that was."""
        last = max((one.start for one in self.paid if one.start < month_end), default=0)
        if any(last < start < month_end for start in self.failed):
            return "churn_involuntary"
        if self.ended is not None and self.ended < month_end:
            return "churn_involuntary" if self.lapsed else "churn_voluntary"
        return "paused"


Move = tuple[Gift, Paid | None, Paid | None]  # what it was, and what it is now


def gifts_at_stripe(stripe: httpx.Client) -> list[Gift]:
    """Every subscription with its payments, and what people had is cut where they began anew."""
    people = {one["id"]: one["email"] for one in listed(stripe, "customers")}
    moved = {one["id"]: one for one in listed(stripe, "balance_transactions")}
    charges = defaultdict(list)
    for charge in listed(stripe, "charges"):
        charges[charge["payment_intent"]].append(charge)
    gifts = {
        one["id"]: Gift(
            people[one["customer"]],
            one["created"],
            one["ended_at"],
            (one["cancellation_details"] or {}).get("reason") == "payment_failed",
        )
        for one in listed(stripe, "subscriptions", status="all")
    }
    for invoice in listed(stripe, "invoices", **{"expand[]": "data.payments"}):
        gift = gifts[invoice["parent"]["subscription_details"]["subscription"]]
        (line,) = invoice["lines"]["data"]
        tried = [
            charge
            for payment in invoice["payments"]["data"]
            for charge in charges[payment["payment"]["payment_intent"]]
        ]
        made = [charge for charge in tried if charge["status"] == "succeeded"]
        for charge in made:
            price = stripe.get(f"/v1/prices/{line['pricing']['price_details']['price']}").json()
            rhythm = price["recurring"]
            share = Fraction(A_YEAR[rhythm["interval"]], 12 * rhythm["interval_count"])
            money = moved[charge["balance_transaction"]]
            gift.paid.append(
                Paid(
                    line["period"]["start"],
                    line["period"]["end"],
                    money["currency"],
                    money["amount"] * share,
                    charge["currency"],
                    charge["amount"] * share,
                )
            )
        if tried and not made:
            gift.failed.append(line["period"]["start"])
    for gift in gifts.values():
        for other in gifts.values():
            if other.person == gift.person and other.begun > gift.begun and gift.ended is not None:
                for one in gift.paid:
                    if (
                        abs(other.begun - gift.ended) <= REPLACED_WITHIN
                        and one.start <= other.begun < one.end
                    ):
                        one.end = other.begun
    return list(gifts.values())


def month_end(month: date, zone: ZoneInfo) -> int:
    """The moment a month ends in a zone, as Unix time."""
    after = (month.replace(day=1) + timedelta(days=32)).replace(day=1)
    return int(datetime.combine(after, time(), zone).astimezone(UTC).timestamp())


def roll_forward(gifts: list[Gift], months: list[date], zone: ZoneInfo) -> Figures:
    """What each month opened and closed with by currency, and what changed it; how many gave, how
    many contributions, and how many of those were lost. Without zeroes, exact to a cent each.
    """
    found: Figures = {}
    for month, previous in zip(months, [months[0] - timedelta(days=1), *months], strict=False):
        sums = _of_month(gifts, month_end(previous, zone), month_end(month, zone))
        for currency, figures in sums.items():
            rounded = {name: round(amount) for name, amount in figures.items()}
            found[f"{month:%Y-%m}", currency] = {
                name: amount for name, amount in rounded.items() if amount
            }
    return found


def _of_month(gifts: list[Gift], opens: int, closes: int) -> dict[str, dict[str, Fraction]]:
    sums: dict[str, dict[str, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
    people = defaultdict(set)
    moves: dict[str, list[Move]] = defaultdict(list)
    for gift in gifts:
        was, now = gift.at(opens), gift.at(closes)
        if was is not None:
            sums[was.currency]["opening"] += was.worth
        if now is not None:
            sums[now.currency]["closing"] += now.worth
            sums[now.currency]["contributions"] += 1
            people[now.currency].add(gift.person)
        if was is not None and now is not None:
            assert was.currency == now.currency
            raised = was.worth * (now.charged - was.charged) / was.charged
            sums[was.currency]["expansion" if raised > 0 else "contraction"] += raised
            sums[was.currency]["fx"] += now.worth - was.worth - raised
        elif was is not None or now is not None:
            moves[gift.person].append((gift, was, now))
    gave = {gift.person for gift in gifts if gift.at(opens)}
    known = {gift.person for gift in gifts if gift.paid_before(opens)}
    for person, of_person in moves.items():
        switch = _switch(of_person)
        for gift, was, now in of_person:
            if was is not None:
                movement, money, amount = switch or gift.cause(closes), was, -was.worth
                sums[was.currency]["lost"] += movement.startswith("churn")
            else:
                assert now is not None
                again = gift.paid_before(opens) or (person in known and person not in gave)
                movement = switch or ("reactivation" if again else "new")
                money, amount = now, now.worth
            sums[money.currency][movement] += amount
    for currency, names in people.items():
        sums[currency]["supporters"] += len(names)
    return sums


def _switch(moves: list[Move]) -> str | None:
    """What it is that a person ends one and begins another within a month; None if not both."""
    lost = [was for _, was, _ in moves if was is not None]
    won = [now for _, _, now in moves if now is not None]
    if not lost or not won:
        return None
    if len({(one.currency, one.charged_in) for one in (*lost, *won)}) > 1:
        return "fx"
    is_more = sum(one.worth for one in won) > sum(one.worth for one in lost)
    return "expansion" if is_more else "contraction"
