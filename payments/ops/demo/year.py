"""The demo's past: a clock that stands until it is turned, a Stripe, and the service by both.

Whoever does something in it comes in by a door: a browser, Stripe's dashboard, a bank, a webhook.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from litestar import Litestar

from payments.accounting import daily_totals
from payments.core.settings import Settings
from payments.giving.checkout_session import Frequency
from payments.infra.context import Runtime
from payments.ops import worker
from payments.ops.demo import browser
from payments.ops.demo.browser import Browser
from payments.ops.demo.people import GOOD, Supporter
from payments.sandbox.outbox import Delivery
from payments.sandbox.sandbox import Sandbox
from payments.signups import reminder_sender
from payments.web.app import create_app

MONTHS = 13  # whole ones, before the present one
OPENS_AT = 8  # o'clock, UTC


@dataclass
class Clock:
    """Stands still until it is turned."""

    at: datetime

    def __call__(self) -> datetime:
        return self.at


@dataclass
class Year:
    """All that the story may touch. `given` are those who gave, by what they do next."""

    rt: Runtime
    app: Litestar
    web: httpx.AsyncClient
    sandbox: Sandbox
    clock: Clock
    end: datetime
    given: list[Supporter] = field(default_factory=list)
    done: set[int] = field(default_factory=set)  # who has had a part in the story

    @property
    def ago(self) -> int:
        """How many days before the present it is."""
        return (self.end.date() - self.clock.at.date()).days

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[Browser]:
        settings = self.rt.settings
        async with browser.at_a_browser(self.app, settings.base_url, settings.demo_inbox) as one:
            yield one

    def somebody(self, frequency: Frequency, *, since: int = 20, above: int = 0) -> Supporter:
        """The first who has promised more for so many days, and had no part in the story yet."""
        return next(
            one
            for one in self.given
            if (one.frequency, one.card) == (frequency, GOOD)
            and one.ago - self.ago >= since
            and one.minor > above
            and one.number not in self.done
        )

    async def passes(self) -> None:
        """What Stripe does by now, and tells."""
        await self.sandbox.run_due()
        while waiting := self.sandbox.take_deliveries():
            for delivery in waiting:
                self.sandbox.acknowledge(delivery, await self._post(delivery))

    async def works(self) -> None:
        """What the worker does by now."""
        await self.sandbox.settle()
        await self.passes()
        await reminder_sender.ring_due(self.rt)
        await reminder_sender.invite(self.rt)
        await worker.drain(self.rt)

    async def imports(self) -> None:
        """What the worker fetches by itself every five minutes."""
        await self.works()
        await daily_totals.import_and_refresh(self.rt)

    async def _post(self, delivery: Delivery) -> int:
        path = urlsplit(delivery.url).path
        answer = await self.web.post(path, content=delivery.body, headers=delivery.headers)
        return answer.status_code


def begins(end: datetime, *, months: int = MONTHS) -> datetime:
    """The morning of the first day of a month, so many months before the one of the present."""
    first = end.replace(day=1, hour=OPENS_AT, minute=0, second=0)
    for _ in range(months):
        first = (first - timedelta(days=1)).replace(day=1)
    return first


@asynccontextmanager
async def lived(settings: Settings, sandbox: Sandbox, clock: Clock) -> AsyncIterator[Year]:
    """The service, in this process and by this clock, from the first day on."""
    end, clock.at = clock.at, begins(clock.at)
    app = create_app(settings, now=clock)
    async with app.lifespan():
        asgi = cast("Any", app)  # litestar and httpx type the same protocol differently
        transport = httpx.ASGITransport(app=asgi)
        async with httpx.AsyncClient(transport=transport, base_url=settings.base_url) as web:
            yield Year(app.state.rt, app, web, sandbox, clock, end)
