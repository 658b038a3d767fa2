"""Nothing is changed at Stripe with the key of another account than the one of this database.

It is looked at where every request passes, so that no schedule, job, page or command is left out.
"""

import time
from weakref import WeakSet

import stripe
import structlog
from sqlalchemy import text

from payments.core.errors import StripeRejected
from payments.infra import db, stripe_client
from payments.infra.stripe_client import BeforeWrite

log = structlog.get_logger("payments.infra.write_guard")
VERIFIED: WeakSet[stripe.StripeClient] = WeakSet()  # clients whose account is the bound one
ASK_AGAIN_SECONDS = 600  # for whose the key is, where it may not read that
BOUND_SQL = text("SELECT account_id, livemode FROM stripe_accounts")


def refuse_at_another_account(sessions: db.SessionFactory, *, livemode: bool) -> BeforeWrite:
    """Return what a Stripe client awaits before each request that changes something.

    It raises StripeRejected, as readers see it, for another account or mode, and what Stripe raises
    where it does not say whose the key is. A database that is bound to none refuses nothing, nor
    does a key that may not read its account.
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
        if (account.id, livemode) != (bound.account_id, bound.livemode):
            log.error("wrong_stripe_account")
            raise StripeRejected(stripe_client.REFUSED_MESSAGE)
        VERIFIED.add(client)

    return check
