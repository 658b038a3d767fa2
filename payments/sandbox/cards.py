"""Stripe's test cards: what each number does when it is charged.

A decline is what the bank says; `secure` asks the donor for 3-D Secure; `later` lets the first
charge, made while the donor is there, succeed and every renewal fail.
"""

from dataclasses import dataclass
from typing import Final

from payments.sandbox.wire import Obj

_TRY_AGAIN = "Try again later, or use another card."


@dataclass(frozen=True)
class Decline:
    """What the bank, or Radar, says when it refuses."""

    code: str
    decline_code: str
    message: str
    advice: str = "try_again_later"
    blocked: bool = False

    @property
    def is_hard(self) -> bool:
        """Whether trying this card again is pointless, so that Stripe does not."""
        return self.decline_code in _HARD


@dataclass(frozen=True)
class Card:
    """A test card and how it behaves."""

    number: str
    label: str
    brand: str = "visa"
    country: str = "US"
    funding: str = "credit"
    decline: Decline | None = None
    later: Decline | None = None
    secure: bool = False
    after_question: Decline | None = None  # what follows a question that was answered
    remembers: bool = False  # asked once, and saved, it is not asked again when the donor is away
    bypasses_pending: bool = False
    disputed: str | None = None  # why the donor's bank takes the money back, as soon as it came
    inquiry: bool = False  # it only asks
    warned: bool = False  # the network warns of fraud
    refund: str | None = None  # `pending` for a day, or `fails` days later


# https://docs.stripe.com/billing/revenue-recovery/smart-retries
_HARD: Final = frozenset({
    "authentication_required", "highest_risk_level", "incorrect_number", "lost_card",
    "pickup_card", "revocation_of_all_authorizations", "revocation_of_authorization",
    "stolen_card", "transaction_not_allowed",
})  # fmt: skip

GENERIC: Final = Decline("card_declined", "generic_decline", "Your card was declined.")
_FUNDS = Decline(
    "card_declined", "insufficient_funds", "Your card has insufficient funds.", "try_again_later"
)
_LOST = Decline("card_declined", "lost_card", "Your card was declined.", "do_not_try_again")
_STOLEN = Decline("card_declined", "stolen_card", "Your card was declined.", "do_not_try_again")
_EXPIRED = Decline("expired_card", "expired_card", "Your card has expired.", "do_not_try_again")
_CVC = Decline(
    "incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.",
    "confirm_card_data",
)  # fmt: skip
_PROCESSING = Decline(
    "processing_error",
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
)
_RADAR = Decline(
    "card_declined", "fraudulent", "Your card was declined.", "do_not_try_again", blocked=True
)

AUTHENTICATION: Final = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
    "try_again_later",
)
_HONOR = Decline("card_declined", "do_not_honor", "Your card was declined.")
_FORBIDDEN = Decline(
    "card_declined", "transaction_not_allowed", "Your card does not support this type of purchase.",
    "do_not_try_again",
)  # fmt: skip

DECLINES: Final = {
    decline.decline_code: decline
    for decline in (
        GENERIC, _FUNDS, _LOST, _STOLEN, _EXPIRED, _CVC, _PROCESSING, _RADAR, AUTHENTICATION,
        _HONOR, _FORBIDDEN,
    )
}  # fmt: skip

CARDS: Final = (
    Card("4242424242424242", "Succeeds"),
    Card("5555555555554444", "Succeeds (Mastercard)", brand="mastercard"),
    Card("378282246310005", "Succeeds (American Express)", brand="amex"),
    Card("4000006430000009", "Succeeds (Russia)", country="RU"),
    Card("4000001120000005", "Succeeds (Belarus)", country="BY"),
    Card("4000000000000002", "Declined by the bank", decline=GENERIC),
    Card("4000000000009995", "Declined: insufficient funds", decline=_FUNDS),
    Card("4000000000009987", "Declined: lost card", decline=_LOST),
    Card("4000000000009979", "Declined: stolen card", decline=_STOLEN),
    Card("4000000000000069", "Declined: expired card", decline=_EXPIRED),
    Card("4000000000000127", "Declined: incorrect security code", decline=_CVC),
    Card("4000000000000119", "Declined: processing error", decline=_PROCESSING),
    Card("4000002500003155", "Asks for 3-D Secure, then succeeds", country="FR", secure=True,
         later=AUTHENTICATION, remembers=True),
    Card("4000002760003184", "Always asks for 3-D Secure", country="DE", secure=True,
         later=AUTHENTICATION),
    Card("4000000000003220", "Asks for 3-D Secure 2", secure=True, later=AUTHENTICATION),
    Card("4000008260003178", "Asks for 3-D Secure, then insufficient funds", secure=True,
         later=_FUNDS, after_question=_FUNDS),
    Card("4000000000000341", "First payment succeeds, renewals fail", later=GENERIC),
    Card("4100000000000019", "Blocked by Radar as fraudulent", decline=_RADAR),
    Card("4000000000000259", "Succeeds, then disputed as fraudulent", disputed="fraudulent"),
    Card("4000000000002685", "Succeeds, then disputed as not received",
         disputed="product_not_received"),
    Card("4000000000001976", "Succeeds, then the bank inquires", disputed="fraudulent",
         inquiry=True),
    Card("4000000000005423", "Succeeds, then a warning of fraud", warned=True),
    Card("4000000000007726", "Succeeds; its refund takes a day", refund="pending"),
    Card("4000000000005126", "Succeeds; its refund fails later", refund="fails"),
    Card("4000000000000077", "Succeeds, funds available at once", bypasses_pending=True),
)  # fmt: skip

BY_NUMBER: Final = {card.number: card for card in CARDS}

_NAMES: Final = {
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


def named(name: str) -> Card | None:
    """The card behind `tok_visa` or `pm_card_visa`."""
    for prefix in ("pm_card_", "tok_"):
        if name.startswith(prefix):
            return BY_NUMBER.get(_NAMES.get(name.removeprefix(prefix), ""))
    return None


def passes_luhn(number: str) -> bool:
    """Whether the check digit fits."""
    digits = [int(digit) for digit in reversed(number)]
    total = sum(digits[0::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return total % 10 == 0


def error_of(decline: Decline, charge_id: str) -> Obj:
    """The decline as Stripe words it in errors and in `last_payment_error`."""
    return {
        "advice_code": decline.advice,
        "charge": charge_id,
        "code": decline.code,
        "decline_code": decline.decline_code,
        "doc_url": f"https://stripe.com/docs/error-codes/{decline.code.replace('_', '-')}",
        "message": decline.message,
    }
