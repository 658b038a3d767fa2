"""Asks: what a reader asks for, and how Stripe is asked for it.

Nothing here is kept and nothing is decided: a `Frequency` and an `Ask` are words, and a request to
Stripe follows from them alone, so that a repeated call is the same call.
"""

import hashlib
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec

from payments.core import i18n
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.infra import stripe_client
from payments.infra.context import Context
from payments.risk import donor_notice

CHECKOUT_LIFETIME = timedelta(minutes=60)


class ContributionRequest(msgspec.Struct, frozen=True, kw_only=True):
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


def checkout_session_params(
    ctx: Context,
    contribution_request: ContributionRequest,
    contribution_id: str,
    now: datetime,
    *,
    origin: str = "",
) -> dict[str, Any]:  # stripe's SessionCreateParams, kept as JSON
    """The Checkout Session to ask for. Only opaque ids go to Stripe: no name, no article.

    `origin` is the address of ours that the reader came by, and comes back to.
    """
    base, ours = origin or ctx.settings.base_url, {"contribution_id": contribution_id}
    spoken = i18n.find_locale(contribution_request.locale or "")
    price: dict[str, Any] = {  # SessionCreateParams' price_data
        "currency": contribution_request.money.currency,
        "unit_amount": contribution_request.money.amount,
        "product": product_id(contribution_request.frequency),
    }
    request: dict[str, Any] = {
        "ui_mode": "hosted_page",
        "client_reference_id": contribution_id,
        "metadata": ours,
        "line_items": [{"quantity": 1, "price_data": price}],
        "adaptive_pricing": {"enabled": False},
        "wallet_options": {"link": {"display": "never"}},
        "locale": contribution_request.locale
        if contribution_request.locale in stripe_client.CHECKOUT_LOCALES
        else "auto",
        "expires_at": int((now + CHECKOUT_LIFETIME).timestamp()),
        "success_url": i18n.with_lang(f"{base}/thanks/{contribution_id}", spoken),
        "cancel_url": i18n.with_lang(
            base
            + prefilled_form_url(
                contribution_request.frequency,
                contribution_request.money,
                contribution_id=contribution_id,
            ),
            spoken,
        ),
    }
    if (
        notice := donor_notice.notice_for(ctx.settings.safety_policy, spoken or i18n.DEFAULT_LOCALE)
    ) is not None:
        request["custom_text"] = {"submit": {"message": notice.checkout}}
    if contribution_request.frequency.interval is None:
        request |= {
            "mode": "payment",
            "submit_type": "donate",
            "payment_intent_data": {"metadata": ours},
        }
    else:
        price["recurring"] = {"interval": contribution_request.frequency.interval}
        request |= {"mode": "subscription", "subscription_data": {"metadata": ours}}
    return request


def prefilled_form_url(frequency: Frequency, money: Money, *, contribution_id: str = "") -> str:
    """Our form, filled in as before: where a reader who walked away comes back to.

    What else is known of the gift they walked away from is found by its id, for Stripe reads this
    address. Its story is not: it has been counted.
    """
    filled = {"frequency": frequency.value, "amount": money.amount, "currency": money.currency}
    return f"/donate?{urlencode(filled | ({'again': contribution_id} if contribution_id else {}))}"
