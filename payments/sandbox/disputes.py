"""Disputes: a donor's bank takes the money back, or asks about it first; and early fraud warnings.

A dispute takes its amount and a fee out of the balance at once. It waits for evidence until a day;
then, or when the bank has read it, it is won and the amount comes back, or lost. An inquiry takes
nothing and may become a dispute. Evidence that reads `winning_evidence` or `losing_evidence`
decides at once, as in Stripe's own test mode.
"""

from datetime import UTC, timedelta
from typing import Final

from payments.sandbox import balance, charges, currencies, listing, payment_methods
from payments.sandbox import request_params as read
from payments.sandbox.account import StripeAccount, when_due
from payments.sandbox.errors import invalid_request
from payments.sandbox.form_encoding import JsonObject
from payments.sandbox.routes import Call, add_list_and_retrieve_routes, route

EVIDENCE_PERIOD: Final = timedelta(days=14)
INQUIRY_PERIOD: Final = timedelta(days=120)
OPEN_INQUIRY_STATUSES: Final = ("warning_needs_response", "warning_under_review")
_EVIDENCE_FIELDS: Final = (
    "access_activity_log", "billing_address", "cancellation_policy",
    "cancellation_policy_disclosure", "cancellation_rebuttal", "customer_communication",
    "customer_email_address", "customer_name", "customer_purchase_ip", "customer_signature",
    "duplicate_charge_documentation", "duplicate_charge_explanation", "duplicate_charge_id",
    "product_description", "receipt", "refund_policy", "refund_policy_disclosure",
    "refund_refusal_explanation", "service_date", "service_documentation", "shipping_address",
    "shipping_carrier", "shipping_date", "shipping_documentation", "shipping_tracking_number",
    "uncategorized_file", "uncategorized_text",
)  # fmt: skip
_FILTERS: Final = {
    "charge": listing.equals("charge"),
    "payment_intent": listing.equals("payment_intent"),
}

add_list_and_retrieve_routes("dispute", "/v1/disputes", _FILTERS)
add_list_and_retrieve_routes(
    "radar.early_fraud_warning", "/v1/radar/early_fraud_warnings", _FILTERS
)


# --- what the donor's bank does -------------------------------------------------------------------


@when_due("bank_disputes")
def create_from_test_card(account: StripeAccount, charge_id: str) -> None:
    """What the test card's number says."""
    charge = account.store.objects[charge_id]
    card = payment_methods.sandbox_card_of(account, account.store.objects[charge["payment_method"]])
    make(account, charge_id, reason=card.dispute_reason or "general", inquiry=card.inquiry_only)


def make(
    account: StripeAccount,
    charge_id: str,
    *,
    amount: int | None = None,
    reason: str = "fraudulent",
    inquiry: bool = False,
) -> JsonObject:
    """The donor's bank disputes a charge, or a part of it."""
    charge = account.store.objects[charge_id]
    amount = charge["amount"] if amount is None else amount
    if not charge["paid"] or not 1 <= amount <= charge["amount"]:
        raise invalid_request("Only what was paid can be disputed.")
    charges.capture(account, charge_id)
    dispute = account.create_object(
        "dp", "dispute", _fields(account, charge, amount, reason, inquiry)
    )
    account.store.link("dispute", "charge", charge_id, dispute["id"])
    account.store.link("dispute", "payment_intent", charge["payment_intent"], dispute["id"])
    charge["disputed"] = True
    account.emit("charge.dispute.created", dispute)
    account.schedule_at(dispute["evidence_details"]["due_by"], "dispute_is_due", dispute["id"])
    if inquiry:
        account.schedule_in(INQUIRY_PERIOD, "inquiry_ends", dispute["id"])
    else:
        _withdraw_funds(account, dispute)
    close_fraud_warnings(account, charge_id)
    return dispute


def escalate(account: StripeAccount, dispute_id: str) -> None:
    """An inquiry becomes a dispute that takes the money."""
    dispute = account.store.objects[dispute_id]
    if dispute["status"] not in OPEN_INQUIRY_STATUSES:
        raise invalid_request("Only an inquiry that is open can become a dispute.")
    details = {**dispute["evidence_details"], "due_by": _due_by(account)}
    card = {**dispute["payment_method_details"]["card"], "case_type": "chargeback"}
    account.update_and_emit(
        dispute,
        "charge.dispute.updated",
        status="needs_response",
        is_charge_refundable=False,
        evidence_details=details,
        payment_method_details={"card": card, "type": "card"},
    )
    account.schedule_at(details["due_by"], "dispute_is_due", dispute_id)
    _withdraw_funds(account, dispute)


def decide(account: StripeAccount, dispute_id: str, *, won: bool, refund_fee: bool = False) -> None:
    """The bank has decided. A dispute that was lost can still be won on appeal."""
    dispute = account.store.objects[dispute_id]
    is_inquiry = dispute["status"].startswith("warning_")
    if dispute["status"] in ("won", "warning_closed"):
        raise invalid_request("This dispute is closed.")
    word = "warning_closed" if is_inquiry else "won" if won else "lost"
    account.set_fields(dispute, status=word)
    account.emit("charge.dispute.closed", dispute)
    if won and not is_inquiry:
        _reinstate_funds(account, dispute, refund_fee=refund_fee)


@when_due("dispute_is_due")
def expire_evidence_period(account: StripeAccount, dispute_id: str) -> None:
    """Nobody has answered: it is lost."""
    dispute = account.store.objects[dispute_id]
    details = dispute["evidence_details"]
    is_open = dispute["status"] in ("needs_response", "warning_needs_response")
    if not is_open or details["due_by"] > account.clock.timestamp():
        return
    details = {**details, "past_due": True}
    account.update_and_emit(dispute, "charge.dispute.updated", evidence_details=details)
    if dispute["status"] == "needs_response":
        decide(account, dispute_id, won=False)


@when_due("inquiry_ends")
def end_inquiry(account: StripeAccount, dispute_id: str) -> None:
    dispute = account.store.objects[dispute_id]
    if dispute["status"] in OPEN_INQUIRY_STATUSES:
        decide(account, dispute_id, won=True)


# --- what the account's owner does ----------------------------------------------------------------


@route("POST", "/v1/disputes/{}")
def update(call: Call) -> JsonObject:
    """Evidence, handed in unless `submit=false`; each bank reads what was handed in once."""
    account, params, dispute = call.account, call.params, call.get_object("dispute")
    changes: JsonObject = {"metadata": read.merge_metadata(dispute["metadata"], params)}
    given = {
        name: text
        for name, text in read.nested_object(params, "evidence").items()
        if name in _EVIDENCE_FIELDS
    }
    if given:
        changes["evidence"] = {**dispute["evidence"], **given}
    hands_in = bool(given) and read.flag(params, "submit", default=True)
    if hands_in and dispute["status"] not in ("needs_response", "warning_needs_response"):
        raise invalid_request("This dispute is no longer open for evidence.", "evidence")
    details = dispute["evidence_details"]
    changes["evidence_details"] = {
        **details,
        "has_evidence": details["has_evidence"] or bool(given),
        "submission_count": details["submission_count"] + hands_in,
        "submission_method": "manual" if hands_in else details["submission_method"],
    }
    if hands_in:
        changes["status"] = dispute["status"].replace("needs_response", "under_review")
    account.update_and_emit(dispute, "charge.dispute.updated", **changes)
    if hands_in and given.get("uncategorized_text") in ("winning_evidence", "losing_evidence"):
        decide(account, dispute["id"], won=given["uncategorized_text"] == "winning_evidence")
    return dispute


@route("POST", "/v1/disputes/{}/close")
def close(call: Call) -> JsonObject:
    """Give in."""
    dispute = call.get_object("dispute")
    if dispute["status"] not in ("needs_response", "under_review"):
        raise invalid_request("This dispute is already closed.")
    decide(call.account, dispute["id"], won=False)
    return dispute


# --- warnings -------------------------------------------------------------------------------------


@when_due("network_warns")
def warning_from_test_card(account: StripeAccount, charge_id: str) -> None:
    """What the test card's number says."""
    create_fraud_warning(account, charge_id, "made_with_stolen_card")


def create_fraud_warning(account: StripeAccount, charge_id: str, fraud_type: str) -> JsonObject:
    """The card network says that a charge may not have been the owner's."""
    charge = account.store.objects[charge_id]
    warning = account.create_object(
        "issfr",
        "radar.early_fraud_warning",
        {
            "actionable": not (charge["refunded"] or charge["disputed"]),
            "charge": charge_id,
            "fraud_type": fraud_type,
            "payment_intent": charge["payment_intent"],
        },
    )
    account.store.link(warning["object"], "charge", charge_id, warning["id"])
    account.store.link(warning["object"], "payment_intent", charge["payment_intent"], warning["id"])
    account.emit("radar.early_fraud_warning.created", warning)
    return warning


@when_due("refunded")
def close_fraud_warnings(account: StripeAccount, charge_id: str) -> None:
    """A charge was refunded or disputed: there is nothing left to do about a warning."""
    charge = account.store.objects[charge_id]
    if not (charge["refunded"] or charge["disputed"]):
        return
    for warning_id in account.store.linked("radar.early_fraud_warning", "charge", charge_id):
        warning = account.store.objects[warning_id]
        account.update_and_emit(warning, "radar.early_fraud_warning.updated", actionable=False)


# --- the money ------------------------------------------------------------------------------------


def _withdraw_funds(account: StripeAccount, dispute: JsonObject) -> None:
    amount, rate = balance.to_settlement(account, dispute["amount"], dispute["currency"])
    row = balance.create_transaction(
        account,
        {
            "type": "adjustment",
            "reporting_category": "dispute",
            "amount": -amount,
            "currency": currencies.settlement_currency(dispute["currency"]),
            "fee": currencies.DISPUTE_FEE,
            "exchange_rate": rate,
            "source": dispute["id"],
            "description": f"Chargeback withdrawal for {dispute['charge']}",
        },
    )
    dispute["balance_transactions"].append(dict(row))
    account.emit("charge.dispute.funds_withdrawn", dispute)


def _reinstate_funds(account: StripeAccount, dispute: JsonObject, *, refund_fee: bool) -> None:
    amount, rate = balance.to_settlement(account, dispute["amount"], dispute["currency"])
    row = balance.create_transaction(
        account,
        {
            "type": "adjustment",
            "reporting_category": "dispute_reversal",
            "amount": amount,
            "currency": currencies.settlement_currency(dispute["currency"]),
            "fee": -currencies.DISPUTE_FEE if refund_fee else 0,
            "exchange_rate": rate,
            "source": dispute["id"],
            "description": f"Chargeback reversal for {dispute['charge']}",
        },
    )
    dispute["balance_transactions"].append(dict(row))
    account.emit("charge.dispute.funds_reinstated", dispute)


def _due_by(account: StripeAccount) -> int:
    day = (account.clock.now() + EVIDENCE_PERIOD).astimezone(UTC)
    return int(day.replace(hour=23, minute=59, second=59, microsecond=0).timestamp())


def _fields(
    account: StripeAccount, charge: JsonObject, amount: int, reason: str, inquiry: bool
) -> JsonObject:
    brand = charge["payment_method_details"].get("card", {}).get("brand", "visa")
    card = {
        "brand": brand,
        "case_type": "inquiry" if inquiry else "chargeback",
        "network": brand,
        "network_reason_code": "10.4",
    }
    return {
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(_EVIDENCE_FIELDS), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": _due_by(account),
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": inquiry,
        "metadata": {},
        "network_reason_code": "10.4",
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {"card": card, "type": "card"},
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
    }
