"""Whether Stripe answers us: the difference between its trouble and that of one object.

What fails for one object may be the fault of that object. Only when a probe fails too is it taken
for an outage: an alert is open for as long as that lasts, every worker pauses by it, and the first
probe that succeeds closes it. A wrong or expired key is an outage without a probe. Where the key
lacks a permission, or Stripe does not answer one kind of request, only what needs it waits. One
request too many is never the object's fault.
"""

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

import stripe
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import (
    PaymentsError,
    StripeBusy,
    StripeKeyRefused,
    StripePermissionMissing,
    StripeUnavailable,
)
from payments.infra import alerts, job_queue, stripe_client, stripe_permissions
from payments.infra.alerts import Alert, AlertKind
from payments.infra.context import Context
from payments.infra.stripe_refusals import KEY_OBJECT_ID

OUTAGE_OBJECT_ID = "stripe"  # the alert's object: there is one Stripe
OUTAGES = (AlertKind.STRIPE_UNAVAILABLE, AlertKind.STRIPE_KEY_REFUSED)
FAILURES = (AlertKind.RETRIES_EXHAUSTED, AlertKind.OBJECT_FAILED)  # of one object
MAX_PAUSE = timedelta(minutes=10)  # before a job tries by itself; the end of an outage comes first
WRITES = "every change"  # the object of the alert, where it is not one route
# Two routes that change something: where neither is answered none is.
WRITE_ROUTES = ("POST /v1/subscriptions/{}", "POST /v1/customers/{}")
NO_ID = "none_0"  # of no object, so that a probe changes nothing, whatever its route
# Reads that the service needs anyway. One that a key may not do says that Stripe answers.
PROBES: tuple[Callable[[Context], Awaitable[object]], ...] = (
    lambda ctx: ctx.stripe.v1.balance.retrieve_async(None, {"max_network_retries": 0}),
    lambda ctx: ctx.stripe.v1.events.list_async({"limit": 1}, {"max_network_retries": 0}),
)


async def is_paused(session: AsyncSession) -> bool:
    """Whether there is an outage, by the last that was seen of it."""
    query = select(Alert.id).where(Alert.kind.in_(OUTAGES), Alert.closed_at.is_(None)).limit(1)
    return await session.scalar(query) is not None


async def probe(ctx: Context) -> StripeUnavailable | None:
    """Ask Stripe for something small. Returns what speaks against an answer; None if it answers."""
    refusal: StripeUnavailable | None = None
    for call in PROBES:
        try:
            with stripe_client.translate_errors():
                await call(ctx)
        except StripePermissionMissing as error:
            refusal = error
        except StripeBusy:  # it answers: one request more would only make it busier
            return None
        except StripeUnavailable as error:
            return error
        else:
            return None
    return refusal


async def is_outage(ctx: Context, error: StripeUnavailable) -> bool:
    """Return whether what failed is not the object's own trouble. An outage raises its alert."""
    if isinstance(error, StripeBusy):
        return False
    seen = error if isinstance(error, StripeKeyRefused) else await probe(ctx)
    if seen is None:
        return False
    await _open_outage(ctx, seen)
    return True


async def must_wait(ctx: Context, error: StripeUnavailable) -> bool:
    """Return whether what failed is tried again later as if it had not been tried: in an outage,
    for as long as the key lacks a permission or Stripe does not answer requests of its kind, and
    where Stripe did nothing because it is busy.
    """
    if isinstance(error, StripeBusy):
        return True
    if await is_outage(ctx, error) or isinstance(error, StripePermissionMissing):
        return True
    return await is_route_out(ctx, error)


async def is_route_out(ctx: Context, error: StripeUnavailable) -> bool:
    """Return whether Stripe answers no request of one kind, or none that changes something. An
    alert is raised, once for all that need it.

    It is asked for what it cannot have: where it answers that, the failure was the object's own.
    """
    route = error.route
    if route is None:
        return False
    is_write = not route.startswith("GET")
    async with ctx.sessions() as session:
        known = await alerts.open_object_ids(session, AlertKind.STRIPE_ROUTE_UNAVAILABLE)
    if route in known or (is_write and WRITES in known):
        return True
    makes_new = is_write and "{}" not in route  # a probe would make one
    if not makes_new and await _answers(ctx, route):
        return False
    is_wide = is_write and not await _answers(ctx, WRITES)
    if makes_new and not is_wide:
        return False
    async with ctx.sessions.begin() as session:
        await alerts.raise_alert(
            session,
            AlertKind.STRIPE_ROUTE_UNAVAILABLE,
            object_id=WRITES if is_wide else route,
            now=ctx.now(),
        )
    return True


async def _answers(ctx: Context, route: str) -> bool:
    """Return whether Stripe answers a request of one kind about an object that it cannot have."""
    if route == WRITES:
        return any([await _answers(ctx, one) for one in WRITE_ROUTES])
    method, path = route.split(" ", 1)
    try:
        with stripe_client.translate_errors():
            await ctx.stripe.raw_request_async(method.lower(), path.replace("{}", NO_ID))
    except (StripeBusy, StripePermissionMissing):
        return True
    except StripeUnavailable:
        return False
    except (PaymentsError, stripe.StripeError):
        return True
    return True


def pause() -> timedelta:
    """Return how long a job waits before it tries by itself, spread so that not all do at once."""
    return MAX_PAUSE * random.uniform(0.5, 1)  # noqa: S311 - spreads load, hides nothing


async def _open_outage(ctx: Context, error: StripeUnavailable) -> None:
    async with ctx.sessions.begin() as session:
        if isinstance(error, StripeKeyRefused | StripePermissionMissing):
            kind, object_id = AlertKind.STRIPE_KEY_REFUSED, KEY_OBJECT_ID
            # A key that may do nothing is one alert and not one for each permission.
            await alerts.close_kind(session, AlertKind.STRIPE_PERMISSION_MISSING, now=ctx.now())
        else:
            kind, object_id = AlertKind.STRIPE_UNAVAILABLE, OUTAGE_OBJECT_ID
        await alerts.raise_alert(session, kind, object_id=object_id, now=ctx.now())


async def resume_if_well(ctx: Context) -> bool:
    """End an outage if Stripe answers again, and let what waited go on. Returns whether it did.

    A permission that the key has by now, or a kind of request that is answered, ends in the same
    way what waited for it.
    """
    async with ctx.sessions() as session:
        outages = [one.id for one in await alerts.list_open_of(session, *OUTAGES)]
        lacking = await alerts.open_object_ids(session, AlertKind.STRIPE_PERMISSION_MISSING)
        routes = await alerts.open_object_ids(session, AlertKind.STRIPE_ROUTE_UNAVAILABLE)
    if outages and await probe(ctx) is not None:
        return False
    granted = [name for name in sorted(lacking) if await stripe_permissions.has(ctx, name)]
    answered = [route for route in sorted(routes) if await _answers(ctx, route)]
    if not outages and not granted and not answered:
        return False
    async with ctx.sessions.begin() as session:
        for alert_id in outages:  # and not one that was opened since the probe
            await alerts.acknowledge(session, alert_id, now=ctx.now())
        await alerts.close_all(
            session, AlertKind.STRIPE_PERMISSION_MISSING, object_ids=granted, now=ctx.now()
        )
        await alerts.close_all(
            session, AlertKind.STRIPE_ROUTE_UNAVAILABLE, object_ids=answered, now=ctx.now()
        )
        await job_queue.bring_forward(session)
    return True


async def failures_of_job(session: AsyncSession, job: str, object_id: str) -> tuple[bool, bool]:
    """Return whether there is an outage, and whether an alert or the list of what failed says that
    this job of this object did: an alert may be closed by hand before the job succeeds.
    """
    kinds = set(
        await session.scalars(
            select(Alert.kind).where(
                Alert.closed_at.is_(None),
                or_(
                    Alert.kind.in_(OUTAGES),
                    Alert.kind.in_(FAILURES) & (Alert.object_id == object_id) & (Alert.job == job),
                ),
            )
        )
    )
    has_failed = bool(kinds & set(FAILURES)) or await job_queue.has_failed(session, job, object_id)
    return bool(kinds & set(OUTAGES)), has_failed
