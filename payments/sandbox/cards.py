"""Stripe's test cards: what each number does when it is charged.

https://docs.stripe.com/testing
"""

from dataclasses import dataclass
from typing import Final

from payments.sandbox.card_tokens import COUNTRY_NUMBERS, NUMBER_BY_NAME
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
    risk_level: str = "normal"  # as Radar sees each charge
    cvc_check: str = "pass"
    line1_check: str = "pass"  # of an address, when there is one
    zip_check: str = "pass"


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

_VELOCITY_EXCEEDED = Decline(
    "card_declined", "card_velocity_exceeded",
    "Your card was declined for making repeated attempts too frequently or exceeding its amount "
    "limit.",
)  # fmt: skip

DECLINES: Final = {
    decline.decline_code: decline
    for decline in (
        GENERIC_DECLINE, _INSUFFICIENT_FUNDS, _LOST_CARD, _STOLEN_CARD, _EXPIRED_CARD,
        _INCORRECT_CVC, _PROCESSING_ERROR, _BLOCKED_BY_RADAR, AUTHENTICATION_REQUIRED,
        _DO_NOT_HONOR, _TRANSACTION_NOT_ALLOWED, _VELOCITY_EXCEEDED,
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

# Cards that the hosted pages do not list; each behaves as documented.
_MORE_CARDS: Final = (
    SandboxCard("4000056655665556", "Succeeds (debit)", funding="debit"),
    SandboxCard("5200828282828210", "Succeeds (Mastercard debit)", brand="mastercard",
                funding="debit"),
    SandboxCard("5105105105105100", "Succeeds (Mastercard prepaid)", brand="mastercard",
                funding="prepaid"),
    SandboxCard("6011111111111117", "Succeeds (Discover)", brand="discover"),
    SandboxCard("3056930009020004", "Succeeds (Diners Club)", brand="diners"),
    SandboxCard("3566002020360505", "Succeeds (JCB)", brand="jcb", country="JP"),
    SandboxCard("6200000000000005", "Succeeds (UnionPay)", brand="unionpay", country="CN"),
    SandboxCard("4000058260000005", "Succeeds (GB debit)", country="GB", funding="debit"),
    SandboxCard("5555558265554449", "Succeeds (GB Mastercard)", country="GB", brand="mastercard"),
    SandboxCard("4000007640000003", "Succeeds (TH)", country="TH"),
    SandboxCard("4000057640000008", "Succeeds (TH debit)", country="TH", funding="debit"),
    *(SandboxCard(number, f"Succeeds ({country.upper()})", country=country.upper())
      for country, number in COUNTRY_NUMBERS.items() if country != "by"),
    SandboxCard("4000003720000278", "Succeeds, funds available at once", country="IE",
                bypasses_pending=True),
    SandboxCard("4000000000000093", "Succeeds, domestic pricing"),
    SandboxCard("4000000000006975", "Declined: too many charges",
                decline=_VELOCITY_EXCEEDED),
    SandboxCard("4000000000004954", "Succeeds, highest risk", risk_level="highest"),
    SandboxCard("4000000000009235", "Succeeds, elevated risk", risk_level="elevated"),
    SandboxCard("4000000000000101", "Succeeds; security code fails", cvc_check="fail"),
    SandboxCard("4000000000000036", "Succeeds; postal code fails", zip_check="fail"),
    SandboxCard("4000000000000028", "Succeeds; address fails", line1_check="fail"),
    SandboxCard("4000000000000010", "Succeeds; address and postal code fail",
                line1_check="fail", zip_check="fail"),
    SandboxCard("4000000000000044", "Succeeds; address is not checked",
                line1_check="unavailable", zip_check="unavailable"),
    SandboxCard("4000003800000446", "Asks for 3-D Secure, not off session", country="IT",
                requires_3ds=True),
    SandboxCard("4000000000003063", "Requires 3-D Secure",
                requires_3ds=True, renewal_decline=AUTHENTICATION_REQUIRED),
    SandboxCard("4000008400001629", "Asks for 3-D Secure, then declined",
                requires_3ds=True, renewal_decline=GENERIC_DECLINE,
                decline_after_3ds=GENERIC_DECLINE),
    SandboxCard("4000008400001280", "3-D Secure fails with an error", decline=GENERIC_DECLINE),
    SandboxCard("4000000000003055", "3-D Secure is not asked for"),
    SandboxCard("4000000000003097", "3-D Secure is not asked for, and would fail"),
)  # fmt: skip

BY_NUMBER: Final = {card.number: card for card in (*CARDS, *_MORE_CARDS)}


def card_by_token(name: str, prefix: str) -> SandboxCard | None:
    """Return the card that a test name means, or None: `pm_card_visa`, or with `tok_` `tok_visa`.

    A payment method's name is no token, and a token's no payment method.
    """
    if not name.startswith(prefix):
        return None
    return BY_NUMBER.get(NUMBER_BY_NAME.get(name.removeprefix(prefix), ""))


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
