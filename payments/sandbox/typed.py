"""What a donor types on a page: an e-mail address, a name, and a card or a bank account.

Only Stripe's test numbers are taken, so that nobody's real card is ever typed to any effect. What
is wrong is said at its field, in plain words.
"""

import re
from dataclasses import dataclass
from datetime import UTC
from typing import Final

from payments.sandbox import cards, debits, payment_methods
from payments.sandbox.account import Account
from payments.sandbox.cards import Card, Decline
from payments.sandbox.debits import Debit
from payments.sandbox.wire import Obj

FIELDS: Final = ("email", "card", "expiry", "cvc", "iban", "name")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_FIELD_OF: Final = {
    "expired_card": "expiry",
    "incorrect_cvc": "cvc",
}


@dataclass(frozen=True)
class Payer:
    """Who the donor says they are."""

    email: str | None
    name: str | None


@dataclass(frozen=True)
class Typed:
    """What a form held that can be used."""

    payer: Payer
    means: Card | Debit
    month: int = 0
    year: int = 0

    def as_method(self, account: Account) -> Obj:
        """The card or account just typed, as a payment method of nobody's."""
        payer = {"email": self.payer.email, "name": self.payer.name}
        if isinstance(self.means, Debit):
            return payment_methods.make_debit(account, self.means, payer)
        method = payment_methods.make(account, self.means, payer)
        method["card"] |= {"exp_month": self.month, "exp_year": self.year}
        return method


def read(
    account: Account, form: dict[str, str], known_email: str | None, *, debit: bool
) -> Typed | dict[str, str]:
    """What was typed; or, by field, what is wrong with it."""
    errors: dict[str, str] = {}
    email = (known_email or form.get("email", "")).strip()
    if not _EMAIL.fullmatch(email):
        errors["email"] = "Enter an e-mail address, such as name@example.com."
    name = form.get("name", "").strip()
    means: Card | Debit | None
    month = year = 0
    if debit and form.get("iban", "").strip():
        means = _account(form["iban"], errors)
    else:
        means = _card(form.get("card", ""), errors)
        month, year = _expiry(account, form.get("expiry", ""), errors)
        if not re.fullmatch(r"\d{3,4}", form.get("cvc", "").strip()):
            errors["cvc"] = "Enter the security code: the three or four digits on your card."
    if not name:
        errors["name"] = "Enter your name, as the bank has it."
    if errors or means is None:
        return errors
    return Typed(Payer(email, name), means, month, year)


def at_its_field(decline: Decline) -> dict[str, str]:
    """Where on the form to say what the bank said."""
    message = f"{decline.message} Nothing was charged."
    return {_FIELD_OF.get(decline.code, "card"): message}


def _account(typed: str, errors: dict[str, str]) -> Debit | None:
    iban = re.sub(r"[\s-]", "", typed).upper()
    debit = debits.BY_IBAN.get(iban)
    if not debits.is_iban(iban):
        errors["iban"] = "Your account number (IBAN) is not valid. Check the digits."
    elif debit is None:
        errors["iban"] = "This stand-in takes Stripe's test accounts only. See the list below."
    return debit


def _card(typed: str, errors: dict[str, str]) -> Card | None:
    number = re.sub(r"[\s-]", "", typed)
    card = cards.BY_NUMBER.get(number)
    if not number:
        errors["card"] = "Enter your card number."
    elif not number.isdigit() or not cards.passes_luhn(number):
        errors["card"] = "Your card number is not valid. Check the digits."
    elif card is None:
        errors["card"] = "This stand-in takes Stripe's test cards only. See the list below."
    return card


def _expiry(account: Account, typed: str, errors: dict[str, str]) -> tuple[int, int]:
    found = re.fullmatch(r"\s*(\d{1,2})\s*/?\s*(\d{2}|\d{4})\s*", typed)
    month, year = (int(found[1]), int(found[2]) % 100 + 2000) if found else (0, 0)
    if not 1 <= month <= 12:
        errors["expiry"] = "Enter the expiry date as month and year, such as 08/34."
        return 0, 0
    today = account.clock.now().astimezone(UTC)
    if (year, month) < (today.year, today.month):
        errors["expiry"] = "Your card's expiry date is in the past."
    return month, year
