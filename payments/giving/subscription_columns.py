"""The columns of a subscription's row, as they follow from the subscription at Stripe."""

from datetime import datetime
from typing import Any

import stripe

from payments.core.calendar import from_unix
from payments.giving import covered_amounts, current_card, interval_columns
from payments.giving.subscription_terms import SubscriptionTerms
from payments.giving.subscriptions import LIVE_STATUSES, RENEWING_STATUSES, SubscriptionStatus
from payments.infra import stripe_client


def values_of(fetched: stripe.Subscription, terms: SubscriptionTerms) -> dict[str, Any]:
    """Return the value of each column that follows from a subscription as fetched."""
    item = fetched["items"].data[0]
    status, card = SubscriptionStatus(fetched.status), current_card.from_subscription(fetched)
    pause = fetched.pause_collection
    return {
        "stripe_customer_id": stripe_client.id_of(fetched.customer),
        "status": status,
        **interval_columns.column_values(terms.interval),
        "amount": terms.amount,
        "fee_cover": covered_amounts.part_in(fetched.metadata.to_dict(), terms.amount),
        "currency": fetched.currency,
        "stripe_price_id": terms.stripe_price_id,
        "stripe_payment_method_id": card.id if card is not None else None,
        "card_expires_on": card.expires_on if card is not None else None,
        "billing_anchor_at": from_unix(fetched.billing_cycle_anchor),
        "current_period_end": (
            from_unix(item.current_period_end) if status in RENEWING_STATUSES else None
        ),
        "is_paused": pause is not None or status is SubscriptionStatus.PAUSED,
        "resumes_at": _from_unix_or_none(pause.resumes_at) if pause is not None else None,
        "trial_ends_at": _trial_end(fetched),
        "scheduled_end_at": _scheduled_end(fetched, item) if status in LIVE_STATUSES else None,
        "ended_at": _from_unix_or_none(fetched.ended_at),
        "missing_since": None,
    }


def _from_unix_or_none(seconds: int | None) -> datetime | None:
    return None if seconds is None else from_unix(seconds)


def _trial_end(fetched: stripe.Subscription) -> datetime | None:
    """Return the end of a trial that a subscription began with, while it lasts.

    One that a change of frequency has set comes after payments, and is none to its donor.
    """
    is_first = fetched.trial_start is not None and fetched.trial_start <= fetched.start_date
    if fetched.status != SubscriptionStatus.TRIALING or not is_first:
        return None
    return _from_unix_or_none(fetched.trial_end)


def _scheduled_end(fetched: stripe.Subscription, item: stripe.SubscriptionItem) -> datetime | None:
    """Return the end that was set in advance, at Stripe or by a donor here."""
    if fetched.cancel_at is not None:
        return from_unix(fetched.cancel_at)
    return from_unix(item.current_period_end) if fetched.cancel_at_period_end else None
