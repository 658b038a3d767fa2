"""A year of history for the demo, through the front door: the form, Stripe's page, webhooks, the
clock.

Nothing is written to a table. Supporters come to `/donate`, pay on the stand-in's page, and
Stripe's webhooks bring what follows, while the clock is turned a day at a time.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from stripe import StripeClient
from stripe.params import RefundCreateParams

from payments import money, worker
from payments.app import create_app
from payments.contributions import Frequency
from payments.runtime import Runtime
from payments.sandbox import Delivery, Sandbox, pay
from payments.settings import Settings

SUPPORTERS = 60
DAYS = 365
DRAIN_EVERY = 7  # days
GOOD = "4242424242424242"
DECLINED = "4000000000000002"
FAILS_LATER = "4000000000000341"
DISPUTED = "4000000000000259"  # paid, and taken back by the bank
DISPUTED_ON = 341  # from this day on the banks of single givers take it back
REFUNDED_ON = {120: 500, 250: None, 340: 200}  # day -> minor units; all of it
Told = Callable[[int, int], None]


@dataclass
class Clock:
    """The demo's past: stands still until it is turned."""

    at: datetime

    def __call__(self) -> datetime:
        return self.at


@dataclass(frozen=True, slots=True)
class Supporter:
    """Who comes on which day, and how they give."""

    day: int
    frequency: Frequency
    currency: str
    minor: int
    card: str
    stops_after: int | None


def supporters(chance: random.Random) -> list[Supporter]:
    """Sixty of them, the same every time."""
    people = []
    for _ in range(SUPPORTERS):
        frequency = chance.choices(list(Frequency), weights=(38, 46, 16))[0]
        currency = chance.choices(("usd", "eur", "gbp"), weights=(60, 30, 10))[0]
        people.append(
            Supporter(
                day=chance.randrange(0, DAYS - 1),
                frequency=frequency,
                currency=currency,
                minor=chance.choice(money.presets(currency, frequency)).amount,
                card=chance.choices((GOOD, FAILS_LATER), weights=(94, 6))[0],
                stops_after=chance.choice((None, None, None, 90, 200)),
            )
        )
    return sorted(people, key=lambda person: person.day)


async def a_year(settings: Settings, sandbox: Sandbox, clock: Clock, *, told: Told) -> None:
    """Live through the year up to the clock's present. `told` hears of each day that has passed."""
    chance = random.Random(20261122)  # noqa: S311 - a story, not a secret
    people = supporters(chance)
    end = clock.at
    clock.at = end - timedelta(days=DAYS)
    app = create_app(settings, now=clock)
    async with app.lifespan():
        rt: Runtime = app.state.rt
        asgi = cast("Any", app)  # litestar and httpx type the same protocol differently
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=asgi), base_url=settings.base_url
        ) as web:
            for day in range(DAYS):
                await sandbox.run_due()
                for person in [p for p in people if p.day == day]:
                    await _gives(web, person, chance)
                for person in [p for p in people if p.stops_after == day - p.day]:
                    await _stops(rt.stripe, person)
                if day in REFUNDED_ON:
                    await _refunds(rt.stripe, REFUNDED_ON[day])
                await _deliver(web, sandbox)
                if day % DRAIN_EVERY == 0:
                    await worker.drain(rt)
                told(day + 1, DAYS)
                clock.at += timedelta(days=1)
            clock.at = end
            await sandbox.run_due()
            await sandbox.settle()
            await _deliver(web, sandbox)
            await worker.drain(rt)


async def _gives(web: httpx.AsyncClient, person: Supporter, chance: random.Random) -> None:
    answer = await web.post(
        "/donate",
        data={
            "intent": f"{chance.getrandbits(128):032x}",
            "frequency": person.frequency,
            "currency": person.currency,
            f"amount_{person.frequency}": str(person.minor),
            "locale": "en",
        },
    )
    assert answer.status_code == 303, answer.status_code
    checkout = answer.headers["location"]
    if chance.random() < 0.1:
        return  # thought better of it on Stripe's page
    if chance.random() < 0.1:
        await pay(checkout, card=DECLINED)
    await pay(checkout, card=_card(person))


def _card(person: Supporter) -> str:
    if person.frequency is not Frequency.ONCE:
        return person.card
    return DISPUTED if person.day >= DISPUTED_ON else GOOD


async def _refunds(stripe: StripeClient, minor: int | None) -> None:
    """A colleague gives the newest payment back, or a part of it, at Stripe."""
    (newest,) = (await stripe.v1.charges.list_async({"limit": 1})).data
    if newest.status == "succeeded" and newest.payment_intent is not None:
        asked: RefundCreateParams = {"payment_intent": str(newest.payment_intent)}
        if minor is not None:
            asked["amount"] = min(minor, newest.amount)
        await stripe.v1.refunds.create_async(asked)


async def _stops(stripe: StripeClient, person: Supporter) -> None:
    """Someone stops a promise like this one, at Stripe."""
    if person.frequency is Frequency.ONCE:
        return
    active = await stripe.v1.subscriptions.list_async({"status": "active", "limit": 100})
    for subscription in active.data:
        price = subscription["items"].data[0].price
        if price.unit_amount == person.minor and price.currency == person.currency:
            await stripe.v1.subscriptions.cancel_async(subscription.id)
            return


async def _deliver(web: httpx.AsyncClient, sandbox: Sandbox) -> None:
    """Stripe's webhooks of the day arrive."""
    while waiting := sandbox.take_deliveries():
        for delivery in waiting:
            sandbox.acknowledge(delivery, await _post(web, delivery))


async def _post(web: httpx.AsyncClient, delivery: Delivery) -> int:
    path = urlsplit(delivery.url).path
    return (await web.post(path, content=delivery.body, headers=delivery.headers)).status_code


def now() -> datetime:
    """The present, in whole seconds as Stripe counts."""
    return datetime.now(UTC).replace(microsecond=0)
