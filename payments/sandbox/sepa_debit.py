"""Bank debits: an account number instead of a card, and days until the bank answers.

SEPA Direct Debit, by Stripe's test numbers and one of our own for what Stripe has no number for:
a debit that succeeds and is returned later. As with cards the number itself is not kept.
"""

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from payments.sandbox.account import StripeAccount
from payments.sandbox.cards import Decline
from payments.sandbox.form_encoding import JsonObject

DEBIT_CURRENCY: Final = "eur"
DEBIT_FEE: Final = 35  # cents, whatever the amount


class DebitOutcome(StrEnum):
    """What becomes of a debit."""

    SUCCEEDS = "succeeds"
    FAILS = "fails"
    RETURNS = "returns"  # succeeds, and is taken back later


@dataclass(frozen=True)
class BankAccount:
    """A test account and how it behaves."""

    iban: str
    label: str
    outcome: DebitOutcome


BANK_ACCOUNTS: Final = (
    BankAccount("AT611904300234573201", "Succeeds after three days", DebitOutcome.SUCCEEDS),
    BankAccount("AT321904300235473204", "Succeeds after three days, too", DebitOutcome.SUCCEEDS),
    BankAccount("AT861904300235473202", "Fails after three days", DebitOutcome.FAILS),
    BankAccount(
        "AT911904300235473209", "Succeeds, and is returned a week later", DebitOutcome.RETURNS
    ),
)
BY_IBAN: Final = {debit.iban: debit for debit in BANK_ACCOUNTS}

DEBIT_FAILED: Final = Decline(
    "payment_intent_payment_attempt_failed",
    "insufficient_funds",
    "The payment failed.",
)


def public_fields(iban: str) -> JsonObject:
    """What may be shown of an account: `sepa_debit` on a payment method."""
    return {
        "bank_code": iban[4:9],
        "branch_code": None,
        "country": iban[:2],
        "fingerprint": hashlib.sha256(iban.encode()).hexdigest()[:16],
        "generated_from": {"charge": None, "setup_attempt": None},
        "last4": iban[-4:],
    }


def charge_details(account: StripeAccount, method: JsonObject) -> JsonObject:
    """What a charge says of the account it debits, and of the mandate that allows it."""
    names = ("bank_code", "branch_code", "country", "fingerprint", "last4")
    shown = {name: method["sepa_debit"][name] for name in names}
    day = account.clock.now()
    return {
        **shown,
        "expected_debit_date": f"{day:%Y-%m-%d}",
        "mandate": mandate_of(account, method)["id"],
    }


def outcome_of(account: StripeAccount, method: JsonObject) -> DebitOutcome:
    """What will become of a debit made now."""
    private = account.store.private(method["id"])
    return DebitOutcome.FAILS if private.get("failing") else BY_IBAN[private["number"]].outcome


def mandate_of(account: StripeAccount, method: JsonObject) -> JsonObject:
    """The donor's leave to debit the account, given once."""
    private = account.store.private(method["id"])
    if "mandate" not in private:
        mandate = account.create_object("mandate", "mandate", _mandate_fields(account, method))
        del mandate["created"]
        private["mandate"] = mandate["id"]
    return account.store.objects[private["mandate"]]


def revoke_mandate(account: StripeAccount, method: JsonObject) -> None:
    """The donor takes back their leave: what is debited from now on fails."""
    account.store.private(method["id"])["failing"] = "debit_not_authorized"
    mandate = mandate_of(account, method)
    account.update_and_emit(mandate, "mandate.updated", status="inactive")


def is_iban(text: str) -> bool:
    """Whether the check digits of an account number fit."""
    if not re.fullmatch(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}", text):
        return False
    turned = text[4:] + text[:4]
    return int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1


def _mandate_fields(account: StripeAccount, method: JsonObject) -> JsonObject:
    reference = account.store.new_id("x", 16)[2:].upper()
    url = f"{account.base_url}/mandates/{reference}"
    return {
        "customer_acceptance": {
            "accepted_at": account.clock.timestamp(),
            "online": {"ip_address": "127.0.0.1", "user_agent": "sandbox"},
            "type": "online",
        },
        "multi_use": {},
        "payment_method": method["id"],
        "payment_method_details": {
            "sepa_debit": {"reference": reference, "url": url},
            "type": "sepa_debit",
        },
        "status": "active",
        "type": "multi_use",
    }
