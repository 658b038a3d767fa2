"""Bank debits: an account number instead of a card, and days until the bank answers.

SEPA Direct Debit, by Stripe's test numbers and one of our own for what Stripe has no number for:
a debit that succeeds and is returned later. As with cards the number itself is not kept.
"""

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from payments.sandbox.account import Account
from payments.sandbox.cards import Decline
from payments.sandbox.wire import Obj

CURRENCY: Final = "eur"
FEE: Final = 35  # cents, whatever the amount


class Outcome(StrEnum):
    """What becomes of a debit."""

    SUCCEEDS = "succeeds"
    FAILS = "fails"
    RETURNS = "returns"  # succeeds, and is taken back later


@dataclass(frozen=True)
class Debit:
    """A test account and how it behaves."""

    iban: str
    label: str
    outcome: Outcome


DEBITS: Final = (
    Debit("AT611904300234573201", "Succeeds after three days", Outcome.SUCCEEDS),
    Debit("AT321904300235473204", "Succeeds after three days, too", Outcome.SUCCEEDS),
    Debit("AT861904300235473202", "Fails after three days", Outcome.FAILS),
    Debit("AT911904300235473209", "Succeeds, and is returned a week later", Outcome.RETURNS),
)
BY_IBAN: Final = {debit.iban: debit for debit in DEBITS}

FAILED: Final = Decline(
    "payment_intent_payment_attempt_failed",
    "insufficient_funds",
    "The payment failed.",
)


def shown(iban: str) -> Obj:
    """What may be shown of an account: `sepa_debit` on a payment method."""
    return {
        "bank_code": iban[4:9],
        "branch_code": None,
        "country": iban[:2],
        "fingerprint": hashlib.sha256(iban.encode()).hexdigest()[:16],
        "generated_from": {"charge": None, "setup_attempt": None},
        "last4": iban[-4:],
    }


def details(account: Account, method: Obj) -> Obj:
    """What a charge says of the account it debits, and of the mandate that allows it."""
    names = ("bank_code", "branch_code", "country", "fingerprint", "last4")
    shown = {name: method["sepa_debit"][name] for name in names}
    day = account.clock.now()
    return {
        **shown,
        "expected_debit_date": f"{day:%Y-%m-%d}",
        "mandate": mandate_of(account, method)["id"],
    }


def outcome_of(account: Account, method: Obj) -> Outcome:
    """What will become of a debit made now."""
    private = account.store.private(method["id"])
    return Outcome.FAILS if private.get("failing") else BY_IBAN[private["number"]].outcome


def mandate_of(account: Account, method: Obj) -> Obj:
    """The donor's leave to debit the account, given once."""
    private = account.store.private(method["id"])
    if "mandate" not in private:
        mandate = account.make("mandate", "mandate", _mandate(account, method))
        del mandate["created"]
        private["mandate"] = mandate["id"]
    return account.store.objects[private["mandate"]]


def revoke(account: Account, method: Obj) -> None:
    """The donor takes back their leave: what is debited from now on fails."""
    account.store.private(method["id"])["failing"] = "debit_not_authorized"
    mandate = mandate_of(account, method)
    account.update(mandate, "mandate.updated", status="inactive")


def is_iban(text: str) -> bool:
    """Whether the check digits of an account number fit."""
    if not re.fullmatch(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}", text):
        return False
    turned = text[4:] + text[:4]
    return int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1


def _mandate(account: Account, method: Obj) -> Obj:
    reference = account.store.mint("x", 16)[2:].upper()
    url = f"{account.base_url}/mandates/{reference}"
    return {
        "customer_acceptance": {
            "accepted_at": account.clock.stamp(),
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
