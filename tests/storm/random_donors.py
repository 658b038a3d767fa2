"""Random lives of donors, by the clock, under deliveries that are late, doubled, shuffled and lost.

At the end, after a quiet time with the sweeps, our records must be exactly what Stripe has.
"""

import json
import random
from dataclasses import dataclass, field
from datetime import timedelta

from payments.core.errors import PaymentsError
from payments.giving import payment_methods
from payments.sandbox.errors import ApiError
from payments.sandbox.webhook_deliveries import Delivery
from tests.storm.random_events import RandomEvents
from tests.support.newsroom import Newsroom

LOST = 0.10
DUPLICATED = 0.30
DELAYED = 0.20  # until another day
DAYS_PER_EVENT = 40  # days in which something happens to a donor, about
CARDS = {
    "4242424242424242": 80,
    "4000000000000341": 10,  # works at first, fails on renewal
    "4000000000000002": 5,  # declined
    "4000002500003155": 5,  # 3-D Secure at first
}


@dataclass
class RandomDonors:
    """So many donors, so many days."""

    room: Newsroom
    chance: random.Random
    delayed: list[Delivery] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    changed: int = 0  # objects that Stripe told of, each once in a step however often it changed

    async def run(self, donors: int, days: int, step: int) -> None:
        """Come, pay, renew, fail, stop; then be quiet for two days, with everything swept."""
        doings = RandomEvents(self.room, self.chance)
        arrivals = sorted(self.chance.randrange(days // 2) for _ in range(donors))
        for day in range(0, days, step):
            for _ in [at for at in arrivals if day <= at < day + step]:
                await self._donor_arrives()
            for _ in range(donors * step // DAYS_PER_EVENT + 1):
                await self._something_happens(doings)
            await self.room.advances_time(timedelta(days=step))
            await self._deliver()
        for _ in range(2):
            await self.room.advances_time(timedelta(days=1))
            await self.room.runs_until_idle()
            await self.room.runs_sweeps()
        await self.room.runs_until_idle()

    async def _donor_arrives(self) -> None:
        frequency = self.chance.choice(("once", "monthly", "monthly", "annual"))
        currency = self.chance.choice(("usd", "usd", "eur", "gbp"))
        amount = self.chance.choice((200, 500, 1000, 2500))
        asked = await self.room.requests_contribution(amount, frequency, currency)
        assert asked.status_code == 201, asked.text
        if self.chance.random() < 0.1:
            self._count("walked away")
            return
        card = self.chance.choices(list(CARDS), weights=list(CARDS.values()))[0]
        paid = await self.room.pays(asked.json()["checkout_url"], card)
        if paid is None and self.chance.random() < 0.5:
            self._count("declined, then paid")
            await self.room.pays(asked.json()["checkout_url"])

    async def _something_happens(self, random_events: RandomEvents) -> None:
        """To somebody's promise, if there is one."""
        alive = [
            one
            for one in self.room.sandbox.dashboard_request(
                "GET", "/v1/subscriptions", {"limit": 100}
            )["data"]
            if one["status"] in ("active", "past_due")
        ]
        try:
            done = await random_events.next_event(alive)
        except (PaymentsError, ApiError) as refused:
            done = f"refused: {type(refused).__name__}"
        if done is not None:
            self._count(done)

    async def _deliver(self) -> None:
        """Stripe's webhooks, as badly as they may come."""
        await self.room.sandbox.advance_to_captures()
        told = self.room.sandbox.take_deliveries()
        self.changed += len({_object_of(one) for one in told})
        waiting, self.delayed = [*self.delayed, *told], []
        self.chance.shuffle(waiting)
        fresh = []
        for delivery in waiting:
            fate = self.chance.random()
            if fate < LOST:
                self._count("lost")
            elif fate < LOST + DELAYED:
                self.room.sandbox.redeliver(delivery.event_id)
                self._count("late")
            else:
                fresh += [delivery] * (2 if self.chance.random() < DUPLICATED else 1)
        assert set(await self.room.deliver(fresh)) <= {200}
        await self.room.runs_due_jobs()
        await payment_methods.notify_upcoming_renewals(self.room.ctx)
        await payment_methods.notify_expiring_cards(self.room.ctx)
        await self.room.runs_due_jobs()

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def _object_of(delivery: Delivery) -> str:
    """The id of the object that a delivery tells of."""
    return str(json.loads(delivery.body)["data"]["object"]["id"])
