"""Random lives of donors, by the clock, under deliveries that are late, doubled, shuffled and lost.

At the end, after a quiet time with the sweeps, our records must be exactly what Stripe has.
"""

import json
import random
from dataclasses import dataclass, field
from datetime import timedelta

from payments.core.errors import PaymentsError
from payments.giving import payment_methods
from payments.sandbox.errors import Refusal
from payments.sandbox.outbox import Delivery
from tests.newsroom import Newsroom
from tests.storm.doings import Doings

LOST = 0.10
DOUBLED = 0.30
HELD_BACK = 0.20  # until another day
LIVELY = 40  # days in which something happens to a donor, about
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
    changed: int = 0  # objects that Stripe told of, each once in a step however often it changed

    async def live(self, donors: int, days: int, step: int) -> None:
        """Come, pay, renew, fail, stop; then be quiet for two days, with everything swept."""
        doings = Doings(self.room, self.chance)
        arrivals = sorted(self.chance.randrange(days // 2) for _ in range(donors))
        for day in range(0, days, step):
            for _ in [at for at in arrivals if day <= at < day + step]:
                await self._comes()
            for _ in range(donors * step // LIVELY + 1):
                await self._something_happens(doings)
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

    async def _something_happens(self, doings: Doings) -> None:
        """To somebody's promise, if there is one."""
        alive = [
            one
            for one in self.room.sandbox.dashboard("GET", "/v1/subscriptions", {"limit": 100})[
                "data"
            ]
            if one["status"] in ("active", "past_due")
        ]
        try:
            done = await doings.something(alive)
        except (PaymentsError, Refusal) as refused:
            done = f"refused: {type(refused).__name__}"
        if done is not None:
            self._mark(done)

    async def _post(self) -> None:
        """Stripe's webhooks, as badly as they may come."""
        await self.room.sandbox.settle()
        told = self.room.sandbox.take_deliveries()
        self.changed += len({_object_of(one) for one in told})
        waiting, self.held = [*self.held, *told], []
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
        await payment_methods.tell_of_renewals(self.room.rt)
        await payment_methods.tell_of_expiring_cards(self.room.rt)
        await self.room.works()

    def _mark(self, what: str) -> None:
        self.marks[what] = self.marks.get(what, 0) + 1


def _object_of(delivery: Delivery) -> str:
    """The id of the object that a delivery tells of."""
    return str(json.loads(delivery.body)["data"]["object"]["id"])
