"""The payment form of the hosted pages: an e-mail address, a name, and a card or a bank account.

Only Stripe's test numbers are accepted, so that a real card has no effect. Each error belongs to a
field.
"""

import re
from dataclasses import dataclass
from datetime import UTC
from typing import Final

from payments.sandbox import cards, payment_methods, sepa_debit
from payments.sandbox.account import StripeAccount
from payments.sandbox.cards import Decline, SandboxCard
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.sepa_debit import BankAccount

FORM_FIELDS: Final = ("amount", "email", "card", "expiry", "cvc", "iban", "name")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_FIELD_BY_DECLINE_CODE: Final = {
    "expired_card": "expiry",
    "incorrect_cvc": "cvc",
}


@dataclass(frozen=True)
class Payer:
    """The e-mail address and name that were entered."""

    email: str | None
    name: str | None


@dataclass(frozen=True)
class PaymentForm:
    """A valid form; a bank account has no expiry date."""

    payer: Payer
    payment_source: SandboxCard | BankAccount
    exp_month: int = 0
    exp_year: int = 0

    def create_payment_method(self, account: StripeAccount) -> JsonObject:
        """Create a payment method, attached to no customer."""
        payer = {"email": self.payer.email, "name": self.payer.name}
        if isinstance(self.payment_source, BankAccount):
            return payment_methods.make_sepa_debit(account, self.payment_source, payer)
        method = payment_methods.make(account, self.payment_source, payer)
        method["card"] |= {"exp_month": self.exp_month, "exp_year": self.exp_year}
        return method


def parse(
    account: StripeAccount, form: dict[str, str], known_email: str | None, *, takes_debit: bool
) -> PaymentForm | dict[str, str]:
    """Return the valid form, or error messages by field. `known_email` overrides the form's."""
    errors: dict[str, str] = {}
    email = (known_email or form.get("email", "")).strip()
    if not _EMAIL.fullmatch(email):
        errors["email"] = "Enter an e-mail address, such as name@example.com."
    name = form.get("name", "").strip()
    source: SandboxCard | BankAccount | None
    month = year = 0
    if takes_debit and form.get("iban", "").strip():
        source = _parse_iban(form["iban"], errors)
    else:
        source = _parse_card_number(form.get("card", ""), errors)
        month, year = _parse_expiry(account, form.get("expiry", ""), errors)
        if not re.fullmatch(r"\d{3,4}", form.get("cvc", "").strip()):
            errors["cvc"] = "Enter the security code: the three or four digits on your card."
    if not name:
        errors["name"] = "Enter your name, as the bank has it."
    if errors or source is None:
        return errors
    return PaymentForm(Payer(email, name), source, month, year)


def decline_errors(decline: Decline) -> dict[str, str]:
    """Return the message of a decline by the form field that it concerns."""
    message = f"{decline.message} Nothing was charged."
    return {_FIELD_BY_DECLINE_CODE.get(decline.code, "card"): message}


def _parse_iban(text: str, errors: dict[str, str]) -> BankAccount | None:
    iban = re.sub(r"[\s-]", "", text).upper()
    bank_account = sepa_debit.BY_IBAN.get(iban)
    if not sepa_debit.is_iban(iban):
        errors["iban"] = "Your account number (IBAN) is not valid. Check the digits."
    elif bank_account is None:
        errors["iban"] = "This stand-in takes Stripe's test accounts only. See the list below."
    return bank_account


def _parse_card_number(text: str, errors: dict[str, str]) -> SandboxCard | None:
    number = re.sub(r"[\s-]", "", text)
    card = cards.BY_NUMBER.get(number)
    if not number:
        errors["card"] = "Enter your card number."
    elif not number.isdigit() or not cards.passes_luhn(number):
        errors["card"] = "Your card number is not valid. Check the digits."
    elif card is None:
        errors["card"] = "This stand-in takes Stripe's test cards only. See the list below."
    return card


def _parse_expiry(account: StripeAccount, text: str, errors: dict[str, str]) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(\d{1,2})\s*/?\s*(\d{2}|\d{4})\s*", text)
    month, year = (int(match[1]), int(match[2]) % 100 + 2000) if match else (0, 0)
    if not 1 <= month <= 12:
        errors["expiry"] = "Enter the expiry date as month and year, such as 08/34."
        return 0, 0
    today = account.clock.now().astimezone(UTC)
    if (year, month) < (today.year, today.month):
        errors["expiry"] = "Your card's expiry date is in the past."
    return month, year
