"""What requests say of cards and bank accounts; only Stripe's test numbers and tokens are known."""

import re
from typing import Final

from payments.sandbox import cards, sepa_debit
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount
from payments.sandbox.cards import SandboxCard
from payments.sandbox.errors import (
    ApiError,
    card_error,
    invalid_request,
    missing_param,
    not_found,
    unsupported,
)
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.sepa_debit import BankAccount

TYPES: Final = ("card", "sepa_debit")


def types_in(params: JsonObject) -> list[str]:
    """Return the `payment_method_types` of a request older than endive; all without them."""
    types = read.array(params, "payment_method_types")
    for name in types:
        if name not in TYPES:
            raise unsupported(f"payment_method_types={name}")
    return types or list(TYPES)


def expiry(account: StripeAccount, params: JsonObject, present: JsonObject) -> JsonObject:
    """Return a card's expiry; what the request does not name stays. Raises ApiError, a 402."""
    dates: JsonObject = {}
    for name in ("exp_month", "exp_year"):
        value = read.integer(params, name)
        dates[name] = present.get(name) if value is None else value
        if dates[name] is None:
            raise missing_param(f"card[{name}]")
    now = account.clock.now()
    if not 1 <= dates["exp_month"] <= 12:
        raise _card_field_error("invalid_expiry_month", "exp_month", "expiration month is invalid")
    if (dates["exp_year"], dates["exp_month"]) < (now.year, now.month):
        raise _card_field_error("invalid_expiry_year", "exp_year", "expiration year is invalid")
    return dates


def cvc(params: JsonObject) -> str | None:
    """Return a card's security code, or None. Raises ApiError, a 402."""
    code = read.text(params, "cvc")
    if code is not None and not re.fullmatch(r"\d{3,4}", code):
        raise _card_field_error("invalid_cvc", "cvc", "security code is invalid")
    return code


def _card_field_error(code: str, param: str, problem: str) -> ApiError:
    return card_error({"code": code, "message": f"Your card's {problem}.", "param": param})


def bank_account(iban: str) -> BankAccount:
    """Return the test account of an IBAN. Raises ApiError when there is none such."""
    found = sepa_debit.BY_IBAN.get(iban)
    if found is None:
        message = f"The IBAN you provided is not valid: {iban[:4]}…"
        raise invalid_request(message, "sepa_debit[iban]", "invalid_bank_account_iban")
    return found


def card_of_token(token: object, param: str) -> SandboxCard:
    """Return the card of a token such as `tok_visa`. Raises ApiError for any other text."""
    card = cards.card_by_token(str(token), "tok_")
    if card is None:
        raise not_found("token", str(token), param)
    return card


def card_of_number(params: JsonObject) -> SandboxCard:
    """Return the card of a test number. Raises ApiError, a 402, for any other number."""
    number = read.required(params, "number").replace(" ", "")
    card = cards.BY_NUMBER.get(number)
    if card is None:
        message = "Your card number is incorrect."
        raise card_error({"code": "incorrect_number", "message": message, "param": "number"})
    return card
