"""The current card: what the next charge of a subscription is made to, as Stripe has it."""

from dataclasses import dataclass
from datetime import date, timedelta

import stripe

from payments.core.calendar import last_of_month
from payments.infra import stripe_client

CARD_EXPIRY_NOTICE = timedelta(days=30)  # a card that expires within this expires soon


@dataclass(frozen=True, slots=True)
class CurrentCard:
    """A payment method's id and the last day it is valid, if it is a card. No number, no brand."""

    id: str
    expires_on: date | None


def from_subscription(fetched: stripe.Subscription) -> CurrentCard | None:
    """Return what a subscription is charged to: its own method or source, else its customer's.

    Methods must be expanded. A source (`card_…`, `src_…`) is older than those, and Stripe charges
    it where no method is set. https://docs.stripe.com/billing/subscriptions/payment-methods-setting
    """
    customer = fetched.customer  # one that was deleted or is not expanded has no such fields
    settings = getattr(customer, "invoice_settings", None)
    candidates = (
        fetched.default_payment_method,
        getattr(fetched, "default_source", None),
        settings.default_payment_method if settings is not None else None,
        getattr(customer, "default_source", None),
    )
    chosen = next((one for one in candidates if one is not None), None)
    if not isinstance(chosen, stripe.PaymentMethod):
        source_id = stripe_client.id_of(chosen)
        is_source = source_id is not None and not source_id.startswith("pm_")
        return CurrentCard(str(source_id), None) if is_source else None
    if chosen.customer is None:
        return None
    card = getattr(chosen, "card", None)  # a bank account has no such field
    if card is None:
        return CurrentCard(chosen.id, None)
    return CurrentCard(chosen.id, last_of_month(date(card.exp_year, card.exp_month, 1)))
