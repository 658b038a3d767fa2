"""Stripe's test cards: what each number does when it is charged.

https://docs.stripe.com/testing
"""

from dataclasses import dataclass
from typing import Final

from payments.sandbox.form_encoding import JsonObject


@dataclass(frozen=True)
class Decline:
    """Why the bank, or Radar, refuses a charge."""

    code: str
    decline_code: str
    message: str
    advice_code: str = "try_again_later"
    blocked_by_radar: bool = False

    @property
    def is_hard(self) -> bool:
        """Whether Stripe makes no further attempt with this card."""
        return self.decline_code in _HARD_DECLINE_CODES


@dataclass(frozen=True)
class SandboxCard:
    """A test card and how it behaves."""

    number: str
    label: str
    brand: str = "visa"
    country: str = "US"
    funding: str = "credit"
    decline: Decline | None = None  # of every charge
    renewal_decline: Decline | None = None  # of charges made while the customer is absent
    requires_3ds: bool = False
    decline_after_3ds: Decline | None = None  # of a charge that was authenticated
    reuses_authentication: bool = False  # once saved, off-session charges need no authentication
    bypasses_pending: bool = False  # funds are available at once
    dispute_reason: str | None = None  # the bank disputes each charge, as soon as it is captured
    inquiry_only: bool = False  # the dispute is an inquiry
    early_fraud_warning: bool = False  # the network warns of each charge
    refund_outcome: str | None = None  # `pending` for a day, or `fails` two days later


# https://docs.stripe.com/billing/revenue-recovery/smart-retries
_HARD_DECLINE_CODES: Final = frozenset({
    "authentication_required", "highest_risk_level", "incorrect_number", "lost_card",
    "pickup_card", "revocation_of_all_authorizations", "revocation_of_authorization",
    "stolen_card", "transaction_not_allowed",
})  # fmt: skip

GENERIC_DECLINE: Final = Decline("card_declined", "generic_decline", "Your card was declined.")
_INSUFFICIENT_FUNDS = Decline(
    "card_declined", "insufficient_funds", "Your card has insufficient funds.", "try_again_later"
)
_LOST_CARD = Decline("card_declined", "lost_card", "Your card was declined.", "do_not_try_again")
_STOLEN_CARD = Decline(
    "card_declined", "stolen_card", "Your card was declined.", "do_not_try_again"
)
_EXPIRED_CARD = Decline(
    "expired_card", "expired_card", "Your card has expired.", "do_not_try_again"
)
_INCORRECT_CVC = Decline(
    "incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.",
    "confirm_card_data",
)  # fmt: skip
_PROCESSING_ERROR = Decline(
    "processing_error",
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
)
_BLOCKED_BY_RADAR = Decline(
    "card_declined",
    "fraudulent",
    "Your card was declined.",
    "do_not_try_again",
    blocked_by_radar=True,
)

AUTHENTICATION_REQUIRED: Final = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
    "try_again_later",
)
_DO_NOT_HONOR = Decline("card_declined", "do_not_honor", "Your card was declined.")
_TRANSACTION_NOT_ALLOWED = Decline(
    "card_declined", "transaction_not_allowed", "Your card does not support this type of purchase.",
    "do_not_try_again",
)  # fmt: skip

DECLINES: Final = {
    decline.decline_code: decline
    for decline in (
        GENERIC_DECLINE, _INSUFFICIENT_FUNDS, _LOST_CARD, _STOLEN_CARD, _EXPIRED_CARD,
        _INCORRECT_CVC, _PROCESSING_ERROR, _BLOCKED_BY_RADAR, AUTHENTICATION_REQUIRED,
        _DO_NOT_HONOR, _TRANSACTION_NOT_ALLOWED,
    )
}  # fmt: skip

CARDS: Final = (
    SandboxCard("4242424242424242", "Succeeds"),
    SandboxCard("5555555555554444", "Succeeds (Mastercard)", brand="mastercard"),
    SandboxCard("378282246310005", "Succeeds (American Express)", brand="amex"),
    SandboxCard("4000006430000009", "Succeeds (Russia)", country="RU"),
    SandboxCard("4000001120000005", "Succeeds (Belarus)", country="BY"),
    SandboxCard("4000000000000002", "Declined by the bank", decline=GENERIC_DECLINE),
    SandboxCard("4000000000009995", "Declined: insufficient funds", decline=_INSUFFICIENT_FUNDS),
    SandboxCard("4000000000009987", "Declined: lost card", decline=_LOST_CARD),
    SandboxCard("4000000000009979", "Declined: stolen card", decline=_STOLEN_CARD),
    SandboxCard("4000000000000069", "Declined: expired card", decline=_EXPIRED_CARD),
    SandboxCard("4000000000000127", "Declined: incorrect security code", decline=_INCORRECT_CVC),
    SandboxCard("4000000000000119", "Declined: processing error", decline=_PROCESSING_ERROR),
    SandboxCard("4000002500003155", "Asks for 3-D Secure, then succeeds", country="FR",
                requires_3ds=True, renewal_decline=AUTHENTICATION_REQUIRED,
                reuses_authentication=True),
    SandboxCard("4000002760003184", "Always asks for 3-D Secure", country="DE",
                requires_3ds=True, renewal_decline=AUTHENTICATION_REQUIRED),
    SandboxCard("4000000000003220", "Asks for 3-D Secure 2",
                requires_3ds=True, renewal_decline=AUTHENTICATION_REQUIRED),
    SandboxCard("4000008260003178", "Asks for 3-D Secure, then insufficient funds",
                requires_3ds=True, renewal_decline=_INSUFFICIENT_FUNDS,
                decline_after_3ds=_INSUFFICIENT_FUNDS),
    SandboxCard("4000000000000341", "First payment succeeds, renewals fail",
                renewal_decline=GENERIC_DECLINE),
    SandboxCard("4100000000000019", "Blocked by Radar as fraudulent", decline=_BLOCKED_BY_RADAR),
    SandboxCard("4000000000000259", "Succeeds, then disputed as fraudulent",
                dispute_reason="fraudulent"),
    SandboxCard("4000000000002685", "Succeeds, then disputed as not received",
                dispute_reason="product_not_received"),
    SandboxCard("4000000000001976", "Succeeds, then the bank inquires",
                dispute_reason="fraudulent", inquiry_only=True),
    SandboxCard("4000000000005423", "Succeeds, then a warning of fraud", early_fraud_warning=True),
    SandboxCard("4000000000007726", "Succeeds; its refund takes a day", refund_outcome="pending"),
    SandboxCard("4000000000005126", "Succeeds; its refund fails later", refund_outcome="fails"),
    SandboxCard("4000000000000077", "Succeeds, funds available at once", bypasses_pending=True),
)  # fmt: skip

BY_NUMBER: Final = {card.number: card for card in CARDS}

_NUMBER_BY_TOKEN: Final = {
    "visa": "4242424242424242",
    "mastercard": "5555555555554444",
    "amex": "378282246310005",
    "chargeDeclined": "4000000000000002",
    "visa_chargeDeclined": "4000000000000002",
    "chargeDeclinedInsufficientFunds": "4000000000009995",
    "chargeCustomerFail": "4000000000000341",
    "createDispute": "4000000000000259",
    "createDisputeProductNotReceived": "4000000000002685",
    "createDisputeInquiry": "4000000000001976",
    "createIssuerFraudRecord": "4000000000005423",
    "bypassPending": "4000000000000077",
    "threeDSecure2Required": "4000000000003220",
    "authenticationRequired": "4000002760003184",
    "radarBlock": "4100000000000019",
}


def card_by_token(name: str) -> SandboxCard | None:
    """Return the card behind a name such as `tok_visa` or `pm_card_visa`, or None."""
    for prefix in ("pm_card_", "tok_"):
        if name.startswith(prefix):
            return BY_NUMBER.get(_NUMBER_BY_TOKEN.get(name.removeprefix(prefix), ""))
    return None


def passes_luhn(number: str) -> bool:
    """Return whether a number of decimal digits has a valid check digit."""
    digits = [int(digit) for digit in reversed(number)]
    total = sum(digits[0::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return total % 10 == 0


def error_fields(decline: Decline, charge_id: str) -> JsonObject:
    """Return the decline's fields in API errors and in `last_payment_error`."""
    return {
        "advice_code": decline.advice_code,
        "charge": charge_id,
        "code": decline.code,
        "decline_code": decline.decline_code,
        "doc_url": f"https://stripe.com/docs/error-codes/{decline.code.replace('_', '-')}",
        "message": decline.message,
    }
