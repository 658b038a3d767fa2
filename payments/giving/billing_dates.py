"""Billing dates: when a subscription is charged next, and how often before it ends.

Stripe counts charges from the billing anchor: a subscription of the 31st is charged on a shorter
month's last day, and on the 31st again in the next long one.
https://docs.stripe.com/billing/subscriptions/billing-cycle
"""

import itertools
from collections.abc import Iterator
from datetime import datetime

from payments.giving.subscriptions import Subscription

MAX_COUNTED = 120  # charges before an end; how many there are beyond is not said


def next_charge_at(subscription: Subscription) -> datetime | None:
    """Return when the donor is charged next, after any pause; None when no charge is scheduled."""
    due = next(charges(subscription), None)
    return due if is_before_end(subscription, due) else None


def is_before_end(subscription: Subscription, charge: datetime | None) -> bool:
    """Whether there is a charge and no scheduled end comes first."""
    end = subscription.scheduled_end_at
    return charge is not None and (end is None or charge < end)


def charges(subscription: Subscription, *, resumed: bool = False) -> Iterator[datetime]:
    """Yield the charges to come, after any pause and whatever the end; none where none is
    scheduled. With `resumed`, as if the pause ended now.
    """
    due = subscription.current_period_end
    if not subscription.is_live:
        return
    if subscription.is_paused and not resumed:
        if subscription.resumes_at is None:
            return
        due = first_charge_after(subscription, subscription.resumes_at)
    while due is not None:
        yield due
        due = charge_after(subscription, due)


def charges_before_end(
    subscription: Subscription, *, resumed: bool = False
) -> list[datetime] | None:
    """Return the charges that come before the scheduled end; None without an end, and where there
    are too many to count. With `resumed`, as if a pause ended now.
    """
    end = subscription.scheduled_end_at
    if end is None:
        return None
    before = itertools.takewhile(lambda due: due < end, charges(subscription, resumed=resumed))
    counted = list(itertools.islice(before, MAX_COUNTED + 1))
    return None if len(counted) > MAX_COUNTED else counted


def charge_after(subscription: Subscription, charge: datetime) -> datetime:
    """Return the charge after one: until then it is paid for."""
    return subscription.every.after(charge, anchor=subscription.billing_anchor_at)


def first_charge_after(subscription: Subscription, moment: datetime) -> datetime | None:
    """Return the first charge at or after a moment, pauses and ends aside."""
    due = subscription.current_period_end
    while due is not None and due < moment:
        due = charge_after(subscription, due)
    return due
