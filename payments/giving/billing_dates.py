"""Billing dates: when a subscription is charged next.

Stripe counts charges from the billing anchor: a subscription of the 31st is charged on a shorter
month's last day, and on the 31st again in the next long one.
https://docs.stripe.com/billing/subscriptions/billing-cycle
"""

from datetime import datetime

from payments.giving.subscriptions import Subscription


def next_charge_at(subscription: Subscription) -> datetime | None:
    """Return when the donor is charged next, after any pause; None when no charge is scheduled."""
    due = subscription.current_period_end
    if due is None or not subscription.is_live:
        return None
    if subscription.is_paused:
        if subscription.resumes_at is None:
            return None
        due = first_charge_after(subscription, subscription.resumes_at)
    end = subscription.scheduled_end_at
    return None if due is None or (end is not None and due >= end) else due


def first_charge_after(subscription: Subscription, moment: datetime) -> datetime | None:
    """Return the first charge at or after a moment, pauses and ends aside."""
    due = subscription.current_period_end
    while due is not None and due < moment:
        due = subscription.every.after(due, anchor=subscription.billing_anchor_at)
    return due
