"""Checkout Sessions: what a reader asks for, and the Stripe session that is asked for it.

Nothing here is stored or decided: the parameters of a session follow from a request alone, so that
a repeated call is the same call.
"""

import hashlib
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec

from payments.core import i18n
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.giving import covered_amounts
from payments.infra import stripe_client
from payments.infra.context import Context
from payments.risk import donor_notice

CHECKOUT_LIFETIME = timedelta(minutes=60)  # of each page we open at Stripe


class ContributionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader asks for. Two requests are the same if every field is."""

    money: Money
    fee_cover: int | None = None  # the part of it that is for the payment fee, in minor units
    frequency: Frequency
    campaign: str | None = None
    locale: str | None = None

    def digest(self) -> bytes:
        """Return the SHA-256 of every field."""
        return hashlib.sha256(msgspec.json.encode(self)).digest()


def product_id(frequency: Frequency) -> str:
    """Return the id of the Stripe Product of a frequency: fixed, so that an amount can change."""
    return f"reader_payments_{frequency}"


def build_params(
    ctx: Context,
    contribution_request: ContributionRequest,
    contribution_id: str,
    now: datetime,
    *,
    origin: str = "",
) -> dict[str, Any]:  # stripe's SessionCreateParams, stored as JSON
    """Return the parameters of the session to create. Only opaque ids go to Stripe: no name, no
    article.

    `origin` is the address of ours that the reader came by, and comes back to.
    """
    money, frequency = contribution_request.money, contribution_request.frequency
    base, metadata = origin or ctx.settings.base_url, {"contribution_id": contribution_id}
    locale = i18n.find_locale(
        contribution_request.locale or "", offered=ctx.settings.offered_locales
    )
    form_url = base + prefilled_form_url(frequency, money, contribution_id=contribution_id)
    price: dict[str, Any] = {  # SessionCreateParams' price_data
        "currency": money.currency,
        "unit_amount": money.amount,
        "product": product_id(frequency),
    }
    if frequency.interval is not None:
        price["recurring"] = {"interval": frequency.interval.unit.value}
    params: dict[str, Any] = {
        "ui_mode": "hosted_page",
        "client_reference_id": contribution_id,
        "metadata": metadata,
        "line_items": [{"quantity": 1, "price_data": price}],
        "adaptive_pricing": {"enabled": False},
        "wallet_options": {"link": {"display": "never"}},
        "locale": stripe_client.checkout_locale(contribution_request.locale),
        "expires_at": int((now + CHECKOUT_LIFETIME).timestamp()),
        "success_url": i18n.with_lang(f"{base}/thanks", locale),
        "cancel_url": i18n.with_lang(form_url, locale),
    }
    notice = donor_notice.notice_for(
        ctx.settings.safety_policy, locale or ctx.settings.offered_locales[0]
    )
    if notice is not None:
        params["custom_text"] = {"submit": {"message": notice.checkout}}
    if frequency.interval is None:
        return params | {
            "mode": "payment",
            "submit_type": "donate",
            "payment_intent_data": {"metadata": metadata},
        }
    if contribution_request.fee_cover is not None:
        cover = Money(contribution_request.fee_cover, money.currency)
        metadata = metadata | covered_amounts.metadata(cover, money)
    return params | {"mode": "subscription", "subscription_data": {"metadata": metadata}}


def prefilled_form_url(frequency: Frequency, money: Money, *, contribution_id: str = "") -> str:
    """Return the path of our form, filled in as before, for a reader who left Stripe's page.

    Stripe reads this address, so the rest of the request is found by the contribution's id. The
    article is not: it has been counted.
    """
    query = {"frequency": frequency.value, "amount": money.amount, "currency": money.currency}
    return f"/donate?{urlencode(query | ({'again': contribution_id} if contribution_id else {}))}"
