"""What a process holds open: settings, database, Stripe, and the clock it goes by."""

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
    """Handed to every verb that reaches beyond one transaction. `now` is aware, in UTC."""

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
    """Open everything, and close it at the end. Nothing is connected to before it is first used."""
    engine = db.create_engine(settings.database_url.get_secret_value(), pool_size=pool_size)
    try:
        async with stripe_client.connect(
            settings, requests_per_second=requests_per_second
        ) as stripe:
            yield Context(settings, engine, db.create_session_factory(engine), stripe, now)
    finally:
        await engine.dispose()
