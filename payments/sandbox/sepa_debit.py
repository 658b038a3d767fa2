"""SEPA Direct Debit: test bank accounts and mandates.

The test numbers are Stripe's, apart from one for a debit that succeeds and is returned later, for
which Stripe has none. https://docs.stripe.com/payments/sepa-debit
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
DEBIT_FEE: Final = 35  # euro cents, whatever the amount


class DebitOutcome(StrEnum):
    """The outcome of a debit."""

    SUCCEEDS = "succeeds"
    FAILS = "fails"
    RETURNS = "returns"  # succeeds, and is returned later


@dataclass(frozen=True)
class BankAccount:
    """A test bank account and how its debits end."""

    iban: str
    label: str
    outcome: DebitOutcome


BANK_ACCOUNTS: Final = (
    BankAccount("AT611904300234573201", "Succeeds after three days", DebitOutcome.SUCCEEDS),
    BankAccount("AT321904300235473204", "Succeeds after three days, too", DebitOutcome.SUCCEEDS),
    BankAccount("AT861904300235473202", "Fails after three days", DebitOutcome.FAILS),
    BankAccount(
        "IT60X0542811101000000123456", "Fails, as Stripe's own client expects", DebitOutcome.FAILS
    ),
    BankAccount(
        "AT911904300235473209", "Succeeds, and is returned a week later", DebitOutcome.RETURNS
    ),
)
BY_IBAN: Final = {bank_account.iban: bank_account for bank_account in BANK_ACCOUNTS}

DEBIT_FAILED: Final = Decline(
    "payment_intent_payment_attempt_failed",
    "insufficient_funds",
    "The payment failed.",
)


def public_fields(iban: str) -> JsonObject:
    """Return the `sepa_debit` of a payment method, which does not show the IBAN."""
    return {
        "bank_code": iban[4:9],
        "branch_code": None,
        "country": iban[:2],
        "fingerprint": hashlib.sha256(iban.encode()).hexdigest()[:16],
        "generated_from": {"charge": None, "setup_attempt": None},
        "last4": iban[-4:],
    }


def charge_details(account: StripeAccount, method: JsonObject) -> JsonObject:
    """Return a charge's details of the debited account and its mandate."""
    names = ("bank_code", "branch_code", "country", "fingerprint", "last4")
    return {
        **{name: method["sepa_debit"][name] for name in names},
        "expected_debit_date": f"{account.clock.now():%Y-%m-%d}",
        "mandate": mandate_of(account, method)["id"],
    }


def outcome_of(account: StripeAccount, method: JsonObject) -> DebitOutcome:
    """Return the outcome of a debit made now."""
    private = account.store.private(method["id"])
    if private.get("forced_decline"):
        return DebitOutcome.FAILS
    return BY_IBAN[private["number"]].outcome


def mandate_of(account: StripeAccount, method: JsonObject) -> JsonObject:
    """Return a payment method's mandate, creating it when it is first needed."""
    private = account.store.private(method["id"])
    if "mandate" not in private:
        mandate = account.create_object("mandate", "mandate", _mandate_fields(account, method))
        del mandate["created"]
        reference = mandate["payment_method_details"]["sepa_debit"]["reference"]
        account.store.link("mandate", "reference", reference, mandate["id"])
        private["mandate"] = mandate["id"]
    return account.store.objects[private["mandate"]]


def revoke_mandate(account: StripeAccount, method: JsonObject) -> None:
    """Revoke a payment method's mandate: later debits fail."""
    account.store.private(method["id"])["forced_decline"] = "debit_not_authorized"
    mandate = mandate_of(account, method)
    account.update_and_emit(mandate, "mandate.updated", status="inactive")


def is_iban(text: str) -> bool:
    """Return whether an IBAN has valid check digits (ISO 13616)."""
    if not re.fullmatch(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}", text):
        return False
    rearranged = text[4:] + text[:4]
    return int("".join(str(int(character, 36)) for character in rearranged)) % 97 == 1


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
