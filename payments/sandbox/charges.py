"""Charges: single attempts to take money, successful or not.

A card charge succeeds or fails at once, with no balance transaction yet: as with Stripe's
asynchronous capture, the transaction, the fee and `charge.updated` follow a moment later.
https://docs.stripe.com/payments/payment-intents/asynchronous-capture
"""

from datetime import timedelta
from typing import Final

from payments.sandbox import (
    balance,
    cards,
    currencies,
    legacy_sources,
    listing,
    payment_methods,
    sepa_debit,
    three_d_secure,
)
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.account_settings import calculated_statement_descriptor
from payments.sandbox.cards import Decline
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route

_APPROVED_OUTCOME: Final[JsonObject] = {
    "advice_code": None,
    "network_advice_code": None,
    "network_decline_code": None,
    "network_status": "approved_by_network",
    "reason": None,
    "risk_level": "normal",
    "risk_score": 12,
    "seller_message": "Payment complete.",
    "type": "authorized",
}

_RISK_SCORES: Final = {"normal": 12, "elevated": 68, "highest": 92}

add_list_and_retrieve_routes(
    "charge",
    "/v1/charges",
    {"customer": listing.equals("customer"), "payment_intent": listing.equals("payment_intent")},
)


@route("POST", "/v1/charges/{}", reads=("description", "metadata", "receipt_email"))
def update(call: Call) -> JsonObject:
    """Update a charge's metadata, description or receipt address."""
    charge, params = call.get_object("charge"), call.params
    changes: JsonObject = {"metadata": read.merge_metadata(charge["metadata"], params)}
    if "description" in params:
        changes["description"] = read.text(params, "description")
    if "receipt_email" in params:
        changes["receipt_email"] = read.email(params, "receipt_email")
    call.account.update_and_emit(charge, "charge.updated", **changes)
    return charge


def charge_card(
    account: StripeAccount, intent: JsonObject, method: JsonObject, decline: Decline | None
) -> JsonObject:
    """Charge a card for a payment intent; `decline` is the outcome, None for success."""
    status = "succeeded" if decline is None else "failed"
    charge = make(account, intent, method, decline, status=status)
    account.emit(f"charge.{status}", charge)
    if decline is not None:
        return charge
    if payment_methods.sandbox_card_of(account, method).bypasses_pending:
        capture(account, charge["id"])
    else:
        account.schedule_in(account.capture_delay, "capture_charge", charge["id"])
    return charge


def make(
    account: StripeAccount,
    intent: JsonObject,
    method: JsonObject,
    decline: Decline | None,
    *,
    status: str,
) -> JsonObject:
    """Create a charge, emitting nothing. Its id begins with `ch_` for cards, else with `py_`."""
    paid, is_card = status == "succeeded", method["type"] == "card"
    details = (
        _card_details(account, intent, method)
        if is_card
        else sepa_debit.charge_details(account, method)
    )
    charge = account.create_object(
        "ch" if is_card else "py",
        "charge",
        {
            "amount": intent["amount"],
            "amount_captured": intent["amount"] if paid else 0,
            "amount_refunded": 0,
            "application": None,
            "application_fee": None,
            "application_fee_amount": None,
            "balance_transaction": None,
            "billing_details": method["billing_details"],
            "calculated_statement_descriptor": calculated_statement_descriptor(
                account, intent["statement_descriptor_suffix"]
            ),
            "captured": paid,
            "currency": intent["currency"],
            "customer": intent["customer"],
            "description": intent["description"],
            "disputed": False,
            "failure_balance_transaction": None,
            "failure_code": decline.code if decline else None,
            "failure_message": decline.message if decline else None,
            "fraud_details": {},
            "metadata": dict(intent["metadata"]),
            "on_behalf_of": None,
            "outcome": _outcome(decline) if decline else _approved(account, method),
            "paid": paid,
            "payment_intent": intent["id"],
            "payment_method": method["id"],
            "payment_method_details": {method["type"]: details, "type": method["type"]},
            "radar_options": {},
            "receipt_email": intent["receipt_email"],
            "receipt_number": None,
            "receipt_url": None,
            "refunded": False,
            "review": None,
            "shipping": intent["shipping"],
            "source": legacy_sources.charged_source(account, method),
            "source_transfer": None,
            "statement_descriptor": None,
            "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
            "status": status,
            "transfer_data": None,
            "transfer_group": None,
        },
    )
    account.store.link("charge", "payment_intent", intent["id"], charge["id"])
    if intent["customer"]:
        account.store.link("charge", "customer", intent["customer"], charge["id"])
    if paid:
        charge["receipt_url"] = f"{account.base_url}/receipts/{charge['id']}"
    return charge


@when_due("capture_charge")
def capture(account: StripeAccount, charge_id: str) -> None:
    """Create the charge's balance transaction and emit `charge.updated`; only once."""
    charge = account.store.objects[charge_id]
    if charge["balance_transaction"] is not None:
        return
    amount, rate = balance.to_settlement(account, charge["amount"], charge["currency"])
    currency = currencies.settlement_currency(charge["currency"])
    method = account.store.objects[charge["payment_method"]]
    card = payment_methods.sandbox_card_of(account, method)
    now = account.clock.timestamp()
    row = balance.create_transaction(
        account,
        {
            "type": "charge",
            "amount": amount,
            "currency": currency,
            "fee": currencies.processing_fee(amount, currency),
            "exchange_rate": rate,
            "source": charge_id,
            "description": charge["description"],
            "available_on": now if card.bypasses_pending else balance.default_available_on(account),
        },
    )
    if account.store.private(charge["payment_intent"]).get("invoice"):
        balance.add_billing_volume(account, amount, currency)
    account.update_and_emit(charge, "charge.updated", balance_transaction=row["id"])
    if card.dispute_reason:
        account.schedule_in(timedelta(0), "create_dispute", charge_id)
    if card.early_fraud_warning:
        account.schedule_in(timedelta(0), "create_fraud_warning", charge_id)


def payment_error(account: StripeAccount, charge: JsonObject, decline: Decline) -> JsonObject:
    """Return the error of a failed charge, as `last_payment_error` holds it."""
    method = account.store.objects[charge["payment_method"]]
    return {
        "type": "card_error" if method["type"] == "card" else "invalid_request_error",
        **cards.error_fields(decline, charge["id"]),
        "payment_method": dict(method),
    }


def _approved(account: StripeAccount, method: JsonObject) -> JsonObject:
    if method["type"] != "card":
        return _APPROVED_OUTCOME
    level = payment_methods.sandbox_card_of(account, method).risk_level
    return {**_APPROVED_OUTCOME, "risk_level": level, "risk_score": _RISK_SCORES[level]}


def _outcome(decline: Decline) -> JsonObject:
    outcome = {**_APPROVED_OUTCOME, "advice_code": decline.advice_code}
    if decline.blocked_by_radar:
        return {
            **outcome,
            "network_status": "not_sent_to_network",
            "reason": "highest_risk_level",
            "risk_level": "highest",
            "risk_score": 92,
            "seller_message": "Stripe blocked this payment as too risky.",
            "type": "blocked",
        }
    return {
        **outcome,
        "network_status": "declined_by_network",
        "reason": decline.decline_code,
        "seller_message": "The bank did not return any further details with this decline.",
        "type": "issuer_declined",
    }


def _card_details(account: StripeAccount, intent: JsonObject, method: JsonObject) -> JsonObject:
    card = method["card"]
    names = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding",
             "last4", "regulated_status", "wallet")  # fmt: skip
    return {
        **{name: card[name] for name in names},
        "amount_authorized": intent["amount"],
        "authorization_code": None,
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card["brand"],
        "network_token": {"used": False},
        "network_transaction_id": None,
        "overcapture": {"maximum_amount_capturable": intent["amount"], "status": "unavailable"},
        "three_d_secure": three_d_secure.taken_for_charge(account, intent),
        "transaction_link_id": None,
    }
