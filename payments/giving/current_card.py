"""The current card: what the next charge of a subscription is made to, as Stripe has it."""

from dataclasses import dataclass
from datetime import date, timedelta

import stripe

from payments.core.calendar import last_of_month

CARD_EXPIRY_NOTICE = timedelta(days=30)  # a card that expires within this expires soon


@dataclass(frozen=True, slots=True)
class CurrentCard:
    """A payment method's id and the last day it is valid, if it is a card. No number, no brand."""

    id: str
    expires_on: date | None


def from_subscription(fetched: stripe.Subscription) -> CurrentCard | None:
    """Return the subscription's own payment method, else its customer's default.

    Both must be expanded. https://docs.stripe.com/billing/subscriptions/payment-methods-setting
    """
    method = fetched.default_payment_method
    if method is None:  # a deleted customer, and one that is not expanded, have no such field
        settings = getattr(fetched.customer, "invoice_settings", None)
        method = settings.default_payment_method if settings is not None else None
    if not isinstance(method, stripe.PaymentMethod) or method.customer is None:
        return None
    card = getattr(method, "card", None)  # a bank account has no such field
    if card is None:
        return CurrentCard(method.id, None)
    return CurrentCard(method.id, last_of_month(date(card.exp_year, card.exp_month, 1)))
