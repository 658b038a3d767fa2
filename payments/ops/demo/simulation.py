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
from payments.core.frequency import Frequency
from payments.core.settings import Settings
from payments.infra.context import Context
from payments.ops import worker
from payments.ops.demo import browser
from payments.ops.demo.browser import Browser
from payments.ops.demo.supporters import CARD_SUCCEEDS, Supporter
from payments.sandbox.sandbox import Sandbox
from payments.sandbox.webhook_deliveries import Delivery
from payments.signups import reminder_sender
from payments.web.app import create_app

HISTORY_MONTHS = 13  # whole ones, before the present one
DAY_START_HOUR = 8  # o'clock, UTC


@dataclass
class ManualClock:
    """Stands still until it is turned."""

    current: datetime

    def __call__(self) -> datetime:
        return self.current


@dataclass
class Simulation:
    """All that the story may touch. `given` are those who gave, by what they do next."""

    ctx: Context
    app: Litestar
    client: httpx.AsyncClient
    sandbox: Sandbox
    clock: ManualClock
    end: datetime
    supporters: list[Supporter] = field(default_factory=list)
    used_supporters: set[int] = field(default_factory=set)  # who has had a part in the story

    @property
    def days_ago(self) -> int:
        """How many days before the present it is."""
        return (self.end.date() - self.clock.current.date()).days

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[Browser]:
        settings = self.ctx.settings
        async with browser.open_browser(
            self.app, settings.base_url, settings.demo_inbox_dir
        ) as one:
            yield one

    def pick_supporter(
        self, frequency: Frequency, *, min_days: int = 20, min_amount: int = 0
    ) -> Supporter:
        """The first who has promised more for so many days, and had no part in the story yet."""
        return next(
            one
            for one in self.supporters
            if (one.frequency, one.card) == (frequency, CARD_SUCCEEDS)
            and one.days_ago - self.days_ago >= min_days
            and one.amount > min_amount
            and one.number not in self.used_supporters
        )

    async def deliver_webhooks(self) -> None:
        """What Stripe does by now, and tells."""
        await self.sandbox.run_due()
        while waiting := self.sandbox.take_deliveries():
            for delivery in waiting:
                self.sandbox.acknowledge(delivery, await self._post_webhook(delivery))

    async def run_worker(self) -> None:
        """What the worker does by now."""
        await self.sandbox.advance_to_captures()
        await self.deliver_webhooks()
        await reminder_sender.enqueue_due(self.ctx)
        await reminder_sender.send_confirmations(self.ctx)
        await worker.run_due_jobs(self.ctx)

    async def import_balance(self) -> None:
        """What the worker fetches by itself every five minutes."""
        await self.run_worker()
        await daily_totals.import_and_refresh(self.ctx)

    async def _post_webhook(self, delivery: Delivery) -> int:
        path = urlsplit(delivery.url).path
        answer = await self.client.post(path, content=delivery.body, headers=delivery.headers)
        return answer.status_code


def first_morning(end: datetime, *, months_before: int = HISTORY_MONTHS) -> datetime:
    """The morning of the first day of a month, so many months before the one of the present."""
    first = end.replace(day=1, hour=DAY_START_HOUR, minute=0, second=0)
    for _ in range(months_before):
        first = (first - timedelta(days=1)).replace(day=1)
    return first


@asynccontextmanager
async def open_simulation(
    settings: Settings, sandbox: Sandbox, clock: ManualClock
) -> AsyncIterator[Simulation]:
    """The service, in this process and by this clock, from the first day on."""
    end, clock.current = clock.current, first_morning(clock.current)
    app = create_app(settings, now=clock)
    async with app.lifespan():
        asgi = cast("Any", app)  # litestar and httpx type the same protocol differently
        transport = httpx.ASGITransport(app=asgi)
        async with httpx.AsyncClient(transport=transport, base_url=settings.base_url) as web:
            yield Simulation(app.state.ctx, app, web, sandbox, clock, end)
