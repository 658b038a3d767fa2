"""Random donors over months, with webhooks that are late, duplicated, shuffled and lost.

Afterwards the sweeps run for two quiet days; then our records must be exactly Stripe's.
"""

import json
import random
from dataclasses import dataclass, field
from datetime import timedelta

from payments.core.errors import PaymentsError
from payments.giving import notices_due
from payments.sandbox.errors import ApiError
from payments.sandbox.webhook_deliveries import Delivery
from tests.storm.random_events import RandomEvents
from tests.support.newsroom import Newsroom

LOST_SHARE = 0.10  # of webhook deliveries
DELAYED_SHARE = 0.20  # until another day
DUPLICATED_SHARE = 0.30  # of the others
DAYS_PER_EVENT = 40  # of a donor, about
CARD_WEIGHTS = {
    "4242424242424242": 80,
    "4000000000000341": 10,  # works at first, fails on renewal
    "4000000000000002": 5,  # declined
    "4000002500003155": 5,  # 3-D Secure at first
}


@dataclass
class RandomDonors:
    """Donors of one newsroom, and what happened to them."""

    room: Newsroom
    random: random.Random
    delayed: list[Delivery] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)  # of what happened
    changed_objects: int = 0  # that webhooks named, each once in a step however often it changed

    async def run(self, donors: int, days: int, step: int) -> None:
        """Run so many days in steps of so many, then two quiet days with the sweeps."""
        events = RandomEvents(self.room, self.random)
        arrival_days = sorted(self.random.randrange(days // 2) for _ in range(donors))
        for day in range(0, days, step):
            for _ in [arrival for arrival in arrival_days if day <= arrival < day + step]:
                await self._donor_arrives()
            for _ in range(donors * step // DAYS_PER_EVENT + 1):
                await self._event_happens(events)
            await self.room.advances_time(timedelta(days=step))
            await self._deliver()
        for _ in range(2):
            await self.room.advances_time(timedelta(days=1))
            await self.room.runs_until_idle()
            await self.room.runs_sweeps()
        await self.room.runs_until_idle()

    async def _donor_arrives(self) -> None:
        frequency = self.random.choice(("once", "monthly", "monthly", "annual"))
        currency = self.random.choice(("usd", "usd", "eur", "gbp"))
        amount = self.random.choice((200, 500, 1000, 2500))
        response = await self.room.requests_contribution(amount, frequency, currency)
        assert response.status_code == 201, response.text
        if self.random.random() < 0.1:
            self._count("walked away")
            return
        card = self.random.choices(list(CARD_WEIGHTS), weights=list(CARD_WEIGHTS.values()))[0]
        return_url = await self.room.pays(response.json()["checkout_url"], card)
        if return_url is None and self.random.random() < 0.5:
            self._count("declined, then paid")
            await self.room.pays(response.json()["checkout_url"])

    async def _event_happens(self, events: RandomEvents) -> None:
        """To a live subscription, if there is one."""
        page = self.room.sandbox.dashboard_request("GET", "/v1/subscriptions", {"limit": 100})
        live = [one for one in page["data"] if one["status"] in ("active", "past_due")]
        try:
            event = await events.next_event(live)
        except (PaymentsError, ApiError) as refusal:
            event = f"refused: {type(refusal).__name__}"
        if event is not None:
            self._count(event)

    async def _deliver(self) -> None:
        """Deliver webhooks as badly as the network may."""
        await self.room.sandbox.advance_to_captures()
        new = self.room.sandbox.take_deliveries()
        self.changed_objects += len({_object_id(delivery) for delivery in new})
        pending, self.delayed = [*self.delayed, *new], []
        self.random.shuffle(pending)
        delivered = []
        for delivery in pending:
            draw = self.random.random()
            if draw < LOST_SHARE:
                self._count("lost")
            elif draw < LOST_SHARE + DELAYED_SHARE:
                self.room.sandbox.redeliver(delivery.event_id)
                self._count("late")
            else:
                copies = 2 if self.random.random() < DUPLICATED_SHARE else 1
                delivered += [delivery] * copies
        assert set(await self.room.deliver(delivered)) <= {200}
        await self.room.runs_due_jobs()
        await notices_due.notify_upcoming_renewals(self.room.ctx)
        await notices_due.notify_expiring_cards(self.room.ctx)
        await self.room.runs_due_jobs()

    def _count(self, event: str) -> None:
        self.counts[event] = self.counts.get(event, 0) + 1


def _object_id(delivery: Delivery) -> str:
    """The id of the object that a delivery's event is about."""
    return str(json.loads(delivery.body)["data"]["object"]["id"])
