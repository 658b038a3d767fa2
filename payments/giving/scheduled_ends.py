"""Scheduled ends: a donor says after how many more payments a contribution ends, or takes it back.

It ends where the period of the last payment does, so nothing is charged or given back for a part
of one. https://docs.stripe.com/billing/subscriptions/cancel
"""

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from payments.core.errors import InvalidField
from payments.giving import billing_dates, change_decisions
from payments.giving.change_log import Actor, ChangeKind
from payments.giving.subscriptions import Subscription
from payments.infra import stripe_client
from payments.infra.context import Context

MAX_PAYMENTS = 12
MAX_AHEAD = timedelta(days=3 * 366)  # of the last payment


@dataclass(frozen=True, slots=True)
class EndChoice:
    """An end after so many payments: when the last is made, and until when it is paid for."""

    payments: int
    last_charge_at: datetime
    ends_at: datetime

    @property
    def value(self) -> str:
        """What a form sends for it: the day of the last payment, in UTC."""
        return self.last_charge_at.date().isoformat()


def end_value(subscription: Subscription) -> str:
    """Return what a form sends for the end that its page showed: its day, empty without an end."""
    end = subscription.scheduled_end_at
    return "" if end is None else end.date().isoformat()


def choices(subscription: Subscription, *, now: datetime) -> list[EndChoice]:
    """Return the ends that a donor may choose; none where no payment is scheduled."""
    found: list[EndChoice] = []
    for charge in itertools.islice(billing_dates.charges(subscription), MAX_PAYMENTS):
        if charge <= now + MAX_AHEAD:
            ends_at = billing_dates.charge_after(subscription, charge)
            found.append(EndChoice(len(found) + 1, charge, ends_at))
    return found


async def set_end(
    ctx: Context,
    subscription_id: str,
    last_payment_on: str,
    *,
    shown_end: str,
    actor: Actor,
    idempotency_key: str | None = None,
) -> None:
    """End after the payment of a day, written as `EndChoice.value`.

    `shown_end` is the end that the donor was shown, as `end_value` writes it: another one is not
    replaced unseen. Raises what every change raises (`subscription_changes`).
    """
    subscription = await change_decisions.require_renewing_at_stripe(ctx, subscription_id)
    found = {one.value: one for one in choices(subscription, now=ctx.now())}
    if last_payment_on not in found:
        raise InvalidField("Choose how many more payments. Nothing was changed.", field="last")
    ends_at = found[last_payment_on].ends_at
    if ends_at == subscription.scheduled_end_at:
        return
    if shown_end != end_value(subscription):
        raise change_decisions.dates_moved()
    has_end = subscription.scheduled_end_at is not None
    await change_decisions.update_at_stripe(
        ctx,
        subscription,
        ChangeKind.END_MOVED if has_end else ChangeKind.END_SCHEDULED,
        {"cancel_at": int(ends_at.timestamp()), "proration_behavior": "none"},
        actor=actor,
        idempotency_key=idempotency_key,
    )


async def undo_scheduled_end(
    ctx: Context, subscription_id: str, *, actor: Actor, idempotency_key: str | None = None
) -> None:
    """Remove the end that was set in advance."""
    subscription = await change_decisions.require_live(ctx, subscription_id)
    if subscription.scheduled_end_at is None:
        return
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.subscriptions.retrieve_async(subscription_id)
    # Stripe takes one of the two: the end of a period, or a day of its own
    params: dict[str, Any] = {"cancel_at": ""}
    if fetched.cancel_at_period_end:
        params = {"cancel_at_period_end": False}
    await change_decisions.update_at_stripe(
        ctx,
        subscription,
        ChangeKind.END_CANCELLED,
        params,
        actor=actor,
        idempotency_key=idempotency_key,
    )
