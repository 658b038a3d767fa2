"""Nothing is changed at Stripe with the key of another account than the one of this database.

It is looked at where every request passes, so that no schedule, job, page or command is left out.
"""

import time
from collections.abc import Callable
from datetime import datetime
from weakref import WeakSet

import stripe
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import StripeRejected
from payments.infra import alerts, db, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.stripe_client import BeforeWrite

log = structlog.get_logger("payments.infra.write_guard")
VERIFIED: WeakSet[stripe.StripeClient] = WeakSet()  # clients whose account is the bound one
ASK_AGAIN_SECONDS = 600  # for whose the key is, where it may not read that
BOUND_SQL = text("SELECT account_id, livemode FROM stripe_accounts")


def refuse_at_another_account(
    sessions: db.SessionFactory, now: Callable[[], datetime], *, livemode: bool
) -> BeforeWrite:
    """Return what a Stripe client awaits before each request that changes something.

    It raises StripeRejected, as readers see it, and an alert for another account or mode, and what
    Stripe raises where it does not say whose the key is. A database that is bound to none refuses
    nothing, nor does a key that may not read its account.
    """
    not_before = 0.0

    async def check(client: stripe.StripeClient) -> None:
        nonlocal not_before
        if client in VERIFIED or time.monotonic() < not_before:
            return
        async with sessions() as session:
            bound = (await session.execute(BOUND_SQL)).one_or_none()
        if bound is None:
            return
        try:
            account = await client.v1.accounts.retrieve_current_async()
        except stripe.PermissionError:
            not_before = time.monotonic() + ASK_AGAIN_SECONDS
            return
        is_right = (account.id, livemode) == (bound.account_id, bound.livemode)
        async with sessions.begin() as session:
            await record(session, client, account.id, is_right=is_right, now=now())
        if not is_right:
            raise StripeRejected(stripe_client.REFUSED_MESSAGE)

    return check


async def record(
    session: AsyncSession,
    client: stripe.StripeClient,
    account_id: str,
    *,
    is_right: bool,
    now: datetime,
) -> None:
    """Record whether a client's account is the bound one: an alert is open while it is not."""
    kind = AlertKind.WRONG_STRIPE_ACCOUNT
    if is_right:
        await alerts.close_kind(session, kind, now=now)
        VERIFIED.add(client)
        return
    log.error(kind.value)
    await alerts.raise_alert(session, kind, object_id=account_id, now=now)
