"""The context of a process: settings, database, Stripe client and clock, opened and closed once."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine
from stripe import StripeClient

from payments.core.settings import Settings
from payments.infra import db, demo_clock, stripe_client, stripe_refusals, write_guard

Now = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Context:
    """What a function takes that reaches beyond one transaction. `now` returns aware UTC time."""

    settings: Settings
    engine: AsyncEngine
    sessions: db.SessionFactory
    stripe: StripeClient
    now: Now


@asynccontextmanager
async def open_context(
    settings: Settings,
    *,
    now: Now | None = None,
    pool_size: int = 10,
    requests_per_second: int | None = None,
) -> AsyncIterator[Context]:
    """Open a context and close it at the end. A connection is made when it is first used.

    The clock is the real one, or the demo's, unless one is given.
    """
    now = now or demo_clock.now_of(settings)
    engine = db.create_engine(settings.database_url.get_secret_value(), pool_size=pool_size)
    try:
        async with context_on(
            engine, settings, now=now, requests_per_second=requests_per_second
        ) as ctx:
            yield ctx
    finally:
        await engine.dispose()


@asynccontextmanager
async def context_on(
    engine: AsyncEngine,
    settings: Settings,
    *,
    now: Now = db.utc_now,
    requests_per_second: int | None = None,
) -> AsyncIterator[Context]:
    """Open a context on an engine of the caller's, which stays open."""
    sessions = db.create_session_factory(engine)
    async with stripe_client.connect(
        settings,
        requests_per_second=requests_per_second,
        on_refusal=stripe_refusals.alert_on_refusal(sessions, now),
        before_write=write_guard.refuse_at_another_account(
            sessions, now, livemode=settings.livemode
        ),
    ) as stripe:
        yield Context(settings, engine, sessions, stripe, now)
