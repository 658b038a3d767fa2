"""End what begins while an emergency stop stands: a page that was open is paid, another program
begins a subscription, somebody resumes one at Stripe.

Each is ended within seconds of its event, and at the latest by a schedule that reads Stripe's lists
again, because webhooks may be dark on such a day. A person has an alert. Money that was taken is
refunded only where the donor safety policy says so.
"""

import stripe
from sqlalchemy import select

from payments.core.errors import PaymentsError
from payments.giving import charges, subscription_sync
from payments.giving.charges import Charge, ChargeStatus
from payments.infra import alerts, isolation, retries
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.risk import emergency_stops
from payments.risk.emergency_stops import (
    EmergencyStop,
    StopGroup,
    StopItem,
    StopItemState,
    StopMode,
)
from payments.safety import emergency_stop, policy_refunds, stop_items, stop_lists


class NotYetStopped(PaymentsError):
    """Stripe did not end what came while a stop stands. Its job is retried."""

    status = 503
    code = "not-yet-stopped"
    title = "It is not stopped yet"


async def stop_subscription(ctx: Context, subscription_id: str) -> None:
    """End a subscription that a standing stop covers. Raises NotYetStopped and StripeUnavailable to
    be retried.
    """
    async with ctx.sessions() as session:
        stops = await emergency_stops.standing(session)
    if not stops:
        return
    fetched = await subscription_sync.fetch(ctx, subscription_id)
    for stop in stops:
        if fetched.status in stop_lists.ENDED_STATUSES or not _covers(ctx, stop, fetched):
            continue
        await stop_items.add(ctx, stop, [subscription_id], chargeable=[subscription_id])
        if await _is_done(ctx, stop, subscription_id):
            continue
        refusal = await stop_items.process(ctx, stop, subscription_id)
        if refusal is not None:
            raise NotYetStopped(f"Stripe did not stop it: {refusal}")
        if stop.mode is StopMode.CANCEL:
            return


async def _is_done(ctx: Context, stop: EmergencyStop, subscription_id: str) -> bool:
    async with ctx.sessions() as session:
        item = await session.get(StopItem, (stop.id, subscription_id))
    return item is None or item.state is not StopItemState.PENDING


def _covers(ctx: Context, stop: EmergencyStop, fetched: stripe.Subscription) -> bool:
    """Whether a stop is about a subscription, and it is not paused already."""
    if stop.mode is StopMode.PAUSE and stop_lists.is_paused_for_good(fetched):
        return False
    return emergency_stops.covers(stop, fetched, ctx.settings.safety_policy)


async def stop_payment(ctx: Context, charge_id: str) -> None:
    """Call a person about a payment that was made while all is stopped, once, and refund it where
    the policy says so. Raises NotYetAttributed and StripeUnavailable to be retried.

    Other income is refunded by nobody here, and a person is called once for all of it: the alert
    names the stop.
    """
    async with ctx.sessions() as session:
        stops = [s for s in await emergency_stops.standing(session) if s.group is StopGroup.ALL]
        charge = await session.scalar(select(Charge).where(Charge.stripe_charge_id == charge_id))
    if not stops or charge is None or charge.status is not ChargeStatus.SUCCEEDED:
        return
    first = min(stops, key=lambda stop: stop.decided_at)
    if charge.charged_at <= first.decided_at:
        return
    is_ours = (await charges.require_link(ctx, charge_id)).contribution_id is not None
    object_id = charge_id if is_ours else first.id
    async with ctx.sessions.begin() as session:
        if not await alerts.was_raised(
            session, AlertKind.ACTIVITY_DURING_STOP, object_id=object_id
        ):
            await alerts.raise_alert(
                session, AlertKind.ACTIVITY_DURING_STOP, object_id=object_id, now=ctx.now()
            )
    if is_ours and policy_refunds.are_required(ctx):
        await policy_refunds.request(ctx, charge_id, cause="stop")


async def enforce(ctx: Context) -> None:
    """Go on with every stop that stands: end what Stripe lists by now, and prove it again."""
    async with ctx.sessions() as session:
        stops = {stop.id: stop for stop in await emergency_stops.standing(session)}

    async def enforce_one(stop_id: str) -> None:
        await emergency_stop.carry_out(ctx, stops[stop_id])

    await isolation.for_each(
        ctx, stops, enforce_one, job=retries.schedule_job("enforce_emergency_stops")
    )
