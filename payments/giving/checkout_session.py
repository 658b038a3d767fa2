"""Asks: what a reader asks for, and how Stripe is asked for it.

Nothing here is kept and nothing is decided: a `Frequency` and an `Ask` are words, and a request to
Stripe follows from them alone, so that a repeated call is the same call.
"""

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

import msgspec

from payments.core import i18n
from payments.core.money import Money
from payments.infra import stripe_client
from payments.infra.context import Runtime
from payments.risk import donor_notice

CHECKOUT_LASTS = timedelta(minutes=60)


class Frequency(StrEnum):
    ONCE = "once"
    MONTHLY = "monthly"
    ANNUAL = "annual"

    @property
    def interval(self) -> str | None:
        """Stripe's word for the time between two charges."""
        return {"monthly": "month", "annual": "year"}.get(self.value)


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader asks for. Two asks are the same if every field is."""

    money: Money
    frequency: Frequency
    campaign: str | None = None
    locale: str | None = None

    def digest(self) -> bytes:
        return hashlib.sha256(msgspec.json.encode(self)).digest()


def product_id(frequency: Frequency) -> str:
    """The Stripe Product of a frequency: fixed, so that an amount can be changed later."""
    return f"reader_payments_{frequency}"


def checkout_request(
    rt: Runtime, ask: Ask, contribution_id: str, now: datetime, *, origin: str = ""
) -> dict[str, Any]:  # stripe's SessionCreateParams, kept as JSON
    """The Checkout Session to ask for. Only opaque ids go to Stripe: no name, no article.

    `origin` is the address of ours that the reader came by, and comes back to.
    """
    base, ours = origin or rt.settings.base_url, {"contribution_id": contribution_id}
    spoken = i18n.known(ask.locale or "")
    price: dict[str, Any] = {  # SessionCreateParams' price_data
        "currency": ask.money.currency,
        "unit_amount": ask.money.amount,
        "product": product_id(ask.frequency),
    }
    request: dict[str, Any] = {
        "ui_mode": "hosted_page",
        "client_reference_id": contribution_id,
        "metadata": ours,
        "line_items": [{"quantity": 1, "price_data": price}],
        "adaptive_pricing": {"enabled": False},
        "wallet_options": {"link": {"display": "never"}},
        "locale": ask.locale if ask.locale in stripe_client.CHECKOUT_LOCALES else "auto",
        "expires_at": int((now + CHECKOUT_LASTS).timestamp()),
        "success_url": i18n.in_address(f"{base}/thanks/{contribution_id}", spoken),
        "cancel_url": i18n.in_address(
            base + again_url(ask.frequency, ask.money, of=contribution_id), spoken
        ),
    }
    if (notice := donor_notice.of(rt.settings.policy, spoken or i18n.SOURCE)) is not None:
        request["custom_text"] = {"submit": {"message": notice.checkout}}
    if ask.frequency.interval is None:
        request |= {
            "mode": "payment",
            "submit_type": "donate",
            "payment_intent_data": {"metadata": ours},
        }
    else:
        price["recurring"] = {"interval": ask.frequency.interval}
        request |= {"mode": "subscription", "subscription_data": {"metadata": ours}}
    return request


def again_url(frequency: Frequency, gift: Money, *, of: str = "") -> str:
    """Our form, filled in as before: where a reader who walked away comes back to.

    What else is known of the gift they walked away from is found by its id, for Stripe reads this
    address. Its story is not: it has been counted.
    """
    filled = {"frequency": frequency.value, "amount": gift.amount, "currency": gift.currency}
    return f"/donate?{urlencode(filled | ({'again': of} if of else {}))}"
