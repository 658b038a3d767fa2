"""Cards: what the next charge of a promise is made to, as Stripe tells it; no number, no brand."""

from dataclasses import dataclass
from datetime import date

import stripe

from payments.core.calendar import last_of_month


@dataclass(frozen=True, slots=True)
class CurrentCard:
    """The payment method the next charge is made to. No number, no brand."""

    id: str
    expires_on: date | None


def current_card(fetched: stripe.Subscription) -> CurrentCard | None:
    """What the next charge is made to: the subscription's own method, else the customer's.

    Both must be expanded. https://docs.stripe.com/billing/subscriptions/payment-methods-setting
    """
    method = fetched.default_payment_method
    if method is None:  # a deleted customer, and one that is not expanded, have no such field
        settings = getattr(fetched.customer, "invoice_settings", None)
        method = settings.default_payment_method if settings is not None else None
    if not isinstance(method, stripe.PaymentMethod) or method.customer is None:
        return None
    card = getattr(method, "card", None)  # a bank account has no such field
    return CurrentCard(method.id, _expiry_date(card) if card is not None else None)


def _expiry_date(card: stripe.PaymentMethod.Card) -> date:
    return last_of_month(date(card.exp_year, card.exp_month, 1))
