"""What an emergency stop does to one object at Stripe, and whether it came about.

Each may be repeated. An object that has ended is no failure; one that Stripe leaves as it is is
named with the reason.
"""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum

import stripe

from payments.core.errors import PaymentsError, StripeUnavailable
from payments.infra import stripe_client
from payments.infra.context import Context
from payments.risk.emergency_stops import StopMode
from payments.safety import stop_lists


class NotStopped(Exception):
    """Stripe refused, or took it and did not do it. The text says why."""


class Ended(StrEnum):
    """What became of an object."""

    DONE = "done"
    BEFORE = "before"  # it had ended at Stripe already


async def stop_subscription(ctx: Context, mode: StopMode, id_: str) -> Ended:
    """Cancel a subscription, or pause it until it is resumed. Raises NotStopped, StripeUnavailable.

    What has not begun, because its first payment is open, is cancelled in either mode: it cannot
    be paused.
    """
    api = ctx.stripe.v1.subscriptions

    async def stop() -> Ended | None:
        if mode is StopMode.PAUSE:
            fetched = await api.retrieve_async(id_)
            if fetched.status in stop_lists.ENDED_STATUSES:
                return Ended.BEFORE
            if fetched.status != "incomplete":
                paused = await api.update_async(id_, {"pause_collection": {"behavior": "void"}})
                return _done_if(stop_lists.is_paused_for_good(paused))
        return _done_if((await api.cancel_async(id_)).status in stop_lists.ENDED_STATUSES)

    return await _attempt(stop)


async def expire_session(ctx: Context, _mode: StopMode, id_: str) -> Ended:
    """Close a page on which a reader could still pay. Raises NotStopped, StripeUnavailable."""

    async def stop() -> Ended | None:
        return _done_if(
            (await ctx.stripe.v1.checkout.sessions.expire_async(id_)).status == "expired"
        )

    return await _attempt(stop)


async def end_schedule(ctx: Context, mode: StopMode, id_: str) -> Ended:
    """Cancel a schedule, and with it its subscription. Raises NotStopped, StripeUnavailable.

    To pause, one that has begun is released instead: its subscription stays, and is paused next.
    """
    api = ctx.stripe.v1.subscription_schedules

    async def stop() -> Ended | None:
        fetched = await api.retrieve_async(id_)
        if fetched.status in stop_lists.ENDED_SCHEDULE_STATUSES:
            return Ended.BEFORE
        if mode is StopMode.PAUSE and fetched.status == "active":
            ended = await api.release_async(id_)
        else:
            ended = await api.cancel_async(id_)
        return _done_if(ended.status in stop_lists.ENDED_SCHEDULE_STATUSES)

    return await _attempt(stop)


async def void_invoice(ctx: Context, _mode: StopMode, id_: str) -> Ended:
    """Void an invoice; a draft is finalized first, without an attempt to collect it.

    Raises NotStopped, StripeUnavailable.
    """
    api = ctx.stripe.v1.invoices

    async def stop() -> Ended | None:
        invoice = await api.retrieve_async(id_)
        if invoice.status not in stop_lists.PAYABLE_INVOICE_STATUSES:
            return Ended.BEFORE
        if invoice.status == "draft":
            invoice = await api.finalize_invoice_async(id_, {"auto_advance": False})
        if invoice.status in stop_lists.PAYABLE_INVOICE_STATUSES:
            invoice = await api.void_invoice_async(id_)
        return _done_if(invoice.status not in stop_lists.PAYABLE_INVOICE_STATUSES)

    return await _attempt(stop)


async def delete_invoice_item(ctx: Context, _mode: StopMode, id_: str) -> Ended:
    """Delete what somebody's next invoice would include. Raises NotStopped, StripeUnavailable."""

    async def stop() -> Ended | None:
        deleted = await ctx.stripe.v1.invoice_items.delete_async(id_)
        return _done_if(bool(getattr(deleted, "deleted", False)))

    return await _attempt(stop)


ACTIONS: Mapping[str, Callable[[Context, StopMode, str], Awaitable[Ended]]] = {
    stop_lists.CHECKOUT_SESSIONS: expire_session,
    stop_lists.SCHEDULES: end_schedule,
    stop_lists.INVOICES: void_invoice,
    stop_lists.INVOICE_ITEMS: delete_invoice_item,
}


def _done_if(is_done: bool) -> Ended | None:
    return Ended.DONE if is_done else None


async def _attempt(stop: Callable[[], Awaitable[Ended | None]]) -> Ended:
    try:
        with stripe_client.translate_errors():
            ended = await stop()
    except StripeUnavailable:
        raise
    except stripe.InvalidRequestError as error:
        if error.code == "resource_missing":
            return Ended.BEFORE
        raise NotStopped(stop_lists.explain(error)) from error
    except (PaymentsError, stripe.StripeError) as error:
        raise NotStopped(stop_lists.explain(error)) from error
    if ended is None:
        raise NotStopped("Stripe confirmed it and did not do it")
    return ended
