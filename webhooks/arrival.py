"""Whether Stripe's webhooks arrive: the alert when none was accepted for an hour.

What was refused here says little, because anybody can post. Stripe says what has happened: while an
event of it is newer than the newest that was accepted, and an hour old, nothing arrives. The secret
was rolled, a clock is off, a proxy is in the way; or the endpoint is gone or the other mode's, and
then Stripe does not say either that it could not deliver anything.
"""

from datetime import datetime, timedelta

import stripe
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from payments.infra import alerts, stripe_account, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from webhooks import sweeps
from webhooks.endpoint import OBJECT_TYPE
from webhooks.intake import StripeEvent
from webhooks.registry import EVENT_TYPES
from webhooks.sweeps import EVENT_RETENTION, MAX_TYPES_PER_REQUEST

MAX_SILENCE = timedelta(hours=1)


async def refresh_alert(ctx: Context) -> bool:
    """Raise the alert or close it. Returns whether webhooks are missing.

    Stripe is asked only when nothing was accepted for an hour. While webhooks are missing, what
    they were about is synced: all of it when that begins, then what is an hour old.
    """
    now = ctx.now()
    until = now - MAX_SILENCE
    async with ctx.sessions() as session:
        since = await _last_accepted_at(session, now - EVENT_RETENTION)
        was_missing = await alerts.is_open(
            session, AlertKind.WEBHOOKS_MISSING, object_id=OBJECT_TYPE
        )
    is_missing = (
        since is not None and since < until and await _has_not_arrived(ctx, _created(since, until))
    )
    change = alerts.raise_alert if is_missing else alerts.close
    async with ctx.sessions.begin() as session:
        await change(session, AlertKind.WEBHOOKS_MISSING, object_id=OBJECT_TYPE, now=now)
    if is_missing and since is not None:
        since = max(since, until - MAX_SILENCE) if was_missing else since
        await sweeps.sync_events(ctx, _created(since, until))
    return is_missing


def _created(since: datetime, until: datetime) -> stripe.params.EventListParams:
    return {"created": {"gt": int(since.timestamp()), "lte": int(until.timestamp())}}


async def _last_accepted_at(session: AsyncSession, earliest: datetime) -> datetime | None:
    """Return when the newest event was accepted or, before the first, since when it could be."""
    newest = await session.scalar(
        select(StripeEvent.received_at)
        .where(StripeEvent.received_at > earliest)
        .order_by(StripeEvent.received_at.desc())
        .limit(1)
    )
    if newest is not None:
        return newest
    account = await stripe_account.get(session)
    return None if account is None else max(account.bound_at, earliest)


async def _has_not_arrived(ctx: Context, filters: stripe.params.EventListParams) -> bool:
    """Whether one of the newest events that Stripe lists did not come here. Clocks differ, so one
    that did may be newer than the time it was accepted at.
    """
    for start in range(0, len(EVENT_TYPES), MAX_TYPES_PER_REQUEST):
        types = list(EVENT_TYPES[start : start + MAX_TYPES_PER_REQUEST])
        with stripe_client.translate_errors():
            page = await ctx.stripe.v1.events.list_async({**filters, "types": types, "limit": 100})
        ids = {event.id for event in page.data}
        if ids - await sweeps.delivered_ids(ctx, sorted(ids)):
            return True
    return False
