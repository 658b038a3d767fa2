"""A newsroom in one process: the application, its worker, and a stand-in for Stripe, all by one
clock.

Everything goes through the front door: pages and API over HTTP, Stripe's SDK to the sandbox over
HTTP, signed webhooks back, jobs by the real engine. Nothing is patched and nothing sleeps: the
clock is turned and the jobs are drained.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
from pydantic import SecretStr
from sqlalchemy import text

from payments import balance, books, setup, worker
from payments.app import create_app
from payments.contributions import Contribution
from payments.runtime import Runtime
from payments.runtime import opened as runtime_opened
from payments.sandbox import Delivery, Sandbox
from payments.sandbox.reader import pay
from payments.settings import Settings
from webhooks import sweeps

BASE = "http://127.0.0.1:8000"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
PLACEHOLDER = "whsec_" + "0" * 32


@dataclass
class Clock:
    """The time for everybody, until it is turned."""

    at: datetime = NOON

    def __call__(self) -> datetime:
        return self.at

    def turn(self, by: timedelta) -> None:
        self.at += by


@dataclass
class Newsroom:
    """All that a test may touch."""

    clock: Clock
    sandbox: Sandbox
    rt: Runtime
    web: httpx.AsyncClient
    settings: Settings
    delivered: list[Delivery] = field(default_factory=list)

    # readers

    async def asks(
        self,
        amount: object = 500,
        frequency: object = "once",
        currency: object = "usd",
        *,
        key: str | None = None,
        **more: object,
    ) -> httpx.Response:
        """A program asks for a contribution."""
        body = {"amount": amount, "frequency": frequency, "currency": currency, **more}
        headers = {"Idempotency-Key": key or uuid4().hex}
        return await self.web.post("/api/contributions", json=body, headers=headers)

    async def gives(
        self, amount: int = 500, frequency: str = "once", currency: str = "usd"
    ) -> Contribution:
        """A reader gives and pays; Stripe's word of it is still under way."""
        asked = await self.asks(amount, frequency, currency)
        assert asked.status_code == 201, asked.text
        await self.pays(asked.json()["checkout_url"])
        return await self.contribution(asked.json()["id"])

    async def pays(self, checkout_url: str, card: str = "4242424242424242") -> str | None:
        """A reader pays on Stripe's page. Gives where the page sends them, if it does."""
        return (await pay(checkout_url, card=card)).redirect_url

    async def thanks(self, contribution_id: str) -> str:
        """What the thank-you page says, as one line of text."""
        page = await self.web.get(f"/thanks/{contribution_id}")
        return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())

    # Stripe

    async def deliver(self, deliveries: Sequence[Delivery]) -> list[int]:
        """Stripe's webhooks arrive, in this order."""
        answers = []
        for delivery in deliveries:
            answer = await self.web.post(
                urlsplit(delivery.url).path, content=delivery.body, headers=delivery.headers
            )
            self.sandbox.acknowledge(delivery, answer.status_code)
            answers.append(answer.status_code)
            self.delivered.append(delivery)
        return answers

    async def settles(self) -> None:
        """Captures happen, webhooks arrive, jobs are done, until nothing is left to do."""
        for _ in range(20):
            await self.sandbox.settle()
            waiting = self.sandbox.take_deliveries()
            await self.deliver(waiting)
            await worker.drain(self.rt)
            if not waiting:
                return
        raise AssertionError("it never became quiet")

    async def works(self) -> None:
        """The worker does every job that is due."""
        await worker.drain(self.rt)

    async def turns(self, by: timedelta) -> None:
        """Time passes, for us and for Stripe."""
        self.clock.turn(by)
        await self.sandbox.run_due()

    async def sweeps(self) -> None:
        """What the schedules do."""
        await sweeps.undelivered(self.rt)
        await sweeps.overdue(self.rt)
        await worker.drain(self.rt)
        await balance.import_new(self.rt)

    # our own records

    async def contribution(self, contribution_id: str) -> Contribution:
        async with self.rt.sessions() as session:
            return await session.get_one(Contribution, contribution_id)

    async def rows(self, query: str, **params: object) -> list[tuple[object, ...]]:
        async with self.rt.sessions() as session:
            return [tuple(row) for row in await session.execute(text(query), params)]

    async def count(self, table: str) -> int:
        found = await self.rows(f"SELECT count(*) FROM {table}")  # noqa: S608 - a test's own word
        assert isinstance(found[0][0], int)
        return found[0][0]

    async def wrong_books(self) -> list[str]:
        """What the proof of the books finds wrong, after an import."""
        await balance.import_new(self.rt)
        findings = await books.check(self.rt)
        return [f"{f.identity}: {'; '.join(f.rows)}" for f in findings if not f.holds]

    def fetches(self) -> int:
        """How many times Stripe was asked for an object."""
        return sum(1 for seen in self.sandbox.requests if seen.method == "GET")


def settings_for(database: str, stripe_url: str, **more: object) -> Settings:
    values: dict[str, object] = {
        "database_url": database,
        "base_url": BASE,
        "stripe_api_key": "sk_test_" + "0" * 24,
        "stripe_webhook_secrets": PLACEHOLDER,
        "secret_keys": "k" * 40,
        "stripe_api_base": stripe_url,
        "publication": "The Example",
        "statement": "EXAMPLE MEDIA",
        "environment": "test",
        **more,
    }
    return Settings.model_validate(values)


async def set_up_stripe(settings: Settings) -> Settings:
    """`payments stripe setup`: gives the settings with the secret it printed."""
    async with runtime_opened(settings) as rt:
        lines = await setup.run(rt)
    printed = next(line for line in lines if line.startswith("PAYMENTS_STRIPE_WEBHOOK_SECRETS="))
    secret = SecretStr(printed.partition("=")[2])
    return settings.model_copy(update={"stripe_webhook_secrets": (secret,)})


@asynccontextmanager
async def opened(database: str, **more: object) -> AsyncIterator[Newsroom]:
    clock = Clock()
    sandbox = Sandbox(wall=clock, check_contract=True)
    async with sandbox.listen() as stripe_url:
        settings = await set_up_stripe(settings_for(database, stripe_url, **more))
        app = create_app(settings, now=clock)
        async with app.lifespan():
            asgi = cast("Any", app)  # litestar and httpx type the same protocol differently
            transport = httpx.ASGITransport(app=asgi, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=BASE) as web:
                yield Newsroom(clock, sandbox, app.state.rt, web, settings)
