"""Charges: attempts to take money, each once, successful or not.

The bank answers at once; the money follows. A charge succeeds with no balance transaction; its
capture, a moment later, brings the transaction, the fee and `charge.updated`.
"""

from datetime import timedelta
from typing import Final

from payments.sandbox import balance, cards, currencies, listing, payment_methods, sepa_debit
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount, when_due
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

add_list_and_retrieve_routes(
    "charge",
    "/v1/charges",
    {"customer": listing.equals("customer"), "payment_intent": listing.equals("payment_intent")},
)


@route("POST", "/v1/charges/{}")
def update(call: Call) -> JsonObject:
    charge, params = call.get_object("charge"), call.params
    changes: JsonObject = {"metadata": read.merge_metadata(charge["metadata"], params)}
    for name in ("description", "receipt_email"):
        if name in params:
            changes[name] = read.text(params, name)
    call.account.update_and_emit(charge, "charge.updated", **changes)
    return charge


def charge_card(
    account: StripeAccount, intent: JsonObject, method: JsonObject, decline: Decline | None
) -> JsonObject:
    """Charge a card for a payment intent; the bank's answer is already known."""
    paid = decline is None
    charge = make(account, intent, method, decline, status="succeeded" if paid else "failed")
    account.emit("charge.succeeded" if paid else "charge.failed", charge)
    if paid and payment_methods.sandbox_card_of(account, method).bypasses_pending:
        capture(account, charge["id"])
    elif paid:
        account.schedule_in(account.capture_delay, "capture", charge["id"])
    return charge


def make(
    account: StripeAccount,
    intent: JsonObject,
    method: JsonObject,
    decline: Decline | None,
    *,
    status: str,
) -> JsonObject:
    """A charge, not yet told of: `ch_` when it is to a card, `py_` when it is not."""
    paid, is_card = status == "succeeded", method["type"] == "card"
    details = (
        _card_details(intent, method) if is_card else sepa_debit.charge_details(account, method)
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
            "calculated_statement_descriptor": _statement_descriptor(intent),
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
            "outcome": _outcome(decline) if decline else _APPROVED_OUTCOME,
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
            "source": None,
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


@when_due("capture")
def capture(account: StripeAccount, charge_id: str) -> None:
    """Bring the charge's money into the balance, less the fee."""
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
        account.schedule_in(timedelta(0), "bank_disputes", charge_id)
    if card.early_fraud_warning:
        account.schedule_in(timedelta(0), "network_warns", charge_id)


def payment_error(account: StripeAccount, charge: JsonObject, decline: Decline) -> JsonObject:
    """What Stripe says of a charge that failed."""
    method = account.store.objects[charge["payment_method"]]
    return {
        "type": "card_error" if method["type"] == "card" else "invalid_request_error",
        **cards.error_fields(decline, charge["id"]),
        "payment_method": dict(method),
    }


def _outcome(decline: Decline) -> JsonObject:
    return {
        **_APPROVED_OUTCOME,
        "advice_code": decline.advice_code,
        "network_status": "not_sent_to_network"
        if decline.blocked_by_radar
        else "declined_by_network",
        "reason": "highest_risk_level" if decline.blocked_by_radar else decline.decline_code,
        "risk_level": "highest" if decline.blocked_by_radar else "normal",
        "risk_score": 92 if decline.blocked_by_radar else 12,
        "seller_message": (
            "Stripe blocked this payment as too risky."
            if decline.blocked_by_radar
            else "The bank did not return any further details with this decline."
        ),
        "type": "blocked" if decline.blocked_by_radar else "issuer_declined",
    }


def _card_details(intent: JsonObject, method: JsonObject) -> JsonObject:
    card = method["card"]
    shown = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding",
             "last4", "regulated_status", "wallet")  # fmt: skip
    return {
        **{name: card[name] for name in shown},
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
        "three_d_secure": None,
        "transaction_link_id": None,
    }


def _statement_descriptor(intent: JsonObject) -> str:
    suffix = intent["statement_descriptor_suffix"]
    return f"NEWSROOM* {suffix}"[:22] if suffix else "NEWSROOM"
