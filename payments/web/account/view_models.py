"""What pages print of a subscription, a contribution, a payment and a change.

Amounts and times are text in the language of the request, days and minutes in the accounting time
zone. The sentences around them are in the templates.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from payments.core import frequency, i18n
from payments.core.frequency import OFFERED_FREQUENCIES
from payments.core.money import Money
from payments.giving import billing_dates, covered_amounts
from payments.giving.change_log import ChangeKind, SubscriptionChange
from payments.giving.contributions import Contribution
from payments.giving.current_card import CARD_EXPIRY_NOTICE
from payments.giving.debts import CardUpdatePlan
from payments.giving.donor_payments import DonorPayment, GivenAmounts
from payments.giving.subscriptions import (
    ARREARS_STATUSES,
    OWING_STATUSES,
    Subscription,
    SubscriptionStatus,
)
from payments.infra.context import Context
from payments.web import request_locale

CANCELLATION_OVERLAP = timedelta(hours=2)  # a charge this near a cancellation crossed it


def format_date(ctx: Context, at: datetime) -> str:
    """Return the day of a timestamp in the accounting zone, in the language of the request."""
    return i18n.format_day(
        at.astimezone(ctx.settings.accounting_zoneinfo).date(), request_locale.current()
    )


def format_receipt_date(ctx: Context, at: datetime) -> str:
    """Return the day of a payment in the zone of receipts, in the language of the request."""
    return i18n.format_day(
        at.astimezone(ctx.settings.receipt_zoneinfo).date(), request_locale.current()
    )


def format_date_or_empty(ctx: Context, at: datetime | None) -> str:
    """Return the day of a timestamp, or an empty text where there is none."""
    return "" if at is None else format_date(ctx, at)


def format_minute(ctx: Context, at: datetime) -> str:
    """Return a timestamp to the minute, with its time zone."""
    local = at.astimezone(ctx.settings.accounting_zoneinfo)
    return f"{format_date(ctx, at)}, {local:%H:%M} {local.tzname()}"


def subscription_state(
    subscription: Subscription, changes: Sequence[SubscriptionChange] = ()
) -> str:
    """Return the one word for what a donor should know first.

    One of incomplete, lapsed, ended, needs_card, past_due, unpaid, ending, paused, skipping, trial
    and active.
    `changes` tells a lapsed subscription from a cancelled one.
    """
    if subscription.status in (
        SubscriptionStatus.INCOMPLETE,
        SubscriptionStatus.INCOMPLETE_EXPIRED,
    ):
        return "incomplete"
    if not subscription.is_live:
        has_lapsed = any(change.kind is ChangeKind.LAPSED for change in changes)
        return "lapsed" if has_lapsed else "ended"
    if subscription.needs_card:
        return "needs_card"
    return _live_state(subscription)


def _live_state(subscription: Subscription) -> str:
    if subscription.status is SubscriptionStatus.UNPAID:
        return "unpaid"
    if subscription.status is SubscriptionStatus.PAST_DUE:
        return "past_due"
    if (
        subscription.scheduled_end_at is not None
        and billing_dates.next_charge_at(subscription) is None
    ):
        return "ending"
    if subscription.is_paused:
        return "paused" if subscription.resumes_at is None else "skipping"
    if subscription.trial_ends_at is not None:
        return "trial"
    return "active"


def subscription_view(
    ctx: Context,
    subscription: Subscription,
    changes: Sequence[SubscriptionChange] = (),
    *,
    pending_cancellations: Mapping[str, datetime] | None = None,
) -> dict[str, Any]:
    """Return a subscription as the lists and its own pages print it.

    `pending_cancellations` holds, by subscription id, when a cancellation was asked for that Stripe
    has not confirmed; such a subscription has the state `cancelling` and no next charge.
    """
    pending = pending_cancellations or {}
    cancel_requested_at = (
        pending.get(subscription.stripe_subscription_id) if subscription.is_live else None
    )
    is_cancelling = cancel_requested_at is not None
    next_charge_at = None if is_cancelling else billing_dates.next_charge_at(subscription)
    return {
        "url": f"/manage/contributions/{subscription.contribution_id}",
        "amount": request_locale.format_amount_or_varying(subscription.money),
        "currency": subscription.currency,
        "frequency": subscription.frequency.value,
        "fee_cover": _format_cover(subscription),
        "stays_covered": covered_amounts.stays_covered(ctx, subscription),
        "can_cover": subscription.fee_cover is not None
        or (subscription.amount is not None and subscription.currency in ctx.settings.stripe_fees),
        "has_day": subscription.every.months is not None,
        "every": frequency.every(subscription.interval, request_locale.current()),
        "state": "cancelling" if is_cancelling else subscription_state(subscription, changes),
        "cancel_requested": _format_minute_or_empty(ctx, cancel_requested_at),
        **end_view(ctx, subscription),
        "is_live": subscription.is_live,
        "may_be_charged": subscription.may_be_charged,
        "is_paused": subscription.is_paused,
        "is_owed": subscription.status in ARREARS_STATUSES,
        "begun": format_date(ctx, subscription.started_at),
        "started": format_date(ctx, subscription.started_at),
        "next_charge": format_date_or_empty(ctx, next_charge_at),
        "ended": _format_minute_or_empty(ctx, subscription.ended_at),
        "again_url": _again_url(subscription),
        "card_expires_soon": subscription.is_live and _card_expires_soon(ctx, subscription),
    }


def end_view(ctx: Context, subscription: Subscription, *, resumed: bool = False) -> dict[str, Any]:
    """Return the scheduled end, and the payments before it, as they are printed. With `resumed`, as
    if a pause ended now.
    """
    before_end = billing_dates.charges_before_end(subscription, resumed=resumed)
    return {
        "scheduled_end": format_date_or_empty(ctx, subscription.scheduled_end_at),
        "payments_left": None if before_end is None else len(before_end),
        "last_payment": format_date(ctx, before_end[-1]) if before_end else "",
    }


def _again_url(subscription: Subscription) -> str:
    """Return the donation form, filled in as a contribution that ended was.

    Stripe begins none again that has ended: whoever wants it back pays for a new one.
    """
    gift = subscription.money
    if gift is None or subscription.frequency not in OFFERED_FREQUENCIES:
        return "/donate"
    fields = {"frequency": subscription.frequency.value, "amount": gift.amount}
    return "/donate?" + urlencode({**fields, "currency": gift.currency})


def tell_apart(
    ctx: Context, shown: Sequence[Subscription], views: Sequence[dict[str, Any]]
) -> None:
    """Have those that give the same and began on one day say the minute too."""
    for subscription, view in zip(shown, views, strict=True):
        alike = [
            one
            for one in views
            if all(one[name] == view[name] for name in ("amount", "every", "started"))
        ]
        if len(alike) > 1:
            view["begun"] = format_minute(ctx, subscription.started_at)


def _format_cover(subscription: Subscription) -> str:
    cover = subscription.fee_cover
    return (
        "" if cover is None else request_locale.format_amount(Money(cover, subscription.currency))
    )


def _format_minute_or_empty(ctx: Context, at: datetime | None) -> str:
    return "" if at is None else format_minute(ctx, at)


def _card_expires_soon(ctx: Context, subscription: Subscription) -> bool:
    """Whether the card expires before the next charge or within the notice period."""
    if subscription.card_expires_on is None:
        return False
    next_charge_at = billing_dates.next_charge_at(subscription) or ctx.now()
    return (
        subscription.card_expires_on <= max(next_charge_at, ctx.now() + CARD_EXPIRY_NOTICE).date()
    )


def change_view(ctx: Context, change: SubscriptionChange) -> dict[str, str]:
    """Return one line of a subscription's history. The change must be done."""
    assert change.done_at is not None
    return {
        "kind": change.kind.value,
        "actor": change.actor.value,
        "at": format_minute(ctx, change.done_at),
    }


def card_plan_view(ctx: Context, plan: CardUpdatePlan) -> dict[str, Any]:
    """Return what a new card is charged, for the pages that ask for one."""
    return {
        "amount": "" if plan.amount is None else request_locale.format_amount(plan.amount),
        "due": format_date_or_empty(ctx, plan.due_at),
        "voids_older": plan.voids_older,
        "resumes": plan.resumes,
        "fingerprint": plan.fingerprint,
    }


def card_update_state(
    return_flag: str | None, decision: SubscriptionChange | None, subscription: Subscription
) -> str:
    """Return what to say to a donor who comes back from Stripe's card page.

    `waiting` until Stripe has confirmed the card, then `replaced`, or `declined` while a payment is
    open with it, or `refused` if Stripe does not take it; empty for anybody else.
    """
    if return_flag != "back" or decision is None:
        return ""
    if decision.failed_at is not None:
        return "refused"
    if decision.done_at is None:
        return "waiting"
    is_owed = subscription.status in OWING_STATUSES
    return "declined" if is_owed else "replaced"


def contribution_view(
    ctx: Context, contribution: Contribution, amounts: GivenAmounts | None
) -> dict[str, str]:
    """Return a contribution that was made once, for a list. `amounts` is None while unpaid."""
    return {
        "amount": request_locale.format_amount_or_varying(contribution.money),
        **returned_view(amounts),
        "at": format_receipt_date(ctx, contribution.created_at),
        "status": contribution.status.value,
    }


def payment_view(ctx: Context, payment: DonorPayment) -> dict[str, str]:
    """Return one payment, for a list and for its receipt."""
    return {
        "amount": request_locale.format_amount(payment.amounts.paid),
        **returned_view(payment.amounts),
        "currency": payment.amounts.paid.currency.upper(),
        "at": format_receipt_date(ctx, payment.paid_at),
        "frequency": frequency.label(payment.interval, request_locale.current()),
        "reference": payment.reference,
        "printed_reference": payment.printed_reference(ctx.settings.receipt_number_prefix),
        "url": f"/manage/receipts/{payment.reference}",
    }


def returned_view(amounts: GivenAmounts | None) -> dict[str, str]:
    """Return what is printed of an amount of which something went back: empty where nothing did, or
    nothing was paid. `given` is what stays; `is_gone` says that nothing does.
    """
    if amounts is None or not amounts.returned.amount:
        return dict.fromkeys(("refunded", "taken_back", "returned", "given", "is_gone"), "")
    return {
        "refunded": _format_unless_zero(amounts.refunded),
        "taken_back": _format_unless_zero(amounts.taken_back),
        "returned": request_locale.format_amount(amounts.returned),
        "given": request_locale.format_amount(amounts.given),
        "is_gone": "" if amounts.given.amount else "yes",
    }


def _format_unless_zero(amount: Money) -> str:
    return request_locale.format_amount(amount) if amount.amount else ""


def payment_crossing_cancellation(
    subscription: Subscription, payments: Sequence[DonorPayment]
) -> str:
    """Return the amount of a payment that was under way when the subscription was cancelled.

    Empty where there is none. The first payment of a subscription is never one.
    """
    stayed = [payment for payment in payments if payment.amounts.given.amount]
    if subscription.ended_at is None or not stayed:
        return ""
    newest = max(stayed, key=lambda payment: payment.paid_at)
    crossed = newest.paid_at > subscription.ended_at - CANCELLATION_OVERLAP
    is_first = newest.paid_at < subscription.started_at + CANCELLATION_OVERLAP
    return request_locale.format_amount(newest.amounts.given) if crossed and not is_first else ""
