"""What is true of a promise, ready to print. The sentences themselves are in the templates."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from payments.core import i18n
from payments.giving import subscriptions
from payments.giving.change_log import ChangeKind, SubscriptionChange
from payments.giving.charges import DonorPayment
from payments.giving.contributions import Contribution
from payments.giving.subscriptions import Subscription, SubscriptionStatus
from payments.infra.context import Context
from payments.web import request_locale

CARD_EXPIRY_WARNING = timedelta(days=30)  # a card that ends before this is said to end soon
CANCELLATION_OVERLAP = timedelta(hours=2)  # a charge this near a stop crossed it on the way


def format_date(ctx: Context, at: datetime) -> str:
    """A day, as the newsroom counts days."""
    return i18n.format_day(
        at.astimezone(ctx.settings.accounting_zoneinfo).date(), request_locale.current()
    )


def format_date_or_empty(ctx: Context, at: datetime | None) -> str:
    return "" if at is None else format_date(ctx, at)


def format_minute(ctx: Context, at: datetime) -> str:
    """A moment to the minute, with its zone."""
    local = at.astimezone(ctx.settings.accounting_zoneinfo)
    return f"{format_date(ctx, at)}, {local:%H:%M} {local.tzname()}"


def subscription_state(
    subscription: Subscription, changes: Sequence[SubscriptionChange] = ()
) -> str:
    """One word for what a donor should know first."""
    if subscription.status is SubscriptionStatus.INCOMPLETE:
        return "incomplete"
    if not subscription.is_live:
        lapsed = any(change.kind is ChangeKind.LAPSED for change in changes)
        return "lapsed" if lapsed else "ended"
    if subscription.needs_card:
        return "needs_card"
    return _live_state(subscription)


def _live_state(subscription: Subscription) -> str:
    if subscription.status in (SubscriptionStatus.PAST_DUE, SubscriptionStatus.UNPAID):
        return "past_due"
    if (
        subscription.scheduled_end_at is not None
        and subscriptions.next_charge_at(subscription) is None
    ):
        return "ending"
    if subscription.is_paused:
        return "paused" if subscription.resumes_at is None else "skipping"
    return "active"


def subscription_view(
    ctx: Context,
    subscription: Subscription,
    changes: Sequence[SubscriptionChange] = (),
    *,
    pending_cancellations: Mapping[str, datetime] | None = None,
) -> dict[str, Any]:
    """One promise, for the list and for its own pages. `stopping` are the stops that Stripe has not
    confirmed.
    """
    ended = subscription.ended_at
    decided = (
        (pending_cancellations or {}).get(subscription.stripe_subscription_id)
        if subscription.is_live
        else None
    )
    due = subscriptions.next_charge_at(subscription) if decided is None else None
    return {
        "url": f"/manage/contributions/{subscription.contribution_id}",
        "amount": request_locale.format_amount(subscription.money),
        "currency": subscription.currency,
        "frequency": subscription.frequency.value,
        "state": subscription_state(subscription, changes) if decided is None else "stopping",
        "stopping": "" if decided is None else format_minute(ctx, decided),
        "ends": format_date_or_empty(ctx, subscription.scheduled_end_at),
        "live": subscription.is_live,
        "pauses": subscription.is_paused,
        "since": format_date(ctx, subscription.started_at),
        "next": format_date_or_empty(ctx, due),
        "ended": "" if ended is None else format_minute(ctx, ended),
        "card_ends_soon": subscription.is_live and _card_expires_soon(ctx, subscription),
    }


def _card_expires_soon(ctx: Context, subscription: Subscription) -> bool:
    """Whether the card will not last until after the next charge, or not a month."""
    if subscription.card_expires_on is None:
        return False
    due = subscriptions.next_charge_at(subscription) or ctx.now()
    return subscription.card_expires_on <= max(due, ctx.now() + CARD_EXPIRY_WARNING).date()


def change_view(ctx: Context, change: SubscriptionChange) -> dict[str, str]:
    """One line of a history."""
    assert change.done_at is not None
    return {
        "kind": change.kind.value,
        "by": change.actor.value,
        "at": format_minute(ctx, change.done_at),
    }


def card_update_state(return_flag: str | None, decision: SubscriptionChange | None) -> str:
    """What to say to a donor who comes back from the page where a card is given."""
    if return_flag != "back" or decision is None:
        return ""
    return "waiting" if decision.done_at is None else "replaced"


def contribution_view(ctx: Context, contribution: Contribution) -> dict[str, str]:
    """A gift that was made once."""
    return {
        "amount": request_locale.format_amount(contribution.money),
        "at": format_date(ctx, contribution.created_at),
        "status": contribution.status.value,
    }


def payment_view(ctx: Context, payment: DonorPayment) -> dict[str, str]:
    """One payment, for a list and for its receipt."""
    return {
        "amount": request_locale.format_amount(payment.money),
        "currency": payment.money.currency.upper(),
        "at": format_date(ctx, payment.paid_at),
        "frequency": payment.frequency.value,
        "reference": payment.reference,
        "printed_reference": group_in_fours(payment.reference),
        "url": f"/manage/receipts/{payment.reference}",
    }


def group_in_fours(reference: str) -> str:
    """A reference as it is read aloud: in fours."""
    return " ".join(reference[i : i + 4] for i in range(0, len(reference), 4)).upper()


def payment_crossing_cancellation(
    subscription: Subscription, payments: Sequence[DonorPayment]
) -> str:
    """The amount of a payment that was under way when the promise was stopped, or nothing."""
    if subscription.ended_at is None or not payments:
        return ""
    newest = max(payments, key=lambda payment: payment.paid_at)
    crossed = newest.paid_at > subscription.ended_at - CANCELLATION_OVERLAP
    begun = newest.paid_at < subscription.started_at + CANCELLATION_OVERLAP
    return request_locale.format_amount(newest.money) if crossed and not begun else ""
