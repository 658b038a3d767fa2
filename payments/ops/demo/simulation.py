"""The service in this process, with a sandbox for Stripe, both on a clock that is turned by hand.

Whatever happens in it comes through a door: a browser, Stripe's dashboard, a bank, a webhook.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

import httpx
from litestar import Litestar

from payments.accounting import daily_totals
from payments.core.calendar import add_months
from payments.core.frequency import Frequency
from payments.core.settings import Settings
from payments.infra.context import Context
from payments.ops import worker
from payments.ops.demo.browser import Browser, asgi_client, open_browser
from payments.ops.demo.supporters import CARD_SUCCEEDS, Supporter
from payments.sandbox.sandbox import Sandbox
from payments.sandbox.webhook_deliveries import Delivery
from payments.signups import reminder_sender
from payments.web.app import create_app

HISTORY_MONTHS = 13  # whole ones, before the present month
DAY_START_HOUR = 8  # UTC


@dataclass
class ManualClock:
    """A clock that stands still until `current` is set."""

    current: datetime

    def __call__(self) -> datetime:
        """Return the time of the simulation, in UTC."""
        return self.current


@dataclass
class Simulation:
    """All that the steps of the history may use."""

    ctx: Context
    app: Litestar
    client: httpx.AsyncClient
    sandbox: Sandbox
    clock: ManualClock
    end: datetime
    supporters: list[Supporter] = field(default_factory=list)  # who has given, earliest first
    used_supporters: set[int] = field(default_factory=set)  # numbers of those who changed something

    @property
    def days_ago(self) -> int:
        """How many days before the end of the history it is."""
        return (self.end.date() - self.clock.current.date()).days

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[Browser]:
        """Yield a new browser with no cookies."""
        settings = self.ctx.settings
        async with open_browser(self.app, settings.base_url, settings.demo_inbox_dir) as browser:
            yield browser

    def pick_supporter(
        self, frequency: Frequency, *, min_days: int = 20, min_amount: int = 0
    ) -> Supporter:
        """Return the first supporter with this frequency who began at least `min_days` ago, gives
        more than `min_amount` (minor units) and has changed nothing yet.
        """
        return next(
            supporter
            for supporter in self.supporters
            if (supporter.frequency, supporter.card) == (frequency, CARD_SUCCEEDS)
            and supporter.days_ago - self.days_ago >= min_days
            and supporter.amount > min_amount
            and supporter.number not in self.used_supporters
        )

    async def deliver_webhooks(self) -> None:
        """Let Stripe do what is due by now, and deliver its webhooks until there are no more."""
        await self.sandbox.run_due()
        while deliveries := self.sandbox.take_deliveries():
            for delivery in deliveries:
                self.sandbox.acknowledge(delivery, await self._post_webhook(delivery))

    async def run_worker(self) -> None:
        """Do what the worker does: send reminders that are due, and run the jobs."""
        await self.sandbox.advance_to_captures()
        await self.deliver_webhooks()
        await reminder_sender.enqueue_due(self.ctx)
        await reminder_sender.send_confirmations(self.ctx)
        await worker.run_due_jobs(self.ctx)

    async def import_balance(self) -> None:
        """Run the worker and import the balance, as a schedule does every few minutes."""
        await self.run_worker()
        await daily_totals.import_and_refresh(self.ctx)

    async def _post_webhook(self, delivery: Delivery) -> int:
        path = urlsplit(delivery.url).path
        response = await self.client.post(path, content=delivery.body, headers=delivery.headers)
        return response.status_code


def first_morning(end: datetime, *, months_before: int = HISTORY_MONTHS) -> datetime:
    """Return the morning of the first day of the month so many months before that of `end`."""
    first = end.replace(day=1, hour=DAY_START_HOUR, minute=0, second=0)
    return add_months(first, -months_before)


@asynccontextmanager
async def open_simulation(
    settings: Settings, sandbox: Sandbox, clock: ManualClock, *, first: datetime
) -> AsyncIterator[Simulation]:
    """Yield the service in this process, from the `first` moment of the history on.

    The clock is turned back; where it stood is the end of the history.
    """
    end, clock.current = clock.current, first
    app = create_app(settings, now=clock)
    async with app.lifespan(), asgi_client(app, settings.base_url) as client:
        yield Simulation(app.state.ctx, app, client, sandbox, clock, end)
