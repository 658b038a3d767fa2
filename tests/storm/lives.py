"""Random lives of donors, by the clock, under deliveries that are late, doubled, shuffled and lost.

At the end, after a quiet time with the sweeps, our records must be exactly what Stripe has.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import stripe

from payments.sandbox import Delivery
from tests.newsroom import Newsroom

LOST = 0.10
DOUBLED = 0.30
HELD_BACK = 0.20  # until another day
CARDS = {
    "4242424242424242": 80,
    "4000000000000341": 10,  # works at first, fails on renewal
    "4000000000000002": 5,  # declined
    "4000002500003155": 5,  # 3-D Secure at first
}


@dataclass
class Lives:
    """So many donors, so many days."""

    room: Newsroom
    chance: random.Random
    held: list[Delivery] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)

    async def live(self, donors: int, days: int, step: int) -> None:
        """Come, pay, renew, fail, stop; then be quiet for two days, with everything swept."""
        arrivals = sorted(self.chance.randrange(days // 2) for _ in range(donors))
        for day in range(0, days, step):
            for _ in [at for at in arrivals if day <= at < day + step]:
                await self._comes()
            if self.chance.random() < 0.4:
                await self._somebody_stops()
            await self.room.turns(timedelta(days=step))
            await self._post()
        for _ in range(2):
            await self.room.turns(timedelta(days=1))
            await self.room.settles()
            await self.room.sweeps()
        await self.room.settles()

    async def _comes(self) -> None:
        frequency = self.chance.choice(("once", "monthly", "monthly", "annual"))
        currency = self.chance.choice(("usd", "usd", "eur", "gbp"))
        amount = self.chance.choice((200, 500, 1000, 2500))
        asked = await self.room.asks(amount, frequency, currency)
        assert asked.status_code == 201, asked.text
        if self.chance.random() < 0.1:
            self._mark("walked away")
            return
        card = self.chance.choices(list(CARDS), weights=list(CARDS.values()))[0]
        paid = await self.room.pays(asked.json()["checkout_url"], card)
        if paid is None and self.chance.random() < 0.5:
            self._mark("declined, then paid")
            await self.room.pays(asked.json()["checkout_url"])

    async def _somebody_stops(self) -> None:
        """In Stripe's dashboard, without a word to us."""
        listed = await self.room.rt.stripe.v1.subscriptions.list_async({"status": "active"})
        if listed.data:
            one = self.chance.choice(listed.data)
            await self.room.rt.stripe.v1.subscriptions.cancel_async(one.id)
            self._mark("stopped")

    async def _post(self) -> None:
        """Stripe's webhooks, as badly as they may come."""
        await self.room.sandbox.settle()
        waiting, self.held = [*self.held, *self.room.sandbox.take_deliveries()], []
        self.chance.shuffle(waiting)
        fresh = []
        for delivery in waiting:
            fate = self.chance.random()
            if fate < LOST:
                self._mark("lost")
            elif fate < LOST + HELD_BACK:
                self.room.sandbox.redeliver(delivery.event_id)
                self._mark("late")
            else:
                fresh += [delivery] * (2 if self.chance.random() < DOUBLED else 1)
        assert set(await self.room.deliver(fresh)) <= {200}
        await self.room.works()

    def _mark(self, what: str) -> None:
        self.marks[what] = self.marks.get(what, 0) + 1


async def differences(room: Newsroom) -> list[str]:
    """Where our records are not what Stripe has."""
    return [
        *await _subscriptions(room),
        *await _charges(room),
        *await _sessions(room),
        *await room.wrong_books(),
    ]


async def _subscriptions(room: Newsroom) -> list[str]:
    ours = {
        row[0]: row[1:]
        for row in await room.rows(
            "SELECT stripe_subscription_id, status, amount, currency, ended_at FROM subscriptions"
        )
    }
    theirs = {}
    page = await room.rt.stripe.v1.subscriptions.list_async({"status": "all", "limit": 100})
    async for one in page.auto_paging_iter():
        price = one["items"].data[0].price
        ended = datetime.fromtimestamp(one.ended_at, UTC) if one.ended_at else None
        theirs[one.id] = (one.status, price.unit_amount, price.currency, ended)
    return _compare("subscription", ours, theirs)


async def _charges(room: Newsroom) -> list[str]:
    ours = {
        row[0]: row[1:]
        for row in await room.rows(
            "SELECT stripe_charge_id, status, amount, currency, balance_transaction FROM charges"
            " WHERE status = 'succeeded'"
        )
    }
    theirs: dict[object, tuple[object, ...]] = {}
    page = await room.rt.stripe.v1.charges.list_async({"limit": 100})
    async for one in page.auto_paging_iter():
        if one.status == "succeeded":
            theirs[one.id] = (one.status, one.amount, one.currency, one.balance_transaction)
    return _compare("charge", ours, theirs)


async def _sessions(room: Newsroom) -> list[str]:
    ours = {
        row[0]: (row[1],)
        for row in await room.rows("SELECT stripe_session_id, status FROM contributions")
    }
    theirs = {}
    page = await room.rt.stripe.v1.checkout.sessions.list_async({"limit": 100})
    async for one in page.auto_paging_iter():
        if one.mode != "setup":
            theirs[one.id] = (_status(one),)
    return _compare("session", ours, theirs)


def _status(session: stripe.checkout.Session) -> str:
    if session.status == "complete":
        return "paid" if session.payment_status == "paid" else "processing"
    assert session.status is not None
    return session.status


def _compare(
    what: str,
    ours: Mapping[Any, tuple[object, ...]],
    theirs: Mapping[Any, tuple[object, ...]],
) -> list[str]:
    return [
        f"{what} {id_}: we have {ours.get(id_)}, Stripe has {theirs.get(id_)}"
        for id_ in sorted(ours.keys() | theirs.keys(), key=str)
        if ours.get(id_) != theirs.get(id_)
    ]
