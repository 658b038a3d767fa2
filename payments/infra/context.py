"""The context of a process: settings, database, Stripe client and clock, opened and closed once."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine
from stripe import StripeClient

from payments.core.settings import Settings
from payments.infra import db, stripe_client

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
    now: Now = db.utc_now,
    pool_size: int = 10,
    requests_per_second: int | None = None,
) -> AsyncIterator[Context]:
    """Open a context and close it at the end. A connection is made when it is first used."""
    engine = db.create_engine(settings.database_url.get_secret_value(), pool_size=pool_size)
    try:
        async with stripe_client.connect(
            settings, requests_per_second=requests_per_second
        ) as stripe:
            yield Context(settings, engine, db.create_session_factory(engine), stripe, now)
    finally:
        await engine.dispose()
